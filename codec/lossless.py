"""Pixels <-> lossless patches, the section "Patches" of FORMAT.md. The coder is WebP's, as Pillow has it. No torch.

A patch lies over the tiles and replaces what they show, so a page with a photograph on it is both: the photograph in
tiles, the page in a patch with a hole in it.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image
from PIL.WebPImagePlugin import WebPImageFile

from codec import container
from codec.config import LATENT, TILE
from codec.container import MAX_PATCH, NO_WEIGHTS, Container, Header, Patch
from codec.errors import ChecksumError, FormatError, LatError, LimitError
from codec.picture.image import Picture, to_pillow
from codec.settings import EFFORT
from codec.tiles import Box, picture_box, region_box, tiles_in

ESTIMATE = 0  # an effort that serves to guess a size
LARGE = 2**20  # pixels
FLAT = 128  # grey of what cannot be decoded
RIFF = struct.Struct("<4sI8sI")  # what a WebP file has before its VP8L stream
OnError = Callable[["int | None", LatError], None]  # tile, what is wrong with it


def exact(picture: Picture, effort: int = EFFORT) -> bytes:
    """A file that gives every pixel back as it was.

    Raises: LatError where the picture had samples that this codec does not take.
    """
    if picture.reduced:
        raise LatError(f"cannot be kept exactly: {picture.reduced}")
    return container.build(encode(picture, effort))


def encode(picture: Picture, effort: int) -> Container:
    """A file that is lossless everywhere."""
    height, width = picture.pixels.shape[:2]
    header = Header(width, height, picture.mode, TILE, NO_WEIGHTS)
    return Container(header, [], picture.metadata, patches=patches(picture.pixels, None, effort))


def thoroughness(effort: int, pixels: int) -> tuple[int, int]:
    """WebP's method and quality. Method 6 saves 0 to 9 % and takes 5 to 20 times as long, so not of what is large."""
    if effort == ESTIMATE:
        return 4, 75
    if effort < EFFORT:
        return 4, 100
    return (6 if effort > 6 or pixels <= LARGE else 5), 100


def patches(pixels: np.ndarray, mask: np.ndarray | None, effort: int) -> list[Patch]:
    """Of a picture uint8 (H, W, C), the pixels that a mask (H, W) selects, without their alpha; or all, with it."""
    height, width = pixels.shape[:2]
    cells = (
        Box(x, y, x + MAX_PATCH, y + MAX_PATCH) & Box(0, 0, width, height)
        for y in range(0, height, MAX_PATCH)
        for x in range(0, width, MAX_PATCH)
    )
    if mask is None:
        return [Patch(c.left, c.top, c.width, c.height, False, webp(pixels[c.slices], effort)) for c in cells]
    found = []
    for cell in cells:
        rows, columns = (np.flatnonzero(mask[cell.slices].any(axis)) for axis in (1, 0))
        if len(rows):
            box = Box(*(int(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)))
            box = box.shift(-cell.left, -cell.top)
            seen = mask[box.slices][..., None]
            colour = pixels[box.slices][..., : 1 if pixels.shape[2] < 3 else 3]
            part = np.concatenate([colour * seen, np.uint8(255) * seen], 2)
            found.append(Patch(box.left, box.top, box.width, box.height, True, webp(part, effort)))
    return found


def webp(pixels: np.ndarray, effort: int) -> bytes:
    """uint8 (H, W, C) -> the VP8L stream that gives it back."""
    out = io.BytesIO()
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))
    if image.mode == "LA":
        image = image.convert("RGBA")
    method, quality = thoroughness(effort, image.width * image.height)
    image.save(out, "WEBP", lossless=True, exact=True, method=method, quality=quality)
    data = out.getvalue()
    _, _, kind, size = RIFF.unpack_from(data)
    if kind != b"WEBPVP8L":
        raise LatError("this Pillow's WebP does not write plain lossless files")
    return data[RIFF.size : RIFF.size + size]


