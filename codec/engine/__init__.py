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
from codec.errors import LatError
from codec.settings import ENGINES
from codec.weights import Weights

if TYPE_CHECKING:
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


@dataclass(frozen=True, eq=False)
class Engine:
    """What evaluates the networks of one set of weights, for threads to share."""

    name: str  # one of ENGINES
    description: str  # version and precision
    transforms: Transforms
    entropy: EntropyNetworks
    at_once: int  # how many tiles it should be given at the same time, where there are several
    threads: int = 1
    in_streams: Callable[[int], Networks] | None = None  # the networks for so many calls at the same time

    def several(self, tiles: int) -> Engine:
        """The same for a picture of so many tiles: the cores are shared out among those that are worked on at once."""
        streams = shares(self.threads, tiles)
        if streams == 1 or self.in_streams is None:
            return self
        return replace(self, **self.in_streams(streams)._asdict())

    def by_torch(self, transforms: TorchTransforms) -> Engine:
        """The same with g_a, h_a and g_s by torch; the entropy model stays where it is, on the CPU."""
        return by_torch(transforms, self.entropy)


def by_torch(transforms: TorchTransforms, entropy: EntropyNetworks) -> Engine:
    """Transforms by torch: entropy coding of a second tile holds Python's lock and convolutions do not."""
    return Engine("torch", transforms.description, transforms, entropy, at_once=2)


def installed() -> list[str]:
    """Names of the engines that could be used here, best first."""
    return [name for name in ENGINES if all(map(find_spec, PACKAGES[name]))]


def load(weights: Weights, name: str | None = None, threads: int | None = None, float32: bool = False) -> Engine:
    """The best engine of this machine, or the one that is named.

    threads: of each network, default all cores. float32: no bfloat16 in g_a and g_s, where it costs less than 0.02 dB.
    Raises: FormatError for damaged weights; LatError where the engine is not installed.
    """
    available = installed()
    if name is not None and name not in available:
        raise LatError(f"engine {name} is not installed; installed: {', '.join(available) or 'none'}; {INSTALL}")
    if not available:
        raise LatError(f"no engine is installed; {INSTALL}")
    check(weights)
    if name is None and {"openvino", "onnxruntime"} <= {*available}:
        return _load_by_size(weights, threads or cores(), float32)
    return LOADERS[name or available[0]](weights, threads, float32)


def _load_onnxruntime(weights: Weights, threads: int | None, float32: bool = False) -> Engine:
    from codec.engine.onnx_engine import OnnxNetworks, OnnxRuntime

    threads = threads or cores()
    networks = OnnxNetworks(weights, OnnxRuntime(threads))
    entropy = proven(networks, weights)
    description = networks.description if entropy is networks else f"{networks.description}; entropy model by numpy"
    return Engine("onnxruntime", description, networks, entropy, tiles_at_once(threads))


def _load_openvino(weights: Weights, threads: int | None, float32: bool) -> Engine:
    threads = threads or cores()
    in_streams = OpenVinoInStreams(weights, threads, float32)
    networks = in_streams(1)
    return Engine("openvino", in_streams.description, *networks, tiles_at_once(threads), threads, in_streams)


def _load_by_size(weights: Weights, threads: int, float32: bool) -> Engine:
    from codec.engine.onnx_engine import BySize

    small, large = _load_onnxruntime(weights, threads), OpenVinoInStreams(weights, threads, float32)

    def in_streams(streams: int) -> Networks:
        both = BySize(Networks(small.transforms, small.entropy), partial(large, streams))
        return Networks(both, both)

    description = f"{small.description}; OpenVINO from half a megapixel on"
    return Engine(small.name, description, *in_streams(1), small.at_once, threads, in_streams)


def _load_torch(weights: Weights, threads: int | None, float32: bool = False) -> Engine:
    from codec.engine.torch_engine import TorchTransforms

    exact = NumpyNetworks(weights)
    entropy = _load_onnxruntime(weights, threads).entropy if "onnxruntime" in installed() else exact
    return by_torch(TorchTransforms(weights, threads), entropy)


LOADERS = {"openvino": _load_openvino, "onnxruntime": _load_onnxruntime, "torch": _load_torch}


class OpenVinoInStreams:
    """OpenVINO's networks by their number of streams: each compiled and proven once, when it is first needed."""

    def __init__(self, weights: Weights, threads: int, float32: bool):
        self._weights, self._threads, self._float32 = weights, threads, float32
        self._made: dict[int, Networks] = {}
        self._lock = Lock()
        self.description = ""

    def __call__(self, streams: int) -> Networks:
        with self._lock:
            if streams not in self._made:
                self._made[streams] = self._make(streams)
            return self._made[streams]

    def _make(self, streams: int) -> Networks:
        from codec.engine.onnx_engine import OnnxNetworks, OpenVino

        networks = OnnxNetworks(self._weights, OpenVino(self._threads, self._float32, streams))
        entropy = proven(networks, self._weights)
        self.description = networks.description if entropy is networks else f"{networks.description}; entropy by numpy"
        return Networks(networks, entropy)


def tiles_at_once(threads: int) -> int:
    """How many tiles should be in flight: those in networks, and one whose symbols are coded besides."""
    return shares(threads, MAX_TILES_IN_FLIGHT) + 1


def proven(networks: EntropyNetworks, weights: Weights) -> EntropyNetworks:
    """Entropy networks where they sum exactly on this machine, else those of numpy, which are slow."""
    return networks if sums_exactly(networks, weights) else NumpyNetworks(weights)


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
