"""What a BMP declares (Windows headers of 12 to 124 bytes, OS/2)."""

from __future__ import annotations

import struct

from codec.picture.declared.record import Declared

BITFIELDS, ALPHA_BITFIELDS = 3, 6
COMPRESSED = {4: "JPEG", 5: "PNG"}
CALIBRATED, LINKED, EMBEDDED = 0, b"KNIL", b"DEBM"  # LCS_CALIBRATED_RGB, PROFILE_LINKED and _EMBEDDED as in the file
D65 = (0.3127, 0.3290)


def declare(data: bytes) -> Declared:
    """What the headers say: depth by the masks, and colours."""
    if len(data) < 26:
        return Declared("BMP", fault="it ends within its header")
    start, header = struct.unpack_from("<II", data, 10)
    if header == 12:
        return Declared("BMP", of_depth(struct.unpack_from("<H", data, 24)[0]))
    if len(data) < 14 + header or header < 16:
        return Declared("BMP", fault="it ends within its header, or its header is damaged")
    depth = struct.unpack_from("<H", data, 28)[0]
    compression = struct.unpack_from("<I", data, 30)[0] if header >= 40 else 0
    masks = struct.unpack_from("<3I", data, 54) if header >= 40 and len(data) >= 66 else ()
    bits = of_depth(depth)
    if compression in (BITFIELDS, ALPHA_BITFIELDS) and depth in (16, 32) and any(masks):
        bits = max(bin(mask).count("1") for mask in masks)
    fault = f"it holds a {COMPRESSED[compression]}" if compression in COMPRESSED else ""
    icc, chromaticity, gamma, extras = None, None, None, []
    if header >= 108:
        kind = data[70:74]
        if header >= 124 and kind in (LINKED, EMBEDDED):
            place, size = struct.unpack_from("<II", data, 126)
            body = data[14 + place : 14 + place + size]
            if kind == LINKED:
                extras.append(("link to an ICC profile", size))
            elif len(body) == size and size:
                icc = body
            else:
                extras.append(("unreadable ICC profile", size))
        elif kind == bytes(4):
            chromaticity, gamma = calibrated(data)
    width, height = struct.unpack_from("<ii", data, 18)
    end = start + (abs(width) * depth + 31) // 32 * 4 * abs(height)
    if header >= 124 and kind in (LINKED, EMBEDDED):
        end = max(end, 14 + place + size)
    if compression in (0, BITFIELDS, ALPHA_BITFIELDS) and data[end:].strip(b"\0"):
        extras.append(("data behind the BMP", len(data) - end))
    return Declared("BMP", bits, icc=icc, chromaticity=chromaticity, gamma=gamma, extras=tuple(extras), fault=fault)


def of_depth(bits: int) -> int:
    """Bits of a sample by those of a pixel without masks."""
    return {16: 5, 24: 8, 32: 8, 64: 16}.get(bits, min(bits, 8))


def calibrated(data: bytes) -> tuple[tuple[float, ...] | None, float | None]:
    """(Chromaticities, gamma) of a header of version 4: CIE XYZ of red, green and blue as 2.30, gamma as 16.16."""
    ends = [v / 2**30 for v in struct.unpack_from("<9I", data, 74)]
    places = [ends[i : i + 3] for i in (0, 3, 6)]
    if not all(0.5 < sum(place) < 3 or max(place) > 0 for place in places):
        return None, None
    colours = [v / (sum(place) or 1) for place in places for v in place[:2]]
    total = [sum(place[i] for place in places) for i in range(3)]
    white = tuple(v / sum(total) for v in total[:2]) if sum(total) > 2 else D65
    powers = [v / 65536 for v in struct.unpack_from("<3I", data, 110)]
    power = powers[1] if min(powers) > 0.1 and max(powers) < 10 else 0
    return (*white, *colours), (1 / power if power else None)
