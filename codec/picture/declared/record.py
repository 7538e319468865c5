"""The record that every reader of this package fills in."""

from __future__ import annotations

import re
from dataclasses import dataclass

FURTHER = re.compile(r"(\d+ )?further pictures?")  # the names that `further` gives


@dataclass(frozen=True)
class Declared:
    """What a picture file declares. What a format cannot say, or a file does not, keeps its default.

    `format`: as people call it; "" for an unknown signature.
    `bits`: of the deepest sample; 0 where it is not said.  `kind`: of samples: unsigned, signed, float or complex.
    `channels`: of colour and alpha together; 0 where it is not said.
    `white_is_zero`: the smallest sample is white.  `planes`: each channel lies apart from the others.  `big_endian`.
    `zero`, `scale`: a sample means zero + scale · sample (FITS).
    `icc`, `xmp`: what Pillow does not read of them.  `cicp`: as in the cICP chunk of a PNG (ITU-T H.273).
    `chromaticity`: x, y of white, red, green, blue.  `gamma`: the exponent of the samples, 1 / 2.2 for a usual screen.
    `pixels`: of the largest picture in it, where a plugin decodes that before it tells the size; else 0.
    `pictures`: how many of equal rank the file has, where Pillow does not count them; all but one are `extras` too.
    `extras`: (name, bytes) of each kind of thing in the file that a .lat file does not hold.
    `blemishes`: damage, one clause each: "chunk tEXt is damaged and left out". Where Pillow reads the picture all the
    same they are notes, else the reason.
    `mended`: the same file without its blemishes, where Pillow would refuse it for them.
    `fault`: why its pixels cannot be read rightly, one clause, whether Pillow sees it or not.
    """

    format: str = ""
    bits: int = 0
    kind: str = "unsigned"
    channels: int = 0
    white_is_zero: bool = False
    planes: bool = False
    big_endian: bool = False
    zero: float = 0.0
    scale: float = 1.0
    icc: bytes | None = None
    xmp: bytes | None = None
    cicp: bytes | None = None
    chromaticity: tuple[float, ...] | None = None
    gamma: float | None = None
    pixels: int = 0
    pictures: int = 1
    extras: tuple[tuple[str, int], ...] = ()
    blemishes: tuple[str, ...] = ()
    mended: bytes | None = None
    fault: str = ""


def cut(end: int, data: bytes) -> tuple[str, ...]:
    """A blemish where a file ends before the place that it declares."""
    return (f"it is cut: {end - len(data):,} of {end:,} bytes are missing",) if end > len(data) else ()


def further(count: int, size: int) -> tuple[str, int]:
    """What is dropped of `count` pictures, `size` bytes: all but one."""
    return ("further picture" if count == 2 else f"{count - 1} further pictures", size)
