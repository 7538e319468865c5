"""The networks of the entropy model, layer by layer, for whatever evaluates them.

h_s and the context models predict μ and σ of every latent. Were they float, another CPU, thread count or GPU would
round differently, one table index would change and everything after it would be noise (Ballé, Johnston and Minnen,
*Integer Networks for Data Compression with Latent-Variable Models*, ICLR 2019). Here every weight and activation is
a whole number (times a fixed power of two), small enough that each sum a layer can form stays below 2²⁴: float32
holds all of them exactly, so any order of summation gives the same result.

    layer:  clamp(floor(W·a + b)),  |a| ≤ LIMIT,  Σ|W|·LIMIT + |b| < 2²⁴ for every output (check_weights.py)

The weights file has them as integers with one right shift per output channel; an engine divides W and b by 2^shift,
which is exact too. `train/export.py` makes them, `tests/reference.py` is an independent evaluation in numpy int64.

    ẑ: start_z  ─►  parameters of passes 0 … 3, reduced  ─►  Context.step 1, 2, 3: parameters corrected by known values
    ŷ: start_y  ─►  the same, from ẑ by h_s                  ─►  the same
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from codec.config import GROUP_OF_PASS, PASSES, Config

LIMIT = 2**12 - 1  # of activations that enter a layer: finer costs weights their bits, coarser the low rates theirs
SUM_LIMIT = 2**24  # whole numbers below it are exact in float32
WIDE_LIMIT = 2**20  # of μ and σ before they are narrowed

T = TypeVar("T")


class Layers(Protocol[T]):
    """The operations that an engine has to know. T: its tensors (1, channels, H, W).

    A plane has four *phases*: what is at (0, 0), (0, 1), (1, 0) and (1, 1) of its 2×2 squares. One behind the other
    (space to depth) they are (1, 4 · channels, ⌈H/2⌉, ⌈W/2⌉). A *size* is H and W as the engine has them.
    """

    def conv(self, x: T, name: str, inputs: int | None = None) -> T:
        """Layer `name` of the weights, all divided by 2^shift, not rounded: 1×1, or depthwise 3×3 with zero padding.

        inputs: only the first so many of its inputs; the rest of the sum is added by whoever asks.
        """

    def conv_phases(
        self, x: T, name: str, outputs: np.ndarray | None = None, inputs: np.ndarray | None = None, bias: bool = True
    ) -> T:
        """For each of the four phases of x its own 1×1 layer: these outputs (4, ·) and inputs (4, ·) of layer `name`.

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

    def crop(self, x: T, size: Any) -> T:
        """The first rows and columns of x."""

    def even(self, size: Any) -> Any:
        """H and W, each rounded up to an even number."""

    def prior(self, row: Any, outputs: np.ndarray, size: Any) -> T:
        """These outputs of `z_prior` at a rate row, the same at all ⌈H/2⌉ × ⌈W/2⌉ positions."""

    def to_phases(self, x: T) -> T:
        """(1, N, H, W) -> (1, 4N, ⌈H/2⌉, ⌈W/2⌉)."""

    def from_phases(self, phases: T, like: T | None = None) -> T:
        """Inverse of `to_phases`: of the height and width of `like`, or both even."""


class Context(Generic[T]):
    """The context model of y or z."""

    def __init__(self, layers: Layers[T], kind: str, config: Config):
        self.o = layers
        self.name = {"y": "context", "z": "z_context"}[kind]
        self.channels = {"y": config.latents, "z": config.hyper}[kind]
        self.width = {"y": config.context, "z": config.hyper}[kind]
        self.blocks = {"y": config.context_blocks, "z": config.z_blocks}[kind]

    def reduce(self, parameters: list[T]) -> T:
        """Parameters of each pass before any value is known -> what later passes see of them (1, P, H, W), both even.

        Parameters are phases (1, 2N, H/2, W/2): for each, μ and then level of the group that the pass codes there.
        """
        o, seen = self.o, []
        for t, before in enumerate(parameters):
            coded = coded_in(t, self.channels)
            narrowed = narrow(o, o.scaled(before, f"{self.name}.h_shift", coded.reshape(-1)))
            seen.append(o.conv_phases(narrowed, f"{self.name}.reduce", inputs=coded, bias=t == 0))
        return o.from_phases(narrow(o, functools.reduce(o.add, seen)))

    def step(self, t: int, reduced: T, values: T, before: T) -> T:
        """What all passes see and the values known before pass t = 1, 2, 3 -> its parameters, ordered as `before`.

        before: its parameters before any value was known. Values are phases (1, 4·t·n, ⌈H/2⌉, ⌈W/2⌉), n = N / 4: in
        each the groups of pass 0, …, t − 1.
        """
        o, name = self.o, self.name
        channels = known_before(t, self.channels)
        known = narrow(o, o.scaled(values, f"{name}.known_shift", channels.reshape(-1)))
        known = o.conv_phases(known, f"{name}.adapt.{t - 1}", inputs=self.width + channels, bias=False)
        seen = o.conv(reduced, f"{name}.adapt.{t - 1}", self.width)
        x = narrow(o, o.add(o.from_phases(known, like=reduced), seen))
        for i in range(self.blocks):
            x = block(o, x, f"{name}.body.{i}")
        delta = o.floor(o.conv_phases(o.to_phases(x), f"{name}.out", outputs=coded_in(t, self.channels)))
        return o.add(o.clamp(delta, WIDE_LIMIT), before)


