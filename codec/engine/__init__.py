"""What evaluates the networks: ONNX Runtime and OpenVINO, or torch.

All give the same latents, bit for bit: the entropy model is whole numbers (`integer_networks.py`), and where an engine
does not sum them exactly on this machine, numpy does. Pixels may differ by ±1 from engine to engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from codec.concurrency import MAX_TILES_IN_FLIGHT, cores, shares
from codec.engine.numpy_engine import NumpyNetworks
from codec.engine.protocols import EntropyNetworks, Networks, Transforms
from codec.errors import LatError
from codec.settings import ENGINES
from codec.weights import Weights

if TYPE_CHECKING:
    from codec.engine.torch_engine import TorchTransforms

PACKAGES = {"openvino": ("openvino", "onnx"), "onnxruntime": ("onnxruntime", "onnx"), "torch": ("torch",)}
INSTALL = "pip install openvino onnxruntime onnx"


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
    Raises: LatError where the engine is not installed, or its library fails.
    """
    available, failed = installed(), []
    if name is not None and name not in available:
        raise LatError(f"engine {name} is not installed; installed: {', '.join(available) or 'none'}; {INSTALL}")
    if name is not None:
        candidates = [name]
    else:
        candidates = [*([BY_SIZE] if {"openvino", "onnxruntime"} <= {*available} else []), *available]
    for candidate in candidates:
        try:
            return LOADERS[candidate](weights, threads, float32)
        except (LatError, RuntimeError) as error:  # OpenVINO compiles nothing in a directed rounding mode
            failed.append(f"{candidate}: {error}")
    rounding = "" if rounds_to_nearest() else "; another library has left a rounding mode that is not to nearest"
    raise LatError(f"no engine works on this machine ({'; '.join(failed) or 'none is installed'}){rounding}; {INSTALL}")


def rounds_to_nearest() -> bool:
    """Whether sums in this thread are rounded as numpy, Python and everybody else expect."""
    one, little = np.float64(1), np.float64(2.0**-60)
    return bool(one + little == one and one - little == one and -one - little == -one)


def _load_onnxruntime(weights: Weights, threads: int | None, float32: bool = False) -> Engine:
    from codec.engine.onnx_engine import OnnxRuntime, proven_networks

    threads = threads or cores()
    return Engine("onnxruntime", *proven_networks(weights, OnnxRuntime(threads)), tiles_at_once(threads))


def _load_openvino(weights: Weights, threads: int | None, float32: bool) -> Engine:
    from codec.engine.onnx_engine import OpenVinoInStreams

    threads = threads or cores()
    in_streams = OpenVinoInStreams(weights, threads, float32)
    return Engine("openvino", *in_streams(1), tiles_at_once(threads), threads, in_streams)


def _load_by_size(weights: Weights, threads: int | None, float32: bool) -> Engine:
    from codec.engine.onnx_engine import BySize, OpenVinoInStreams

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


def tiles_at_once(threads: int) -> int:
    """How many tiles should be in flight: those in networks, and one whose symbols are coded besides."""
    return shares(threads, MAX_TILES_IN_FLIGHT) + 1
