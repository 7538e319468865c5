"""What evaluates the networks: ONNX Runtime and OpenVINO, or torch.

All give the same latents, bit for bit: the entropy model is whole numbers (`integer_networks.py`), and where an engine
does not sum them exactly on this machine, numpy does. Pixels may differ by ±1 from engine to engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from codec.concurrency import MAX_TILES_IN_FLIGHT, cores, shares
from codec.config import PASSES, POSITIONS
from codec.engine.integer_networks import LIMIT, check, known_before, power_of_two
from codec.engine.numpy_engine import NumpyNetworks
from codec.errors import FormatError, LatError
from codec.settings import ENGINES
from codec.weights import Weights

if TYPE_CHECKING:
    from codec.engine.onnx_engine import OnnxNetworks
    from codec.engine.torch_engine import TorchTransforms

PACKAGES = {"openvino": ("openvino", "onnx"), "onnxruntime": ("onnxruntime", "onnx"), "torch": ("torch",)}
INSTALL = "pip install openvino onnxruntime onnx"


class Transforms(Protocol):
    """g_a, h_a and g_s of one set of weights. Arrays are float32 (1, channels, height, width); threads may share it."""

    def analyse(self, pixels: np.ndarray, row: int) -> np.ndarray:
        """uint8 (H, W, 3), both multiples of 16 -> y (1, M, H/16, W/16), ready for rounding."""

    def hyper_analyse(self, y: np.ndarray, row: int) -> np.ndarray:
        """y (1, M, h, w) -> z (1, Z, ⌈h/4⌉, ⌈w/4⌉), ready for rounding."""

    def synthesise(self, y_hat: np.ndarray, row: int) -> np.ndarray:
        """ŷ (1, M, h, w) -> uint8 (16h, 16w, 3)."""


class EntropyNetworks(Protocol):
    """h_s and the context models of one set of weights, in whole numbers. Threads may share it."""

    def start_z(self, row: int, height: int, width: int) -> Predictor:
        """Of ẑ (1, Z, height, width) at a rate row."""

    def start_y(self, z: np.ndarray, height: int, width: int) -> Predictor:
        """Of ŷ (1, M, height, width), from ẑ with its gain undone: (1, Z, …) in whole numbers of at most ±LIMIT."""


class Predictor(Protocol):
    """What predicts the values of one ẑ or ŷ (1, N, height, width), pass by pass."""

    def parameters(self, t: int, values: np.ndarray) -> np.ndarray:
        """Parameters of pass t (4, 2, N/4, ⌈height/2⌉, ⌈width/2⌉), from the values of the passes before it.

        Parameters are, for each position of a 2×2 square, first μ and then level of the channels that the pass codes
        there: whole numbers in 2^-MU_BITS and 2^-LEVEL_BITS. Values (4, t·N/4, ⌈height/2⌉, ⌈width/2⌉) are whole
        numbers in 2^-MU_BITS by position, one pass behind the other. The result lasts until `close`.
        """

    def close(self) -> None:
        """Give memory back: nothing more will be asked for."""


class Networks(NamedTuple):
    """All networks of one set of weights."""

    transforms: Transforms
    entropy: EntropyNetworks
    description: str  # version and precision


@dataclass(frozen=True, eq=False)
class Engine:
    """What evaluates the networks of one set of weights, for threads to share."""

    name: str  # one of ENGINES
    transforms: Transforms
    entropy: EntropyNetworks
    description: str
    at_once: int  # how many tiles it should be given at the same time, where there are several
    threads: int = 1
    in_streams: Callable[[int], Networks] | None = None  # the networks for so many calls at the same time

    def several(self, tiles: int) -> Engine:
        """The same for a picture of so many tiles: the cores are shared out among those that are worked on at once."""
        streams = shares(self.threads, tiles) if tiles else 1
        if streams == 1 or self.in_streams is None:
            return self
        return replace(self, **self.in_streams(streams)._asdict())


def by_torch(transforms: TorchTransforms, entropy: EntropyNetworks) -> Engine:
    """Transforms by torch, on any device; the entropy model stays on the CPU."""
    # coding a tile's symbols holds Python's lock and convolutions do not: two tiles are 15 % faster than one
    return Engine("torch", transforms, entropy, transforms.description, at_once=2)


def installed() -> list[str]:
    """Names of the engines that could be used here, best first."""
    return [name for name in ENGINES if all(map(find_spec, PACKAGES[name]))]


def load(weights: Weights, name: str | None = None, threads: int | None = None, float32: bool = False) -> Engine:
    """The best engine of this machine, or the one that is named.

    threads: of each network, default all cores. float32: no bfloat16 in g_a and g_s, where it costs less than 0.02 dB.
    Raises: FormatError for damaged weights; LatError where the engine is not installed, or its library fails.
    """
    available, failed = installed(), []
    if name is not None and name not in available:
        raise LatError(f"engine {name} is not installed; installed: {', '.join(available) or 'none'}; {INSTALL}")
    check(weights)
    if name is not None:
        candidates = [name]
    else:
        candidates = [*([BY_SIZE] if {"openvino", "onnxruntime"} <= {*available} else []), *available]
    for candidate in candidates:
        try:
            return LOADERS[candidate](weights, threads, float32)
        except FormatError:
            raise
        except (LatError, RuntimeError) as error:  # OpenVINO compiles nothing in a directed rounding mode
            failed.append(f"{candidate}: {error}")
    rounding = "" if rounds_to_nearest() else "; another library has left a rounding mode that is not to nearest"
    raise LatError(f"no engine works on this machine ({'; '.join(failed) or 'none is installed'}){rounding}; {INSTALL}")


def rounds_to_nearest() -> bool:
    """Whether sums in this thread are rounded as numpy, Python and everybody else expect."""
    one, little = np.float64(1), np.float64(2.0**-60)
    return bool(one + little == one and one - little == one and -one - little == -one)


def _load_onnxruntime(weights: Weights, threads: int | None, float32: bool = False) -> Engine:
    from codec.engine.onnx_engine import OnnxNetworks, OnnxRuntime

    threads = threads or cores()
    networks = prove(OnnxNetworks(weights, OnnxRuntime(threads)), weights)
    return Engine("onnxruntime", *networks, tiles_at_once(threads))


def _load_openvino(weights: Weights, threads: int | None, float32: bool) -> Engine:
    threads = threads or cores()
    in_streams = OpenVinoInStreams(weights, threads, float32)
    return Engine("openvino", *in_streams(1), tiles_at_once(threads), threads, in_streams)


def _load_by_size(weights: Weights, threads: int | None, float32: bool) -> Engine:
    from codec.engine.onnx_engine import BySize

    threads = threads or cores()
    base = _load_onnxruntime(weights, threads)
    small = Networks(base.transforms, base.entropy, base.description)
    large = OpenVinoInStreams(weights, threads, float32, otherwise=small)

    def in_streams(streams: int) -> Networks:
        both = BySize(small, partial(large, streams))
        return Networks(both, both, f"{small.description}; OpenVINO from half a megapixel on")

    return Engine(base.name, *in_streams(1), base.at_once, threads, in_streams)


def _load_torch(weights: Weights, threads: int | None, float32: bool) -> Engine:
    from codec.engine.torch_engine import TorchTransforms

    with_onnx = "onnxruntime" in installed()
    entropy = _load_onnxruntime(weights, threads).entropy if with_onnx else NumpyNetworks(weights)
    return by_torch(TorchTransforms(weights, threads), entropy)


BY_SIZE = "onnxruntime and openvino"
LOADERS = {
    BY_SIZE: _load_by_size,
    "openvino": _load_openvino,
    "onnxruntime": _load_onnxruntime,
    "torch": _load_torch,
}


class OpenVinoInStreams:
    """OpenVINO's networks by their number of streams: each compiled and proven once, when it is first needed."""

    def __init__(self, weights: Weights, threads: int, float32: bool, otherwise: Networks | None = None):
        """otherwise: what takes their place where OpenVINO fails."""
        self._weights, self._threads, self._float32, self._otherwise = weights, threads, float32, otherwise
        self._made: dict[int, Networks] = {}
        self._lock = Lock()

    def __call__(self, streams: int) -> Networks:
        with self._lock:
            if streams not in self._made:
                self._made[streams] = self._make(streams)
            return self._made[streams]

    def _make(self, streams: int) -> Networks:
        from codec.engine.onnx_engine import OnnxNetworks, OpenVino

        try:
            return prove(OnnxNetworks(self._weights, OpenVino(self._threads, self._float32, streams)), self._weights)
        except (LatError, RuntimeError):
            if self._otherwise is None:
                raise
            return self._otherwise


