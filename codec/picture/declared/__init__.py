"""What the container of a picture declares, read before Pillow decodes it: one module a format, bounded for any input.

Pillow passes some of it over and misreads some; the reader (`picture/image.py`) compares what came with this.
"""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from codec.picture.declared import jpeg, png
from codec.picture.declared.record import Declared

__all__ = ["Declared", "declare", "dropped", "keep", "of"]

READERS: tuple[tuple[int, bytes, Callable[[bytes], Declared]], ...] = (  # offset and bytes of a signature
    (0, b"\xff\xd8", jpeg.declare),
    (0, b"\x89PNG\r\n\x1a\n", png.declare),
)
MANY = 8  # kinds of extras that get a note each
KEPT = "_codec_declared"  # the attribute of an image that has it


def declare(data: bytes) -> Declared:
    """The bytes of a file -> what it declares; never raises for what is in them."""
    for offset, signature, read in READERS:
        if data.startswith(signature, offset):
            return read(data)
    return Declared()


def keep(image: Image.Image, declared: Declared) -> None:
    """Remember it with an image that was opened from the file; an image that is made from this one forgets it."""
    setattr(image, KEPT, declared)


def of(image: Image.Image) -> Declared:
    """What the file of an image declares, as long as Pillow has it open; nothing for an image of another source."""
    known, file = getattr(image, KEPT, None), getattr(image, "fp", None)
    if known is not None or file is None:
        return known or Declared()
    at = file.tell()
    try:
        file.seek(0)
        return declare(file.read())
    finally:
        file.seek(at)


def dropped(declared: Declared) -> list[str]:
    """A note for each kind of thing in a file that is not kept."""
    notes = [f"{name} of {size:,} bytes is dropped" for name, size in declared.extras[:MANY]]
    if rest := declared.extras[MANY:]:
        notes.append(f"{len(rest)} further parts of {sum(size for _, size in rest):,} bytes are dropped")
    return notes
