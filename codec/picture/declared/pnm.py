"""What a PPM, PGM, PBM, PAM or PFM declares (netpbm): depth, and how many pictures lie in the file."""

from __future__ import annotations

import re

from codec.picture.declared.record import Declared, further

BLANK = rb"(?:\s|#[^\r\n]{0,1000}[\r\n])+"
BITMAP = re.compile(rb"P4" + BLANK + rb"(\d{1,9})" + BLANK + rb"(\d{1,9})\s")
PICTURE = re.compile(rb"P([56])" + BLANK + rb"(\d{1,9})" + BLANK + rb"(\d{1,9})" + BLANK + rb"(\d{1,5})\s")
COMMENT = re.compile(rb"#([^\r\n]*)")
LONGEST = 4096  # bytes of a header
MOST = 1000  # pictures that are counted


def declare(data: bytes) -> Declared:
    """Depth of the first picture; further ones, and what follows them, by their headers."""
    at, bits, count, first = 0, 0, 0, 0
    while count < MOST and (found := measure(data, at)):
        depth, size = found
        bits = bits or depth
        at += size
        count += 1
        first = first or at
        if data[at : at + 1].isspace() and data[at + 1 : at + 2] == b"P":
            at += 1
    extras = []
    header = PICTURE.match(data, 0, LONGEST) or BITMAP.match(data, 0, LONGEST)
    if header and (comments := b"".join(COMMENT.findall(header[0]))):
        extras.append(("comment", len(comments)))
    if count > 1:
        extras.append(further(count, at - first))
    if count and len(data) > at and data[at:].strip():
        extras.append(("data behind the picture", len(data) - at))
    fault = "it has three float samples, which Pillow does not read; convert it to .tif" if data[:2] == b"PF" else ""
    return Declared("PPM", bits, fault=fault, pictures=max(1, count), extras=tuple(extras))


def measure(data: bytes, at: int) -> tuple[int, int] | None:
    """(Bits of a sample, bytes of header and pixels) of the binary picture at a place; None where there is none."""
    if found := BITMAP.match(data, at, at + LONGEST):
        width, height = int(found[1]), int(found[2])
        return 1, found.end() - at + (width + 7) // 8 * height
    if found := PICTURE.match(data, at, at + LONGEST):
        width, height, top = (int(found[i]) for i in (2, 3, 4))
        samples = width * height * (3 if found[1] == b"6" else 1)
        return top.bit_length(), found.end() - at + samples * (2 if top > 255 else 1)
    return None
