"""Edits of latents that come back through the same decoder: blends, and directions found from pairs.

A direction is what a change of the picture (sharper, brighter, more colour …) does to each channel of ŷ, fitted on
pairs of a photograph and its changed version: Δ = shift + scale · ŷ, in natural units, one shift and one scale
a channel. `scale` is what matters where the sign of a coefficient carries no meaning (detail), `shift` where it
does (brightness). Applied with a strength; 1 is the change of the pairs, negative goes the other way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from codec import weights
from codec.arguments import as_picture
from codec.coder import Codec
from codec.container import MODES
from codec.errors import LatError, MissingModelError
from codec.latent.latents import Latents, step
from codec.picture.image import Picture, rounded
from codec.picture.metadata import orientation, reoriented

MIN_VARIANCE = 1e-6  # of a channel, below which its scale is not fitted


@dataclass(frozen=True)
class Direction:
    """(M,) float32 each, in natural units."""

    shift: np.ndarray
    scale: np.ndarray


def blend(codec: Codec, a: Latents, b: Latents, t: float) -> Latents:
    """(1 − t)·a + t·b; t beyond 0 … 1 extrapolates. b is brought to a's rate row and orientation; metadata are a's.

    It looks like a cross-fade of pixels, because most of g_s is linear; only fine texture stays sharper.
    Raises: LatError where the sizes differ.
    """
    b = stored_like(codec, b, a)
    if (a.width, a.height) != (b.width, b.height):
        raise LatError(f"{a.width} × {a.height} and {b.width} × {b.height} pixels do not blend: make them one size")
    mixed, kept = a * (1 - t) + b.at_row(codec, a.row) * t, a.metadata
    mode = a.mode if a.mode == b.mode else "RGB"
    if mode != a.mode:  # a profile for grey does not describe colours
        kept = {key: value for key, value in kept.items() if key != "icc"}
    if a.alpha is None and b.alpha is None:
        return replace(mixed, mode=mode, metadata=kept)
    opaque = np.full((a.height, a.width), 255, np.uint8)
    alphas = [opaque if x.alpha is None else x.alpha for x in (a, b)]
    return replace(mixed, mode=mode, metadata=kept, alpha=rounded(alphas[0] * (1 - t) + alphas[1] * t))


def stored_like(codec: Codec, latents: Latents, other: Latents) -> Latents:
    """The same picture stored for the orientation of another one, with its metadata: itself, or by way of pixels."""
    before, after = (orientation(x.metadata) for x in (latents, other))
    if before == after:
        return latents
    pixels = reoriented(as_picture(latents.to_image(codec), exact=True).pixels, before, after)
    turned = Latents.from_image(codec, Picture(pixels, MODES[pixels.shape[2] - 1]), codec.cfg.quality(latents.row))
    return replace(turned, metadata=other.metadata)


def apply(codec: Codec, latents: Latents, direction: Direction, strength: float) -> Latents:
    """ŷ + strength · (shift + scale · ŷ), in natural units; no channel is scaled below 0.05 of itself."""
    values = latents.natural(codec)
    scale = np.maximum(strength * direction.scale, -0.95)[:, None, None]
    values = values + strength * direction.shift[:, None, None] + scale * values
    return latents.with_y(values / step(codec, latents.row))


def fit(codec: Codec, pairs: Iterable[tuple[np.ndarray, np.ndarray]], quality: float = 90) -> Direction:
    """From pairs of uint8 pictures (H, W, 3), each before and after the change: least squares, channel by channel."""
    n = 0
    sums = np.zeros((4, codec.cfg.latents))  # of y, Δ, y², y·Δ
    for before, after in pairs:
        y, changed = (Latents.from_image(codec, p, quality, coded=False).natural(codec) for p in (before, after))
        y, delta = (v.reshape(len(y), -1).astype(np.float64) for v in (y, changed - y))
        sums += np.stack([v.sum(1) for v in (y, delta, y * y, y * delta)])
        n += y.shape[1]
    if n == 0:
        raise LatError("no pairs to find a direction from")
    mean, mean_delta, square, product = sums / n
    variance = square - mean**2
    scale = np.where(variance > MIN_VARIANCE, (product - mean * mean_delta) / np.maximum(variance, MIN_VARIANCE), 0)
    return Direction((mean_delta - scale * mean).astype(np.float32), scale.astype(np.float32))


def directions_file(codec: Codec) -> Path:
    return weights.folder() / f"{codec.name}.directions"


def save(directions: dict[str, Direction], path: Path) -> None:
    tensors = {f"{name}.{part}": getattr(d, part) for name, d in directions.items() for part in ("shift", "scale")}
    save_file(tensors, path)


def load(path: Path) -> dict[str, Direction]:
    """Directions by name.

    Raises: MissingModelError.
    """
    if not path.is_file():
        raise MissingModelError(
            f"{path}: no directions; `python -m codec.train.directions` finds them from photographs"
        )
    tensors = load_file(path)
    return {
        n: Direction(tensors[f"{n}.shift"], tensors[f"{n}.scale"]) for n in sorted({k.split(".")[0] for k in tensors})
    }
