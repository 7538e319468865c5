"""What a GIF declares (GIF89a): the profile and XMP in its application extensions, others, what lies behind it."""

from __future__ import annotations

from codec.picture.declared.record import Declared

EXTENSION, PICTURE, END = 0x21, 0x2C, 0x3B
APPLICATION = 0xFF
PROFILE, XMP = b"ICCRGBG1012", b"XMP DataXMP"
LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
MAGIC = 257  # bytes behind the XMP that steer old readers through it
MOST = 1_000_000  # blocks


def declare(data: bytes) -> Declared:
    """The blocks of all frames, as far as they are whole."""
    if len(data) < 13:
        return Declared("GIF", fault="it ends within its header")
    at = 13 + table(data[10])
    icc = xmp = None
    extras: dict[str, int] = {}
    for _ in range(MOST):
        if at >= len(data) or data[at] not in (EXTENSION, PICTURE):
            break
        if data[at] == PICTURE:
            flags = data[at + 9] if at + 9 < len(data) else 0
            at = skip(data, at + 11 + table(flags))
            continue
        start, at = at + 2, skip(data, at + 2)
        if data[start - 1 : start + 1] == bytes([APPLICATION, 11]):
            name = data[start + 1 : start + 12]
            if name == PROFILE:
                icc = icc or joined(data, start + 12)
            elif name == XMP:
                xmp = xmp or data[start + 12 : at - MAGIC - 1] or None
            elif name not in LOOPS:
                title = f"GIF extension {name.decode('ascii', 'replace')}"
                if title in extras or len(extras) < 8:
                    extras[title] = extras.get(title, 0) + at - start - 12
    whole = at < len(data) and data[at] == END
    if whole and len(data) > at + 1:
        extras["data behind the GIF"] = len(data) - at - 1
    blemishes = () if whole else ("it ends too early (no trailer)",)
    return Declared("GIF", 8, icc=icc, xmp=xmp, extras=tuple(extras.items()), blemishes=blemishes)


def table(flags: int) -> int:
    """Bytes of a colour table."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def skip(data: bytes, at: int) -> int:
    """The place behind a row of sub-blocks."""
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1


def joined(data: bytes, at: int) -> bytes:
    """What a row of sub-blocks holds."""
    parts = []
    while at < len(data) and data[at]:
        parts.append(data[at + 1 : at + 1 + data[at]])
        at += data[at] + 1
    return b"".join(parts)
