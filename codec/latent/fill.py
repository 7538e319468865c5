"""What is missing in a picture: the inside of a box, margins around it, the seam of a patch.

The middle of a hole is known best as a membrane: the surface stretched over its border, where every pixel is the mean
of its four neighbours. It beats both inpainting methods of OpenCV. More of the model does not: latents drawn from the
context model, interpolated ones, and coding again and again with what is known put back were all further from the
original (bench/EXPERIMENTS.md). What the model adds, if asked to, is texture: `temperature`.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from codec import entropy_model
from codec.coder import Codec
from codec.container import LATENT
from codec.errors import LatError
from codec.image import as_picture, rounded, to_pillow
from codec.latent.latents import Latents
from codec.tiles import Box

ROUNDS = 40  # of relaxation at each size: within 0.001 dB of the exact membrane in holes of 32 pixels
RELAX = 1.8  # of each step's length, as in successive over-relaxation
CONTEXT = 8 * LATENT  # pixels around what is missing that its texture is drawn from
QUALITY_OF_TEXTURE = 60


def fill(
    codec: Codec,
    image: Image.Image | np.ndarray,
    box: tuple[int, int, int, int],
    seed: int = 0,
    temperature: float = 0.0,
) -> Image.Image:
    """The picture with the pixels in a box (left, top, right, bottom) made up from what surrounds them.

    Temperature 0 is the membrane, smooth and nearest to the truth; up to 1, texture is drawn as the model expects it.
    Everything else stays as it is. Raises: LatError where the box leaves the picture or leaves nothing of it.
    """
    picture, inside = as_picture(image), Box(*box)
    height, width = picture.pixels.shape[:2]
    bounds = Box(0, 0, width, height)
    if inside & bounds != inside or not inside.width * inside.height:
        raise LatError(f"box {box} is empty or leaves the picture of {width} × {height}")
    if inside == bounds:
        raise LatError("nothing is known of this picture: use sample")
    missing = np.zeros((height, width), bool)
    missing[inside.slices] = True
    window = inside.grow(CONTEXT, bounds)
    pixels = picture.pixels.copy()
    pixels[window.slices] = filled(codec, pixels[window.slices], missing[window.slices], seed, temperature)
    return to_pillow(pixels, picture.metadata)


def outpaint(
    codec: Codec, image: Image.Image | np.ndarray, by: int, seed: int = 0, temperature: float = 0.0
) -> Image.Image:
    """The picture with `by` more pixels on every side."""
    picture = as_picture(image)
    pixels = np.pad(picture.pixels, ((by, by), (by, by), (0, 0)))
    missing = np.ones(pixels.shape[:2], bool)
    missing[by:-by, by:-by] = False
    return to_pillow(filled(codec, pixels, missing, seed, temperature), picture.metadata)


def paste(image: Image.Image | np.ndarray, patch: Image.Image | np.ndarray, at: tuple[int, int]) -> Image.Image:
    """`patch` over a picture with its top left corner at `at` (x, y), its light and colour made to fit at the border.

    The difference along the border is carried on inside as a membrane and added (Pérez et al. 2003).
    Raises: LatError where the patch leaves the picture.
    """
    picture, over = as_picture(image), as_picture(patch)
    colour = over.pixels[:, :, : 1 if over.mode in ("L", "LA") else 3].astype(np.float32)
    channels = 1 if picture.mode in ("L", "LA") else 3
    if channels == 1:
        colour = colour.mean(2, keepdims=True)
    height, width = colour.shape[:2]
    box = Box(at[0], at[1], at[0] + width, at[1] + height)
    if box & Box(0, 0, picture.pixels.shape[1], picture.pixels.shape[0]) != box:
        size = f"{picture.pixels.shape[1]} × {picture.pixels.shape[0]}"
        raise LatError(f"a patch of {width} × {height} at {at[0]}, {at[1]} leaves the picture of {size}")
    pixels = picture.pixels.copy()
    under = pixels[box.slices][:, :, :channels]
    missing = np.zeros((height, width), bool)
    missing[1:-1, 1:-1] = True
    pixels[box.slices][:, :, :channels] = rounded(colour + membrane(under - colour, missing))
    return to_pillow(pixels, picture.metadata)


def filled(codec: Codec, pixels: np.ndarray, missing: np.ndarray, seed: int, temperature: float) -> np.ndarray:
    """uint8 (H, W, C) with what is missing (H, W) made up."""
    pixels = np.where(missing[:, :, None], rounded(membrane(pixels.astype(np.float32), missing)), pixels)
    if temperature:
        colour = pixels[:, :, : 1 if pixels.shape[2] < 3 else 3]
        drawn = textured(codec, colour, missing, seed, temperature)
        pixels[:, :, : colour.shape[2]] = np.where(missing[:, :, None], drawn, colour)
    return pixels


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


def textured(codec: Codec, pixels: np.ndarray, missing: np.ndarray, seed: int, temperature: float) -> np.ndarray:
    """uint8 (H, W, 1 or 3), whole: latents under what is missing get noise of the σ that the context model expects."""
    random, latents = np.random.default_rng(seed), Latents.from_image(codec, pixels, QUALITY_OF_TEXTURE, coded=False)
    width, height = latents.grid
    padded = np.pad(missing, ((0, height * LATENT - missing.shape[0]), (0, width * LATENT - missing.shape[1])))
    under = padded.reshape(height, LATENT, width, LATENT).any((1, 3))
    y_hat = latents.y_hat.copy()
    for box in latents.tiles():
        y = y_hat[(None, ..., *box.slices)]
        where = np.broadcast_to(under[box.slices], y.shape)

        def visit(
            t: int, mu: np.ndarray, index: np.ndarray, y: np.ndarray = y, where: np.ndarray = where
        ) -> np.ndarray:
            noise = random.standard_normal(len(mu), np.float32) * entropy_model.SIGMAS[index]
            residual = entropy_model.gather(y, t) - mu + temperature * noise * entropy_model.gather(where, t)
            return np.rint(residual * 2**entropy_model.MU_BITS) / np.float32(2**entropy_model.MU_BITS)

        z_hat = codec.tiles.quantise_z(codec.engine.hyper_analyse(y, latents.row), latents.row)
        y_hat[(..., *box.slices)] = codec.tiles.entropy.run(z_hat, latents.row, box.height, box.width, visit)[0][0]
    return np.asarray(latents.with_y(y_hat).to_image(codec)).reshape(pixels.shape)
