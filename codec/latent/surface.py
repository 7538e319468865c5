"""Defects of surfaces, beside pictures of sound ones: what does not go on in the picture itself, what is too smooth.

Pictures of one kind of surface differ among themselves in light, grain and contrast, more than a small defect differs
from any of them. So each picture is measured against itself first:

1. y at high quality of the picture and of its half, at every 8 pixels, each channel less its median and over its
   spread in this picture.
2. Energy: the logarithm of the Mahalanobis distance to what sound pictures have there.
3. Two signs. `broken`: energy above the median of its row *and* of its column, some positions around; streaks, edges
   and shadows go on in one of the two directions, holes and cracks in none. `smooth`: energy below the picture's own.
4. Both in standard deviations of sound pictures at the same distance from the border, where edges and corners are
   normal. Only what is above the mean counts, and the sum is the map.

What was tried and does not help: the distance itself (sound pictures differ more from each other), nearest neighbours
in the features of g_a, brightness alone, a quarter of the size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from codec.arguments import PictureLike, as_picture
from codec.coder import Codec
from codec.config import LATENT
from codec.errors import LatError
from codec.latent.latents import Latents

QUALITY = 80
STEP = 8  # pixels between positions
CHANNELS = 32  # those that vary most in sound pictures
FLOOR = 0.02  # added to the spread of a channel: a third of a grey level
SHRINK = 1e-3  # of the covariance towards a sphere
ALONG = 15  # positions in a row or column that say how a line goes on
AROUND = 5  # positions a side over which smoothness is averaged
BORDER = 6  # positions from which on the border is far

Spectra = tuple[np.ndarray, np.ndarray]  # y (M, H, W) in natural units: of the picture, of its half


class Surface:
    """What is normal for a kind of surface, and where a picture departs from it."""

    cell = STEP  # pixels a side that a value of the map stands for

    def __init__(self, normal: Sequence[Spectra]):
        """Raises: LatError for fewer than two pictures."""
        if len(normal) < 2:
            raise LatError(f"{len(normal)} normal pictures: at least two are needed")
        self.energies = [Energy([spectra[scale] for spectra in normal]) for scale in (0, 1)]
        signs = [self._signs(spectra) for spectra in normal]
        self.usual = [by_border([s[i] for s in signs]) for i in range(3)]

    @staticmethod
    def measure(codec: Codec, image: PictureLike) -> Spectra:
        """Raises: LatError."""
        picture = as_picture(image)
        pixels = picture.pixels[:, :, : 1 if picture.mode in ("L", "LA") else 3]
        return spectrum(codec, pixels), spectrum(codec, halved(pixels))

    def distance(self, found: Spectra) -> np.ndarray:
        """(⌈height / 8⌉, ⌈width / 8⌉) ≥ 0: standard deviations, summed over the signs."""
        broken, broken_half, smooth = (
            excess(sign, *usual) for sign, usual in zip(self._signs(found), self.usual)
        )  # fmt: skip
        total = broken + smooth + doubled(broken_half, broken.shape)
        padded = np.pad(total, ((0, 1), (0, 1)), "edge")
        return (padded[:-1, :-1] + padded[1:, :-1] + padded[:-1, 1:] + padded[1:, 1:]) / 4

    def _signs(self, spectra: Spectra) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        full, half = (energy(y) for energy, y in zip(self.energies, spectra))
        return broken(full), broken(half), np.median(full) - box_mean(full)


def spectrum(codec: Codec, pixels: np.ndarray) -> np.ndarray:
    """uint8 (H, W, C) -> y (M, ⌈H / 8⌉, ⌈W / 8⌉) of squares of 16 pixels around every eighth pixel."""
    height, width = (-(-n // STEP) for n in pixels.shape[:2])
    out = np.empty((codec.cfg.latents, height, width), np.float32)
    for top in (0, STEP):
        for left in (0, STEP):
            moved = np.pad(pixels, ((top, LATENT), (left, LATENT), (0, 0)), "symmetric")
            y = Latents.from_image(codec, moved, QUALITY, coded=False).natural(codec)
            target = out[:, 1 - top // STEP :: 2, 1 - left // STEP :: 2]
            target[:] = y[:, : target.shape[1], : target.shape[2]]
    return out


def halved(pixels: np.ndarray) -> np.ndarray:
    planes = [Image.fromarray(np.ascontiguousarray(pixels[:, :, c])).reduce(2) for c in range(pixels.shape[2])]
    return np.stack([np.asarray(p) for p in planes], 2)


class Energy:
    """log Mahalanobis distance of y (M, H, W), normalised by the picture's own spread, to that of normal ones."""

    def __init__(self, normal: Sequence[np.ndarray]):
        count = sum(y[0].size for y in normal)
        mean = sum(y.sum((1, 2), dtype=np.float64) for y in normal) / count
        square = sum((y.astype(np.float64) ** 2).sum((1, 2)) for y in normal) / count
        self.channels = np.argsort(mean**2 - square)[:CHANNELS]
        rows = np.concatenate([self._normalised(y) for y in normal])
        self.mean = rows.mean(0)
        covariance = np.cov(rows.T)
        covariance += (SHRINK * np.trace(covariance) / CHANNELS + 1e-6) * np.eye(CHANNELS)
        self.precision = np.linalg.inv(covariance)

    def _normalised(self, y: np.ndarray) -> np.ndarray:
        """(positions, CHANNELS)."""
        rows = y[self.channels].reshape(CHANNELS, -1).T
        rows = rows - np.median(rows, 0)
        return rows / (1.48 * np.median(np.abs(rows), 0) + FLOOR)

    def __call__(self, y: np.ndarray) -> np.ndarray:
        """(H, W)."""
        rows = self._normalised(y) - self.mean
        distance = np.einsum("ij,jk,ik->i", rows, self.precision, rows, optimize=True) / CHANNELS
        return np.log(distance + 1e-3).reshape(y.shape[1:])


