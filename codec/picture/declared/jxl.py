"""What a JPEG XL declares (ISO/IEC 18181-1, image metadata): depth and kind of its samples; boxes that are not kept."""

from __future__ import annotations

from codec.picture.declared.isobmff import boxes
from codec.picture.declared.record import Declared, cut

KNOWN = {"JXL ", "ftyp", "jxlc", "jxlp", "jxll", "jxli", "Exif", "xml ", "brob"}
NAMES = {"jbrd": "what gives the JPEG back", "jhgm": "gain map", "jumb": "JUMBF data"}
HEADER = 64  # bytes of a codestream that hold what is read


class Bits:
    """The bits of a codestream, each byte from the lowest on; those beyond its end are 0."""

    def __init__(self, data: bytes):
        self.value, self.at = int.from_bytes(data[:HEADER], "little"), 0

    def take(self, count: int) -> int:
        found = self.value >> self.at & (1 << count) - 1
        self.at += count
        return found

    def choose(self, *kinds: tuple[int, int]) -> int:
        """A number of one of four kinds, (what is added, how many bits)."""
        base, count = kinds[self.take(2)]
        return base + self.take(count)


def declare(data: bytes) -> Declared:
    """Of a codestream, or of one in boxes."""
    extras: dict[str, int] = {}
    stream, end = data, len(data)
    if not data.startswith(b"\xff\x0a"):
        stream, end = b"", 0
        for kind, start, stop in boxes(data, 0, len(data)):
            if kind in ("jxlc", "jxlp") and not stream:
                stream = data[start + (4 if kind == "jxlp" else 0) : stop]
            elif kind not in KNOWN:
                name = NAMES.get(kind, f"JPEG XL box {kind}")
                extras[name] = extras.get(name, 0) + stop - start
            end = stop
    bits, kind = depth(Bits(stream[2 : 2 + HEADER]))
    pixels = size(Bits(stream[2 : 2 + HEADER]))
    return Declared("JPEG XL", bits, kind, pixels=pixels, extras=tuple(extras.items()), blemishes=cut(end, data))


RATIOS = (1, 6 / 5, 4 / 3, 3 / 2, 16 / 9, 5 / 4, 2)  # width to height


def depth(stream: Bits) -> tuple[int, str]:
    """(Bits, kind) of a sample."""
    size(stream)
    if stream.take(1):  # everything is as usual
        return 8, "unsigned"
    if stream.take(1):  # further fields
        stream.take(3)
        if stream.take(1):
            size(stream)
        if stream.take(1):
            preview(stream)
        if stream.take(1):
            animation(stream)
    if stream.take(1):
        return stream.choose((32, 0), (16, 0), (24, 0), (1, 6)), "float"
    return stream.choose((8, 0), (10, 0), (12, 0), (1, 6)), "unsigned"


def size(stream: Bits) -> int:
    """Pass a SizeHeader over -> pixels."""
    small = stream.take(1)

    def side() -> int:
        return 8 * (1 + stream.take(5)) if small else stream.choose((1, 9), (1, 13), (1, 18), (1, 30))

    height = side()
    ratio = stream.take(3)
    return height * (side() if ratio == 0 else int(height * RATIOS[ratio - 1]))


def preview(stream: Bits) -> None:
    eighths = stream.take(1)
    kinds = ((16, 0), (32, 0), (1, 5), (33, 9)) if eighths else ((1, 6), (65, 8), (321, 10), (1345, 12))
    stream.choose(*kinds)
    if stream.take(3) == 0:
        stream.choose(*kinds)


def animation(stream: Bits) -> None:
    stream.choose((100, 0), (1000, 0), (1, 10), (1, 30))
    stream.choose((1, 0), (1001, 0), (1, 8), (1, 10))
    stream.choose((0, 0), (0, 3), (0, 16), (0, 32))
    stream.take(1)
