"""New latents from the prior: whole pictures, margins around one, the inside of a hole.

ẑ, then ŷ, are drawn pass by pass from the tables that their context models pick, as by a decoder that is fed random
bits. A prior trained for rate and distortion knows texture and edges, not objects:
what comes out looks like grain, cloth, rust, foliage out of focus. Tiles of 1024 pixels are drawn independently.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from codec import entropy_model
from codec.coder import Codec
from codec.container import HYPER, LATENT
from codec.errors import LatError
from codec.latent.latents import Latents
from codec.rans import Tables
from codec.settings import QUALITY
from codec.tiles import Box, hyper_box

CONTEXT = 8  # latents around a hole that its filling is drawn from


def sample(
    codec: Codec, width: int, height: int, seed: int = 0, quality: float = QUALITY, temperature: float = 1.0
) -> Latents:
    """Latents of a picture that the model made up; the same for the same seed and weights on every machine."""
    if not (width > 0 and height > 0 and 0 <= temperature <= 4):
        raise ValueError(f"cannot sample {width} × {height} pixels at temperature {temperature}")
    random = np.random.default_rng(seed)
    row = codec.cfg.row(quality)
    grid = -(-height // LATENT), -(-width // LATENT)
    y_hat = np.empty((codec.cfg.latents, *grid), np.float32)
    z_hat = np.empty((codec.cfg.hyper, *(-(-n // HYPER) for n in grid)), np.float32)
    frame = Latents(y_hat, row, width, height, codec.fingerprint, "RGB", z_hat)
    for box in frame.tiles():
        hyper = hyper_box(box)

        def visit(tables: Tables, t: int, mu: np.ndarray, index: np.ndarray) -> np.ndarray:
            return drawn(tables, index, random, temperature)

        z = codec.tiles.entropy.hyper(row, hyper.height, hyper.width, partial(visit, codec.tiles.z_tables))
        y = codec.tiles.entropy.run(z, row, box.height, box.width, partial(visit, codec.tiles.y_tables[0]))[0]
        z_hat[(..., *hyper.slices)], y_hat[(..., *box.slices)] = z[0], y[0]
    return frame


def drawn(tables: Tables, index: np.ndarray, random: np.random.Generator, temperature: float) -> np.ndarray:
    """Symbols for table indices; 0 at index 0, as files have it."""
    symbols = np.zeros(len(index), np.float32)
    symbols[index > 0] = tables.draw(index[index > 0], random, temperature)
    return symbols


def fill(codec: Codec, latents: Latents, hole: np.ndarray, seed: int = 0, temperature: float = 0.0) -> Latents:
    """Draw the latents where `hole` (H, W) is true from what surrounds them; all others stay as they are.

    Two opinions are multiplied, as Gaussians: the harmonic interpolation of the hole's border, with the variance
    between neighbouring latents of each channel, which knows light and colour best; and, pass by pass, the context
    model's N(μ, σ) given all that is known, which learns detail from the channels drawn before. Temperature 0 takes
    the likeliest values: best PSNR, smooth; 1 draws, which gives texture. Raises: LatError.
    """
    if hole.shape != latents.y_hat.shape[1:]:
        raise LatError(f"a hole of {hole.shape} positions for latents of {latents.y_hat.shape[1:]}")
    if not hole.any():
        return latents
    if hole.all():
        raise LatError("nothing is known of this picture: use sample")
    random = np.random.default_rng(seed)
    window = around(hole)
    part, missing = latents.y_hat[(None, ..., *window.slices)], hole[window.slices]
    y = harmonic(part, missing)
    visit = keeping(y, missing, neighbour_variance(part, missing), random, temperature)
    # z of an interpolation is vague, and no file will hold it: whole numbers fill best
    z_hat = codec.engine.hyper_analyse(y, latents.row).round()
    y = codec.tiles.entropy.run(z_hat, latents.row, window.height, window.width, visit)[0]
    y_hat = latents.y_hat.copy()
    y_hat[(..., *window.slices)] = np.where(missing, y[0], part[0])
    return latents.with_y(y_hat)


def keeping(
    y: np.ndarray, missing: np.ndarray, variance: np.ndarray, random: np.random.Generator, temperature: float
) -> Callable[[int, np.ndarray, np.ndarray], np.ndarray]:
    """A visit that gives back y where latents are known, and draws where they are missing (y: interpolated there).

    Its symbols need not be whole numbers: what comes out are multiples of 2^-MU_BITS, as everywhere.
    """
    where = np.broadcast_to(missing, y.shape)
    spread = np.broadcast_to(variance[:, None, None], y.shape)

    def visit(t: int, mu: np.ndarray, index: np.ndarray) -> np.ndarray:
        hidden, given = entropy_model.gather(where, t), entropy_model.gather(y, t)
        precision = (1 / entropy_model.SIGMAS[index] ** 2, 1 / entropy_model.gather(spread, t))
        total = precision[0] + precision[1]
        best = (mu * precision[0] + given * precision[1]) / total
        noise = random.standard_normal(len(mu), np.float32)
        value = np.where(hidden, best + temperature * noise / np.sqrt(total), given)
        return np.rint((value - mu) * 2**entropy_model.MU_BITS) * np.float32(2.0**-entropy_model.MU_BITS)

    return visit


def neighbour_variance(y: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Mean squared difference of known neighbours in y (1, M, H, W), by channel: (M,)."""
    known = ~missing
    across, down = known[:, 1:] & known[:, :-1], known[1:] & known[:-1]
    steps = [np.diff(y[0], axis=2)[:, across], np.diff(y[0], axis=1)[:, down]]
    return np.square(np.concatenate(steps, 1)).mean(1) + np.float32(1e-3)


