"""What the container of a picture declares, read before Pillow decodes it: one module a format, bounded for any input.

Pillow passes some of it over and misreads some; the reader (`picture/image.py`) compares what came with this.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageFile

from codec.picture.declared import bmp, fits, gif, isobmff, jpeg, jpeg2000, jxl, others, png, pnm, tiff
from codec.picture.declared.record import FURTHER, Declared

__all__ = ["Declared", "declare", "dropped", "format_of", "keep", "mend", "of"]

READERS: tuple[tuple[int, bytes, str, Callable[[bytes], Declared]], ...] = (  # offset, signature, format
    (0, b"\xff\xd8", "JPEG", jpeg.declare),
    (0, b"\x89PNG\r\n\x1a\n", "PNG", png.declare),
    *((0, start, "TIFF", tiff.declare) for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    *((8, b, "AVIF", isobmff.declare) for b in (b"avif", b"avis")),
    *(
        (8, b, "HEIC", isobmff.declare)
        for b in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
    ),
    (4, b"jP  \r\n\x87\n", "JPEG 2000", jpeg2000.declare),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000", jpeg2000.declare),
    (4, b"JXL \r\n\x87\n", "JPEG XL", jxl.declare),
    (0, b"\xff\x0a", "JPEG XL", jxl.declare),
    (0, b"BM", "BMP", bmp.declare),
    (0, b"GIF8", "GIF", gif.declare),
    (8, b"WEBP", "WebP", others.webp),
    *((0, b"P" + n, "PPM", pnm.declare) for n in (b"1", b"2", b"3", b"4", b"5", b"6", b"f", b"F")),
    (0, b"SIMPLE  =", "FITS", fits.declare),
    (0, b"8BPS", "PSD", others.psd),
    (0, b"\0\0\1\0", "ICO", others.ico),
    (0, b"\0\0\2\0", "CUR", others.ico),
    (0, b"icns", "ICNS", others.icns),
    (0, b"\x01\xda", "SGI", others.sgi),
    (0, b"DDS ", "DDS", others.dds),
)
MANY = 8  # kinds of extras that get a note each
MENDED = "the Adler-32 of the pixels is wrong"
KEPT = "_codec_declared"  # the attribute of an image that has it


def declare(data: bytes) -> Declared:
    """The bytes of a file -> what it declares; never raises for what is in them."""
    tga = (max(0, len(data) - len(others.TGA_FOOTER)), others.TGA_FOOTER, "TGA", others.tga)
    for offset, signature, format, read in (tga, *READERS):
        if data.startswith(signature, offset):
            try:
                return read(data)
            except (struct.error, IndexError, ValueError, OverflowError):  # cut, or forged
                return Declared(format, blemishes=("its header is damaged",))
    return Declared()


def keep(image: Image.Image, declared: Declared) -> None:
    """Remember it with an image that was opened from the file; an image that is made from this one forgets it."""
    setattr(image, KEPT, declared)


def of(image: Image.Image) -> Declared:
    """What the file of an image declares: one that Pillow has open, or has loaded by its name; else nothing."""
    known, file = getattr(image, KEPT, None), getattr(image, "fp", None)
    if known is None:
        known = of_file(file) if file is not None else of_path(image)
        keep(image, known)
    return known


def of_file(file: BinaryIO) -> Declared:
    if file.closed:
        return Declared()
    at = file.tell()
    try:
        file.seek(0)
        return declare(file.read())
    finally:
        file.seek(at)


def of_path(image: Image.Image) -> Declared:
    """What the file says that a loaded image came from, as long as it is there."""
    name = getattr(image, "filename", None)
    if not name or not isinstance(image, ImageFile.ImageFile):
        return Declared()
    try:
        return declare(Path(os.fsdecode(name)).read_bytes())
    except OSError:
        return Declared()


def mend(said: Declared, file: BinaryIO | None) -> bytes | None:
    """The bytes of a file whose pixels Pillow refuses for a checksum alone, with that put right; else None."""
    if said.format != "PNG" or file is None or file.closed or MENDED in said.blemishes:
        return None
    file.seek(0)
    return png.mend_pixels(file.read())


def format_of(data: bytes) -> str:
    """The format of a file by its first bytes, as people call it; "" for an unknown signature."""
    return next((format for at, start, format, _ in READERS if data.startswith(start, at)), "")


def dropped(declared: Declared, alone: bool = False) -> list[str]:
    """A note for each kind of thing in a file that is not kept; of further pictures there is none with `alone`."""
    extras = [extra for extra in declared.extras if not (alone and FURTHER.fullmatch(extra[0]))]
    notes = [f"dropped {name} ({size:,} bytes)" for name, size in extras[:MANY]]
    if rest := extras[MANY:]:
        notes.append(f"dropped {len(rest)} further parts ({sum(size for _, size in rest):,} bytes)")
    return notes
