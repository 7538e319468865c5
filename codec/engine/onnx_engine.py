"""The networks by OpenVINO or ONNX Runtime, as graphs made in memory from the weights (graphs.py)."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable
from threading import Lock
from typing import Protocol

import numpy as np

from codec.config import PASSES
from codec.engine import graphs
from codec.weights import Weights

BUILDERS = graphs.ENCODER | graphs.DECODER
PRECISE_FROM = (
    0.55  # of the rate rows: above, bfloat16 in g_a and g_s would cost more than 0.02 dB (0.09 at the highest)
)
FLOATS = ("g_a", "g_s")
Run = Callable[[dict[str, np.ndarray]], list[np.ndarray]]
Started = tuple[np.ndarray, np.ndarray]  # `reduced` and `guess` of graphs.py


class Runtime(Protocol):
    """Something that evaluates ONNX graphs."""

    name: str
    description: str
    has_bfloat16: bool  # allowed, and fast here

    def compile(self, model: bytes, precise: bool) -> Run:
        """A function of inputs by name that threads may call at the same time. precise: in float32."""


class OpenVino:
    name = "openvino"

    def __init__(self, threads: int | None, bfloat16: bool):
        import openvino

        self._core = openvino.Core()
        self._threads = threads or cores()
        capabilities = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.has_bfloat16 = bfloat16 and "BF16" in capabilities
        precision = f"bfloat16 up to quality {100 * PRECISE_FROM:.0f}" if self.has_bfloat16 else "float32"
        self.description = f"OpenVINO {openvino.__version__.split('-')[0]}, {precision}"

    def compile(self, model: bytes, precise: bool) -> Run:
        settings = {
            "INFERENCE_PRECISION_HINT": "f32" if precise else "bf16",
            "INFERENCE_NUM_THREADS": self._threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        compiled = self._core.compile_model(self._core.read_model(model), "CPU", settings)
        idle: queue.SimpleQueue = queue.SimpleQueue()  # requests: each for one thread at a time, none is thrown away

        def run(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            try:
                request = idle.get_nowait()
            except queue.Empty:
                request = compiled.create_infer_request()
            results = list(request.infer(inputs, share_inputs=True).values())
            idle.put(request)
            return results

        return run


class OnnxRuntime:
    name = "onnxruntime"
    has_bfloat16 = False

    def __init__(self, threads: int | None, bfloat16: bool):
        import onnxruntime

        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads or cores()
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession
        self.description = f"ONNX Runtime {onnxruntime.__version__}, float32"

    def compile(self, model: bytes, precise: bool) -> Run:
        session = self._session(model, self._options, providers=["CPUExecutionProvider"])
        return lambda inputs: session.run(None, inputs)


RUNTIMES: dict[str, Callable[[int | None, bool], Runtime]] = {"openvino": OpenVino, "onnxruntime": OnnxRuntime}


class OnnxEngine:
    """codec.engine.Engine. A graph is compiled when it is first needed."""

    def __init__(self, weights: Weights, runtime: Runtime):
        self.name, self.description = runtime.name, runtime.description
        self._weights, self._runtime = weights, runtime
        self._compiled: dict[tuple[str, bool], Run] = {}
        self._locks = {name: Lock() for name in BUILDERS}

    def _run(self, name: str, inputs: dict[str, np.ndarray], precise: bool = True) -> list[np.ndarray]:
        key = name, precise
        if key not in self._compiled:
            with self._locks[name]:
                if key not in self._compiled:
                    model = BUILDERS[name](self._weights).SerializeToString()
                    self._compiled[key] = self._runtime.compile(model, precise)
        return self._compiled[key](inputs)

    def _precise(self, row: int) -> bool:
        return not self._runtime.has_bfloat16 or row > PRECISE_FROM * (self._weights.config.rates - 1)

    def analyse(self, pixels: np.ndarray, row: int) -> np.ndarray:
        pixels = np.ascontiguousarray(pixels)[None]
        return self._run("g_a", {"pixels": pixels, "row": np.array([row], np.int64)}, self._precise(row))[0]

    def hyper_analyse(self, y: np.ndarray, row: int) -> np.ndarray:
        return self._run("h_a", {"y": np.ascontiguousarray(y), "row": np.array([row], np.int64)})[0]

    def synthesise(self, y_hat: np.ndarray, row: int) -> np.ndarray:
        y_hat = np.ascontiguousarray(y_hat)
        return self._run("g_s", {"y": y_hat, "row": np.array([row], np.int64)}, self._precise(row))[0][0]

    def start_z(self, row: int, height: int, width: int) -> tuple[Started, np.ndarray]:
        return self._started("z_start", height, width, {"row": np.array([row], np.int64)})

    def start_y(self, z: np.ndarray, height: int, width: int) -> tuple[Started, np.ndarray]:
        return self._started("y_start", height, width, {"z": z})

    def _started(self, name: str, height: int, width: int, inputs: dict[str, np.ndarray]) -> tuple[Started, np.ndarray]:
        reduced, guess = self._run(name, inputs | {"size": np.array([height, width], np.int64)})
        return (reduced, guess), by_position(guess[0])

    def step(self, kind: str, t: int, started: Started, values: np.ndarray) -> np.ndarray:
        reduced, guess = started
        values = values.reshape(1, -1, *values.shape[2:])
        inputs = {"reduced": reduced, "values": values, "guess": guess[t : t + 1], "t": np.array([t], np.int64)}
        return by_position(self._run(f"{kind}_step", inputs)[0][0])


def by_position(params: np.ndarray) -> np.ndarray:
    """(2N, H, W) -> (4, 2, N/4, H, W)."""
    return params.reshape(PASSES, 2, -1, *params.shape[1:])


def cores() -> int:
    """Of this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
