"""The networks by torch: on any device, and with gradients for those who refine latents."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from codec.config import PASSES, POSITIONS, SLOPE
from codec.engine.whole_numbers import Context, coded_in, first_features, first_guesses, power_of_two
from codec.errors import FormatError
from codec.model import Model
from codec.weights import Weights

LAYOUT = torch.channels_last  # what oneDNN is fastest with; any other gives the same numbers
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


class TorchEngine:
    """codec.engine.Engine; the entropy model stays on the CPU, wherever the other networks are."""

    name = "torch"
    at_once = 2  # entropy coding holds Python's lock and convolutions do not: 15 % faster than one

    @torch.inference_mode(False)  # efforts need gradients by these tensors
    def __init__(self, weights: Weights, threads: int | None = None, slow: bool = False):
        """slow: whole numbers are added up in float64. Raises: FormatError."""
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
        self.sums = torch.float64 if slow else torch.float32
        self._layers = TorchLayers(weights, self.sums)
        self._contexts = {kind: Context(self._layers, kind, weights.config) for kind in "yz"}
        self._prior = torch.from_numpy(weights.exact["z_prior"]).to(self.sums)

    @property
    def description(self) -> str:
        return f"torch {torch.__version__}, float32, on {self.device}"

    def several(self, tiles: int) -> TorchEngine:
        return self

    @torch.inference_mode(False)
    def to(self, device: torch.device | str) -> TorchEngine:
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
        return torch.from_numpy(array).to(self.device).contiguous(memory_format=LAYOUT)

    @undisturbed
    def start_z(self, row: int, height: int, width: int) -> tuple[Any, np.ndarray]:
        prior, size = self._prior[row], (1, -1, -(-height // 2), -(-width // 2))
        channels = self._contexts["z"].channels
        coded = (torch.from_numpy(coded_in(t, channels).reshape(-1)) for t in range(PASSES))
        return self._started("z", [prior[c][None, :, None, None].expand(size) for c in coded], height, width)

    @undisturbed
    def start_y(self, z: np.ndarray, height: int, width: int) -> tuple[Any, np.ndarray]:
        features = first_features(self._layers, self._layers.tensor(z))[..., : height + height % 2, : width + width % 2]
        guesses = first_guesses(self._layers, features, self._contexts["y"].channels)
        return self._started("y", guesses, height, width)

    def _started(self, kind: str, guesses: list[Tensor], height: int, width: int) -> tuple[Any, np.ndarray]:
        reduced = self._contexts[kind].start(guesses)[..., :height, :width]
        return (reduced, guesses), by_position(guesses[0])

    @undisturbed
    def step(self, kind: str, t: int, started: Any, values: np.ndarray) -> np.ndarray:
        reduced, guesses = started
        parts = self._layers.tensor(values.reshape(1, -1, *values.shape[2:]))
        return by_position(self._contexts[kind].step(t, reduced, parts, guesses[t]))


class TorchLayers:
    """whole_numbers.Layers."""

    def __init__(self, weights: Weights, dtype: torch.dtype):
        self.dtype, self._layers, self._scales = dtype, {}, {}
        exact = {name: torch.from_numpy(values) for name, values in weights.exact.items()}
        for name in (k.removesuffix(".weight") for k in exact if k.endswith(".weight")):
            weight, bias, shift = (exact[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
            scale = torch.from_numpy(power_of_two(-shift.numpy())).to(dtype)
            weight = weight.reshape(len(weight), -1, *weight.shape[2:] or (1, 1)).to(dtype)
            self._layers[name] = weight * scale[:, None, None, None], bias * scale
        for name in (k for k in exact if k.endswith("_shift")):
            self._scales[name] = torch.from_numpy(power_of_two(-weights.exact[name])).to(dtype)[:, None, None]

    def tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.dtype)

    def conv(self, x: Tensor, name: str, inputs: int | None = None) -> Tensor:
        weight, bias = self._layers[name]
        if weight.shape[-1] == 3:
            return F.conv2d(x, weight, bias, padding=1, groups=len(weight))
        return F.conv2d(x, weight[:, :inputs], bias)

    def conv_parts(
        self,
        x: Tensor,
        name: str,
        outputs: np.ndarray | None = None,
        inputs: np.ndarray | None = None,
        bias: bool = True,
    ) -> Tensor:
        weight, biases = self._layers[name]
        count = len(POSITIONS)
        rows = np.arange(len(weight))[None].repeat(count, 0) if outputs is None else outputs
        columns = np.arange(weight.shape[1])[None].repeat(count, 0) if inputs is None else inputs
        taken = weight[torch.from_numpy(rows[:, :, None]), torch.from_numpy(columns[:, None])]
        taken_biases = biases[torch.from_numpy(rows.reshape(-1))] if bias else None
        return F.conv2d(x, taken.flatten(0, 1), taken_biases, groups=count)

    def leaky(self, x: Tensor) -> Tensor:
        return F.leaky_relu_(x, SLOPE)

    def floor(self, x: Tensor) -> Tensor:
        return x.floor_()

    def clamp(self, x: Tensor, limit: int) -> Tensor:
        return x.clamp_(-limit, limit)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return x.add_(y)

    def scaled(self, x: Tensor, name: str, channels: np.ndarray) -> Tensor:
        return x * self._scales[name][torch.from_numpy(channels)]

    def upsample(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(x, 2)

    def to_parts(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        return torch.cat([x[..., i::2, j::2] for i, j in POSITIONS], 1)

    def from_parts(self, parts: Tensor, like: Tensor | None = None) -> Tensor:
        height, width = (2 * n for n in parts.shape[2:]) if like is None else like.shape[2:]
        whole = parts.new_zeros(1, parts.shape[1] // 4, height, width).contiguous(memory_format=LAYOUT)
        for part, (i, j) in zip(parts.chunk(len(POSITIONS), 1), POSITIONS):
            view = whole[..., i::2, j::2]
            view.copy_(part[..., : view.shape[2], : view.shape[3]])
        return whole


def by_position(params: Tensor) -> np.ndarray:
    """(1, 2N, H, W) -> (4, 2, N/4, H, W)."""
    return params.float().contiguous().numpy().reshape(PASSES, 2, -1, *params.shape[2:])


def to_tensor(pixels: np.ndarray) -> Tensor:
    """uint8 (H, W, 3) -> float32 (1, 3, H, W), 0 … 255, channels last."""
    return torch.tensor(pixels, dtype=torch.float32, device="cpu").permute(2, 0, 1)[None]
