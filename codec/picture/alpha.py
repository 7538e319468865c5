"""Colours under full transparency: nobody sees them, but they cost bytes and blur into the pixels beside them.

They become what their visible surroundings suggest, by a pyramid (push-pull, as in S. J. Gortler et al., "The
Lumigraph", 1996): averages weighted by alpha on the way down, so that a nearly transparent pixel has little say; where
a level knows nothing, the coarser one speaks, smoothed.
"""

from __future__ import annotations

import numpy as np


def without_hidden_colours(pixels: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 2 or 4), alpha last -> the same with new colours where alpha is 0."""
    alpha = pixels[:, :, -1]
    hidden = alpha == 0
    if not hidden.any():
        return pixels
    out = pixels.copy()
    if hidden.all():
        out[:, :, :-1] = 0
        return out
    weight = alpha.astype(np.float32)[:, :, None] / 255
    filled = _filled(pixels[:, :, :-1] * weight, weight)
    out[:, :, :-1][hidden] = np.clip(filled + 0.5, 0, 255).astype(np.uint8)[hidden]
    return out


def _filled(sums: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted colours (H, W, C) and their weights (H, W, 1) -> colours everywhere."""
    known = weight > 0
    colours = np.divide(sums, weight, out=np.zeros_like(sums), where=known)
    if known.all():
        return colours
    coarse = _filled(_halved(sums), _halved(weight))
    return np.where(known, colours, _smooth(_doubled(coarse, weight.shape)))


def _halved(x: np.ndarray) -> np.ndarray:
    """Sums of 2 × 2 pixels."""
    x = np.pad(x, ((0, x.shape[0] % 2), (0, x.shape[1] % 2), (0, 0)))
    return x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]


def _doubled(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return x.repeat(2, 0).repeat(2, 1)[: shape[0], : shape[1]]


def _smooth(x: np.ndarray) -> np.ndarray:
    """Weights 1, 2, 1 each way."""
    for axis in (0, 1):
        ends = [(1, 1) if a == axis else (0, 0) for a in range(3)]
        padded = np.moveaxis(np.pad(x, ends, mode="edge"), axis, 0)
        x = np.moveaxis((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4, 0, axis)
    return x
