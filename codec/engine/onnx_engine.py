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

BUILDERS = graphs.ENCODER | graphs.DECODER | graphs.PARTS
ENCODER_PRECISE = 0.55  # of the rate rows: above, g_a in bfloat16 would cost 0.03 to 0.06 dB
Run = Callable[[dict[str, np.ndarray]], list[np.ndarray]]
Started = tuple[np.ndarray, np.ndarray]  # `reduced` and `guess` of graphs.py


class Runtime(Protocol):
    """Something that evaluates ONNX graphs."""

    name: str
    description: str
    has_bfloat16: bool  # allowed, and fast here

    def compile(self, model: bytes, bfloat16: bool) -> Run:
        """A function of inputs by name that threads may call at the same time; in float32, or in bfloat16."""


class OpenVino:
    name = "openvino"

    def __init__(self, threads: int | None, float32: bool):
        import openvino

        self._core = openvino.Core()
        self._threads = threads or cores()
        capabilities = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.has_bfloat16 = "BF16" in capabilities and not float32
        precision = "bfloat16" if self.has_bfloat16 else "float32"
        self.description = f"OpenVINO {openvino.__version__.split('-')[0]}, {precision}"

    def compile(self, model: bytes, bfloat16: bool) -> Run:
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
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

    def __init__(self, threads: int | None, float32: bool):
        import onnxruntime

        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads or cores()
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession
        self.description = f"ONNX Runtime {onnxruntime.__version__}, float32"

    def compile(self, model: bytes, bfloat16: bool) -> Run:
        session = self._session(model, self._options, providers=["CPUExecutionProvider"])
        return lambda inputs: session.run(None, inputs)


RUNTIMES: dict[str, Callable[[int | None, bool], Runtime]] = {"openvino": OpenVino, "onnxruntime": OnnxRuntime}


class OnnxEngine:
    """codec.engine.Engine. A graph is compiled when it is first needed."""

    def __init__(self, weights: Weights, runtime: Runtime):
        self.name, self.description = runtime.name, runtime.description
        self._weights, self._runtime = weights, runtime
        self._compiled: dict[str, Run] = {}
        self._locks = {name: Lock() for name in BUILDERS}

    def _run(self, name: str, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        if name not in self._compiled:
            with self._locks[name]:
                if name not in self._compiled:
                    model = BUILDERS[name](self._weights).SerializeToString()
                    self._compiled[name] = self._runtime.compile(model, name.endswith(graphs.FEATURES))
        return self._compiled[name](inputs)

    def _of_pixels(self, name: str, inputs: dict[str, np.ndarray], precise: bool = False) -> np.ndarray:
        """g_a or g_s. In bfloat16 their linear shortcuts would round grey levels: these alone stay in float32."""
        if precise or not self._runtime.has_bfloat16:
            return self._run(name, inputs)[0]
        linear = self._run(name + graphs.LINEAR, inputs)[0]
        return self._run(name + graphs.FEATURES, inputs | {"linear": linear})[0]

    def analyse(self, pixels: np.ndarray, row: int) -> np.ndarray:
        inputs = {"pixels": np.ascontiguousarray(pixels)[None], "row": np.array([row], np.int64)}
        return self._of_pixels("g_a", inputs, row > ENCODER_PRECISE * (self._weights.config.rates - 1))

    def hyper_analyse(self, y: np.ndarray, row: int) -> np.ndarray:
        return self._run("h_a", {"y": np.ascontiguousarray(y), "row": np.array([row], np.int64)})[0]

    def synthesise(self, y_hat: np.ndarray, row: int) -> np.ndarray:
        return self._of_pixels("g_s", {"y": np.ascontiguousarray(y_hat), "row": np.array([row], np.int64)})[0]

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
