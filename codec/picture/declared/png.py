"""What a PNG declares (W3C Portable Network Graphics, third edition)."""

from __future__ import annotations

from codec.picture.declared.record import Declared


def declare(data: bytes) -> Declared:
    return Declared("PNG")
