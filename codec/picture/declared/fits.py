"""What a FITS file declares (FITS Standard 4.0): depth, sign and scale of the samples of its first picture."""

from __future__ import annotations

from codec.picture.declared.record import Declared, further

CARD, BLOCK = 80, 2880
MOST = 100_000  # cards


def declare(data: bytes) -> Declared:
    """The header of the first unit that holds a picture; zero and scale where its samples are not what is meant."""
    at = 0
    while at < min(len(data), MOST * CARD):
        cards, at = header(data, at)
        prefix = "Z" if cards.get("ZIMAGE") == "T" else ""
        axes = number(cards, prefix + "NAXIS")
        if axes < 1:
            if not cards:
                break
            continue
        bitpix, planes = int(number(cards, prefix + "BITPIX", 8)), max(1, int(number(cards, prefix + "NAXIS3", 1)))
        zero, scale = number(cards, "BZERO"), number(cards, "BSCALE", 1)
        kind = "float" if bitpix < 0 else "unsigned" if bitpix == 8 else "signed"
        if axes > 3:
            return Declared("FITS", abs(bitpix), kind, fault=f"it has {axes:g} axes")
        fault = "it has three planes of colour, of which Pillow reads one" if planes == 3 else ""
        size = int(number(cards, prefix + "NAXIS1")) * int(number(cards, prefix + "NAXIS2", 1)) * abs(bitpix) // 8
        behind = len(data[at + -(-size * planes // BLOCK) * BLOCK :].strip(b"\0"))
        extras: tuple[tuple[str, int], ...] = (further(planes, size * (planes - 1)),) if planes > 1 else ()
        extras += (("further FITS units", behind),) if behind and not prefix else ()
        return Declared(
            "FITS", abs(bitpix), kind, 1, zero=zero, scale=scale, pictures=planes, extras=extras, fault=fault
        )
    return Declared("FITS", fault="it holds no picture")


def header(data: bytes, at: int) -> tuple[dict[str, str], int]:
    """(Keywords and values of the header at a place, where its data begin)"""
    cards: dict[str, str] = {}
    for place in range(at, min(len(data), at + MOST * CARD), CARD):
        card = data[place : place + CARD].decode("ascii", "replace")
        keyword = card[:8].strip()
        if keyword == "END":
            return cards, -(-(place + CARD) // BLOCK) * BLOCK
        if card[8:10] == "= ":
            cards.setdefault(keyword, card[10:].partition("/")[0].strip())
    return cards, len(data)


def number(cards: dict[str, str], key: str, default: float = 0) -> float:
    """A value, its exponent perhaps after a D, as in Fortran."""
    try:
        return float(cards[key].replace("D", "E"))
    except (KeyError, ValueError):
        return default
