"""Which parts of a picture are no photograph, found fast; and a picture without them. No torch here.

Blocks of 16 × 16 pixels, those of a latent. In text, windows and drawings many pixels equal a neighbour, and of the
others most differ from theirs by much; or there are just two values. Photographs hardly ever have such blocks: of 224
none has more than 2.3 %, most have none; text and plots have 20 % and more. What is nearly flat costs little either
way, and goes where its surroundings go.
"""

from __future__ import annotations

import numpy as np

from codec.config import LATENT

EQUAL = 0.4  # part of a block's pixels that equal their left or upper neighbour
ALIKE = 0.7  # the same, of blocks beside graphics that go with them
FLAT = 0.97
STEP = 24  # of 255, between neighbours, in any channel
STEPS = 6  # pixels of a block
ABRUPT = 0.5  # steps, of the pixels that equal no neighbour
FEWEST = 0.025  # blocks of a picture: with fewer it is a photograph
BLANK_SHARE = 0.9  # from this share of flat blocks on, a picture counts as blank: 100 bytes when lossless
Blocks = np.ndarray  # bool (⌈H/16⌉, ⌈W/16⌉)


def find(pixels: np.ndarray) -> Blocks | None:
    """Blocks of a picture (H, W, C) that may be smaller when they are coded losslessly; None in photographs."""
    if is_photograph(pixels):
        return None
    graphic, alike, flat = classified(pixels)
    if flat.mean() >= BLANK_SHARE:
        graphic |= flat
    if graphic.sum() < FEWEST * graphic.size:
        return None
    graphic |= neighbours(graphic) >= 5  # holes
    while True:  # flat surroundings and lighter text, as far as they go
        wider = graphic | (alike & (neighbours(graphic) > 0))
        if (wider == graphic).all():
            return graphic
        graphic = wider


