"""The networks by OpenVINO or ONNX Runtime, as graphs made in memory from the weights (`onnx_graphs.py`)."""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Protocol

import numpy as np

from codec import telemetry
from codec.config import LATENT, PASSES
from codec.engine import onnx_graphs
from codec.engine.onnx_builder import halves
from codec.engine.protocols import Networks, Predictor
from codec.engine.self_test import prove
from codec.errors import LatError
from codec.weights import Weights

KINDS = "yz"  # graphs whose names begin with y or z are compiled together: a tile needs them all
LARGE = 2048  # latents: half a megapixel
LIFETIME = 2000  # runs of a graph by OpenVINO: each leaves up to 20 kB behind in the allocator, freed with the graph
KERNELS = 512  # that OpenVINO keeps for a graph, some 40 for each size of input; its own limit is ten times as many
BUILDERS = onnx_graphs.ENCODER | onnx_graphs.DECODER | onnx_graphs.IN_BFLOAT16


class Results:
    """Arrays that a graph gave. Their memory may be the runtime's own: copy what you want to keep, then `close`.

    Results that are never closed cost the runtime a new request, and nothing else.
    """

    def __init__(self, arrays: Iterable[np.ndarray], give_back: Callable[[], None] | None = None):
        self.arrays, self._give_back = list(arrays), give_back

    def close(self) -> None:
        """Let the runtime use the memory again."""
        give_back, self._give_back, self.arrays = self._give_back, None, []
        if give_back:
            give_back()


Run = Callable[[dict[str, np.ndarray]], Results]


class Runtime(Protocol):
    """Something that evaluates ONNX graphs."""

    name: str
    description: str
    has_bfloat16: bool  # allowed, and fast here
    ages: bool  # graphs have to be compiled anew after LIFETIME runs

    def compile(self, model: bytes, bfloat16: bool) -> Run:
        """A function of inputs by name that threads may call at the same time; in float32, or in bfloat16."""


class OpenVino:
    name = "openvino"
    ages = True

    def __init__(self, threads: int, float32: bool, streams: int = 1):
        """streams: calls that run at the same time, each with its share of the threads."""
        telemetry.disable()  # again: OpenVINO reports at its import
        import openvino

        self._core = openvino.Core()
        self._threads, self._streams = threads, streams
        capabilities = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.has_bfloat16 = "BF16" in capabilities and not float32
        precision = "bfloat16" if self.has_bfloat16 else "float32"
        self.description = f"OpenVINO {openvino.__version__.split('-')[0]}, {precision}"

    def compile(self, model: bytes, bfloat16: bool) -> Run:
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": self._streams,
            "CPU_RUNTIME_CACHE_CAPACITY": KERNELS,
            "ENABLE_CPU_PINNING": False,  # a thread bound to a core would wait for what else runs there
        }
        compiled = self._core.compile_model(self._core.read_model(model), "CPU", settings)
        idle: queue.SimpleQueue = queue.SimpleQueue()  # requests: each for one thread at a time

        def run(inputs: dict[str, np.ndarray]) -> Results:
            try:
                request = idle.get_nowait()
            except queue.Empty:
                request = compiled.create_infer_request()
            outputs = request.infer(inputs, share_inputs=True, share_outputs=True).values()
            return Results(outputs, lambda: idle.put(request))

        return run


class OnnxRuntime:
    name = "onnxruntime"
    ages = has_bfloat16 = False

    def __init__(self, threads: int):
        """Any number of calls share the threads."""
        import onnxruntime

        onnxruntime.disable_telemetry_events()  # a caller may have imported it before this package
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession
        self.description = f"ONNX Runtime {onnxruntime.__version__}, float32"

    def compile(self, model: bytes, bfloat16: bool) -> Run:
        # its own fallback would print on standard output, and try the same provider again
        session = self._session(model, self._options, providers=["CPUExecutionProvider"], enable_fallback=0)
        return lambda inputs: Results(session.run(None, inputs))


