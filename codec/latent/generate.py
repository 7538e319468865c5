"""New latents from the prior: pictures that the model makes up.

ẑ, then ŷ, are drawn pass by pass from the tables that their context models pick, as by a decoder that is fed random
bits. A prior trained for rate and distortion knows texture and edges, not objects:
what comes out looks like grain, cloth, rust, foliage out of focus. Tiles of 1024 pixels are drawn independently.
"""

from __future__ import annotations

import numpy as np

from codec.coder import Codec
from codec.config import HYPER, LATENT, ceil_div
from codec.entropy_model import Passes
from codec.errors import LatError
from codec.latent.latents import Latents
from codec.rans import Tables
from codec.settings import QUALITY
from codec.tiles import hyper_box


def sample(
    codec: Codec, width: int, height: int, seed: int = 0, quality: float = QUALITY, temperature: float = 1.0
) -> Latents:
    """Latents of a picture that the model made up; the same for the same seed and weights on every machine."""
    if not (width > 0 and height > 0 and 0 <= temperature <= 4):
        raise LatError(f"cannot sample {width} × {height} pixels at temperature {temperature}")
    random = np.random.default_rng(seed)
    row = codec.cfg.row(quality)
    grid = ceil_div(height, LATENT), ceil_div(width, LATENT)
    y_hat = np.empty((codec.cfg.latents, *grid), np.float32)
    z_hat = np.empty((codec.cfg.hyper, *(ceil_div(n, HYPER) for n in grid)), np.float32)
    frame = Latents(y_hat, row, width, height, codec.fingerprint, "RGB", z_hat)
    coder = codec.tile_coder
    for box in frame.tiles():
        hyper = hyper_box(box)
        z = draw(coder.entropy.z(row, hyper.height, hyper.width), coder.tables.z, random, temperature)
        y = draw(coder.entropy.y(z, row, box.height, box.width), coder.tables.y[0], random, temperature)
        z_hat[(..., *hyper.slices)], y_hat[(..., *box.slices)] = z[0], y[0]
    return frame


def draw(passes: Passes, tables: Tables, random: np.random.Generator, temperature: float) -> np.ndarray:
    """Values (1, N, h, w) of symbols drawn pass by pass."""
    for _ in passes:
        _, index = passes.predict()
        passes.put(tables.draw(index, random, temperature))
    return passes.values()
