"""The passes over ẑ and ŷ: from what is known, μ and σ of what comes next; the same on every machine.

An engine evaluates the networks in whole numbers (`engine/integer_networks.py`). Here their results become table
indices in coding order, and the symbols that are put in their place become the latents that the next pass knows.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator

import numpy as np

from codec.config import GROUP_OF_PASS, PASSES, POSITIONS, SIGMA_LEVELS, SIGMA_MAX, SIGMA_MIN, ceil_div
from codec.engine.integer_networks import LIMIT
from codec.engine.protocols import EntropyNetworks, Predictor
from codec.weights import Weights

MU_BITS = 6  # μ, ŷ and ẑ are multiples of 2^-6
LEVEL_BITS = 5  # σ leaves as its position on the log-spaced table, in 1/32 of a step
MU_STEP = np.float32(1 / 2**MU_BITS)  # exact, whatever rounding mode another library left: 2.0**-MU_BITS is not
LEVEL_STEP = math.log(SIGMA_MAX / SIGMA_MIN) / (SIGMA_LEVELS - 1)  # of log σ
SIGMAS = np.geomspace(SIGMA_MIN, SIGMA_MAX, SIGMA_LEVELS).astype(np.float32)
GAIN_BITS = 8  # of the gain that undoes the scaling of ẑ


def slices(array: np.ndarray, t: int) -> list[np.ndarray]:
    """The four views (channels/4, ⌈H/2⌉, ⌈W/2⌉) of (1, channels, H, W) that pass t codes, in coding order."""
    n = array.shape[1] // PASSES
    return [array[0, g * n : (g + 1) * n, i::2, j::2] for (i, j), g in zip(POSITIONS, GROUP_OF_PASS[t])]


def gather(array: np.ndarray, t: int) -> np.ndarray:
    """Values of pass t in coding order, flat."""
    return np.concatenate([s.reshape(-1) for s in slices(array, t)])


def scatter(array: np.ndarray, t: int, values: np.ndarray) -> None:
    """Inverse of `gather`, in place."""
    _fill(slices(array, t), values)


def _fill(views: list[np.ndarray], values: np.ndarray) -> None:
    """Copy flat values into one view after the other."""
    for view, part in zip(views, np.split(values, np.cumsum([view.size for view in views[:-1]]))):
        view[:] = part.reshape(view.shape)


class EntropyModel:
    """μ and σ of ẑ and ŷ."""

    def __init__(self, weights: Weights, networks: EntropyNetworks):
        self.networks, self.config = networks, weights.config
        self.z_gain = weights.exact["z_gain"].astype(np.int64)[:, :, None, None]  # (rates, Z, 1, 1)

    def z(self, row: int, height: int, width: int) -> Passes:
        """The passes over ẑ (1, Z, height, width) at a rate row."""
        return Passes(self.networks.start_z(row, height, width), (1, self.config.hyper, height, width))

    def y(self, z_hat: np.ndarray, row: int, height: int, width: int) -> Passes:
        """The passes over ŷ (1, M, height, width), given ẑ; their CRC-32 begins with the row."""
        bits = MU_BITS + GAIN_BITS
        z = (z_hat * 2**MU_BITS).astype(np.int64) * self.z_gain[row]
        z = np.clip((z + 2 ** (bits - 1)) >> bits, -LIMIT, LIMIT).astype(np.float32)
        predictor = self.networks.start_y(z, height, width)
        return Passes(predictor, (1, self.config.latents, height, width), zlib.crc32(bytes([row])))


class Passes:
    """The four passes over ẑ or ŷ of one tile. Encoder and decoder run the same loop, once, from first to last:

        for t in passes:
            mu, index = passes.predict()
            passes.put(symbols)  # the encoder's: rounded residuals; the decoder's: what the stream holds
        values = passes.values()

    At the smallest σ a residual is other than 0 once in 50,000 times: such positions have no symbol and take their μ.
    """

    def __init__(self, predictor: Predictor, shape: tuple[int, int, int, int], crc: int = 0):
        """predictor: of values of this shape, (1, N, H, W)."""
        self.crc = crc  # CRC-32 of all values so far, in coding order
        self._predictor, self._shape = predictor, shape
        height, width = shape[2:]
        half = ceil_div(height, 2), ceil_div(width, 2)
        self._inside = [np.s_[..., : ceil_div(height - i, 2), : ceil_div(width - j, 2)] for i, j in POSITIONS]
        self._known = np.zeros((len(POSITIONS), PASSES, shape[1] // PASSES, *half), np.float32)  # by position and pass

    def __iter__(self) -> Iterator[int]:
        try:
            for self._t in range(PASSES):
                yield self._t
        finally:
            self._predictor.close()

    def predict(self) -> tuple[np.ndarray, np.ndarray]:
        """Flat μ (float32, in units of y) and table indices (uint8, above 0) of the symbols of this pass, in order."""
        known = self._known[:, : self._t].reshape(len(POSITIONS), -1, *self._known.shape[3:])
        parameters = self._predictor.parameters(self._t, known)
        self._mu, level = (
            np.concatenate([p[k][at].reshape(-1) for p, at in zip(parameters, self._inside)]) for k in (0, 1)
        )
        level += 2 ** (LEVEL_BITS - 1)
        level /= 2**LEVEL_BITS
        self.index = np.clip(level, 0, SIGMA_LEVELS - 1, out=level).astype(np.uint8)
        self._coded = np.flatnonzero(self.index > 0)  # four times as fast as that of numbers
        return self._mu[self._coded] * MU_STEP, self.index[self._coded]

    @property
    def mu(self) -> np.ndarray:
        """Flat μ of all positions of this pass, as `index` has their table indices; until `put`."""
        return self._mu * MU_STEP

    def gather(self, array: np.ndarray) -> np.ndarray:
        """What an array (1, N, H, W) has where this pass has a symbol, flat, in coding order."""
        return gather(array, self._t)[self._coded]

    def put(self, symbols: np.ndarray) -> None:
        """Complete this pass with its symbols: whole numbers of at most ±SYMBOL_LIMIT, which float32 keeps exact."""
        values = self._mu
        values[self._coded] += symbols.astype(np.float32) * 2**MU_BITS
        self.crc = zlib.crc32(values.astype("<i4").data, self.crc)
        _fill([k[self._t][at] for k, at in zip(self._known, self._inside)], values)

    def values(self) -> np.ndarray:
        """(1, N, H, W) float32, multiples of 2^-MU_BITS; 0 in passes that are still to come."""
        group, result = self._known.shape[2], np.empty(self._shape, np.float32)
        for position, ((i, j), at) in enumerate(zip(POSITIONS, self._inside)):
            for t, groups in enumerate(GROUP_OF_PASS):
                first = groups[position] * group
                view = result[0, first : first + group, i::2, j::2]
                np.multiply(self._known[position, t][at], MU_STEP, out=view)
        return result