def coded_in(t: int, channels: int) -> np.ndarray:
    """(4, 2n): at each position the outputs, of μ and then of level, for the group that pass t codes."""
    group = _groups([t], channels)
    return np.concatenate([group, channels + group], axis=1)


def known_before(t: int, channels: int) -> np.ndarray:
    """(4, t·n): at each position the channels known before pass t, in the order of passes."""
    return _groups(range(t), channels)


def _groups(passes: Iterable[int], channels: int) -> np.ndarray:
    group = np.arange(channels).reshape(PASSES, -1)
    none = np.empty((PASSES, 0), group.dtype)
    return np.concatenate([none, *(group[[*GROUP_OF_PASS[t]]] for t in passes)], axis=1)


def start_z(o: Layers[T], config: Config, row: Any, size: Any) -> tuple[T, list[T]]:
    """Start of the passes over ẑ, from its prior: what they see, `reduce`d to (1, Z, H, W), and their parameters."""
    context = Context(o, "z", config)
    parameters = [o.prior(row, coded_in(t, context.channels).reshape(-1), size) for t in range(PASSES)]
    return o.crop(context.reduce(parameters), size), parameters


def start_y(o: Layers[T], config: Config, z: T, size: Any) -> tuple[T, list[T]]:
    """Start of the passes over ŷ, from h_s: z (1, Z, ⌈H/4⌉, ⌈W/4⌉) is ẑ with its gain undone, narrow."""
    context = Context(o, "y", config)
    parameters = hyperprior_parameters(o, o.crop(hyperprior_features(o, z), o.even(size)), context.channels)
    return o.crop(context.reduce(parameters), size), parameters


def hyperprior_features(o: Layers[T], z: T) -> T:
    """h_s but for its last layer: (1, Z, h, w) -> (1, Z, 4h, 4w)."""
    for i in (1, 2):
        z = o.upsample(narrow(o, o.conv(z, f"h_s.up{i}.expand")))
        z = block(o, z, f"h_s.block{i}")
    return z


def hyperprior_parameters(o: Layers[T], features: T, channels: int) -> list[T]:
    """The last layer of h_s, for each pass what it codes: (1, Z, H, W), both even -> four times (1, 2N, H/2, W/2)."""
    phases = o.to_phases(features)
    parameters = (o.conv_phases(phases, "h_s.out", outputs=coded_in(t, channels)) for t in range(PASSES))
    return [o.clamp(o.floor(values), WIDE_LIMIT) for values in parameters]


def block(o: Layers[T], x: T, name: str) -> T:
    """`layers.Block` in whole numbers."""
    t = narrow(o, o.leaky(o.conv(x, f"{name}.mix_in")))
    t = narrow(o, o.conv(t, f"{name}.spatial"))
    x = o.clamp(o.add(o.floor(o.conv(t, f"{name}.mix_out")), x), LIMIT)
    t = narrow(o, o.leaky(o.conv(x, f"{name}.expand")))
    return o.clamp(o.add(o.floor(o.conv(t, f"{name}.contract")), x), LIMIT)


def narrow(o: Layers[T], x: T) -> T:
    """Round down, and clamp to what the next layer takes."""
    return o.clamp(o.floor(x), LIMIT)


def power_of_two(exponents: np.ndarray, dtype: type[np.floating] = np.float32) -> np.ndarray:
    """2 to whole exponents, exactly: exp2 and pow are not exact where another library left a directed rounding mode."""
    return np.ldexp(dtype(1), exponents.astype(np.int32))
