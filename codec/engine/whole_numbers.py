"""The networks of the entropy model, layer by layer, for whatever evaluates them.

h_s and the context models predict μ and σ of every latent. Were they float, another CPU, thread count or GPU would
round differently, one table index would change and everything after it would be noise. Here every weight and
activation is a whole number (times a fixed power of two), small enough that each sum a layer can form stays below 2²⁴:
float32 holds all of them exactly, so any order of summation gives the same result.

    layer:  clamp(floor(W·a + b)),  |a| ≤ LIMIT,  Σ|W|·LIMIT + |b| < 2²⁴ for every output, checked at loading

The weights file has them as integers with one right shift per output channel; an engine divides W and b by 2^shift,
which is exact too. `train/export.py` makes them, `tests/reference.py` is an independent evaluation in numpy int64.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import numpy as np

from codec.config import GROUP_OF_PASS, PASSES, POSITIONS, SLOPE, Config
from codec.errors import FormatError
from codec.weights import Weights

LIMIT = 2**12 - 1  # of activations that enter a layer: finer costs weights their bits, coarser the low rates theirs
SUM_LIMIT = 2**24  # whole numbers below it are exact in float32
WIDE_LIMIT = 2**20  # of μ and σ before they are narrowed

T = TypeVar("T")
P = TypeVar("P", contravariant=True)


class Layers(Protocol[T, P]):
    """What an engine has to know. T: its tensors (1, channels, H, W); P: a pass t = 1, 2, 3, which a graph takes in."""

    def conv(self, x: T, name: str) -> T:
        """Layer `name` of the weights, all divided by 2^shift, not rounded: 1×1, or depthwise 3×3 with zero padding."""

    def conv_of_pass(self, x: T, names: list[str], t: P) -> T:
        """1×1 layer names[t − 1]."""

    def conv_parts(self, x: T, name: str, rows: np.ndarray, t: P) -> T:
        """For each of the four parts of x its own 1×1 layer: outputs rows[t − 1] (4, ·) of layer `name`."""

    def leaky(self, x: T) -> T:
        """x where it is positive, SLOPE · x elsewhere."""

    def floor(self, x: T) -> T: ...

    def clamp(self, x: T, limit: int) -> T:
        """To ±limit."""

    def add(self, x: T, y: T) -> T: ...

    def scaled(self, x: T, name: str) -> T:
        """x divided by 2^shift, where `name` has the shifts by channel."""

    def concat(self, x: T, y: T) -> T:
        """The channels of x, then those of y."""

    def take(self, x: T, channels: np.ndarray) -> T:
        """These channels of x."""

    def upsample(self, x: T) -> T:
        """Pixel-shuffle to twice the size: channel 4c + 2i + j becomes c at (2·row + i, 2·column + j)."""

    def to_parts(self, x: T) -> T:
        """(1, N, H, W) -> (1, 4N, ⌈H/2⌉, ⌈W/2⌉): what is at (0, 0) of each 2×2 square, at (0, 1), (1, 0) and (1, 1)."""

    def from_parts(self, parts: T, like: T) -> T:
        """Inverse of `to_parts`, of the height and width of `like`."""


class Context(Generic[T, P]):
    """The context model of y or z."""

    def __init__(self, layers: Layers[T, P], kind: str, config: Config):
        self.o = layers
        self.name = {"y": "context", "z": "z_context"}[kind]
        self.channels = {"y": config.latents, "z": config.hyper}[kind]
        self.width = {"y": config.context, "z": config.hyper}[kind]
        self.blocks = {"y": config.context_blocks, "z": config.z_blocks}[kind]

    def start(self, h: T) -> tuple[T, list[T]]:
        """First guess h (1, 2N, H, W) -> what all passes see of it (1, P, H, W), and of each pass its μ and level.

        The latter as parts (1, 2N, ⌈H/2⌉, ⌈W/2⌉): position by position, μ then level of the group that the pass codes.
        """
        o = self.o
        narrowed = narrow(o, o.scaled(h, f"{self.name}.h_shift"))
        reduced = narrow(o, o.conv(narrowed, f"{self.name}.reduce"))
        parts = o.to_parts(h)
        offsets = 2 * self.channels * np.arange(4)[:, None]
        return reduced, [o.take(parts, (coded_in(t, self.channels) + offsets).reshape(-1)) for t in range(PASSES)]

    def step(self, t: P, reduced: T, values: T, guess: T) -> T:
        """What `start` gave and the values known before pass t = 1, 2, 3, as parts -> μ and level, ordered as guess."""
        o, name, later = self.o, self.name, range(1, PASSES)
        known = narrow(o, o.scaled(o.from_parts(values, reduced), f"{name}.known_shift"))
        x = narrow(o, o.conv_of_pass(o.concat(reduced, known), [f"{name}.adapt.{i - 1}" for i in later], t))
        for i in range(self.blocks):
            x = block(o, x, f"{name}.body.{i}")
        rows = np.stack([coded_in(i, self.channels) for i in later])
        delta = o.floor(o.conv_parts(o.to_parts(x), f"{name}.out", rows, t))
        return o.add(o.clamp(delta, WIDE_LIMIT), guess)


def coded_in(t: int, channels: int) -> np.ndarray:
    """(4, 2 · channels / 4): at each position the outputs, of μ and then of level, for the group that pass t codes."""
    n = channels // PASSES
    groups = [np.arange(g * n, (g + 1) * n) for g in GROUP_OF_PASS[t]]
    return np.stack([np.concatenate([group, channels + group]) for group in groups])


def first_guess(o: Layers[T, P], z: T) -> T:
    """h_s: ẑ with its gain undone (1, Z, h, w), narrow -> h (1, 2M, 4h, 4w)."""
    for i in (1, 2):
        z = o.upsample(narrow(o, o.conv(z, f"h_s.up{i}.expand")))
        z = block(o, z, f"h_s.block{i}")
    return o.clamp(o.floor(o.conv(z, "h_s.out")), WIDE_LIMIT)


def block(o: Layers[T, P], x: T, name: str) -> T:
    t = narrow(o, o.leaky(o.conv(x, f"{name}.mix_in")))
    t = narrow(o, o.conv(t, f"{name}.spatial"))
    x = o.clamp(o.add(o.floor(o.conv(t, f"{name}.mix_out")), x), LIMIT)
    t = narrow(o, o.leaky(o.conv(x, f"{name}.expand")))
    return o.clamp(o.add(o.floor(o.conv(t, f"{name}.contract")), x), LIMIT)


def narrow(o: Layers[T, P], x: T) -> T:
    return o.clamp(o.floor(x), LIMIT)


def check(weights: Weights) -> None:
    """Raises: FormatError where a sum could leave what float32 is exact for."""
    exact = weights.exact
    for name in sorted({k.rpartition(".")[0] for k in exact if k.endswith(".weight")}):
        weight, bias, shift = (exact[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
        sums = np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(1)
        reach = int((sums * LIMIT + np.abs(bias.astype(np.int64))).max())
        if reach >= SUM_LIMIT or shift.min() < 0:
            raise FormatError(f"weights: layer {name} is not exact (sums may reach {reach}); damaged file?")


class NumpyLayers:
    """Layers by numpy in float64: slow, exact everywhere. Tensors are (channels, H, W)."""

    def __init__(self, weights: Weights):
        self.exact = weights.exact

    def _layer(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        weight, bias, shift = (self.exact[f"{name}.{part}"].astype(np.float64) for part in ("weight", "bias", "shift"))
        return (weight.T * np.exp2(-shift)).T, bias * np.exp2(-shift)

    def conv(self, x: np.ndarray, name: str) -> np.ndarray:
        weight, bias = self._layer(name)
        if weight.ndim == 2:
            return np.tensordot(weight, x, 1) + bias[:, None, None]
        height, width = x.shape[1:]
        x = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        taps = [weight[:, 0, i, j, None, None] * x[:, i : i + height, j : j + width] for i, j in np.ndindex(3, 3)]
        return sum(taps) + bias[:, None, None]

    def conv_of_pass(self, x: np.ndarray, names: list[str], t: int) -> np.ndarray:
        return self.conv(x, names[t - 1])

    def conv_parts(self, x: np.ndarray, name: str, rows: np.ndarray, t: int) -> np.ndarray:
        weight, bias = (v[rows[t - 1]] for v in self._layer(name))
        parts = x.reshape(len(weight), -1, *x.shape[1:])
        return (np.einsum("poc,pchw->pohw", weight, parts) + bias[:, :, None, None]).reshape(-1, *x.shape[1:])

    def leaky(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(x, SLOPE * x)

    def floor(self, x: np.ndarray) -> np.ndarray:
        return np.floor(x)

    def clamp(self, x: np.ndarray, limit: int) -> np.ndarray:
        return np.clip(x, -limit, limit)

    def add(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return x + y

    def scaled(self, x: np.ndarray, name: str) -> np.ndarray:
        return x * np.exp2(-self.exact[name].astype(np.float64))[:, None, None]

    def concat(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.concatenate([x, y])

    def take(self, x: np.ndarray, channels: np.ndarray) -> np.ndarray:
        return x[channels]

    def upsample(self, x: np.ndarray) -> np.ndarray:
        channels, height, width = x.shape
        x = x.reshape(channels // 4, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
        return x.reshape(channels // 4, 2 * height, 2 * width)

    def to_parts(self, x: np.ndarray) -> np.ndarray:
        x = np.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2)))
        return np.concatenate([x[:, i::2, j::2] for i, j in POSITIONS])

    def from_parts(self, parts: np.ndarray, like: np.ndarray) -> np.ndarray:
        parts = parts.reshape(4, -1, *parts.shape[1:])
        x = np.empty((parts.shape[1], 2 * parts.shape[2], 2 * parts.shape[3]))
        for part, (i, j) in zip(parts, POSITIONS):
            x[:, i::2, j::2] = part
        return x[:, : like.shape[1], : like.shape[2]]
