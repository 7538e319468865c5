"""What evaluates the networks: OpenVINO and ONNX Runtime where they are installed, else torch.

All give the same latents, bit for bit: the entropy model is whole numbers (`whole_numbers.py`), and an engine that
does not sum them exactly on this machine is passed over. Pixels may differ by ±1 from engine to engine.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from codec.concurrency import cores
from codec.config import PASSES, POSITIONS
from codec.engine.by_size import BySize
from codec.engine.whole_numbers import (
    LIMIT,
    Context,
    NumpyLayers,
    first_features,
    first_guesses,
    known_before,
    power_of_two,
)
from codec.errors import FormatError, LatError
from codec.settings import ENGINES
from codec.weights import Weights

PACKAGES = {"openvino": ("openvino", "onnx"), "onnxruntime": ("onnxruntime", "onnx"), "torch": ("torch",)}
SLOW = "torch in float64"  # where nothing else sums exactly
INSTALL = "pip install openvino onnxruntime onnx"


class Engine(Protocol):
    """The networks of one set of weights, for threads to share. Arrays are float32 (1, channels, height, width)."""

    name: str  # one of ENGINES
    at_once: int  # how many tiles it should be given at the same time, where there are several

    @property
    def description(self) -> str:
        """Version and precision."""

    def several(self, tiles: int) -> Engine:
        """The same for a picture of so many tiles: the cores are shared out among those that are worked on at once."""

    def analyse(self, pixels: np.ndarray, row: int) -> np.ndarray:
        """uint8 (H, W, 3), both multiples of 16 -> y (1, M, H/16, W/16), ready for rounding."""

    def hyper_analyse(self, y: np.ndarray, row: int) -> np.ndarray:
        """y (1, M, h, w) -> z (1, Z, ⌈h/4⌉, ⌈w/4⌉), ready for rounding."""

    def synthesise(self, y_hat: np.ndarray, row: int) -> np.ndarray:
        """ŷ (1, M, h, w) -> uint8 (16h, 16w, 3)."""

    def start_z(self, row: int, height: int, width: int) -> tuple[Any, np.ndarray]:
        """What the passes over ẑ (1, Z, height, width) begin with: what `step` wants, and the parameters of pass 0.

        The latter may be a view of memory that lasts as long as the former.

        Parameters: (4, 2, N/4, ⌈height/2⌉, ⌈width/2⌉), for each position of a 2×2 square first μ, then level, of the
        channels that the pass codes there; whole numbers in 2^-MU_BITS and 2^-LEVEL_BITS.
        """

    def start_y(self, z: np.ndarray, height: int, width: int) -> tuple[Any, np.ndarray]:
        """The same for ŷ (1, M, height, width), from ẑ with its gain undone, in whole numbers of at most ±LIMIT."""

    def step(self, kind: str, t: int, started: Any, values: np.ndarray) -> np.ndarray:
        """Parameters of pass t = 1, 2, 3 over "y" or "z".

        values (4, t·N/4, ⌈height/2⌉, ⌈width/2⌉): whole numbers in 2^-MU_BITS that passes 0 … t − 1 gave, one behind
        the other, by position.
        """


def installed() -> list[str]:
    """Names of the engines that could be used here, best first."""
    return [name for name in ENGINES if all(map(find_spec, PACKAGES[name]))]


def load(weights: Weights, name: str | None = None, threads: int | None = None, float32: bool = False) -> Engine:
    """The best engine of this machine, or the one that is named.

    threads: of each network, default all cores. float32: no bfloat16 in g_a and g_s, where it costs less than 0.02 dB.
    Raises: LatError where it is not installed, or does not sum exactly.
    """
    if name is not None and name not in installed():
        raise LatError(f"engine {name} is not installed; installed: {', '.join(installed()) or 'none'}; {INSTALL}")
    if name is None and {"openvino", "onnxruntime"} <= {*installed()}:
        small = _first_exact(["onnxruntime", "torch"], weights, threads, float32)
        return BySize(small, partial(_first_exact, installed(), weights, threads, float32), threads or cores())
    return _first_exact([name] if name else installed(), weights, threads, float32)


def _first_exact(names: list[str], weights: Weights, threads: int | None, float32: bool, streams: int = 1) -> Engine:
    """The first engine that sums exactly. Raises: LatError."""
    names = [n for n in (*names, *(SLOW for n in names if n == "torch")) if n == SLOW or n in installed()]
    for name in names:
        try:
            engine = _load(name, weights, threads, float32, streams)
            if sums_exactly(engine, weights):
                return engine
        except FormatError:
            raise
        except (LatError, RuntimeError):  # OpenVINO compiles nothing in a directed rounding mode
            continue
    rounding = "" if rounds_to_nearest() else "; another library has left a rounding mode that is not to nearest"
    raise LatError(
        f"no engine sums exactly on this machine ({', '.join(names) or 'none is installed'}){rounding}; {INSTALL}"
    )


def rounds_to_nearest() -> bool:
    """Whether sums in this thread are rounded as numpy, Python and everybody else expect."""
    one, little = np.float64(1), np.float64(2.0**-60)
    return bool(one + little == one and one - little == one and -one - little == -one)


def _load(name: str, weights: Weights, threads: int | None, float32: bool, streams: int) -> Engine:
    if name in ("torch", SLOW):
        return import_module("codec.engine.torch_engine").TorchEngine(weights, threads, slow=name == SLOW)
    module = import_module("codec.engine.onnx_engine")
    return module.OnnxEngine(weights, module.RUNTIMES[name](threads, float32, streams))


def sums_exactly(engine: Engine, weights: Weights) -> bool:
    """Whether an engine agrees with float64, where large numbers meet (fast-math settings may round them)."""
    height, width, half, channels = 5, 3, (3, 2), weights.config.latents
    layers, random, later = NumpyLayers(weights), np.random.default_rng(0), range(1, PASSES)
    context, shift = Context(layers, "y", weights.config), weights.exact["context.known_shift"]
    z = random.integers(-LIMIT, LIMIT, (weights.config.hyper, 2, 1)).astype(np.float64)
    values = [
        random.integers(-LIMIT, LIMIT, (4, t * channels // PASSES, *half))
        * power_of_two(shift, np.float64)[known_before(t, channels), None, None]
        for t in later
    ]
    started, first = engine.start_y(z[None].astype(np.float32), height, width)
    found = [first, *(engine.step("y", t, started, v.astype(np.float32)) for t, v in zip(later, values))]
    guesses = first_guesses(layers, first_features(layers, z)[:, : 2 * half[0], : 2 * half[1]], channels)
    reduced = context.start(guesses)[:, :height, :width]
    expected = [
        guesses[0],
        *(context.step(t, reduced, v.reshape(-1, *half), guesses[t]) for t, v in zip(later, values)),
    ]
    inside = np.ones((2 * half[0], 2 * half[1]), bool)
    inside[height:], inside[:, width:] = False, False
    inside = np.stack([inside[i::2, j::2] for i, j in POSITIONS])[:, None]
    return all(((f.reshape(4, -1, *half) == e.reshape(4, -1, *half)) | ~inside).all() for f, e in zip(found, expected))
