"""Make up what is missing in a picture: the inside of a box, margins around it, the seam of a patch.

In PSNR the best guess at a small hole is a membrane stretched over its border: every pixel is the mean of its four
neighbours. It beats both inpainting methods of OpenCV, and it beats the model: latents drawn from the context model,
interpolated ones, and coding again and again with what is known put back were all further from the original, and noise
on latents shows their grid (bench/EXPERIMENTS.md).
"""

from __future__ import annotations

from numbers import Integral
from operator import index

import numpy as np
from PIL import Image

from codec.arguments import PictureLike, as_picture
from codec.errors import LatError
from codec.picture import metadata
from codec.picture.image import rounded, to_pillow
from codec.tiles import Box, box_within

ROUNDS = 40  # of relaxation at each size: within 0.001 dB of the exact membrane in holes of 32 pixels
RELAX = 1.8  # of each step's length, as in successive over-relaxation


def fill(image: PictureLike, box: tuple[int, int, int, int]) -> Image.Image:
    """The picture with the pixels in a box (left, top, right, bottom) made up from its border; all others stay.

    Raises: LatError where the box leaves the picture or leaves nothing of it.
    """
    picture = as_picture(image)
    height, width = picture.pixels.shape[:2]
    inside, bounds = box_within(box, width, height), Box(0, 0, width, height)
    if inside == bounds:
        raise LatError("the box covers the whole picture: leave some of it to go on from")
    window, pixels = inside.grow(1, bounds), picture.pixels.copy()
    missing = np.zeros((window.height, window.width), bool)
    missing[inside.shift(window.left, window.top).slices] = True
    pixels[window.slices] = rounded(membrane(pixels[window.slices].astype(np.float32), missing))
    return to_pillow(pixels, picture.metadata)


def outpaint(image: PictureLike, by: int) -> Image.Image:
    """The picture with `by` more pixels on every side.

    Raises: LatError where that is no whole number above 0.
    """
    if not isinstance(by, Integral) or by < 1:
        raise LatError(f"cannot go on by {by!r} pixels: need a whole number above 0")
    picture = as_picture(image)
    pixels = np.pad(picture.pixels, ((by, by), (by, by), (0, 0)))
    missing = np.ones(pixels.shape[:2], bool)
    missing[by:-by, by:-by] = False
    return to_pillow(rounded(membrane(pixels.astype(np.float32), missing)), picture.metadata)


def paste(image: PictureLike, patch: PictureLike, at: tuple[int, int]) -> Image.Image:
    """`patch` over a picture with its top left corner at `at` (x, y), its light and colour made to fit at the border.

    The difference along the border is carried on inside as a membrane and added (Pérez et al. 2003). Where the patch
    is transparent, what is under it shows. A patch of another orientation is turned first, so that both are seen
    upright; `at` counts pixels as the picture stores them.
    Raises: LatError where the patch leaves the picture.
    """
    picture, over = as_picture(image), as_picture(patch)
    turns = metadata.orientation(over.metadata), metadata.orientation(picture.metadata)
    patched = metadata.reorient(over.pixels, *turns).astype(np.float32)
    colour = patched[:, :, : 1 if over.mode in ("L", "LA") else 3]
    channels = 1 if picture.mode in ("L", "LA") else 3
    if channels == 1:
        colour = colour.mean(2, keepdims=True)
    height, width = colour.shape[:2]
    try:
        x, y = (index(value) for value in at)
    except (TypeError, ValueError):
        raise LatError(f"the place of a patch must be two whole numbers, got {at!r}") from None
    box = box_within((x, y, x + width, y + height), picture.pixels.shape[1], picture.pixels.shape[0], "patch at")
    pixels = picture.pixels.copy()
    under = pixels[box.slices][:, :, :channels].astype(np.float32)
    missing = np.zeros((height, width), bool)
    missing[1:-1, 1:-1] = True
    fitted = colour + membrane(under - colour, missing)
    opaque = np.ones((height, width, 1), np.float32)
    above = patched[:, :, -1:] / 255 if "A" in over.mode else opaque
    below = pixels[box.slices][:, :, -1:].astype(np.float32) / 255 if "A" in picture.mode else opaque
    opacity = above + below * (1 - above)
    pixels[box.slices][:, :, :channels] = rounded(under + (fitted - under) * above / np.maximum(opacity, 1e-6))
    if "A" in picture.mode:
        pixels[box.slices][:, :, -1:] = rounded(255 * opacity)
    return to_pillow(pixels, picture.metadata)


def membrane(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """float32 (H, W, C): each missing one (H, W) at the mean of its neighbours; beyond the borders, as at them.

    Solved at half the size first, which tells what is far from anything known.
    """
    if not missing.any():
        return values
    height, width = missing.shape
    padding = ((0, height % 2), (0, width % 2))
    known = np.pad(~missing, padding).astype(np.float32)[:, :, None]
    weighted = np.pad(values, (*padding, (0, 0))) * known
    count, total = (in_squares(v) for v in (known, weighted))
    half = membrane(total / np.maximum(count, 1), count[:, :, 0] == 0)
    start = half.repeat(2, 0).repeat(2, 1)[:height, :width]
    return relaxed(np.where(missing[:, :, None], start, values), missing)


def in_squares(values: np.ndarray) -> np.ndarray:
    """(2h, 2w, C) -> (h, w, C): sums of 2 × 2."""
    height, width, channels = values.shape
    return values.reshape(height // 2, 2, width // 2, 2, channels).sum((1, 3))


def relaxed(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """ROUNDS times: the missing ones moved towards the mean of their neighbours, like the fields of a chessboard."""
    height, width = missing.shape
    flat = values.reshape(height * width, -1).copy()
    rows, columns = np.nonzero(missing)
    colours = []
    for parity in (0, 1):
        y, x = rows[(rows + columns) % 2 == parity], columns[(rows + columns) % 2 == parity]
        above, below = np.maximum(y - 1, 0), np.minimum(y + 1, height - 1)
        left, right = np.maximum(x - 1, 0), np.minimum(x + 1, width - 1)
        colours.append((y * width + x, above * width + x, below * width + x, y * width + left, y * width + right))
    for _ in range(ROUNDS):
        for own, *around in colours:
            mean = sum(flat[place] for place in around) / 4
            flat[own] += RELAX * (mean - flat[own])
    return flat.reshape(values.shape)