def broken(energy: np.ndarray) -> np.ndarray:
    """(H, W): energy above the medians along its row and its column."""
    return energy - np.maximum(running_median(energy, 0), running_median(energy, 1))


def running_median(values: np.ndarray, axis: int) -> np.ndarray:
    width = [(0, 0), (0, 0)]
    width[axis] = (ALONG // 2, ALONG // 2)
    padded = np.pad(values, width, "symmetric")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, ALONG, axis), -1)


def box_mean(values: np.ndarray) -> np.ndarray:
    padded = np.pad(values, AROUND // 2, "symmetric")
    return np.lib.stride_tricks.sliding_window_view(padded, (AROUND, AROUND)).mean((2, 3))


def border_distance(shape: tuple[int, ...]) -> np.ndarray:
    """(H, W): which of the (BORDER + 1)² pairs of distances from a horizontal and a vertical border."""
    rows, columns = (np.minimum(np.minimum(np.arange(n), np.arange(n)[::-1]), BORDER) for n in shape)
    return rows[:, None] * (BORDER + 1) + columns


def by_border(maps: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of normal maps at each pair of distances; everywhere's where there is none."""
    places = np.concatenate([border_distance(m.shape).ravel() for m in maps])
    values = np.concatenate([m.ravel() for m in maps]).astype(np.float64)
    count = np.bincount(places, minlength=(BORDER + 1) ** 2)
    sums, squares = (np.bincount(places, v, len(count)) for v in (values, values**2))
    known = count > 1
    mean = np.where(known, sums / np.maximum(count, 1), values.mean())
    variance = np.where(known, squares / np.maximum(count, 1) - mean**2, values.var())
    return mean, np.sqrt(np.maximum(variance, 1e-4))


def excess(values: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Standard deviations above the mean of normal pictures at the same distance from the border; 0 below it."""
    places = border_distance(values.shape)
    return np.maximum((values - mean[places]) / deviation[places], 0)


def doubled(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A map of the half at the positions of the whole, bilinear."""
    for axis in (0, 1):
        at = np.minimum(np.arange(shape[axis]) / 2, values.shape[axis] - 1)
        low = at.astype(int)
        high = np.minimum(low + 1, values.shape[axis] - 1)
        part = (at - low)[:, None] if axis == 0 else at - low
        values = np.take(values, low, axis) * (1 - part) + np.take(values, high, axis) * part
    return values
