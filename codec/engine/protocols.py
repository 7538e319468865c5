"""What an engine has to be: two narrow interfaces, to the transforms and to the entropy networks."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np


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
    description: str  # version and precision
