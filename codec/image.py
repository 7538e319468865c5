"""Pillow images and arrays <-> what the codec works on: uint8 (H, W, 3) pixels, a mode, and metadata."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from codec.errors import LatError, LimitError

XMP_KEY = "XML:com.adobe.xmp"
MAX_PIXELS = 2**28  # default limit on both sides: a gigabyte of RGB needs to be asked for


@dataclass
class Picture:
    """pixels (H, W, 3) uint8, mode "L" or "RGB", metadata {"icc", "exif", "xmp"}, notes on what was converted."""

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
    """Decode and convert. Modes other than L and RGB are converted, with a note of what was lost.

    Raises: LatError.
    """
    notes = []
    if getattr(image, "n_frames", 1) > 1:
        notes.append(f"only the first of {image.n_frames} frames is kept")
    try:
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise LatError(f"{name}: damaged image: {error}") from None
    mode = image.mode
    metadata = {}
    for key, value in (("icc", "icc_profile"), ("exif", "exif"), ("xmp", "xmp")):
        data = image.info.get(value)
        if data:
            metadata[key] = data.encode() if isinstance(data, str) else bytes(data)
    if "xmp" not in metadata and XMP_KEY in image.info:
        metadata["xmp"] = image.info[XMP_KEY].encode()

    if mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        notes.append("transparency is dropped")
        image = image.convert("RGBA" if mode in ("P", "PA", "RGB") else mode)
    if mode.startswith("I;16"):
        array = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        image = Image.fromarray(array)
        notes.append("16-bit samples are reduced to 8 bits")
    elif mode in ("I", "F"):
        array = np.nan_to_num(np.asarray(image).astype(np.float64))
        scale = 255 / 65535 if array.max(initial=0) > 255 else 255 if mode == "F" and array.max(initial=0) <= 1 else 1
        image = Image.fromarray(np.clip(array * scale + 0.5, 0, 255).astype(np.uint8))
        notes.append(f"{'float' if mode == 'F' else '32-bit'} samples are reduced to 8 bits")
    elif mode == "CMYK" or mode in ("YCbCr", "LAB", "HSV"):
        notes.append(f"{mode} is converted to RGB")
        metadata.pop("icc", None)  # it describes the inks, not the RGB that is left
    grey = image.mode in ("1", "L", "LA", "La")
    image = image.convert("L" if grey else "RGB")
    array = np.asarray(image)
    return Picture(np.repeat(array[:, :, None], 3, 2) if grey else array, image.mode, metadata, notes)


def from_array(array: np.ndarray) -> Picture:
    """uint8 (H, W) grey or (H, W, 3) RGB.

    Raises: LatError.
    """
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise LatError(f"array of {array.dtype} {array.shape}: need uint8 (H, W) or (H, W, 3)")
    if 0 in array.shape:
        raise LatError(f"array of shape {array.shape} has no pixels")
    return Picture(np.repeat(array[:, :, None], 3, 2), "L") if array.ndim == 2 else Picture(array, "RGB")


def to_pillow(pixels: np.ndarray, mode: str, metadata: dict[str, bytes]) -> Image.Image:
    """Pixels (H, W, 3) uint8 -> Pillow image in `mode`, metadata in its `info`."""
    if mode == "L":
        pixels = np.round(pixels.mean(2)).astype(np.uint8)
    image = Image.fromarray(pixels)
    for key, name in (("icc", "icc_profile"), ("exif", "exif"), ("xmp", "xmp")):
        if key in metadata:
            image.info[name] = metadata[key]
    return image


def save(image: Image.Image, target: BinaryIO, format: str) -> None:
    """Write with the metadata of `image.info` where the format can carry it."""
    options = {key: image.info[key] for key in ("icc_profile", "exif") if key in image.info}
    if format == "PNG" and "xmp" in image.info:
        options["pnginfo"] = info = PngInfo()
        info.add_itxt(XMP_KEY, image.info["xmp"].decode("utf-8", "replace"))
    image.save(target, format, **options)
