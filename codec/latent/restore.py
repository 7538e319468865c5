"""Pictures with less noise, without JPEG's blocks, or of twice the size: what the codec keeps of them.

Coding at a rate row finds, nearly, the least of bits + λ · error. Bits are −log₂ of a probability, so that is the
likeliest picture behind one with Gaussian noise, of the σ at which λ / 3 = 1 / (2 ln 2 · σ²) (the codec's error is the
mean over three channels). The networks have never seen noise: what they learned of photographs does the work.

The grid of 16 pixels leaves traces of its own. The picture is therefore coded with the grid at several places, and the
results averaged (cycle spinning; Coifman and Donoho 1995): 16 places gain 2.5 dB at σ = 15 over one.
What is known for sure comes last: a JPEG file says in which interval each of its coefficients lay, and a picture of
twice the size must shrink to the one that was given.
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from codec.arguments import PictureLike, as_picture
from codec.coder import Codec, Progress
from codec.config import LATENT, is_within
from codec.errors import LatError
from codec.latent.latents import Latents
from codec.picture.image import rounded, to_pillow

PLACES = [(x, y) for x in range(0, LATENT, 4) for y in range(0, LATENT, 4)]  # of the grid
BLOCK = 8  # JPEG's
INSIDE = 0.3  # of a step from an interval's middle: the ends are unlikely, and 0.5 restores 0.1 dB less
YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)  # JPEG's
UPSCALE_SIGMA = 12.0  # what enlarging gets wrong looks like noise of about this σ; best on training photographs
JPEG_SIGMA = 3.3  # times the root of the mean quantisation step: the same, for JPEG
PROJECTIONS = 2  # rounds of making an enlarged picture shrink to the given one


def denoise(codec: Codec, image: PictureLike, sigma: float, progress: Progress | None = None) -> Image.Image:
    """Without its noise of standard deviation `sigma`, in grey levels 0 … 255. Alpha and metadata stay.

    Raises: LatError.
    """
    picture = as_picture(image)
    colour, alpha = parted(picture.pixels)
    return joined(spun(codec, colour, sigma, progress), alpha, picture.metadata)


def deblock(codec: Codec, jpeg: bytes, progress: Progress | None = None) -> Image.Image:
    """A JPEG file's picture with its blocks and ringing smoothed, in so far as the file's own coefficients allow.

    Raises: LatError where it is no JPEG of grey or YCbCr.
    """
    luma, table, chroma_step = coefficients(jpeg)
    picture = as_picture(Image.open(io.BytesIO(jpeg), formats=["JPEG"]))
    before = picture.pixels.astype(np.float32)
    x = spun(codec, picture.pixels, JPEG_SIGMA * math.sqrt(table[:3, :3].mean()), progress)
    if picture.mode == "L":
        return joined(within_cells(x[:, :, 0], luma, table)[:, :, None], None, picture.metadata)
    inside = within_cells(x @ YCC[0], luma, table)
    # Chroma is of half the size as a rule, so its coefficients say less: it keeps near to what the file shows
    moved = np.clip((x - before) @ YCC[1:].T, -INSIDE * chroma_step, INSIDE * chroma_step)
    x = np.concatenate([inside[:, :, None], before @ YCC[1:].T + moved], 2) @ np.linalg.inv(YCC).T
    return joined(x, None, picture.metadata)


def upscale(codec: Codec, image: PictureLike, progress: Progress | None = None) -> Image.Image:
    """Twice the size: of the pictures that bicubic shrinking makes this one of, about the likeliest.

    Raises: LatError.
    """
    picture = as_picture(image)
    colour, alpha = parted(picture.pixels)
    small = colour.astype(np.float32)

    def projected(x: np.ndarray) -> np.ndarray:
        for _ in range(PROJECTIONS):
            x = x + resized(small - resized(x, 0.5, Image.Resampling.BICUBIC), 2, Image.Resampling.LANCZOS)
        return x

    start = rounded(projected(resized(small, 2, Image.Resampling.LANCZOS)))
    large = projected(spun(codec, start, UPSCALE_SIGMA, progress))
    if alpha is not None:
        alpha = rounded(resized(alpha, 2, Image.Resampling.LANCZOS))
    return joined(large, alpha, picture.metadata)


def row_of_noise(codec: Codec, sigma: float) -> int:
    """The rate row whose λ takes errors for noise of this σ.

    Raises: LatError.
    """
    if not is_within(sigma, 0, 255) or sigma == 0:
        raise LatError(f"noise must have a σ above 0 and up to 255 grey levels, got {sigma!r}")
    wanted, cfg = 3 / (2 * math.log(2) * sigma**2), codec.cfg
    place = math.log(wanted / cfg.lambda_min) / math.log(cfg.lambda_max / cfg.lambda_min)  # λ rises geometrically
    return round(min(max(place, 0), 1) * (cfg.rates - 1))


def spun(codec: Codec, pixels: np.ndarray, sigma: float, progress: Progress | None) -> np.ndarray:
    """uint8 (H, W, 1 or 3) -> float32, the same: coded at the rate row of σ with the grid at all PLACES, averaged."""
    quality = codec.cfg.quality(row_of_noise(codec, sigma))
    height, width = pixels.shape[:2]
    total = np.zeros(pixels.shape, np.float32)
    for done, (x, y) in enumerate(PLACES, 1):
        moved = np.pad(pixels, ((y, LATENT - y), (x, LATENT - x), (0, 0)), "symmetric")
        decoded = np.asarray(Latents.from_image(codec, moved, quality).to_image(codec))
        total += decoded.reshape(moved.shape)[y : y + height, x : x + width]
        if progress:
            progress(done, len(PLACES))
    return total / len(PLACES)


# JPEG


def coefficients(jpeg: bytes) -> tuple[np.ndarray, np.ndarray, float]:
    """Luma (H, W) float32, 0 … 255, as a JPEG file has it; steps (8, 8) of its coefficients; mean step of chroma's.

    Raises: LatError.
    """
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            assert isinstance(image, JpegImageFile)
            image.draft("YCbCr", image.size)
            if image.mode not in ("L", "YCbCr"):
                raise LatError(f"a JPEG of mode {image.mode}: only grey and YCbCr ones can be deblocked")
            luma = np.asarray(image, np.float32)
            tables = [np.reshape(t, (BLOCK, BLOCK)).astype(np.float32) for _, t in sorted(image.quantization.items())]
            steps = tables[0], float(tables[-1][:3, :3].mean())
    except UnidentifiedImageError:
        raise LatError("no JPEG: its blocks can be told from the JPEG file alone") from None
    except (OSError, SyntaxError, ValueError, LookupError, Image.DecompressionBombError) as error:
        raise LatError(f"this JPEG cannot be deblocked: {error}") from None
    return luma if luma.ndim == 2 else luma[:, :, 0], *steps


def within_cells(luma: np.ndarray, of_file: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Luma (H, W) with all coefficients of whole blocks near the middle of the intervals that the file puts them in."""
    out, height, width = luma.copy(), luma.shape[0] // BLOCK * BLOCK, luma.shape[1] // BLOCK * BLOCK
    basis = cosines()

    def blocks(x: np.ndarray) -> np.ndarray:
        return x[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(0, 2, 1, 3) - 128

    middle = np.round(basis @ blocks(of_file) @ basis.T / table) * table
    found = basis @ blocks(luma) @ basis.T
    kept = middle + np.clip(found - middle, -INSIDE * table, INSIDE * table)
    out[:height, :width] = (basis.T @ kept @ basis + 128).transpose(0, 2, 1, 3).reshape(height, width)
    return out


def cosines() -> np.ndarray:
    """(8, 8): the orthonormal DCT-II, a frequency in each row."""
    k, n = np.mgrid[:BLOCK, :BLOCK]
    basis = np.cos(math.pi * (2 * n + 1) * k / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    basis[0] /= math.sqrt(2)
    return basis.astype(np.float32)


# Pixels


def parted(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(H, W, C) -> grey or colour, and alpha where there is one."""
    if pixels.shape[2] in (2, 4):
        return pixels[:, :, :-1], pixels[:, :, -1:]
    return pixels, None


def joined(x: np.ndarray, alpha: np.ndarray | None, metadata: dict[str, bytes]) -> Image.Image:
    pixels = rounded(x)
    return to_pillow(pixels if alpha is None else np.concatenate([pixels, alpha], 2), metadata)


def resized(x: np.ndarray, factor: float, filter: Image.Resampling) -> np.ndarray:
    """(H, W, C) of any numbers -> float32 of `factor` times the size."""
    size = round(x.shape[1] * factor), round(x.shape[0] * factor)
    planes = [Image.fromarray(x[:, :, c].astype(np.float32)).resize(size, filter) for c in range(x.shape[2])]
    return np.stack([np.asarray(p) for p in planes], 2)