class OnnxNetworks:
    """protocols.Transforms and EntropyNetworks. A graph is compiled when it is first needed."""

    def __init__(self, weights: Weights, runtime: Runtime):
        self.name, self.description = runtime.name, runtime.description
        self._weights, self._runtime = weights, runtime
        self._compiled: dict[str, Run] = {}
        self._runs: Counter[str] = Counter()
        self._locks = {name: Lock() for name in BUILDERS}

    def run(self, name: str, inputs: dict[str, np.ndarray]) -> Results:
        """What the graph of that name gives, after its compilation."""
        run = self._compiled.get(name)
        if run is None:
            together = [other for other in BUILDERS if other[0] == name[0] in KINDS] or [name]
            with ThreadPoolExecutor(len(together)) as pool:  # it takes a while, and most of it one core
                run = dict(zip(together, pool.map(self._compile, together)))[name]
        self._runs[name] += 1
        if self._runs[name] >= LIFETIME and self._runtime.ages:
            self._runs[name] = 0
            self._compiled.pop(name, None)  # those who run it keep it until they are done
        return run(inputs)

    def _compile(self, name: str) -> Run:
        with self._locks[name]:
            run = self._compiled.get(name)
            if run is None:
                model = BUILDERS[name](self._weights).SerializeToString()
                try:
                    run = self._runtime.compile(model, name.endswith(onnx_graphs.BFLOAT16))
                    self._compiled[name] = run
                except RuntimeError as error:
                    raise LatError(f"{self.description} cannot compile {name}: {error}") from None
            return run

    def array(self, name: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """What a graph gives, where that is one array, to keep."""
        results = self.run(name, inputs)
        array = results.arrays[0].copy()
        results.close()
        return array

    def analyse(self, pixels: np.ndarray, row: int) -> np.ndarray:
        inputs = {"pixels": np.ascontiguousarray(pixels)[None], "row": np.array([row], np.int64)}
        precision = onnx_graphs.BFLOAT16 if self._runtime.has_bfloat16 else ""
        y = self.array(f"g_a{precision}", inputs)
        if self._weights.config.feedback:
            inputs["decoded"] = self.synthesise(y, row)[None]
            y += self.array(f"feedback{precision}", inputs)
        return y

    def hyper_analyse(self, y: np.ndarray, row: int) -> np.ndarray:
        return self.array("h_a", {"y": np.ascontiguousarray(y), "row": np.array([row], np.int64)})

    def synthesise(self, y_hat: np.ndarray, row: int) -> np.ndarray:
        inputs = {"row": np.array([row], np.int64)}
        if not self._runtime.has_bfloat16:
            return self.array("g_s", inputs | {"y": np.ascontiguousarray(y_hat)})[0]
        gain = np.exp(self._weights.networks["gain_y_inverse"][row].astype(np.float32))[:, None, None]
        inputs["y_high"], inputs["y_low"] = halves(y_hat * gain)
        return self.array(f"g_s{onnx_graphs.BFLOAT16}", inputs)[0]

    def start_z(self, row: int, height: int, width: int) -> OnnxPredictor:
        return OnnxPredictor(self, "z", (height, width), {"row": np.array([row], np.int64)})

    def start_y(self, z: np.ndarray, height: int, width: int) -> OnnxPredictor:
        return OnnxPredictor(self, "y", (height, width), {"z": z})


class OnnxPredictor:
    """protocols.Predictor."""

    def __init__(self, networks: OnnxNetworks, kind: str, size: tuple[int, int], inputs: dict[str, np.ndarray]):
        self._networks, self._kind = networks, kind
        self._started = networks.run(f"{kind}_start", inputs | {"size": np.array(size, np.int64)})

    def parameters(self, t: int, values: np.ndarray) -> np.ndarray:
        reduced, *before = self._started.arrays
        params = before[t]
        if t:
            inputs = {"reduced": reduced, "values": values.reshape(1, -1, *values.shape[2:]), "guess": params}
            params = self._networks.array(f"{self._kind}_step_{t}", inputs)
        return params.reshape(PASSES, 2, -1, *params.shape[2:])

    def close(self) -> None:
        self._started.close()


def proven_networks(weights: Weights, runtime: Runtime) -> Networks:
    """All networks by a runtime, but for an entropy model that does not sum exactly: numpy evaluates that."""
    networks = OnnxNetworks(weights, runtime)
    entropy = prove(networks, weights)
    slow = "" if entropy is networks else "; entropy model by numpy, slow"
    return Networks(networks, entropy, f"{runtime.description}{slow}")


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
        try:
            return proven_networks(self._weights, OpenVino(self._threads, self._float32, streams))
        except (LatError, RuntimeError):
            if self._otherwise is None:
                raise
            return self._otherwise


class BySize:
    """Two sets of networks as one: small work by what is ready at once, large work by what is fastest in the end.

    OpenVINO takes half the time that ONNX Runtime takes for a whole tile, but ten times as long to load and compile,
    and its threads cost a small picture more than they give. Latents are the same, whoever works; who works depends on
    a tile's size alone, so that pixels never change.
    """

    def __init__(self, small: Networks, large: Callable[[], Networks]):
        """large: gives the others, once they are needed."""
        self._small, self._large = small, large

    def _choose(self, height: int, width: int) -> Networks:
        return self._large() if height * width >= LARGE else self._small

    def analyse(self, pixels: np.ndarray, row: int) -> np.ndarray:
        return self._choose(pixels.shape[0] // LATENT, pixels.shape[1] // LATENT).transforms.analyse(pixels, row)

    def hyper_analyse(self, y: np.ndarray, row: int) -> np.ndarray:
        return self._choose(*y.shape[2:]).transforms.hyper_analyse(y, row)

    def synthesise(self, y_hat: np.ndarray, row: int) -> np.ndarray:
        return self._choose(*y_hat.shape[2:]).transforms.synthesise(y_hat, row)

    def start_z(self, row: int, height: int, width: int) -> Predictor:
        return self._small.entropy.start_z(row, height, width)

    def start_y(self, z: np.ndarray, height: int, width: int) -> Predictor:
        return self._choose(height, width).entropy.start_y(z, height, width)
