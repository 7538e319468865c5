"""The record that every reader of this package fills in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Declared:
    """What a picture file declares. What a format cannot say, or a file does not, keeps its default.

    `format`: as people call it; "" for an unknown signature.
    `bits`: of the deepest sample; 0 where it is not said.  `kind`: of samples: unsigned, signed, float or complex.
    `channels`: of colour and alpha together; 0 where it is not said.
    `white_is_zero`: the smallest sample is white.  `planes`: each channel lies apart from the others.
    `icc`: a profile.  `cicp`: four bytes as in the cICP chunk of a PNG (ITU-T H.273).
    `chromaticity`: x, y of white, red, green, blue.  `gamma`: the exponent of the samples, 1 / 2.2 for a usual screen.
    `pictures`: how many of equal rank the file has.
    `extras`: (name, bytes) of each kind of thing in the file that a .lat file does not hold.
    `blemishes`: damage that leaves the pixels whole, one clause each: "the CRC of chunk tEXt is wrong".
    `mended`: the same file without its blemishes, where Pillow would refuse it for them.
    `fault`: why its pixels cannot be read, one clause.
    """

    format: str = ""
    bits: int = 0
    kind: str = "unsigned"
    channels: int = 0
    white_is_zero: bool = False
    planes: bool = False
    icc: bytes | None = None
    cicp: bytes | None = None
    chromaticity: tuple[float, ...] | None = None
    gamma: float | None = None
    pictures: int = 1
    extras: tuple[tuple[str, int], ...] = ()
    blemishes: tuple[str, ...] = ()
    mended: bytes | None = None
    fault: str = ""
