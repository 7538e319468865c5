"""Pillow images and arrays <-> what the codec works on: uint8 (H, W, C) pixels, a mode, and metadata."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from codec import kinds
from codec.errors import LatError, LimitError, reason
from codec.picture import alpha, colours, complete, corrections, declared, metadata, samples, unreadable
from codec.picture.declared import Declared, jpeg
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
    data = source.read_bytes() if isinstance(source, Path) else source.read()
    said = declared.declare(data)
    refuse_large(said.pixels, f"a picture of {said.pixels} pixels in it", name, max_pixels)
    try:
        image = Image.open(io.BytesIO(said.mended or data), formats=kinds.picture_formats())
    except UnidentifiedImageError:
        raise LatError(f"{name}: {unreadable.why(data, said, name)}") from None
    except Image.DecompressionBombError as error:
        raise too_large(name, error) from None
    except Exception as error:  # Pillow's plugins raise what their libraries do
        raise LatError(f"{name}: {unreadable.why(data, said, name, reason(error))}") from None
    refuse_large(image.width * image.height, f"{image.width} × {image.height}", name, max_pixels)
    refuse_thumbnail(image, name)
    declared.keep(image, said)
    return image


def refuse_large(pixels: int, size: str, name: str, max_pixels: int) -> None:
    """Raises: LimitError."""
    if pixels > max_pixels:
        raise LimitError(f"{name}: {size} is more than {max_pixels} pixels; raise --max-pixels if you trust the file")


def too_large(name: str, error: Image.DecompressionBombError) -> LimitError:
    """Pillow's own limit, which in `lat` is that of the command, but in Python is the caller's."""
    return LimitError(f"{name}: {error} Raise --max-pixels, or in Python PIL.Image.MAX_IMAGE_PIXELS, if you trust it")


def refuse_thumbnail(image: Image.Image, name: str) -> None:
    """Raw photographs are TIFF files whose first picture is a thumbnail, and whose photograph is no picture yet.

    Raises: LatError.
    """
    tags = getattr(image, "tag_v2", {})
    reduced = tags.get(NEW_SUBFILE_TYPE, 0) & 1
    named_raw = image.format == "TIFF" and kinds.RAW.fullmatch(Path(name).suffix)
    if DNG_VERSION in tags or reduced or named_raw:
        size = f"{image.width} × {image.height}"
        raise LatError(f"{name}: is {kinds.DEVELOP}; its first picture of {size} is only a preview")


def frames(image: Image.Image, name: str = "image") -> int:
    """How many frames or pages a picture has.

    Raises: LatError where the file is cut inside them.
    """
    if getattr(image, "fp", None) is None:  # loaded, and its file closed
        return 1
    try:
        return max(int(getattr(image, "n_frames", 1)), declared.of(image).pictures)
    except Exception as error:  # as in `open_image`
        raise LatError(f"{name}: damaged image: {reason(error)}") from None


def from_pillow(image: Image.Image, name: str = "image", exact: bool = False, alone: bool = False) -> Picture:
    """Decode and convert. Other modes are converted the way Pillow does, with a note where something is lost.

    Colours under full transparency are replaced by ones that cost little, but with `exact`. `alone`: nothing is said of
    further frames, because the caller takes each by itself.
    Raises: LatError.
    """
    said = declared.of(image)
    if said.fault:
        raise LatError(f"{name}: {said.format}: {said.fault}")
    count, raw = frames(image, name), samples.raw_modes(image)
    keyed = isinstance(image.info.get("transparency"), (int, tuple))
    no_opacity = alpha.other_meaning(image)
    image, said = load(image, said, name)
    told = said.pictures > 1 or said.format == "JPEG"  # by `declared.dropped`
    notes = [f"only the first of {count} frames is kept"] if count > 1 and not told and not alone else []
    found, dropped = metadata.read(image)
    own, grey = "icc_profile" in image.info, plain_mode(image) in ("L", "LA")
    dropped += colours.complete(found, said, own, grey)
    image, changed = eight_bit(image, raw, said, name)
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        changed.append(f"{image.mode} is converted to RGB")
        if found.pop("icc", None):  # it describes the inks, not the RGB that is left
            changed.append("the ICC profile is dropped with it")
    target = plain_mode(image)
    try:
        image = image if image.mode == target else image.convert(target)
    except Exception as error:  # a transparent value that the mode cannot have
        raise LatError(f"{name}: cannot be converted to {target}: {reason(error)}") from None
    pixels = np.asarray(image)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if target in ("LA", "RGBA") and no_opacity:
        pixels, target = pixels[:, :, :-1], target[:-1]
        dropped.append(f"{no_opacity} is dropped")
    elif target in ("LA", "RGBA") and not exact:
        pixels, replaced = alpha.without_hidden_colours(pixels, keyed)
        dropped += [replaced] if replaced else []
    notes += [*said.blemishes, *declared.dropped(said, alone)]
    return Picture(pixels, target, found, notes + changed + dropped, changed[0] if changed else None)


def load(image: Image.Image, said: Declared, name: str) -> tuple[Image.Image, Declared]:
    """Decode the pixels; from a mended copy, where only a checksum of them is wrong.

    Raises: LatError.
    """
    file = getattr(image, "fp", None)
    data = whole(file) if said.format == "JPEG" and file is not None else b""
    corrections.before_loading(image, said, name)
    try:
        image.load()
    except Image.DecompressionBombError as error:  # of a picture inside the file
        raise too_large(name, error) from None
    except Exception as error:  # as in `open_image`; ValueError for an image that was closed
        mended = declared.mend(said, file)
        if mended is None:
            damage = f" ({'; '.join(said.blemishes)})" if said.blemishes else ""
            raise LatError(f"{name}: damaged image: {reason(error)}{damage}") from None
        again = open_image(io.BytesIO(mended), name, image.width * image.height)
        return load(again, replace(said, blemishes=(*said.blemishes, declared.MENDED)), name)
    if data and (share := complete.missing(image, data)):
        raise LatError(f"{name}: JPEG: its scan data end early: {share:.0%} of the picture is missing")
    if data and complete.has_foreign_data(image, data, jpeg.NO_END in said.blemishes):
        said = replace(said, blemishes=(*said.blemishes, "data that are none of the picture's stand among them"))
    if 0 in image.size:
        raise LatError(f"{name}: {image.width} × {image.height} has no pixels")
    return image, said


def whole(file: BinaryIO) -> bytes:
    """All of an open file, which stays where it is."""
    at = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(at)
    return data


def eight_bit(image: Image.Image, raw: str, said: Declared, name: str) -> tuple[Image.Image, list[str]]:
    """A loaded image with samples of 8 bits, and notes. `raw`: `samples.raw_modes` before it was loaded.

    Raises: LatError.
    """
    if not samples.is_deep(image):
        transparent = samples.transparent_value(image.info, raw)
        if transparent != image.info.get("transparency"):
            image = image.copy()
            image.info.pop("transparency", None)
            image.info |= {} if transparent is None else {"transparency": transparent}
    try:
        return corrections.eight_bit(image, raw, said)
    except LatError as error:
        raise LatError(f"{name}: {error}") from None


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
