"""The passes over ẑ and ŷ: from what is known, μ and σ of what comes next; the same on every machine.

An engine evaluates the networks in whole numbers (`engine/whole_numbers.py`). Here their results become table indices
in coding order, and the symbols that a visitor gives for them become the latents that the next pass knows.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np

from codec.config import GROUP_OF_PASS, PASSES, POSITIONS, SIGMA_LEVELS, SIGMA_MAX, SIGMA_MIN
from codec.engine import Engine
from codec.engine.whole_numbers import LIMIT
from codec.weights import Weights

MU_BITS = 6  # μ, ŷ and ẑ are multiples of 2^-6
LEVEL_BITS = 5  # σ leaves as its position on the log-spaced table, in 1/32 of a step
LEVEL_STEP = math.log(SIGMA_MAX / SIGMA_MIN) / (SIGMA_LEVELS - 1)  # of log σ
SIGMAS = np.geomspace(SIGMA_MIN, SIGMA_MAX, SIGMA_LEVELS).astype(np.float32)
GAIN_BITS = 8  # of the gain that undoes the scaling of ẑ
SYMBOL_LIMIT = 2**14  # |symbol|: ŷ and ẑ in units of 2^-MU_BITS stay exact

Visit = Callable[[int, np.ndarray, np.ndarray], np.ndarray]


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
    """Flat values into one view after the other."""
    for view, part in zip(views, np.split(values, np.cumsum([view.size for view in views[:-1]]))):
        view[:] = part.reshape(view.shape)


class EntropyModel:
    """μ and σ of ẑ and ŷ by an engine."""

    def __init__(self, weights: Weights, engine: Engine):
        self.engine, self.config = engine, weights.config
        self.z_gain = weights.exact["z_gain"].astype(np.int64)[:, :, None, None]  # (rates, Z, 1, 1)

    def by(self, engine: Engine) -> EntropyModel:
        """The same by another engine."""
        twin = copy(self)
        twin.engine = engine
        return twin

    def hyper(self, row: int, height: int, width: int, visit: Visit) -> np.ndarray:
        """The four passes over ẑ: (1, Z, height, width) float32, multiples of 2^-MU_BITS. `visit` as for `run`."""
        started = self.engine.start_z(row, height, width)
        return self._passes("z", started, (1, self.config.hyper, height, width), visit, PASSES)[0]

    def run(
        self, z_hat: np.ndarray, row: int, height: int, width: int, visit: Visit, passes: int = PASSES
    ) -> tuple[np.ndarray, int]:
        """The four passes over ŷ (1, M, height, width), or the first few, for encoder and decoder alike.

        `visit(t, mu, index)` gets the flat μ (float, in units of y) and table indices (uint8) of pass t in coding
        order and returns the symbols: the encoder rounds y − μ and writes, the decoder reads.
        Returns ŷ as float32, each a multiple of 2^-MU_BITS, and a CRC-32 of the row and all of ŷ.
        """
        bits = MU_BITS + GAIN_BITS
        z = (z_hat * 2**MU_BITS).astype(np.int64) * self.z_gain[row]
        z = np.clip((z + 2 ** (bits - 1)) >> bits, -LIMIT, LIMIT).astype(np.float32)
        started = self.engine.start_y(z, height, width)
        shape = (1, self.config.latents, height, width)
        return self._passes("y", started, shape, visit, passes, zlib.crc32(bytes([row])))

    def _passes(
        self,
        kind: str,
        started: tuple[Any, np.ndarray],
        shape: tuple[int, int, int, int],
        visit: Visit,
        passes: int,
        crc: int = 0,
    ) -> tuple[np.ndarray, int]:
        """What an engine started -> values of `shape` (1, N, H, W), and the CRC-32 of them all in coding order."""
        started, params = started
        _, channels, height, width = shape
        group = channels // PASSES
        half = -(-height // 2), -(-width // 2)
        known = np.zeros((len(POSITIONS), PASSES, group, *half), np.float32)  # by position and pass
        inside = [np.s_[..., : -(-(height - i) // 2), : -(-(width - j) // 2)] for i, j in POSITIONS]
        for t in range(passes):
            if t:
                params = self.engine.step(kind, t, started, known[:, :t].reshape(len(POSITIONS), -1, *half))
            mu, level = (np.concatenate([p[k][at].reshape(-1) for p, at in zip(params, inside)]) for k in (0, 1))
            level += 2 ** (LEVEL_BITS - 1)
            level *= 2.0**-LEVEL_BITS
            index = np.clip(level, 0, SIGMA_LEVELS - 1, out=level).astype(np.uint8)
            values = visit(t, mu * np.float32(2.0**-MU_BITS), index).astype(np.float32) * 2**MU_BITS
            values += mu
            crc = zlib.crc32(values.astype("<i4"), crc)
            _fill([k[t][at] for k, at in zip(known, inside)], values)
        result = np.empty(shape, np.float32)
        for position, ((i, j), at) in enumerate(zip(POSITIONS, inside)):
            for t, groups in enumerate(GROUP_OF_PASS):
                first = groups[position] * group
                view = result[0, first : first + group, i::2, j::2]
                np.multiply(known[position, t][at], np.float32(2.0**-MU_BITS), out=view)
        return result, crc