def around(hole: np.ndarray) -> Box:
    """The hole's surroundings, CONTEXT latents wide, from a position where ẑ begins."""
    rows, columns = (np.flatnonzero(hole.any(axis)) for axis in (1, 0))
    bounds = Box(0, 0, hole.shape[1], hole.shape[0])
    box = Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1).grow(CONTEXT, bounds)
    return Box(box.left // HYPER * HYPER, box.top // HYPER * HYPER, box.right, box.bottom)


def harmonic(y: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """y (1, M, H, W) with the missing positions (H, W) at the mean of their neighbours, all at once (Jacobi)."""
    y = np.where(missing, y[:, :, ~missing].mean(2)[:, :, None, None], y)
    for _ in range(8 * max(missing.shape)):
        edge = np.pad(y, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
        mean = (edge[..., :-2, 1:-1] + edge[..., 2:, 1:-1] + edge[..., 1:-1, :-2] + edge[..., 1:-1, 2:]) / 4
        y = np.where(missing, mean, y)
    return y


def outpaint(codec: Codec, latents: Latents, by: int, seed: int = 0, temperature: float = 0.3) -> Latents:
    """The picture with `by` more latents (16 pixels each) drawn on every side, ring by ring from the inside."""
    for ring in range(by):
        latents = latents.pad(1, 1, 1, 1)
        hole = np.ones(latents.y_hat.shape[1:], bool)
        hole[1:-1, 1:-1] = False
        latents = fill(codec, latents, hole, seed + ring, temperature)
    return latents


def hole_of(latents: Latents, box: tuple[int, int, int, int]) -> np.ndarray:
    """Positions (H, W) whose pixels a box (left, top, right, bottom) in pixels touches.

    Raises: LatError where it leaves the picture.
    """
    left, top, right, bottom = box
    if not (0 <= left < right <= latents.width and 0 <= top < bottom <= latents.height):
        raise LatError(f"box {box} leaves the picture of {latents.width} × {latents.height}")
    hole = np.zeros(latents.y_hat.shape[1:], bool)
    hole[top // LATENT : -(-bottom // LATENT), left // LATENT : -(-right // LATENT)] = True
    return hole
