"""Whether a picture may take fewer bits without loss: photographs fail fast, by a sample of them. No torch here.

The bits of a learned file, and these with λ · squared error of the sample after analysis and synthesis, are compared
with what lossless WebP takes at its fastest. No photograph of Kodak and gb82 reaches either bound at any quality;
noise, checkerboards, zone plates and the like reach one. What one part of a picture has of another (a tile that is
repeated) no sample shows; a count of windows of bytes that occur twice does. All of it takes 4 to 8 % of the time of
encoding.
"""

from __future__ import annotations

import numpy as np

from codec import lossless
from codec.config import LATENT, ceil_div
from codec.learned import Learned
from codec.picture.image import to_grey
from codec.tiles import Box

PART = 48  # a sample has one pixel in so many,
LEAST, MOST = 4096, 2**17  # but no fewer and no more than these
SIDE = 32  # pixels of its squares: with those of 16, edges between them would count as error
BLOCK = 16  # pixels a side: with smaller ones smooth gradients pass for photographs
CLOSE_BYTES = 0.33  # of the bits without loss, as estimated: photographs take at most 0.26
CLOSE_COST = 0.75  # the same with λ · squared error: photographs come to at most 0.68
CHUNK = 2**18  # bytes, so that arrays stay in the processor's cache
HASHES = ((1, 37), (2, 101), (4, 59))  # distance between two hashes that make one, factor of the first
ANCHOR, ANCHOR_BITS = 17, 127  # a window begins where the hash of eight bytes has this value in these bits
WINDOW, FEWEST, MOST_OF_CHUNK = 24, 64, 8192  # bytes; windows
MIXERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)  # odd, without a pattern


def is_close(learned: Learned, pixels: np.ndarray, quality: float, bits: int) -> bool:
    """Whether a picture (H, W, C) may cost less without loss than in a learned file of so many bits, at a quality."""
    row = learned.config.row(quality)
    seen, exact = sample(pixels), exact_bits(pixels)
    share = pixels[..., 0].size / seen[..., 0].size
    if bits >= CLOSE_BYTES * exact:
        return True
    weight = learned.config.lambda_of(row) * share
    left = CLOSE_COST * exact - bits
    return weight * spread(seen) >= left and weight * error(learned, seen, row) >= left


def exact_bits(pixels: np.ndarray) -> float:
    """Bits that a picture (H, W, C) should take without loss; photographs take 0.7 to 1.1 times as many."""
    seen = sample(pixels)
    share = pixels[..., 0].size / seen[..., 0].size
    return 8 * len(lossless.webp(seen, lossless.GLANCE)) * share * distinct(pixels)


def sample(pixels: np.ndarray) -> np.ndarray:
    """(H, W, C) -> squares from all over a picture as one picture; small ones whole."""
    height, width = pixels.shape[:2]
    wanted = min(max(height * width / PART, LEAST), MOST)
    if height * width <= wanted:
        return pixels
    down, across = min(SIDE, height), min(SIDE, width)
    count = wanted / (down * across)
    rows = min(max(round((count * height * across / (width * down)) ** 0.5), 1), height // down)
    columns = min(max(round(count / rows), 1), width // across)
    tops = (int((i + 0.5) * height / rows - down / 2) for i in range(rows))
    lefts = [int((i + 0.5) * width / columns - across / 2) for i in range(columns)]
    return np.concatenate(
        [np.concatenate([pixels[top : top + down, left : left + across] for left in lefts], 1) for top in tops]
    )


def distinct(pixels: np.ndarray) -> float:
    """Part of a picture that is not to be found in another place of it, byte by byte; what is flat does not count."""
    data = pixels.reshape(-1)
    found = [hashes(data[at : at + CHUNK]) for at in range(0, data.size, CHUNK)]
    count = sum(map(len, found))
    return len(np.unique(np.concatenate(found))) / count if count >= FEWEST else 1.0


def hashes(data: np.ndarray) -> np.ndarray:
    """Those of some windows of a row of bytes, chosen by what is in them, so that the same are chosen everywhere."""
    if data.size < 2 * WINDOW:
        return np.zeros(0, np.uint64)
    mixed = data
    for distance, factor in HASHES:
        mixed = mixed[:-distance] * np.uint8(factor) + mixed[distance:]
    starts = np.flatnonzero((mixed[:-WINDOW] & ANCHOR_BITS) == ANCHOR)[:MOST_OF_CHUNK]
    windows = np.lib.stride_tricks.sliding_window_view(data, WINDOW)[starts]
    windows = windows[(windows[:, : WINDOW // 2] != windows[:, WINDOW // 2 :]).any(1)]
    return (windows.view(np.uint64) * MIXERS).sum(1, dtype=np.uint64)


def spread(pixels: np.ndarray) -> float:
    """Squared error of a picture whose 16 × 16 blocks have become their means: a file has less of a photograph."""
    height, width = (n // BLOCK * BLOCK for n in pixels.shape[:2])
    if not height * width:
        return float("inf")
    blocks = pixels[:height, :width, : colours(pixels)].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, -1)
    return float(blocks.astype(np.float32).var((1, 3)).mean()) * pixels[..., 0].size


def error(learned: Learned, pixels: np.ndarray, row: int) -> float:
    """Squared error of a picture (H, W, C) whose latents are whole numbers, the mean over its colours."""
    height, width = pixels.shape[:2]
    y = learned.analyse(pixels, Box(0, 0, ceil_div(width, LATENT), ceil_div(height, LATENT)), row)
    back = learned.engine.transforms.synthesise(np.rint(y), row)[:height, :width]
    return squared_error(pixels, back if colours(pixels) == 3 else to_grey(back))


def squared_error(pixels: np.ndarray, decoded: np.ndarray) -> float:
    """Of a picture (H, W, C) without its alpha: the sum over pixels of the mean over colours."""
    count = colours(pixels)
    difference = decoded[..., :count].astype(np.float32) - pixels[..., :count]
    return float(np.square(difference).sum(dtype=np.float64)) / count


def colours(pixels: np.ndarray) -> int:
    """How many channels of (H, W, C) are not alpha."""
    return 3 if pixels.shape[2] > 2 else 1
