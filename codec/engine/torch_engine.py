"""g_a, h_a and g_s by torch: on any device, and with gradients for those who refine latents."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from codec.errors import FormatError
from codec.model import Model
from codec.weights import Weights

ONEDNN = torch.backends.mkldnn.conv, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # made at import
P = ParamSpec("P")
R = TypeVar("R")


class _Float32Throughout:
    """A region where oneDNN computes in float32, whatever precision the process allows it (bfloat16, TF32).

    torch has one setting for all threads: the first to enter puts it aside, the last to leave puts it back.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._before = Lock(), 0, ("none", "none")

    def __enter__(self) -> None:
        conv, matmul = ONEDNN
        with self._lock:
            if not self._inside:
                self._before = conv.fp32_precision, matmul.fp32_precision
                conv.fp32_precision = matmul.fp32_precision = "ieee"
            self._inside += 1

    def __exit__(self, *failure: object) -> None:
        conv, matmul = ONEDNN
        with self._lock:
            self._inside -= 1
            if not self._inside:
                conv.fp32_precision, matmul.fp32_precision = self._before


float32_throughout = _Float32Throughout()


def undisturbed(method: Callable[P, R]) -> Callable[P, R]:
    """A method that no setting of its caller reaches: gradients, autocast, precision."""

    @wraps(method)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.inference_mode(), torch.autocast("cpu", enabled=False), float32_throughout:
            return method(*args, **kwargs)

    return wrapped


class TorchTransforms:
    """protocols.Transforms, on any device."""

    @torch.inference_mode(False)  # efforts need gradients by these tensors
    def __init__(self, weights: Weights, threads: int | None = None):
        """Raises: FormatError."""
        if threads:
            torch.set_num_threads(threads)
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):  # the caller's random state is not ours to advance
            model = Model(weights.config).float()  # the caller's default device and type are not ours either
        try:
            model.load_state_dict({k: torch.from_numpy(v).float() for k, v in weights.networks.items()})
        except RuntimeError as error:
            raise FormatError(f"no weights of this codec: {error}") from None
        self.model = model.eval().requires_grad_(False)
        self.device = torch.device("cpu")

    @property
    def description(self) -> str:
        return f"torch {torch.__version__}, float32, on {self.device}"

    @torch.inference_mode(False)
    def to(self, device: torch.device | str) -> TorchTransforms:
        self.device = torch.device(device)
        self.model.to(self.device)
        return self

    def rows(self, row: int) -> Tensor:
        """A rate row as the networks take it."""
        return torch.tensor([row], device=self.device)

    @undisturbed
    def analyse(self, pixels: np.ndarray, row: int) -> np.ndarray:
        return self.model.analyse(to_tensor(pixels).to(self.device).div_(255), self.rows(row)).cpu().numpy()

    @undisturbed
    def hyper_analyse(self, y: np.ndarray, row: int) -> np.ndarray:
        return self.model.hyper_analyse(self._moved(y), self.rows(row)).cpu().numpy()

    @undisturbed
    def synthesise(self, y_hat: np.ndarray, row: int) -> np.ndarray:
        x = self.model.synthesise(self._moved(y_hat), self.rows(row))
        return x[0].permute(1, 2, 0).mul(255).round_().clamp_(0, 255).byte().cpu().numpy()

    def _moved(self, array: np.ndarray) -> Tensor:
        """An array on the device, in the layout that oneDNN is fastest with."""
        return torch.from_numpy(array).to(self.device).contiguous(memory_format=torch.channels_last)


def to_tensor(pixels: np.ndarray) -> Tensor:
    """uint8 (H, W, 3) -> float32 (1, 3, H, W), 0 … 255, channels last."""
    return torch.tensor(pixels, dtype=torch.float32, device="cpu").permute(2, 0, 1)[None]
