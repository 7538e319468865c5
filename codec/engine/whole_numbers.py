"""The networks of the entropy model, layer by layer, for whatever evaluates them.

h_s and the context models predict μ and σ of every latent. Were they float, another CPU, thread count or GPU would
round differently, one table index would change and everything after it would be noise. Here every weight and
activation is a whole number (times a fixed power of two), small enough that each sum a layer can form stays below 2²⁴:
float32 holds all of them exactly, so any order of summation gives the same result.

    layer:  clamp(floor(W·a + b)),  |a| ≤ LIMIT,  Σ|W|·LIMIT + |b| < 2²⁴ for every output (check_weights.py)

The weights file has them as integers with one right shift per output channel; an engine divides W and b by 2^shift,
which is exact too. `train/export.py` makes them, `tests/reference.py` is an independent evaluation in numpy int64.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Generic, Protocol, TypeVar

import numpy as np

from codec.config import GROUP_OF_PASS, PASSES, POSITIONS, SLOPE, Config
from codec.weights import Weights

LIMIT = 2**12 - 1  # of activations that enter a layer: finer costs weights their bits, coarser the low rates theirs
SUM_LIMIT = 2**24  # whole numbers below it are exact in float32
WIDE_LIMIT = 2**20  # of μ and σ before they are narrowed

T = TypeVar("T")


class Layers(Protocol[T]):
    """What an engine has to know. T: its tensors (1, channels, H, W).

    Of a plane, what is at (0, 0) of each 2×2 square, at (0, 1), (1, 0) and (1, 1), are its four *parts*
    (1, 4 · channels, ⌈H/2⌉, ⌈W/2⌉), one behind the other.
    """

    def conv(self, x: T, name: str, inputs: int | None = None) -> T:
        """Layer `name` of the weights, all divided by 2^shift, not rounded: 1×1, or depthwise 3×3 with zero padding.

        inputs: only the first so many of its inputs; the rest of the sum is added by whoever asks.
        """

    def conv_parts(
        self, x: T, name: str, outputs: np.ndarray | None = None, inputs: np.ndarray | None = None, bias: bool = True
    ) -> T:
        """For each of the four parts of x its own 1×1 layer: these outputs (4, ·) and inputs (4, ·) of layer `name`.

        None stands for all of them. Without `bias`, the sum alone.
        """

    def leaky(self, x: T) -> T:
        """x where it is positive, SLOPE · x elsewhere."""

    def floor(self, x: T) -> T: ...

    def clamp(self, x: T, limit: int) -> T:
        """To ±limit."""

    def add(self, x: T, y: T) -> T: ...

    def scaled(self, x: T, name: str, channels: np.ndarray) -> T:
        """x divided by 2^shift, where `name` has the shifts: x is these channels of it."""

    def upsample(self, x: T) -> T:
        """Pixel-shuffle to twice the size: channel 4c + 2i + j becomes c at (2·row + i, 2·column + j)."""

    def to_parts(self, x: T) -> T:
        """(1, N, H, W) -> (1, 4N, ⌈H/2⌉, ⌈W/2⌉)."""

    def from_parts(self, parts: T, like: T | None = None) -> T:
        """Inverse of `to_parts`: of the height and width of `like`, or both even."""


class Context(Generic[T]):
    """The context model of y or z."""

    def __init__(self, layers: Layers[T], kind: str, config: Config):
        self.o = layers
        self.name = {"y": "context", "z": "z_context"}[kind]
        self.channels = {"y": config.latents, "z": config.hyper}[kind]
        self.width = {"y": config.context, "z": config.hyper}[kind]
        self.blocks = {"y": config.context_blocks, "z": config.z_blocks}[kind]

    def start(self, guesses: list[T]) -> T:
        """First guess of each pass's μ and level -> what all later passes see of them (1, P, H, W), both sizes even.

        Guesses are parts (1, 2N, H/2, W/2): position by position, μ then level of the group that the pass codes.
        """
        o, seen = self.o, []
        for t, guess in enumerate(guesses):
            coded = coded_in(t, self.channels)
            narrowed = narrow(o, o.scaled(guess, f"{self.name}.h_shift", coded.reshape(-1)))
            seen.append(o.conv_parts(narrowed, f"{self.name}.reduce", inputs=coded, bias=t == 0))
        return o.from_parts(narrow(o, reduce(o.add, seen)))

    def step(self, t: int, reduced: T, values: T, guess: T) -> T:
        """What all passes see and the values known before pass t = 1, 2, 3 -> its μ and level, ordered as guess.

        Values are parts (1, 4·t·n, ⌈H/2⌉, ⌈W/2⌉), n = N / 4: at each position the groups of pass 0, …, t − 1.
        """
        o, name = self.o, self.name
        channels = known_before(t, self.channels)
        known = narrow(o, o.scaled(values, f"{name}.known_shift", channels.reshape(-1)))
        known = o.conv_parts(known, f"{name}.adapt.{t - 1}", inputs=self.width + channels, bias=False)
        seen = o.conv(reduced, f"{name}.adapt.{t - 1}", self.width)
        x = narrow(o, o.add(o.from_parts(known, like=reduced), seen))
        for i in range(self.blocks):
            x = block(o, x, f"{name}.body.{i}")
        delta = o.floor(o.conv_parts(o.to_parts(x), f"{name}.out", outputs=coded_in(t, self.channels)))
        return o.add(o.clamp(delta, WIDE_LIMIT), guess)


def coded_in(t: int, channels: int) -> np.ndarray:
    """(4, 2n): at each position the outputs, of μ and then of level, for the group that pass t codes."""
    group = _groups([t], channels)
    return np.concatenate([group, channels + group], axis=1)


def known_before(t: int, channels: int) -> np.ndarray:
    """(4, t·n): at each position the channels known before pass t, in the order of passes."""
    return _groups(range(t), channels)


def _groups(passes: Iterable[int], channels: int) -> np.ndarray:
    group = np.arange(channels).reshape(PASSES, -1)
    return np.concatenate([group[[*GROUP_OF_PASS[t]]] for t in passes], axis=1)


def first_features(o: Layers[T], z: T) -> T:
    """h_s but for its last layer: ẑ with its gain undone (1, Z, h, w), narrow -> (1, Z, 4h, 4w)."""
    for i in (1, 2):
        z = o.upsample(narrow(o, o.conv(z, f"h_s.up{i}.expand")))
        z = block(o, z, f"h_s.block{i}")
    return z


def first_guesses(o: Layers[T], features: T, channels: int) -> list[T]:
    """The last layer of h_s, for each pass what it codes: (1, Z, H, W), both even -> four times (1, 2N, H/2, W/2)."""
    parts = o.to_parts(features)
    guesses = (o.conv_parts(parts, "h_s.out", outputs=coded_in(t, channels)) for t in range(PASSES))
    return [o.clamp(o.floor(guess), WIDE_LIMIT) for guess in guesses]


def block(o: Layers[T], x: T, name: str) -> T:
    t = narrow(o, o.leaky(o.conv(x, f"{name}.mix_in")))
    t = narrow(o, o.conv(t, f"{name}.spatial"))
    x = o.clamp(o.add(o.floor(o.conv(t, f"{name}.mix_out")), x), LIMIT)
    t = narrow(o, o.leaky(o.conv(x, f"{name}.expand")))
    return o.clamp(o.add(o.floor(o.conv(t, f"{name}.contract")), x), LIMIT)


def narrow(o: Layers[T], x: T) -> T:
    return o.clamp(o.floor(x), LIMIT)


class NumpyLayers:
    """Layers by numpy in float64: slow, exact everywhere. Tensors are (channels, H, W)."""

    def __init__(self, weights: Weights):
        self.exact = weights.exact

    def _layer(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        weight, bias, shift = (self.exact[f"{name}.{part}"].astype(np.float64) for part in ("weight", "bias", "shift"))
        return (weight.T * np.exp2(-shift)).T, bias * np.exp2(-shift)

    def conv(self, x: np.ndarray, name: str, inputs: int | None = None) -> np.ndarray:
        weight, bias = self._layer(name)
        if weight.ndim == 2:
            return np.tensordot(weight[:, :inputs], x, 1) + bias[:, None, None]
        height, width = x.shape[1:]
        x = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        taps = [weight[:, 0, i, j, None, None] * x[:, i : i + height, j : j + width] for i, j in np.ndindex(3, 3)]
        return sum(taps) + bias[:, None, None]

    def conv_parts(
        self,
        x: np.ndarray,
        name: str,
        outputs: np.ndarray | None = None,
        inputs: np.ndarray | None = None,
        bias: bool = True,
    ) -> np.ndarray:
        weight, biases = self._layer(name)
        found = []
        for i, part in enumerate(x.reshape(4, -1, *x.shape[1:])):
            rows = slice(None) if outputs is None else outputs[i]
            columns = slice(None) if inputs is None else inputs[i]
            found.append(np.tensordot(weight[rows][:, columns], part, 1) + bias * biases[rows, None, None])
        return np.concatenate(found)

    def leaky(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(x, SLOPE * x)

    def floor(self, x: np.ndarray) -> np.ndarray:
        return np.floor(x)

    def clamp(self, x: np.ndarray, limit: int) -> np.ndarray:
        return np.clip(x, -limit, limit)

    def add(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return x + y

    def scaled(self, x: np.ndarray, name: str, channels: np.ndarray) -> np.ndarray:
        return x * np.exp2(-self.exact[name].astype(np.float64))[channels, None, None]

    def upsample(self, x: np.ndarray) -> np.ndarray:
        channels, height, width = x.shape
        x = x.reshape(channels // 4, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
        return x.reshape(channels // 4, 2 * height, 2 * width)

    def to_parts(self, x: np.ndarray) -> np.ndarray:
        x = np.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2)))
        return np.concatenate([x[:, i::2, j::2] for i, j in POSITIONS])

    def from_parts(self, parts: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
        parts = parts.reshape(4, -1, *parts.shape[1:])
        x = np.empty((parts.shape[1], 2 * parts.shape[2], 2 * parts.shape[3]))
        for part, (i, j) in zip(parts, POSITIONS):
            x[:, i::2, j::2] = part
        return x if like is None else x[:, : like.shape[1], : like.shape[2]]
