"""Two engines as one: small work by what is ready at once, large work by what is fastest in the end.

OpenVINO takes half the time that ONNX Runtime takes for a whole tile, but ten times as long to load and compile, and
its threads cost a small picture more than they give. Latents are the same, whoever works.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from codec.concurrency import shares
from codec.container import LATENT

if TYPE_CHECKING:
    from codec.engine import Engine

LARGE = 2048  # latents: half a megapixel


class BySize:
    """codec.engine.Engine. What works on a tile depends on its size alone, so that pixels never change."""

    def __init__(self, small: Engine, large: Callable[[int], Engine], threads: int):
        """large: gives the other engine, with so many streams to share the threads, once it is needed."""
        self.small, self._make, self._threads = small, large, threads
        self._streams, self._lock = 1, Lock()
        self._made: dict[int, Engine] = {}  # by streams
        self.name, self.at_once = small.name, small.at_once
        self.description = f"{small.description}; OpenVINO from half a megapixel on"

    @property
    def large(self) -> Engine:
        with self._lock:
            if self._streams not in self._made:
                self._made[self._streams] = self._make(self._streams)
            return self._made[self._streams]

    def several(self, tiles: int) -> Engine:
        twin = copy(self)  # it shares what is made
        twin.small, twin._streams = self.small.several(tiles), shares(self._threads, tiles)
        return twin if twin._streams > 1 else self

    def _for(self, height: int, width: int) -> Engine:
        return self.large if height * width >= LARGE else self.small

    def analyse(self, pixels: np.ndarray, row: int) -> np.ndarray:
        return self._for(pixels.shape[0] // LATENT, pixels.shape[1] // LATENT).analyse(pixels, row)

    def hyper_analyse(self, y: np.ndarray, row: int) -> np.ndarray:
        return self._for(*y.shape[2:]).hyper_analyse(y, row)

    def synthesise(self, y_hat: np.ndarray, row: int) -> np.ndarray:
        return self._for(*y_hat.shape[2:]).synthesise(y_hat, row)

    def start_z(self, row: int, height: int, width: int) -> tuple[Any, np.ndarray]:
        return self._with(self.small, *self.small.start_z(row, height, width))

    def start_y(self, z: np.ndarray, height: int, width: int) -> tuple[Any, np.ndarray]:
        engine = self._for(height, width)
        return self._with(engine, *engine.start_y(z, height, width))

    @staticmethod
    def _with(engine: Engine, started: Any, params: np.ndarray) -> tuple[Any, np.ndarray]:
        return (engine, started), params

    def step(self, kind: str, t: int, started: Any, values: np.ndarray) -> np.ndarray:
        engine, its = started
        return engine.step(kind, t, its, values)
