"""What a JPEG declares (ITU-T T.81, JFIF, Exif, CIPA DC-007)."""

from __future__ import annotations

from codec.picture.declared.record import Declared


def declare(data: bytes) -> Declared:
    return Declared("JPEG")
