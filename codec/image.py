"""Pillow images and arrays <-> what the codec works on: uint8 (H, W, C) pixels, a mode, and metadata."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from codec.container import MODES
from codec.errors import LatError, LimitError
from codec.settings import MAX_PIXELS

XMP_KEY = "XML:com.adobe.xmp"


@dataclass
class Picture:
    """pixels (H, W, C) uint8 in mode "L", "LA", "RGB" or "RGBA"; metadata {"icc", "exif", "xmp"}; what was lost."""

    pixels: np.ndarray
    mode: str
    metadata: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def open_image(source: Path | BinaryIO, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open any picture that Pillow reads.

    Raises: LatError, LimitError (before pixels are decoded).
    """
    Image.MAX_IMAGE_PIXELS = None  # our own limit follows, with a message that says what to do
    try:
        image = Image.open(source)
    except UnidentifiedImageError:
        raise LatError(f"{name}: no image format that Pillow knows") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise LatError(f"{name}: cannot be read: {error}") from None
    if image.width * image.height > max_pixels:
        size = f"{image.width} × {image.height}"
        raise LimitError(f"{name}: {size} is more than {max_pixels} pixels; raise --max-pixels if you trust the file")
    return image


def from_pillow(image: Image.Image, name: str = "image") -> Picture:
    """Decode and convert. Other modes are converted the way Pillow does, with a note where something is lost.

    Raises: LatError.
    """
    try:
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise LatError(f"{name}: damaged image: {error}") from None
    frames = getattr(image, "n_frames", 1)
    notes = [f"only the first of {frames} frames is kept"] if frames > 1 else []
    metadata = read_metadata(image)
    mode, transparent = image.mode, "transparency" in image.info
    if mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
        notes.append("16-bit samples are reduced to 8 bits")
    elif mode in ("I", "F"):
        image = Image.fromarray(eight_bits(np.asarray(image)))
        notes.append(f"{'float' if mode == 'F' else '32-bit'} samples are reduced to 8 bits")
    elif mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        notes.append(f"{mode} is converted to RGB")
        if "icc" in metadata:
            del metadata["icc"]  # it describes the inks, not the RGB that is left
            notes.append("the ICC profile is dropped with it")
    grey, alpha = image.mode in ("1", "L", "LA", "La"), transparent or mode in ("LA", "La", "PA", "RGBA", "RGBa")
    target = {(True, False): "L", (True, True): "LA", (False, False): "RGB", (False, True): "RGBA"}[grey, alpha]
    if image.mode != target:
        image = image.convert(target)
    pixels = np.asarray(image)
    return Picture(pixels[:, :, None] if pixels.ndim == 2 else pixels, target, metadata, notes)


def read_metadata(image: Image.Image) -> dict[str, bytes]:
    """ICC, EXIF and XMP of a picture, byte for byte."""
    found = {"icc": image.info.get("icc_profile"), "exif": image.info.get("exif")}
    found["xmp"] = image.info.get("xmp") or image.info.get(XMP_KEY)
    return {key: v.encode() if isinstance(v, str) else bytes(v) for key, v in found.items() if v}


def eight_bits(samples: np.ndarray) -> np.ndarray:
    """Samples of 32 bits or float -> uint8: 0 … 1 (float), 0 … 255 or 0 … 65535, whichever range they fill."""
    top = np.nan_to_num(samples).max(initial=0)
    scale = 255 / 65535 if top > 255 else 255 if samples.dtype.kind == "f" and top <= 1 else 1
    return np.clip(np.nan_to_num(samples) * scale + 0.5, 0, 255).astype(np.uint8)


def from_array(array: np.ndarray) -> Picture:
    """uint8 (H, W) grey, or (H, W, C) with 1 to 4 channels: L, LA, RGB, RGBA.

    Raises: LatError.
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.dtype != np.uint8 or array.ndim != 3 or not 1 <= array.shape[2] <= 4:
        raise LatError(f"array of {array.dtype} {array.shape}: need uint8 (H, W) or (H, W, C) with 1 to 4 channels")
    if 0 in array.shape:
        raise LatError(f"array of shape {array.shape} has no pixels")
    return Picture(array, MODES[array.shape[2] - 1])


def as_picture(image: Image.Image | np.ndarray | Picture) -> Picture:
    """Raises: LatError."""
    if isinstance(image, Image.Image):
        return from_pillow(image)
    return from_array(image) if isinstance(image, np.ndarray) else image


def to_grey(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (H, W, 1): the rounded mean, as files of mode L are decoded."""
    return np.round(pixels.mean(2, keepdims=True)).astype(np.uint8)


def to_pillow(pixels: np.ndarray, metadata: dict[str, bytes]) -> Image.Image:
    """Pixels (H, W, C) uint8 -> Pillow image in mode L, LA, RGB or RGBA, metadata in its `info`."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    for key, name in (("icc", "icc_profile"), ("exif", "exif"), ("xmp", "xmp")):
        if key in metadata:
            image.info[name] = metadata[key]
    return image


def save(image: Image.Image, target: BinaryIO, format: str) -> None:
    """Write with the metadata of `image.info` where the format can carry it.

    Raises: LatError.
    """
    options = {key: image.info[key] for key in ("icc_profile", "exif") if key in image.info}
    if format == "PNG" and "xmp" in image.info:
        options["pnginfo"] = info = PngInfo()
        info.add_itxt(XMP_KEY, image.info["xmp"].decode("utf-8", "replace"))
    if format == "PNG":
        options["compress_level"] = 1  # level 6 takes longer than decoding and saves a few percent of a large file
    try:
        image.save(target, format, **options)
    except (OSError, KeyError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise LatError(f"cannot be written as {format}: {error}") from None
