"""g_a, h_a and g_s by torch: on any device, and with gradients for those who refine latents."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from codec.errors import FormatError
from codec.model import Model
from codec.weights import Weights


class TorchEngine:
    """The float networks of one set of weights. Arrays and tensors are of the CPU, wherever the networks are."""

    def __init__(self, weights: Weights):
        """Raises: FormatError."""
        with torch.random.fork_rng(devices=[]):  # the caller's random state is not ours to advance
            model = Model(weights.config)
        try:
            model.load_state_dict({k: torch.from_numpy(v).float() for k, v in weights.networks.items()})
        except RuntimeError as error:
            raise FormatError(f"no weights of this codec: {error}") from None
        self.model = model.eval().requires_grad_(False)
        self.device = torch.device("cpu")

    def to(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.model.to(self.device)

    def rows(self, row: int) -> Tensor:
        """A rate row as the networks take it."""
        return torch.tensor([row], device=self.device)

    @torch.inference_mode()
    @torch.autocast("cpu", enabled=False)
    def analyse(self, pixels: np.ndarray, row: int) -> Tensor:
        """uint8 (H, W, C), both multiples of 16 -> y (1, M, H/16, W/16)."""
        return self.model.analyse(to_tensor(pixels).to(self.device).div_(255), self.rows(row)).cpu()

    @torch.inference_mode()
    @torch.autocast("cpu", enabled=False)
    def hyper_analyse(self, y: Tensor, row: int) -> Tensor:
        """y (1, M, h, w) -> z (1, Z, ⌈h/4⌉, ⌈w/4⌉), ready for rounding."""
        return self.model.hyper_analyse(y.to(self.device), self.rows(row)).cpu()

    @torch.inference_mode()
    @torch.autocast("cpu", enabled=False)
    def synthesise(self, y_hat: Tensor, row: int) -> np.ndarray:
        """ŷ (1, M, h, w) -> uint8 (16h, 16w, 3)."""
        x = self.model.synthesise(y_hat.to(self.device), self.rows(row))
        return x[0].permute(1, 2, 0).mul(255).round_().clamp_(0, 255).byte().cpu().numpy()


def to_tensor(pixels: np.ndarray) -> Tensor:
    """uint8 (H, W, C), colour or grey, with or without alpha -> float32 (1, 3, H, W), 0 … 255, channels last."""
    pixels = np.broadcast_to(pixels[:, :, :1], (*pixels.shape[:2], 3)) if pixels.shape[2] < 3 else pixels[:, :, :3]
    return torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None]