def is_photograph(pixels: np.ndarray) -> bool:
    """Whether an eighth of the rows, two in each block, rules graphics out, by weaker signs in half as many blocks."""
    rows = pixels[1::8]
    equal = equals(packed(rows), packed(pixels[::8])[: len(rows)])
    pairs = [
        of[: len(rows) // 2 * 2].reshape(-1, 2, rows.shape[1]).sum(1, dtype=np.uint8) for of in (equal, steps(rows))
    ]
    if not len(pairs[0]):
        return False
    equal, step = (np.add.reduceat(of, range(0, of.shape[1], LATENT), 1, dtype=np.int16) for of in pairs)
    seen = 2 * LATENT
    graphic = (equal >= 0.75 * EQUAL * seen) & (step >= 1) & (step >= ABRUPT / 2 * (seen - equal))
    return bool(graphic.mean() < FEWEST / 2 and (equal >= FLAT * seen).mean() < BLANK_SHARE - 0.1)


def equals(rows: np.ndarray, above: np.ndarray) -> np.ndarray:
    """(H, W), packed, and what is above each row -> which pixels equal their left or upper neighbour."""
    equal = rows == above
    equal[:, 1:] |= rows[:, 1:] == rows[:, :-1]
    return equal


def steps(pixels: np.ndarray) -> np.ndarray:
    """(H, W, C) -> which pixels, (H, W), differ from their left neighbour by STEP or more in any colour."""
    found = np.zeros(pixels.shape[:2], bool)
    for channel in range(3 if pixels.shape[2] > 2 else 1):
        left, right = pixels[:, :-1, channel], pixels[:, 1:, channel]
        found[:, 1:] |= np.maximum(left, right) - np.minimum(left, right) >= STEP
    return found


def packed(pixels: np.ndarray) -> np.ndarray:
    """(H, W, C) uint8 -> (H, W): equal where the colours are."""
    if pixels.shape[2] < 3:
        return pixels[..., 0]
    return (pixels[..., 0].astype(np.uint32) << 8 | pixels[..., 1]) << 8 | pixels[..., 2]


def classified(pixels: np.ndarray) -> tuple[Blocks, Blocks, Blocks]:
    """Blocks with the signs of graphics, with weaker ones, and flat ones; alpha does not count."""
    height, width, channels = pixels.shape
    whole = packed(pixels)
    equal, step = np.zeros((height, width), bool), steps(pixels)
    equal[1:] = equals(whole[1:], whole[:-1])
    equal[:1, 1:] = whole[:1, 1:] == whole[:1, :-1]
    middle = pixels[..., 1 if channels > 2 else 0]
    low, high = per_block(middle, np.minimum), per_block(middle, np.maximum)
    extreme = (middle == spread(low, pixels)) | (middle == spread(high, pixels))
    equal, step, extreme = (per_block(of, np.add, np.uint16) for of in (equal, step, extreme))
    size = per_block(np.ones((height, width), bool), np.add, np.uint16)
    abrupt = (equal >= EQUAL * size) & (step >= STEPS) & (step >= ABRUPT * (size - equal))
    return abrupt | ((extreme == size) & (high - low >= STEP)), equal >= ALIKE * size, equal >= FLAT * size


def per_block(of: np.ndarray, how: np.ufunc, dtype: type | None = None) -> np.ndarray:
    """(H, W) -> what each block comes to, (⌈H/16⌉, ⌈W/16⌉)."""
    beyond = ((0, -of.shape[0] % LATENT), (0, -of.shape[1] % LATENT))
    if beyond != ((0, 0), (0, 0)):
        of = np.pad(of, beyond, mode="constant" if how is np.add else "edge")
    height, width = (n // LATENT for n in of.shape)
    columns = how.reduce(of.reshape(height, LATENT, -1), 1, dtype=dtype)  # first, and along memory: the larger part
    return how.reduce(columns.reshape(height, width, LATENT), 2, dtype=dtype)


def neighbours(blocks: Blocks) -> np.ndarray:
    """How many of the eight around each are set."""
    padded = np.pad(blocks.astype(np.uint8), 1)
    height, width = blocks.shape
    around = sum(padded[y : y + height, x : x + width] for y in range(3) for x in range(3))
    return around - blocks


def spread(blocks: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """(⌈H/16⌉, ⌈W/16⌉) -> the same for every pixel of a picture, (H, W)."""
    return blocks.repeat(LATENT, 0).repeat(LATENT, 1)[: pixels.shape[0], : pixels.shape[1]]


def filled(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture with what `mask` (H, W) selects replaced by a smooth continuation of the rest; alpha stays.

    Means of ever larger squares of what is known (a pyramid), taken from the smallest that knows any.
    """
    colours = 3 if pixels.shape[2] > 2 else 1
    weight = (~mask).astype(np.float32)[..., None]
    levels = [(pixels[..., :colours] * weight, weight)]
    while max(levels[-1][1].shape[:2]) > 1:
        sums, weights = levels[-1]
        levels.append((halved(sums), halved(weights)))
    below = np.full((1, 1, colours), 128, np.float32)
    for sums, weights in reversed(levels):
        if sums.shape[:2] != (1, 1):
            below = smoothed(below.repeat(2, 0).repeat(2, 1)[: sums.shape[0], : sums.shape[1]])
        below = np.where(weights > 0, sums / np.maximum(weights, 1e-9), below)
    out = pixels.copy()
    out[..., :colours] = np.where(mask[..., None], below + 0.5, pixels[..., :colours])
    return out


def halved(values: np.ndarray) -> np.ndarray:
    """Sums of squares of four."""
    height, width = values.shape[:2]
    values = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    return values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]


def smoothed(values: np.ndarray) -> np.ndarray:
    """Each the mean of itself, twice, and its neighbours, first along columns, then along rows."""
    for axis in (0, 1):
        around = np.pad(values, [(int(a == axis), int(a == axis)) for a in range(3)], mode="edge")
        size = values.shape[axis]
        values = (around.take(range(size), axis) + 2 * values + around.take(range(2, size + 2), axis)) / 4
    return values