def unpacked(patch: Patch) -> np.ndarray:
    """uint8 (height, width, 4), alpha 255 where the stream has none.

    Raises: FormatError; LimitError where Pillow's own limit is smaller than the patch.
    """
    stream = bytes(patch.stream)
    even = len(stream) + len(stream) % 2
    data = RIFF.pack(b"RIFF", 12 + even, b"WEBPVP8L", len(stream)) + stream.ljust(even, b"\0")
    try:
        with WebPImageFile(io.BytesIO(data)) as image:  # Image.open would warn of what is large
            if image.size != (patch.width, patch.height):
                raise FormatError("LOSS: sizes of a patch disagree")
            return np.asarray(image.convert("RGBA"))
    except Image.DecompressionBombError as error:
        raise LimitError(f"LOSS: {error} PIL.Image.MAX_IMAGE_PIXELS is Pillow's limit") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise FormatError(f"LOSS: patch at {patch.left}, {patch.top} is damaged: {error}") from None


def paste(out: np.ndarray, region: Box, file: Container, on_error: OnError | None = None) -> None:
    """Put what a file's patches have of a region over its pixels (H, W, C).

    Raises: FormatError, ChecksumError; with `on_error`, damage is reported and leaves `out` as it is.
    """
    for shared, pixels, masked in _decoded(file, region, on_error):
        _put(out[shared.shift(region.left, region.top).slices], pixels, masked)


def _decoded(file: Container, region: Box, on_error: OnError | None) -> Iterator[tuple[Box, np.ndarray, bool]]:
    """(pixels in the region, RGBA, masked) of each patch that has some."""
    for sentence in file.damaged:  # where it was to lie is damaged too
        if on_error is None:
            raise ChecksumError(sentence)
        on_error(None, ChecksumError(sentence))
    for patch in file.patches:
        box = Box(patch.left, patch.top, patch.left + patch.width, patch.top + patch.height)
        shared = box & region
        if not shared.width * shared.height:
            continue
        try:
            yield shared, unpacked(patch)[shared.shift(box.left, box.top).slices], patch.masked
        except FormatError as error:
            if on_error is None:
                raise
            left, top = box.left // LATENT, box.top // LATENT
            on_error(next(tiles_in(file.header, Box(left, top, left + 1, top + 1))), error)


def _put(target: np.ndarray, rgba: np.ndarray, masked: bool) -> None:
    """Where a mask, alpha, does not say otherwise."""
    channels = target.shape[2]
    colours = 1 if channels < 3 else 3
    if masked:
        np.copyto(target[..., :colours], rgba[..., :colours], where=rgba[..., 3:] > 0)
        return
    target[..., :colours] = rgba[..., :colours]
    if channels in (2, 4):
        target[..., -1] = rgba[..., 3]


def flat(header: Header, height: int, width: int) -> np.ndarray:
    """uint8 (height, width, C): what is shown where nothing is known, grey and opaque."""
    out = np.full((height, width, len(header.mode)), FLAT, np.uint8)
    if header.has_alpha:
        out[..., -1] = 255
    return out


def decode_pixels(file: Container, region: Box | None = None, on_error: OnError | None = None) -> np.ndarray:
    """uint8 (H, W, C) of a region of a file without weights.

    Raises: FormatError, ChecksumError.
    """
    region = region or picture_box(file.header)
    out = None  # allocated after the first patch decodes: a forged header must not cost a gigabyte
    for shared, pixels, masked in _decoded(file, region, on_error):
        if out is None:
            out = flat(file.header, region.height, region.width)
        _put(out[shared.shift(region.left, region.top).slices], pixels, masked)
    return flat(file.header, region.height, region.width) if out is None else out


def decode(
    file: Container, box: tuple[int, int, int, int] | None = None, on_error: OnError | None = None
) -> Image.Image:
    """A file without weights -> what `Codec.decode` makes of it, or of these pixels (left, top, right, bottom) of it.

    Raises: LatError and its kinds.
    """
    region = None if box is None else region_box(file.header, box)
    return to_pillow(decode_pixels(file, region, on_error), file.metadata)
