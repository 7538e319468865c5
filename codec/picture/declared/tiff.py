"""What the first picture of a TIFF declares (TIFF 6.0, its supplements, BigTIFF)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from PIL import TiffTags

from codec.picture.declared.record import Declared

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
FORMATS = {1: "B", 3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I", 16: "Q"}
MOST = 4096  # tags, and values of a tag that is read
MANY = 6  # tags that are named
CCITT = (2, 3, 4)
WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR, TRANSFER = 256, 257, 258, 259, 262, 277, 284, 301
WHITE_POINT, PRIMARIES, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT = 318, 319, 332, 338, 339
SUBSAMPLING = 530
READ = {254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323}
READ |= {324, 325, 332, 334, 338, 339, 347, *range(512, 522), 529, 530, 531, 532}  # how the samples lie
READ |= {270, 271, 272, 282, 283, 296, 305, 306, 315, 318, 319, 33432}  # kept: see metadata
READ |= {700, 33723, 34665, 34675, 34853, 297, 290, 291, 50706}  # XMP, IPTC, EXIF, ICC; page numbers and the like
GEO = {33550, 33920, 33922, 34264, 34735, 34736, 34737}
NAMED = {330: "sub-pictures", 34377: "Photoshop resources", 37724: "Photoshop layers", 50838: "ImageJ data"}
NAMED |= {50839: "ImageJ data", 42112: "GDAL metadata", 42113: "GDAL's value for no data", 32934: "lens data"}
KINDS = {1: "unsigned", 2: "signed", 3: "float", 4: "unsigned", 5: "complex", 6: "complex"}


class Entry(NamedTuple):
    """One tag: where its values are, and how many bytes they take."""

    kind: int
    length: int
    at: int
    size: int


def declare(data: bytes) -> Declared:
    """What the tags of the first directory say."""
    endian = "<" if data[:2] == b"II" else ">"
    entries = dict(directory(data, endian))

    def values(tag: int, default: tuple) -> tuple:
        return read_values(data, endian, entries[tag]) if tag in entries else default

    bits = max(values(BITS, (1,)), default=1)
    formats = set(values(SAMPLE_FORMAT, (1,))) or {1}
    photometric = (values(PHOTOMETRIC, ()) or (None,))[0]
    compression = (values(COMPRESSION, ()) or (1,))[0]
    white_is_zero = compression in CCITT if photometric is None else photometric == 0  # without one, as libtiff does
    channels = (values(SAMPLES, ()) or (1,))[0]
    size = (values(WIDTH, ()) or (0,))[0] * (values(LENGTH, ()) or (0,))[0]
    kind = KINDS.get(min(formats), "unsigned") if len(formats) == 1 else "mixed"
    unnamed = sum(meaning == 0 for meaning in values(EXTRA_SAMPLES, ()))
    planes = (values(PLANAR, ()) or (1,))[0] == 2 and channels > 1
    fault = ""
    if planes and compression == 1 and bits == 16 and (photometric != 2 or 1 in values(EXTRA_SAMPLES, ())):
        fault = "its 16-bit planes are of a kind that Pillow does not read; store it with interleaved samples"
    elif planes and compression == 1 and bits == 8 and unnamed:
        fault = "it has planes beyond the colours, which Pillow does not read; store it with interleaved samples"
    elif photometric == 5 and ((values(INK_SET, ()) or (1,))[0] != 1 or channels < 4):
        fault = f"its {channels} inks are not cyan, magenta, yellow and black"
    elif photometric == 6 and compression == 1 and values(SUBSAMPLING, (2, 2))[:2] != (1, 1):
        fault = "its chroma is subsampled without compression, which Pillow does not read"
    return Declared(
        "TIFF",
        bits,
        kind,
        channels,
        white_is_zero,
        planes=planes,
        big_endian=endian == ">",
        chromaticity=chromaticity(values(WHITE_POINT, ()), values(PRIMARIES, ())),
        extras=(*extras(entries), *(((channel_name(unnamed), size * bits // 8 * unnamed),) if unnamed else ())),
        fault=fault,
    )


def directory(data: bytes, endian: str) -> Iterator[tuple[int, Entry]]:
    """The tags of the first directory; those that lie outside of the file are passed over."""
    big = data[2:4] in (b"+\0", b"\0+")
    offset, number, entry, inline = ("Q", "Q", "HHQ", 8) if big else ("I", "H", "HHI", 4)
    at = struct.unpack_from(endian + offset, data, 8 if big else 4)[0]
    count = struct.unpack_from(endian + number, data, at)[0]
    at += struct.calcsize(endian + number)
    for _ in range(min(count, MOST)):
        tag, kind, length = struct.unpack_from(endian + entry, data, at)
        place = at + struct.calcsize(endian + entry)
        size = length * SIZES.get(kind, 1)
        if size > inline:
            place = struct.unpack_from(endian + offset, data, place)[0]
        if place + size <= len(data):
            yield tag, Entry(kind, length, place, size)
        at += 20 if big else 12


def read_values(data: bytes, endian: str, entry: Entry) -> tuple:
    """Numbers; fractions as floats."""
    code, count = FORMATS.get(entry.kind), min(entry.length, MOST)
    if code is None:
        return ()
    found = struct.unpack_from(endian + str(count * len(code)) + code[0], data, entry.at)
    if len(code) == 1:
        return found
    return tuple(a / b if b else 0.0 for a, b in zip(found[::2], found[1::2]))


def chromaticity(white: tuple, primaries: tuple) -> tuple[float, ...] | None:
    """x, y of white, red, green, blue, where the tags have them."""
    found = (*(white or (0.3127, 0.3290)), *primaries)
    return found if len(primaries) == 6 and len(found) == 8 and min(found[1::2]) > 0 else None


def channel_name(count: int) -> str:
    return "channel beyond the colours" if count == 1 else f"{count} channels beyond the colours"


def extras(entries: dict[int, Entry]) -> Iterator[tuple[str, int]]:
    """What the tags hold that is not kept."""
    geo = sum(entry.size for tag, entry in entries.items() if tag in GEO)
    if geo:
        yield "GeoTIFF tags", geo
    others = []
    for tag, entry in entries.items():
        if tag in NAMED:
            yield NAMED[tag], entry.size
        elif tag not in READ and tag not in GEO:
            others.append(tag)
    if others:
        said = ", ".join(name(tag) for tag in others[:MANY])
        more = f" and {len(others) - MANY} more" if len(others) > MANY else ""
        yield f"TIFF tags {said}{more}", sum(entries[tag].size for tag in others)


def name(tag: int) -> str:
    found = TiffTags.lookup(tag).name
    return str(tag) if found == "unknown" else found
