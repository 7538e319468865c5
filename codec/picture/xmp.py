"""XMP that announces what a .lat file does not hold: gain maps, videos, further XMP.

Namespaces: Adobe gain map 1.0, Google camera and container 1.0, Apple HDRGainMap 1.0, Adobe XMP part 3 (xmpNote).
"""

from __future__ import annotations

import re

PREFIX = rb"(?:hdrgm|HDRGainMap|hdr_metadata|GCamera|Camera|MicroVideo|Container|GContainer|Item|xmpNote)"
NAME = (
    rb"(?:hdrgm:\w+|HDRGainMap:\w+|hdr_metadata:\w+|G?Camera:(?:MotionPhoto|MicroVideo)\w*"
    rb"|G?Container:\w+|Item:\w+|xmpNote:HasExtendedXMP)"
)
OPENING = re.compile(rb"<(" + NAME + rb")(?:\s[^<>]*)?>")
ATTRIBUTE = re.compile(rb"\s" + NAME + rb"\s*=\s*(?:\"[^\"]*\"|'[^']*')")
NAMESPACE = re.compile(rb"\sxmlns:(" + PREFIX + rb")\s*=\s*(?:\"[^\"]*\"|'[^']*')")


def without_promises(xmp: bytes) -> tuple[bytes, str | None]:
    """(The packet less what it says of parts that are not kept, a note if that was something)."""
    if not re.search(rb"[<\s]" + NAME, xmp):
        return xmp, None
    said = ATTRIBUTE.sub(b"", without_elements(xmp))

    def unused(found: re.Match[bytes]) -> bytes:
        return found[0] if re.search(rb"[<\s/]" + found[1] + rb":", said) else b""

    return NAMESPACE.sub(unused, said), "XMP no longer announces a gain map, video or further XMP"


def without_elements(xmp: bytes) -> bytes:
    """Less the elements of these names with all that is in them; one without an end goes on to the end."""
    kept, at = [], 0
    while found := OPENING.search(xmp, at):
        kept.append(xmp[at : found.start()])
        at = found.end()
        if not found[0].endswith(b"/>"):
            closing = b"</" + found[1] + b">"
            end = xmp.find(closing, at)
            at = end + len(closing) if end >= 0 else len(xmp)
    return b"".join(kept) + xmp[at:]