def tiles_at_once(threads: int) -> int:
    """How many tiles should be in flight: those in networks, and one whose symbols are coded besides."""
    return shares(threads, MAX_TILES_IN_FLIGHT) + 1


def prove(networks: OnnxNetworks, weights: Weights) -> Networks:
    """Networks that may be used: where the entropy networks do not sum exactly on this machine, numpy's are."""
    if sums_exactly(networks, weights):
        return Networks(networks, networks, networks.description)
    return Networks(networks, NumpyNetworks(weights), f"{networks.description}; entropy model by numpy, slow")


def sums_exactly(networks: EntropyNetworks, weights: Weights) -> bool:
    """Whether they agree with float64 where large numbers meet, which fast-math settings may round."""
    height, width, half, channels = 5, 3, (3, 2), weights.config.latents
    random, scale = np.random.default_rng(0), power_of_two(weights.exact["context.known_shift"])
    z = random.integers(-LIMIT, LIMIT, (1, weights.config.hyper, 2, 1)).astype(np.float32)
    tested, exact = (n.start_y(z, height, width) for n in (networks, NumpyNetworks(weights)))
    inside = np.zeros((len(POSITIONS), 1, 1, *half), bool)
    for position, (i, j) in zip(inside, POSITIONS):
        position[..., : -(-(height - i) // 2), : -(-(width - j) // 2)] = True
    for t in range(PASSES):
        values = random.integers(-LIMIT, LIMIT, (len(POSITIONS), t * channels // PASSES, *half))
        known = (values * scale[known_before(t, channels), None, None]).astype(np.float32)
        if not ((tested.parameters(t, known) == exact.parameters(t, known)) | ~inside).all():
            return False
    tested.close()
    return True
