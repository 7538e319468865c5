"""Pillow images and arrays <-> what the codec works on: uint8 (H, W, C) pixels, a mode, and metadata."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from codec import kinds
from codec.errors import LatError, LimitError, reason
from codec.picture import metadata, samples
from codec.picture.alpha import without_hidden_colours
from codec.settings import MAX_PIXELS

NEW_SUBFILE_TYPE, DNG_VERSION = 254, 50706  # tags of TIFF


@dataclass
class Picture:
    """pixels (H, W, C) uint8 in mode "L", "LA", "RGB" or "RGBA"; metadata, see `metadata.read`; what was lost.

    `reduced`: what of the samples themselves was.
    """

    pixels: np.ndarray
    mode: str
    metadata: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    reduced: str | None = None

    def without(self, dropped: tuple[str, ...]) -> Picture:
        """Less some metadata; where the orientation goes with it, the pixels are turned."""
        kept = {key: value for key, value in self.metadata.items() if key not in dropped}
        turn = metadata.orientation(self.metadata)
        if turn == 1 or metadata.orientation_from(self.metadata) in kept:
            return replace(self, metadata=kept)
        return replace(self, pixels=metadata.turned(self.pixels, turn), metadata=metadata.upright(kept))


def open_image(source: Path | BinaryIO, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open any picture that Pillow reads.

    Raises: LatError, LimitError (before pixels are decoded).
    """
    kinds.register_plugins()
    try:
        image = Image.open(source)
    except UnidentifiedImageError:
        raise LatError(f"{name}: {kinds.unknown(name)}") from None
    except Image.DecompressionBombError as error:
        raise LimitError(f"{name}: {error} PIL.Image.MAX_IMAGE_PIXELS is Pillow's limit") from None
    except Exception as error:  # Pillow's plugins raise what their libraries do
        raise LatError(f"{name}: cannot be read: {reason(error)}") from None
    if image.width * image.height > max_pixels:
        size = f"{image.width} × {image.height}"
        raise LimitError(f"{name}: {size} is more than {max_pixels} pixels; raise --max-pixels if you trust the file")
    refuse_thumbnail(image, name)
    return image


def refuse_thumbnail(image: Image.Image, name: str) -> None:
    """Raw photographs are TIFF files whose first picture is a thumbnail, and whose photograph is no picture yet.

    Raises: LatError.
    """
    tags = getattr(image, "tag_v2", {})
    reduced = tags.get(NEW_SUBFILE_TYPE, 0) & 1
    if DNG_VERSION in tags or reduced or kinds.RAW.fullmatch(Path(name).suffix):
        size = f"{image.width} × {image.height}"
        raise LatError(f"{name}: is {kinds.DEVELOP}; its first picture of {size} is only a preview")


def frames(image: Image.Image, name: str = "image") -> int:
    """How many frames or pages a picture has.

    Raises: LatError where the file is cut inside them.
    """
    if getattr(image, "fp", None) is None:  # loaded, and its file closed
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception as error:  # as in `open_image`
        raise LatError(f"{name}: damaged image: {reason(error)}") from None


def from_pillow(image: Image.Image, name: str = "image", exact: bool = False) -> Picture:
    """Decode and convert. Other modes are converted the way Pillow does, with a note where something is lost.

    Colours under full transparency are replaced by ones that cost little, but with `exact`.
    Raises: LatError.
    """
    count, raw = frames(image, name), samples.raw_modes(image)
    try:
        metadata.colour_chunk(image)
        image.load()
    except Exception as error:  # as in `open_image`; ValueError for an image that was closed
        raise LatError(f"{name}: damaged image: {reason(error)}") from None
    if 0 in image.size:
        raise LatError(f"{name}: {image.width} × {image.height} has no pixels")
    notes = [f"only the first of {count} frames is kept"] if count > 1 else []
    found, dropped = metadata.read(image)
    image, changed = eight_bit(image, raw, name)
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        changed.append(f"{image.mode} is converted to RGB")
        if found.pop("icc", None):  # it describes the inks, not the RGB that is left
            changed.append("the ICC profile is dropped with it")
    target = plain_mode(image)
    if image.mode != target:
        image = image.convert(target)
    pixels = np.asarray(image)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if target in ("LA", "RGBA") and not exact:
        pixels = without_hidden_colours(pixels)
    return Picture(pixels, target, found, notes + changed + dropped, changed[0] if changed else None)


def eight_bit(image: Image.Image, raw: str, name: str) -> tuple[Image.Image, list[str]]:
    """A loaded image with samples of 8 bits, and notes. `raw`: `samples.raw_modes` before it was loaded.

    Raises: LatError.
    """
    if samples.is_deep(image):
        try:
            return samples.reduced(image, raw)
        except LatError as error:
            raise LatError(f"{name}: {error}") from None
    transparent = samples.transparent_value(image.info, raw)
    if transparent != image.info.get("transparency"):
        image = image.copy()
        image.info["transparency"] = transparent
    return image, ["16-bit samples are reduced to 8 bits"] if samples.is_16_bit(image, raw) else []


def plain_mode(image: Image.Image) -> str:
    """L, LA, RGB or RGBA: what holds an image of any other mode."""
    grey = image.mode in ("1", "L", "LA", "La")
    alpha = "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa")
    return {(True, False): "L", (True, True): "LA", (False, False): "RGB", (False, True): "RGBA"}[grey, alpha]


def to_colour(pixels: np.ndarray) -> np.ndarray:
    """(H, W, C), colour or grey, with or without alpha -> (H, W, 3), without."""
    return pixels[:, :, :3] if pixels.shape[2] > 2 else np.repeat(pixels[:, :, :1], 3, 2)


def to_grey(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (H, W, 1): the rounded mean, as files of mode L are decoded."""
    return np.round(pixels.mean(2, keepdims=True)).astype(np.uint8)


def rounded(x: np.ndarray) -> np.ndarray:
    """Any numbers -> uint8."""
    return np.clip(np.round(x), 0, 255).astype(np.uint8)


def to_pillow(pixels: np.ndarray, found: dict[str, bytes]) -> Image.Image:
    """Pixels (H, W, C) uint8 -> Pillow image in mode L, LA, RGB or RGBA, metadata in its `info`.

    Its `format` says that the metadata fit the pixels. What Pillow makes of it has none: it may have been turned.
    """
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image.format = "LAT"
    image.info |= metadata.to_info(found)
    return image
