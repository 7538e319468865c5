"""The entropy networks by numpy in float64: slow, exact everywhere. What other engines are compared with."""

from __future__ import annotations

import numpy as np

from codec.config import PASSES, POSITIONS, SLOPE, ceil_div
from codec.engine.integer_networks import Context, power_of_two, start_y, start_z
from codec.weights import Weights


class NumpyNetworks:
    """protocols.EntropyNetworks."""

    def __init__(self, weights: Weights):
        self._config, self._layers = weights.config, NumpyLayers(weights)

    def start_z(self, row: int, height: int, width: int) -> NumpyPredictor:
        context = Context(self._layers, "z", self._config)
        return NumpyPredictor(context, *start_z(self._layers, self._config, row, (height, width)))

    def start_y(self, z: np.ndarray, height: int, width: int) -> NumpyPredictor:
        context = Context(self._layers, "y", self._config)
        return NumpyPredictor(context, *start_y(self._layers, self._config, z[0].astype(np.float64), (height, width)))


class NumpyPredictor:
    """protocols.Predictor."""

    def __init__(self, context: Context[np.ndarray], reduced: np.ndarray, before: list[np.ndarray]):
        self._context, self._reduced, self._before = context, reduced, before

    def parameters(self, t: int, values: np.ndarray) -> np.ndarray:
        found = self._before[t]
        if t:
            known = values.reshape(-1, *values.shape[2:]).astype(np.float64)
            found = self._context.step(t, self._reduced, known, found)
        return found.astype(np.float32).reshape(PASSES, 2, -1, *found.shape[1:])

    def close(self) -> None:
        pass


class NumpyLayers:
    """integer_networks.Layers. Tensors are (channels, H, W) in float64, a size is (H, W)."""

    def __init__(self, weights: Weights):
        self._integers = weights.exact

    def _layer(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias, divided by 2^shift."""
        weight, bias = (self._integers[f"{name}.{part}"].astype(np.float64) for part in ("weight", "bias"))
        scale = power_of_two(-self._integers[f"{name}.shift"], np.float64)
        return (weight.T * scale).T, bias * scale

    def conv(self, x: np.ndarray, name: str, inputs: int | None = None) -> np.ndarray:
        weight, bias = self._layer(name)
        if weight.ndim == 2:
            return np.tensordot(weight[:, :inputs], x, 1) + bias[:, None, None]
        height, width = x.shape[1:]
        x = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        taps = [weight[:, 0, i, j, None, None] * x[:, i : i + height, j : j + width] for i, j in np.ndindex(3, 3)]
        return sum(taps) + bias[:, None, None]

    def conv_phases(
        self,
        x: np.ndarray,
        name: str,
        outputs: np.ndarray | None = None,
        inputs: np.ndarray | None = None,
        bias: bool = True,
    ) -> np.ndarray:
        weight, biases = self._layer(name)
        results = []
        for i, phase in enumerate(x.reshape(4, -1, *x.shape[1:])):
            rows = slice(None) if outputs is None else outputs[i]
            columns = slice(None) if inputs is None else inputs[i]
            results.append(np.tensordot(weight[rows][:, columns], phase, 1) + bias * biases[rows, None, None])
        return np.concatenate(results)

    def leaky(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(x, SLOPE * x)

    def floor(self, x: np.ndarray) -> np.ndarray:
        return np.floor(x)

    def clamp(self, x: np.ndarray, limit: int) -> np.ndarray:
        return np.clip(x, -limit, limit)

    def add(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return x + y

    def scaled(self, x: np.ndarray, name: str, channels: np.ndarray) -> np.ndarray:
        return x * power_of_two(-self._integers[name], np.float64)[channels, None, None]

    def upsample(self, x: np.ndarray) -> np.ndarray:
        channels, height, width = x.shape
        x = x.reshape(channels // 4, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
        return x.reshape(channels // 4, 2 * height, 2 * width)

    def crop(self, x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return x[:, : size[0], : size[1]]

    def even(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[0] + size[0] % 2, size[1] + size[1] % 2

    def prior(self, row: int, outputs: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        values = self._integers["z_prior"][row, outputs].astype(np.float64)[:, None, None]
        return np.broadcast_to(values, (len(outputs), ceil_div(size[0], 2), ceil_div(size[1], 2)))

    def to_phases(self, x: np.ndarray) -> np.ndarray:
        x = np.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2)))
        return np.concatenate([x[:, i::2, j::2] for i, j in POSITIONS])

    def from_phases(self, phases: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
        phases = phases.reshape(4, -1, *phases.shape[1:])
        x = np.empty((phases.shape[1], 2 * phases.shape[2], 2 * phases.shape[3]))
        for phase, (i, j) in zip(phases, POSITIONS):
            x[:, i::2, j::2] = phase
        return x if like is None else x[:, : like.shape[1], : like.shape[2]]
