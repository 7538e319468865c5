"""The pages and frames of a picture file: how many there are, and each as a picture of its own.

Pictures of equal rank count: pages of a TIFF, frames of an animation, the pictures of an MPO. The sizes of an icon, the
layers of a PSD, previews, masks and smaller copies of a page are parts of one picture.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

from PIL import Image

from codec.errors import LatError, reason
from codec.picture import declared
from codec.picture.declared import jpeg
from codec.picture.image import Picture, frames, from_pillow, open_image
from codec.settings import MAX_PIXELS

ONE = {"ICO", "CUR", "ICNS", "PSD"}  # formats whose parts are one picture
NEW_SUBFILE_TYPE, REDUCED, MASK = 254, 1, 4  # a tag of TIFF, and bits of it
MOST = 100_000  # directories of a TIFF that are followed


def count(image: Image.Image, data: bytes, name: str) -> int:
    """How many pages or frames an opened file has; `data`: its bytes.

    Raises: LatError where the file is cut inside them.
    """
    said = declared.of(image)
    if said.format in ONE or image.format in ONE:
        return 1
    if said.format == "TIFF":
        return max(1, len(tiff_pages(data)))
    if said.format == "JPEG":
        entries = getattr(image, "mpinfo", {}).get(0xB002, [])
        kinds = [str(entry.get("Attribute", {}).get("MPType", "")) for entry in entries]
        return max(1, said.pictures - sum("Thumbnail" in kind for kind in kinds))
    return frames(image, name)


def count_in(data: bytes, name: str, max_pixels: int) -> int:
    """How many pages or frames the bytes of a file have. Raises: LatError."""
    return count(open_image(io.BytesIO(data), name, max_pixels), data, name)


def read_page(data: bytes, name: str, number: int, max_pixels: int = MAX_PIXELS, exact: bool = False) -> Picture:
    """Page or frame `number`, from 1 on, of the bytes of a file.

    Raises: LatError.
    """
    start = data[:4]
    if start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return from_pillow(open_image(io.BytesIO(start_at_page(data, number)), name, max_pixels), name, exact, True)
    if start[:2] == b"\xff\xd8":
        return from_pillow(open_image(io.BytesIO(mpo_picture(data, number)), name, max_pixels), name, exact, True)
    image = open_image(io.BytesIO(data), name, max_pixels)
    if number > 1:
        try:
            image.seek(number - 1)
        except Exception as error:  # as in `open_image`; some formats tell of pictures that Pillow does not reach
            raise LatError(f"{name}: frame {number} cannot be read: {reason(error)}; --first-frame") from None
    picture = from_pillow(image, name, exact, True)
    if image.info.get("duration"):
        picture.notes.append("the times of its frames are dropped")
    return picture


def tiff_pages(data: bytes) -> list[int]:
    """Where the directories of a TIFF lie that are pages."""
    return [at for at, kind in directories(data) if not kind & (REDUCED | MASK)]


def directories(data: bytes) -> Iterator[tuple[int, int]]:
    """(Place, NewSubfileType) of each directory of a TIFF, as far as they are whole."""
    endian = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    offset, number, entry, length = ("Q", "Q", "HHQQ", 20) if big else ("I", "H", "HHII", 12)
    seen: set[int] = set()
    try:
        at = struct.unpack_from(endian + offset, data, 8 if big else 4)[0]
        while at and at not in seen and len(seen) < MOST:
            seen.add(at)
            entries = struct.unpack_from(endian + number, data, at)[0]
            first = at + struct.calcsize(endian + number)
            behind = first + length * entries
            after = struct.unpack_from(endian + offset, data, behind)[0]
            kind = 0
            if entries:  # tags are in order, and this is the first that there is
                tag, type_, _, _ = struct.unpack_from(endian + entry, data, first)
                value_at = first + (12 if big else 8)
                if tag == NEW_SUBFILE_TYPE:
                    kind = struct.unpack_from(endian + ("H" if type_ == 3 else "I"), data, value_at)[0]
            yield at, kind
            at = after
    except struct.error:  # cut
        return


def start_at_page(data: bytes, number: int) -> bytes:
    """The same TIFF with page `number` as its first one. Raises: LatError."""
    pages = tiff_pages(data)
    if number > len(pages):
        raise LatError(f"page {number} of {len(pages)}")
    endian = "<" if data[:2] == b"II" else ">"
    if data[2:4] in (b"+\0", b"\0+"):
        return data[:8] + struct.pack(endian + "Q", pages[number - 1]) + data[16:]
    return data[:4] + struct.pack(endian + "I", pages[number - 1]) + data[8:]


def mpo_picture(data: bytes, number: int) -> bytes:
    """Picture `number` of those that follow each other in a JPEG; what lies between belongs to the first one.

    Raises: LatError.
    """
    end = jpeg.parse(data, 0).end
    places = [(0, end), *((at, at + size) for name, at, size in jpeg.behind(data, end) if name == "picture")]
    if number > len(places):
        raise LatError(f"picture {number} of {len(places)}")
    start, end = places[number - 1]
    return data[start:end]
