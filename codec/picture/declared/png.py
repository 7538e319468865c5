"""What a PNG declares (W3C, third edition), and the repair of what only its checksums break."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from PIL import PngImagePlugin

from codec.picture.declared.record import Declared

SIGNATURE = 8
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a colour type
READ = {"IHDR", "PLTE", "IDAT", "IEND", "tRNS", "cHRM", "gAMA", "iCCP", "sRGB", "cICP", "pHYs", "eXIf"}
READ |= {"tEXt", "zTXt", "iTXt", "acTL", "fcTL", "fdAT"}
SHORTEST = {"gAMA": 4, "cHRM": 32, "sRGB": 1, "pHYs": 9, "zTXt": 3, "iCCP": 3, "acTL": 8}  # bytes
MANY = 6  # kinds of chunks that are named
MOST = 200_000  # chunks


class Chunk(NamedTuple):
    """`whole`: its checksum is there and right."""

    kind: str
    start: int  # of its length
    length: int
    whole: bool


def declare(data: bytes) -> Declared:
    """What the chunks say; a copy without the ancillary ones that are damaged."""
    if len(data) < 33:
        return Declared("PNG", fault="it ends within its header")
    found = list(islice(chunks(data), MOST))
    if len(found) == MOST:
        return Declared("PNG", fault=f"it has more than {MOST:,} chunks")
    dropped: Counter[str] = Counter()
    cicp = None
    blemishes: list[str] = []
    left_out: list[Chunk] = []
    for chunk in found:
        if chunk.kind == "IDAT":
            if not chunk.whole and "the CRC of the pixels is wrong" not in blemishes:
                blemishes.append("the CRC of the pixels is wrong")
        elif flaw := flaw_of(data, chunk):
            if chunk.kind[0].isupper() or chunk.kind == "tRNS":
                return Declared("PNG", fault=f"chunk {chunk.kind} is damaged")
            left_out.append(chunk)
            blemishes.append(flaw)
        elif chunk.kind == "cICP" and chunk.length == 4:
            cicp = data[chunk.start + 8 : chunk.start + 12]
        elif chunk.kind not in READ:
            dropped[chunk.kind] += chunk.length
    end = found[-1].start + found[-1].length + 12 if found else SIGNATURE
    if not found or found[0].kind != "IHDR" or found[0].length < 13:
        return Declared("PNG", fault="its header is damaged")
    if found[-1].kind != "IEND":
        if not any(chunk.kind == "IDAT" for chunk in found):
            return Declared("PNG", fault="it ends before its pixels" if end >= len(data) else "its chunks are damaged")
        blemishes.append("it ends too early (no IEND)")
    extras = [(f"PNG chunks {', '.join(names(dropped))}", sum(dropped.values()))] if dropped else []
    if len(data) > end:
        extras.append(("data behind the PNG", len(data) - end))
    bits, colour = data[24:26]
    mended = without(data, left_out) if left_out else None
    channels = CHANNELS.get(colour, 0)
    fault = "" if channels else f"its colour type {colour} does not exist"
    return Declared(
        "PNG",
        bits,
        channels=channels,
        cicp=cicp,
        extras=tuple(extras),
        blemishes=tuple(blemishes),
        mended=mended,
        fault=fault,
    )


def chunks(data: bytes) -> Iterator[Chunk]:
    """All up to IEND, the end of the data, or what is no chunk; the last may be cut."""
    at, view = SIGNATURE, memoryview(data)
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if not name.isalpha():
            return
        end = at + 8 + length
        whole = end + 4 <= len(data) and zlib.crc32(view[at + 4 : end]) == struct.unpack_from(">I", data, end)[0]
        yield Chunk(name.decode("ascii"), at, length, whole)
        if name == b"IEND":
            return
        at = end + 4


def flaw_of(data: bytes, chunk: Chunk) -> str:
    """What is wrong with a chunk, or with what it holds; empty for nothing."""
    if chunk.kind in ("IEND", "fdAT"):
        return ""
    if not chunk.whole or chunk.length < SHORTEST.get(chunk.kind, 0):
        return f"PNG chunk {chunk.kind} is damaged and left out"
    if chunk.kind not in ("iCCP", "zTXt", "iTXt"):
        return ""
    body = data[chunk.start + 8 : chunk.start + 8 + chunk.length]
    _, _, rest = body.partition(b"\0")
    if chunk.kind == "iTXt":
        if rest[:1] != b"\1":
            return ""
        rest = rest[1:2] + rest[2:].split(b"\0", 2)[-1]
    what = "the ICC profile" if chunk.kind == "iCCP" else f"the text of PNG chunk {chunk.kind}"
    return (
        ""
        if inflates(rest, PngImagePlugin.MAX_TEXT_CHUNK)
        else f"{what} cannot be read and is left out ({chunk.length:,} bytes)"
    )


def inflates(packed: bytes, limit: int) -> bool:
    """Whether a method byte and a whole zlib stream give at most `limit` bytes, Pillow's own limit."""
    if packed[:1] != b"\0":
        return False
    stream = zlib.decompressobj()
    try:
        stream.decompress(packed[1:], limit)
    except zlib.error:
        return False
    return stream.eof


def names(dropped: Counter[str]) -> list[str]:
    """Those of chunks, as far as a line holds them."""
    listed = list(dropped)
    return listed if len(listed) <= MANY else [*listed[:MANY], f"{len(listed) - MANY} further kinds"]


def without(data: bytes, left_out: list[Chunk]) -> bytes:
    """The same file less some chunks."""
    parts, at = [], 0
    for chunk in left_out:
        parts.append(data[at : chunk.start])
        at = chunk.start + chunk.length + 12
    return b"".join([*parts, data[at:]])


def mend_pixels(data: bytes) -> bytes | None:
    """The same file with the right Adler-32, where only that is wrong; None where more is, or nothing."""
    found = [chunk for chunk in chunks(data) if chunk.kind == "IDAT"]
    if len(data) < 33 or not found or not all(chunk.whole for chunk in found):
        return None
    packed = b"".join(data[c.start + 8 : c.start + 8 + c.length] for c in found)
    width, height = struct.unpack_from(">II", data, 16)
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        pixels = stream.decompress(packed[2:], (8 * width + 8) * (height + 8))
    except zlib.error:
        return None
    if not stream.eof:
        return None
    packed = packed[: len(packed) - len(stream.unused_data)] + struct.pack(">I", zlib.adler32(pixels))
    body = struct.pack(">I", len(packed)) + b"IDAT" + packed + struct.pack(">I", zlib.crc32(b"IDAT" + packed))
    rest = without(data, found[1:])
    first = found[0]
    return rest[: first.start] + body + rest[first.start + first.length + 12 :]
