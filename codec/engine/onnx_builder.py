"""An ONNX graph under construction, from the tensors of a weights file."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from codec.config import POSITIONS, SLOPE
from codec.engine.integer_networks import power_of_two
from codec.weights import Weights

OPSET, IR_VERSION = 17, 8  # what every runtime of the last years reads, in browsers too
FLOAT, INT64, UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8
Shape = tuple[int | str, ...]


def halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 -> two parts, the first of which bfloat16 holds exactly and the second with an error of 2^-16 of x."""
    high = (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return high, x - high


class Graph:
    """A graph under construction: a method adds nodes and returns the name of their result.

    Those up to `from_phases` are what `integer_networks` describes the entropy model with; a size is an int64 (2,).
    """

    def __init__(self, weights: Weights):
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: dict[str, onnx.TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []

    # -- integer_networks.Layers ------------------------------------------------------------------------------------

    def conv(self, x: str, name: str, inputs: int | None = None) -> str:
        weight, bias = self._layer(name)
        shape = self.weights.exact[f"{name}.weight"].shape
        if inputs is not None:
            weight = self.op("Gather", weight, self.constant(np.arange(inputs)), axis=1)
        depthwise = {"pads": [1, 1, 1, 1], "group": shape[0]} if len(shape) == 4 else {}
        return self.op("Conv", x, weight, bias, **depthwise)

    def conv_phases(
        self, x: str, name: str, outputs: np.ndarray | None = None, inputs: np.ndarray | None = None, bias: bool = True
    ) -> str:
        layer = self._layer(name)
        weights, biases = ([v] * len(POSITIONS) for v in layer)
        if outputs is not None:
            rows = [self.constant(r) for r in outputs]
            weights, biases = ([self.op("Gather", v, r, axis=0) for r in rows] for v in layer)
        if inputs is not None:
            weights = [self.op("Gather", w, self.constant(c), axis=1) for w, c in zip(weights, inputs)]
        joined = [self.op("Concat", *weights, axis=0)] + ([self.op("Concat", *biases, axis=0)] if bias else [])
        return self.op("Conv", x, *joined, group=len(POSITIONS))

    def leaky(self, x: str) -> str:
        return self.op("LeakyRelu", x, alpha=SLOPE)

    def floor(self, x: str) -> str:
        return self.op("Floor", x)

    def clamp(self, x: str, limit: int) -> str:
        return self.op("Clip", x, self.constant(np.float32(-limit)), self.constant(np.float32(limit)))

    def add(self, x: str, y: str) -> str:
        return self.op("Add", x, y)

    def scaled(self, x: str, name: str, channels: np.ndarray) -> str:
        scale = power_of_two(-self.weights.exact[name])
        return self.op("Mul", x, self.constant(scale[channels, None, None]))

    def upsample(self, x: str) -> str:
        return self.op("DepthToSpace", x, blocksize=2, mode="CRD")

    def crop(self, x: str, size: str) -> str:
        return self.op("Slice", x, self.constant(np.zeros(2, np.int64)), size, self.constant(np.array([2, 3])))

    def even(self, size: str) -> str:
        return self.op("Mul", self.halved(size), self.constant(np.array([2])))

    def prior(self, row: str, outputs: np.ndarray, size: str) -> str:
        values = self.op("Gather", self.stored("exact.z_prior"), row, axis=0)
        values = self.op("Gather", values, self.constant(outputs), axis=1)
        shape = self.op("Concat", self.constant(np.array([1, len(outputs)])), self.halved(size), axis=0)
        return self.op("Expand", self.reshape(values, 1, len(outputs), 1, 1), shape)

    def to_phases(self, x: str) -> str:
        odd = self.op("Mod", self.size(x), self.constant(np.array([2, 2])))
        pads = self.op("Concat", self.constant(np.zeros(6, np.int64)), odd, axis=0)
        return self.op("SpaceToDepth", self.op("Pad", x, pads), blocksize=2)

    def from_phases(self, phases: str, like: str | None = None) -> str:
        whole = self.op("DepthToSpace", phases, blocksize=2, mode="DCR")
        return whole if like is None else self.crop(whole, self.size(like))

    def _layer(self, name: str) -> tuple[str, str]:
        """Weight and bias, divided by 2^shift."""
        shape = self.weights.exact[f"{name}.weight"].shape
        scale = power_of_two(-self.weights.exact[f"{name}.shift"])
        weight = self.stored(f"exact.{name}.weight", (*shape, 1, 1)[:4])
        weight = self.op("Mul", weight, self.constant(scale[:, None, None, None]))
        return weight, self.op("Mul", self.stored(f"exact.{name}.bias"), self.constant(scale))

    # -- float layers (model.py) ---------------------------------------------------------------------------------

    def pointwise(self, x: str, name: str, scale: float = 1.0) -> str:
        """1×1 convolution of x · scale."""
        weight, bias = self._float_layer(name, (1, 1))
        return self.op("Conv", x, self.times(weight, scale) if scale != 1 else weight, bias)

    def unshuffled(self, pixels: str) -> str:
        """uint8 (1, 16h, 16w, 3) -> (1, 192, 2h, 2w), 0 … 255: whole in any precision. 8×8 patches as channels."""
        eight = self.constant(np.array([8]))
        height, width = (self.op("Div", self.size(pixels, slice(i, i + 1)), eight) for i in (1, 2))
        x = self.reshape(pixels, 1, height, 8, width, 8, 3)
        x = self.op("Transpose", x, perm=[0, 5, 2, 4, 1, 3])
        return self.op("Cast", self.reshape(x, 1, 192, height, width), to=FLOAT)

    def linear_analysis(self, x: str, name: str, scale: float, bfloat16: bool = False) -> str:
        """The linear shortcut of g_a or feedback: 16×16 patches are 2×2 of the 8×8 ones, x · scale, whole numbers.

        bfloat16: where that precision must not lose anything.
        """
        patches, order, shape = (-1, 3, 2, 8, 2, 8), [0, 1, 3, 5, 2, 4], (-1, 192, 2, 2)
        bias = self.stored(f"{name}.bias")
        if not bfloat16:
            weight = self.stored(f"{name}.weight", patches)
            weight = self.op("Reshape", self.op("Transpose", weight, perm=order), self.constant(np.array(shape)))
            return self.op("Conv", x, self.times(weight, scale), bias, strides=[2, 2])
        exact = self.weights.networks[f"{name}.weight"].astype(np.float32).reshape(patches)
        exact = exact.transpose(order).reshape(shape) * np.float32(scale)
        high, rest = (self.constant(half) for half in halves(exact))
        large = self.op("Conv", x, high, bias, strides=[2, 2])
        return self.add(self._unrounded(large), self._unrounded(self.op("Conv", x, rest, strides=[2, 2])))

    def linear_synthesis(self, y: str, low: str | None = None) -> str:
        """The shortcut of g_s to 8×8 patches. low: of y + low, where all that is multiplied fits bfloat16."""
        order = np.arange(768).reshape(3, 2, 8, 2, 8).transpose(0, 2, 4, 1, 3).reshape(-1)  # the 2×2 of a patch last
        weight, bias = (
            self.op("Gather", v, self.constant(order), axis=0) for v in self._float_layer("g_s.linear", (1, 1))
        )
        if low is None:
            return self.upsample(self.op("Conv", y, weight, bias))
        high, rest = halves(self.weights.networks["g_s.linear.weight"].astype(np.float32).reshape(768, -1, 1, 1)[order])
        products = self.constant(np.concatenate([high, high, rest], axis=1))
        both = self.op("Concat", y, low, y, axis=1)
        return self.upsample(self._unrounded(self.op("Conv", both, products, bias)))

    def _unrounded(self, x: str) -> str:
        """Sums of products in bfloat16 as the float32 that they are: OpenVINO rounds what a convolution gives, the last
        one too, unless an operation follows that it fuses with it. This one does nothing: no sum is as large."""
        return self.clamp(x, 10**6)

    def down(self, x: str, name: str) -> str:
        """3×3 convolution, stride 2."""
        return self.op("Conv", x, *self._float_layer(name, (3, 3)), pads=[1, 1, 1, 1], strides=[2, 2])

    def block(self, x: str, name: str) -> str:
        t = self.leaky(self.pointwise(x, f"{name}.mix_in"))
        weight, bias = self._float_layer(f"{name}.spatial", (3, 3))
        t = self.op(
            "Conv", t, weight, bias, pads=[1, 1, 1, 1], group=self.weights.networks[f"{name}.spatial.bias"].size
        )
        x = self.add(x, self.pointwise(t, f"{name}.mix_out"))
        t = self.leaky(self.pointwise(x, f"{name}.expand"))
        return self.add(x, self.pointwise(t, f"{name}.contract"))

    def blocks(self, x: str, name: str, count: int) -> str:
        for i in range(count):
            x = self.block(x, f"{name}.{i}")
        return x

    def gain(self, x: str, name: str, row: str) -> str:
        """x times the gains of a rate row, by channel."""
        logs = self.op("Gather", self.stored(name), row, axis=0)
        return self.op("Mul", x, self.op("Unsqueeze", self.op("Exp", logs), self.constant(np.array([2, 3]))))

    def times(self, x: str, factor: float) -> str:
        return self.op("Mul", x, self.constant(np.float32(factor)))

    def _float_layer(self, name: str, kernel: tuple[int, int]) -> tuple[str, str]:
        outputs = len(self.weights.networks[f"{name}.bias"])
        return self.stored(f"{name}.weight", (outputs, -1, *kernel)), self.stored(f"{name}.bias")

    # -- building ------------------------------------------------------------------------------------------------

    def input(self, name: str, shape: Shape, kind: int = FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def op(self, kind: str, *inputs: str, **attributes) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [f"{kind}_{len(self.nodes)}"], **attributes))
        return self.nodes[-1].output[0]

    def constant(self, array: np.ndarray | np.float32) -> str:
        name = f"constant_{len(self.initialisers)}"
        self.initialisers[name] = numpy_helper.from_array(np.asarray(array), name)
        return name

    def stored(self, name: str, shape: tuple[int, ...] | None = None) -> str:
        """A tensor as the weights file has it, cast to float32."""
        array = (
            self.weights.exact[name.removeprefix("exact.")]
            if name.startswith("exact.")
            else self.weights.networks[name]
        )
        self.initialisers[name] = numpy_helper.from_array(array.reshape(shape or array.shape), name)
        return self.op("Cast", name, to=FLOAT)

    def size(self, x: str, axes: slice = slice(2, 4)) -> str:
        """Height and width of x."""
        ends = self.constant(np.array([axes.start])), self.constant(np.array([axes.stop]))
        return self.op("Slice", self.op("Shape", x), *ends)

    def halved(self, size: str) -> str:
        """⌈H/2⌉ and ⌈W/2⌉."""
        return self.op("Div", self.op("Add", size, self.constant(np.array([1]))), self.constant(np.array([2])))

    def reshape(self, x: str, *sizes: int | str) -> str:
        """Sizes are numbers, or results that hold some."""
        parts = [self.constant(np.array([n])) if isinstance(n, int) else n for n in sizes]
        return self.op("Reshape", x, self.op("Concat", *parts, axis=0))

    def finish(self, name: str, **outputs: tuple[str, Shape, int]) -> onnx.ModelProto:
        """outputs: by name, a result, its shape and type."""
        for output, (result, _, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [result], [output]))
        infos = [helper.make_tensor_value_info(k, kind, shape) for k, (_, shape, kind) in outputs.items()]
        graph = helper.make_graph(self.nodes, name, self.inputs, infos, list(self.initialisers.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model.producer_name = self.weights.name
        return model
