"""What a JPEG 2000 declares (ISO/IEC 15444-1): a codestream, or one in the boxes of JP2 and JPX."""

from __future__ import annotations

import struct
from dataclasses import replace

from codec.picture.declared.isobmff import boxes
from codec.picture.declared.record import Declared, cut, further

XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # the UUID of its box (XMP Specification, part 3)
KNOWN = {"jP  ", "ftyp", "jp2h", "jp2c", "rreq", "free"}
READ = (0, 12, 15, 16, 17, 18)  # enumerated colour spaces that Pillow reads rightly: bilevel, CMYK, sRGB, grey, sYCC
SPACES = {
    1: "YCbCr (1)",
    3: "YCbCr (2)",
    4: "YCbCr (3)",
    11: "CMY",
    13: "YCCK",
    14: "CIELab",
    19: "CIEJab",
    20: "e-sRGB",
}
SPACES |= {21: "ROMM RGB", 22: "YPbPr", 23: "YPbPr", 24: "e-sYCC"}


def declare(data: bytes) -> Declared:
    """What the boxes around the codestream say, and its SIZ segment."""
    if data.startswith(b"\xff\x4f"):
        return of_codestream(data, 0)
    icc, xmp, fault, stream, end, pictures, behind = None, None, "", -1, 0, 0, 0
    extras: dict[str, int] = {}
    for kind, start, stop in boxes(data, 0, len(data)):
        if kind == "jp2h":
            icc, fault = read_header(data, start, min(stop, len(data)))
        elif kind == "jp2c":
            pictures += 1
            if stream < 0:
                stream = start
            else:
                behind += stop - start
        elif kind == "uuid" and data[start : start + 16] == XMP:
            xmp = data[start + 16 : stop]
        elif kind not in KNOWN:
            extras[f"JPEG 2000 box {kind}"] = extras.get(f"JPEG 2000 box {kind}", 0) + stop - start
        end = stop
    if len(data) > end:
        extras["data behind the picture"] = len(data) - end
    if pictures > 1:
        extras |= [further(pictures, behind)]
    if stream < 0:
        return Declared("JPEG 2000", fault=fault or "it has no codestream")
    found = of_codestream(data, stream, icc, fault)
    return replace(found, xmp=xmp, pictures=pictures, extras=tuple(extras.items()), blemishes=cut(end, data))


def of_codestream(data: bytes, at: int, icc: bytes | None = None, fault: str = "") -> Declared:
    """Depth and channels of a codestream. Pillow rounds deep colours up, past the largest sample and round to 0."""
    channels = struct.unpack_from(">H", data, at + 40)[0]
    depths = data[at + 42 : at + 42 + 3 * channels : 3]
    bits = max(((d & 0x7F) + 1 for d in depths), default=0)
    if bits > 8 and channels > 1:
        misread = f"its colours have {bits} bits a sample, and Pillow turns the brightest ones into black"
        fault = fault or f"{misread}; convert it to .tif or .png first"
    signed = "signed" if any(d & 0x80 for d in depths) else "unsigned"
    return Declared("JPEG 2000", bits, signed, channels, icc=icc, fault=fault)


def read_header(data: bytes, start: int, end: int) -> tuple[bytes | None, str]:
    """(The ICC profile of a jp2h box, why Pillow misreads it)"""
    icc, fault, colours = None, "", 0
    for kind, first, stop in boxes(data, start, end):
        stop = min(stop, end)
        if kind == "colr" and stop - first >= 3:
            colours += 1
            if data[first] in (2, 3) and icc is None:
                icc = data[first + 3 : stop]
            elif data[first] == 1 and stop - first >= 7:
                space = struct.unpack_from(">I", data, first + 3)[0]
                if space not in READ and colours == 1:
                    fault = f"its colours are {SPACES.get(space, f'of kind {space}')}, which Pillow takes as RGB"
        elif kind == "cdef":
            fault = fault or wrong_order(data[first:stop])
    return icc, fault


def wrong_order(body: bytes) -> str:
    """Why the channels of a cdef box are not in the order in which Pillow takes them; empty where they are."""
    count = struct.unpack_from(">H", body)[0] if len(body) >= 2 else 0
    triples = [struct.unpack_from(">HHH", body, 2 + 6 * i) for i in range(min(count, (len(body) - 2) // 6))]
    colours = [(channel, place) for channel, kind, place in triples if kind == 0]
    if any(place not in (0, 0xFFFF, channel + 1) for channel, place in colours):
        return "its channels are not in the order red, green, blue, which Pillow does not see"
    if any(kind in (1, 2) and channel < len(colours) for channel, kind, _ in triples):
        return "its alpha is not the last channel, which Pillow does not see"
    return ""
