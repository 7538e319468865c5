"""What Pillow misreads of a TIFF or FITS, put right by what the file declares; all of it is arithmetic."""

from __future__ import annotations

import re

from PIL import Image, ImageOps, ImagePalette

from codec.picture import samples
from codec.picture.declared import Declared

COLOUR_MAP = 320  # the tag of a TIFF
NATIVE = {
    "F;32F": "F;32NF",
    "F;32BF": "F;32NF",
    "I;32S": "I;32NS",
    "I;32BS": "I;32NS",
    "I;16S": "I;16NS",
    "I;16BS": "I;16NS",
}
TURNED = re.compile(r"(?:^| )[1L];\d?I")  # raw modes in which Pillow turns white to 0


def before_loading(image: Image.Image, said: Declared) -> None:
    """Colour maps of 8 bits where 16 are meant; how the samples lie."""
    if image.format != "TIFF":
        return
    colours = getattr(image, "tag_v2", {}).get(COLOUR_MAP, ())
    if image.mode in ("P", "PA") and 0 < max(colours, default=0) < 256:  # libtiff goes by the same sign
        image.palette = ImagePalette.raw("RGB;L", bytes(colours))
    tiles = [tile for tile in getattr(image, "tile", []) if tile[3][0] != ";"]  # a plane that has no colour
    image.tile = [with_raw_mode(tile, raw_mode(tile, said)) for tile in tiles]  # type: ignore[attr-defined]


def raw_mode(tile: tuple, said: Declared) -> str:
    """The raw mode that a tile of a TIFF has: libtiff gives native samples, a plane has the depth of its picture."""
    decoder, mode = tile[0], tile[3][0]
    if decoder == "libtiff":
        return NATIVE.get(mode, mode)
    if said.planes and said.bits == 16 and len(mode) == 1:
        return mode + (";16B" if said.big_endian else ";16L")
    return mode


def with_raw_mode(tile: tuple, mode: str) -> tuple:
    args = (mode, *tile[3][1:])
    return tile._replace(args=args) if hasattr(tile, "_replace") else (*tile[:3], args)


def eight_bit(image: Image.Image, raw: str, said: Declared) -> tuple[Image.Image, list[str]]:
    """A loaded image with samples of 8 bits and 0 as black, and notes. `raw`: `samples.raw_modes` before it was loaded.

    Raises: LatError.
    """
    notes: list[str] = []
    if samples.is_deep(image):
        image, notes = samples.reduced(image, raw, said)
    elif (
        image.mode == "L" and said.bits == 8 and (said.kind == "signed" or said.format == "FITS" and said.zero == -128)
    ):
        image, notes = samples.of_signed_bytes(image, said)
    elif (bits := samples.bits_before(image, raw, said)) > 8:
        notes = [f"{bits}-bit samples are reduced to 8 bits"]
    if said.format == "TIFF" and image.mode in ("1", "L") and said.white_is_zero != bool(TURNED.search(raw)):
        image = ImageOps.invert(image.convert("L"))
    return image, notes
