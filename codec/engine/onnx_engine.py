"""The networks by OpenVINO or ONNX Runtime, as graphs made in memory from the weights (graphs.py)."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Protocol

import numpy as np

from codec.concurrency import MOST, cores, shares
from codec.config import PASSES
from codec.engine import graphs
from codec.engine.graph import halves
from codec.weights import Weights

KINDS = "yz"  # with which the names of the entropy model's graphs begin: what needs one of them needs all of a kind
BUILDERS = graphs.ENCODER | graphs.DECODER | graphs.IN_BFLOAT16


class Results(list):
    """Arrays that a graph gave. Their memory may be the runtime's own, and is used again when this list goes.

    An array taken from it does not keep it.
    """

    def __init__(self, arrays: Iterable[np.ndarray], give_back: Callable[[], None] = lambda: None):
        super().__init__(arrays)
        self._give_back = give_back

    def __del__(self) -> None:
        self._give_back()


Run = Callable[[dict[str, np.ndarray]], Results]


class Runtime(Protocol):
    """Something that evaluates ONNX graphs."""

    name: str
    description: str
    has_bfloat16: bool  # allowed, and fast here
    threads: int
    streams: int  # calls that run at the same time, each with its share of the threads

    def in_streams(self, count: int) -> Runtime:
        """The same with so many; itself where that makes no difference."""

    def compile(self, model: bytes, bfloat16: bool) -> Run:
        """A function of inputs by name that threads may call at the same time; in float32, or in bfloat16."""


class OpenVino:
    name = "openvino"

    def __init__(self, threads: int | None, float32: bool, streams: int = 1):
        import openvino

        self._core = openvino.Core()
        self.threads, self.streams, self._float32 = threads or cores(), streams, float32
        capabilities = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.has_bfloat16 = "BF16" in capabilities and not float32
        precision = "bfloat16" if self.has_bfloat16 else "float32"
        self.description = f"OpenVINO {openvino.__version__.split('-')[0]}, {precision}"

    def in_streams(self, count: int) -> OpenVino:
        return self if count == self.streams else OpenVino(self.threads, self._float32, count)

    def compile(self, model: bytes, bfloat16: bool) -> Run:
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": self.streams,
            "ENABLE_CPU_PINNING": False,  # a thread bound to a core would wait for what else runs there
        }
        compiled = self._core.compile_model(self._core.read_model(model), "CPU", settings)
        idle: queue.SimpleQueue = queue.SimpleQueue()  # requests: each for one thread at a time

        def run(inputs: dict[str, np.ndarray]) -> Results:
            try:
                request = idle.get_nowait()
            except queue.Empty:
                request = compiled.create_infer_request()
            found = request.infer(inputs, share_inputs=True, share_outputs=True).values()
            return Results(found, lambda: idle.put(request))

        return run


class OnnxRuntime:
    name = "onnxruntime"
    has_bfloat16 = False
    streams = 1  # any number of calls share the threads

    def __init__(self, threads: int | None, float32: bool, streams: int = 1):
        import onnxruntime

        self._options = onnxruntime.SessionOptions()
        self.threads = self._options.intra_op_num_threads = threads or cores()
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession
        self.description = f"ONNX Runtime {onnxruntime.__version__}, float32"

    def in_streams(self, count: int) -> OnnxRuntime:
        return self

    def compile(self, model: bytes, bfloat16: bool) -> Run:
        # its own fallback would print on standard output, and try the same provider again
        session = self._session(model, self._options, providers=["CPUExecutionProvider"], enable_fallback=0)
        return lambda inputs: Results(session.run(None, inputs))


RUNTIMES: dict[str, Callable[[int | None, bool, int], Runtime]] = {"openvino": OpenVino, "onnxruntime": OnnxRuntime}


class OnnxEngine:
    """codec.engine.Engine. A graph is compiled when it is first needed."""

    def __init__(self, weights: Weights, runtime: Runtime):
        self.name, self.description = runtime.name, runtime.description
        self.at_once = shares(runtime.threads, MOST) + 1  # one tile's symbols are coded besides
        self._weights, self._runtime = weights, runtime
        self._several: dict[int, OnnxEngine] = {}
        self._compiled: dict[str, Run] = {}
        self._locks = {name: Lock() for name in BUILDERS}

    def several(self, tiles: int) -> OnnxEngine:
        streams = shares(self._runtime.threads, tiles)
        runtime = self._runtime.in_streams(streams)
        if runtime is self._runtime:
            return self
        return self._several.setdefault(streams, OnnxEngine(self._weights, runtime))

    def _run(self, name: str, inputs: dict[str, np.ndarray]) -> Results:
        if name not in self._compiled:
            together = [other for other in BUILDERS if other[0] == name[0] in KINDS] or [name]
            with ThreadPoolExecutor(len(together)) as pool:  # it takes a while, and most of it one core
                list(pool.map(self._compile, together))
        return self._compiled[name](inputs)

    def _compile(self, name: str) -> None:
        with self._locks[name]:
            if name not in self._compiled:
                model = BUILDERS[name](self._weights).SerializeToString()
                self._compiled[name] = self._runtime.compile(model, name.endswith(graphs.BFLOAT16))

    def _array(self, name: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """What a graph gives, where that is one array, to keep."""
        results = self._run(name, inputs)  # has to live until it is copied
        return results[0].copy()

    def analyse(self, pixels: np.ndarray, row: int) -> np.ndarray:
        inputs = {"pixels": np.ascontiguousarray(pixels)[None], "row": np.array([row], np.int64)}
        return self._array(f"g_a{graphs.BFLOAT16}" if self._runtime.has_bfloat16 else "g_a", inputs)

    def hyper_analyse(self, y: np.ndarray, row: int) -> np.ndarray:
        return self._array("h_a", {"y": np.ascontiguousarray(y), "row": np.array([row], np.int64)})

    def synthesise(self, y_hat: np.ndarray, row: int) -> np.ndarray:
        inputs = {"row": np.array([row], np.int64)}
        if not self._runtime.has_bfloat16:
            return self._array("g_s", inputs | {"y": np.ascontiguousarray(y_hat)})[0]
        gain = np.exp(self._weights.networks["gain_y_inverse"][row].astype(np.float32))[:, None, None]
        inputs["y_high"], inputs["y_low"] = halves(y_hat * gain)
        return self._array(f"g_s{graphs.BFLOAT16}", inputs)[0]

    def start_z(self, row: int, height: int, width: int) -> tuple[Results, np.ndarray]:
        return self._started("z_start", height, width, {"row": np.array([row], np.int64)})

    def start_y(self, z: np.ndarray, height: int, width: int) -> tuple[Results, np.ndarray]:
        return self._started("y_start", height, width, {"z": z})

    def _started(self, name: str, height: int, width: int, inputs: dict[str, np.ndarray]) -> tuple[Results, np.ndarray]:
        started = self._run(name, inputs | {"size": np.array([height, width], np.int64)})
        return started, by_position(started[1])

    def step(self, kind: str, t: int, started: Results, values: np.ndarray) -> np.ndarray:
        reduced, *guesses = started
        inputs = {"reduced": reduced, "values": values.reshape(1, -1, *values.shape[2:]), "guess": guesses[t]}
        return by_position(self._array(f"{kind}_step_{t}", inputs))


def by_position(params: np.ndarray) -> np.ndarray:
    """(1, 2N, H, W) -> (4, 2, N/4, H, W)."""
    return params.reshape(PASSES, 2, -1, *params.shape[2:])
