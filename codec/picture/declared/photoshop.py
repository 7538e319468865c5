"""Image resources of Adobe Photoshop, in a PSD or a segment of a JPEG (Adobe Photoshop File Formats Specification)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

RESOLUTION, IPTC, ICC, XMP, IPTC_DIGEST, VERSION = 1005, 1028, 1039, 1060, 1061, 1057
MOST = 4096


def resources(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, content) of each, as far as they are whole."""
    at = 0
    for _ in range(MOST):
        if at + 8 > len(data) or data[at : at + 4] not in (b"8BIM", b"MeSa", b"PHUT", b"AgHg", b"DCSR"):
            return
        number, name = struct.unpack_from(">HB", data, at + 4)
        start = at + 6 + (name + 2) // 2 * 2 + 4
        if start > len(data):
            return
        size = struct.unpack_from(">I", data, start - 4)[0]
        yield number, data[start : start + size]
        at = start + size + size % 2


def others(data: bytes) -> Iterator[int]:
    """Bytes of each one that is not kept, nor told elsewhere."""
    for number, content in resources(data):
        if number not in (RESOLUTION, IPTC, ICC, XMP, IPTC_DIGEST, VERSION):
            yield len(content)
