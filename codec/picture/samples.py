"""Samples of more than 8 bits -> 8 bits, by a scale that no single sample decides. FILES.md has the rules for users."""

from __future__ import annotations

import numpy as np
from PIL import Image

from codec.errors import LatError
from codec.picture.declared import Declared

SAMPLE_FORMAT = 339  # the TIFF tags that declare a range
BITS_PER_SAMPLE = 258
FAR_OUTSIDE = 0.1  # of a range: so much overshoot is left by resampling
MANY = 0.1  # of the samples far outside: then the range is not theirs
FEW = 0.01
BLACK = 2  # the most that passes for black in 8 bits
DARK = 1 / 256  # of a range: 8 bits have nothing below


def is_deep(image: Image.Image) -> bool:
    """Whether a grey image has samples of more than 8 bits."""
    return image.mode.startswith("I;16") or image.mode in ("I", "F")


def raw_modes(image: Image.Image) -> str:
    """How the samples of an image that is not loaded yet lie in its file, in Pillow's terms: "RGB;16B", "L;4" …"""
    parts = (tile[3] for tile in getattr(image, "tile", ()))
    return " ".join(" ".join(map(str, p)) if isinstance(p, tuple) else str(p) for p in parts)


def bits_before(image: Image.Image, raw: str, said: Declared) -> int:
    """How many bits a sample had before Pillow reduced it to 8 on loading. `raw`: `raw_modes`."""
    return said.bits or (16 if is_16_bit(image, raw) else 8)


def is_16_bit(image: Image.Image, raw: str) -> bool:
    """Whether the samples had more than 8 bits, for an image whose file says nothing. `raw`: `raw_modes`."""
    bits = max(getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,)), default=8)
    ppm = image.format == "PPM" and raw.rpartition(" ")[2].isdigit() and int(raw.rpartition(" ")[2]) > 255
    return ";16" in raw or ppm or bits > 8 or image.info.get("bit_depth", 8) > 8


def reduced(image: Image.Image, raw: str, file: Declared) -> tuple[Image.Image, list[str]]:
    """A grey image of deep samples -> (L, or LA where a sample value means transparent; notes). `raw`: `raw_modes`.

    Raises: LatError where no scale is declared and the samples do not show one.
    """
    samples, (top, said) = np.asarray(image), declared(image, raw)
    if file.format == "FITS":
        samples, top, said = meant(samples, file)
    if samples.dtype == np.int32 and (top or 0) > 2**31:  # Pillow has unsigned samples in signed ones
        samples = samples.view(np.uint32)
    if samples.size == 0:
        return Image.new("L", image.size), []
    if "signed" in said:
        refuse_negative(samples, said)
    if top is None:
        top, said = assumed(samples)
    elif top > 65535 and float(np.mean(samples > top * DARK)) < FEW:
        raise LatError(f"{said} samples use only {samples.min()} … {samples.max()} of it: scale them to 16 bits first")
    grey, clipped = eight_bits(samples, top)
    notes = [f"{said} samples are reduced to 8 bits"]
    if samples.max() > 0 and (grey > BLACK).mean() < FEW:
        used = f"{samples.min():g} … {samples.max():g} of 0 … {top:g}"
        notes.append(f"nearly all become black: they are {used}; scale them first if that is not meant")
    if clipped:
        notes.append(f"{clipped:,} samples beyond the range 0 … {top:g} are clipped")
    result = Image.fromarray(grey)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        result.putalpha(Image.fromarray(np.where(samples == clear, 0, 255).astype(np.uint8)))
    return result, notes


def meant(samples: np.ndarray, file: Declared) -> tuple[np.ndarray, float | None, str]:
    """(What the samples of a FITS file mean, white, in words): they are signed, with a zero and a scale beside them."""
    if file.kind == "float" and (file.zero, file.scale) == (0, 1):
        return samples, None, ""
    if file.bits == 16:
        samples = samples.astype(np.uint16).view(np.int16)
    whole = file.kind != "float" and file.scale == 1 and float(file.zero).is_integer()
    values = samples.astype(np.int64) + int(file.zero) if whole else samples * file.scale + file.zero
    if whole and file.zero == 2 ** (file.bits - 1):
        return values, 2.0**file.bits - 1, f"{file.bits}-bit"
    if whole and file.zero == 0:
        return values, 2.0 ** (file.bits - 1) - 1, f"{file.bits}-bit signed"
    return values.astype(np.float64), None, ""


def refuse_negative(samples: np.ndarray, said: str) -> None:
    """Signed samples of a picture that are mostly not negative are its range; else nothing says what black is.

    Raises: LatError.
    """
    share = float(np.mean(samples < 0))
    if share > MANY:
        raise LatError(
            f"{said} samples from {samples.min()} on, {share:.0%} of them below 0: shift them to 0 and up first"
        )


def of_signed_bytes(image: Image.Image, said: Declared) -> tuple[Image.Image, list[str]]:
    """Bytes that Pillow took as 0 … 255 and that mean -128 … 127 -> (L, notes): 0 is black, 127 is white.

    Raises: LatError.
    """
    raw = np.asarray(image)
    values = raw.astype(np.int16) + int(said.zero) if said.zero else raw.view(np.int8)
    refuse_negative(values, "8-bit signed")
    grey, clipped = eight_bits(values, 127)
    notes = ["8-bit signed samples are taken as 0 … 127"]
    if clipped:
        notes.append(f"{clipped:,} samples beyond the range 0 … 127 are clipped")
    return Image.fromarray(grey), notes


def declared(image: Image.Image, raw: str) -> tuple[float | None, str]:
    """(white, in words) as the file declares it; None where it does not."""
    tags = getattr(image, "tag_v2", {})
    bits = max(tags.get(BITS_PER_SAMPLE, (0,)), default=0)
    signed = 2 in tags.get(SAMPLE_FORMAT, (1,))
    if image.mode.startswith("I;16"):
        return (4095, "12-bit") if bits == 12 or ";12" in raw else (65535, "16-bit")
    if image.mode == "I" and image.format in ("PPM", "PNG"):
        return 65535, "16-bit"  # the range that Pillow scales to, whatever the file's
    if image.mode == "I" and bits in (16, 32):
        return 2.0 ** (bits - signed) - 1, f"{bits}-bit" + " signed" * signed
    return None, ""


def assumed(samples: np.ndarray) -> tuple[float, str]:
    """(white, in words) of samples without a declared range: 0 … 1 if float, or Pillow's 0 … 255, or 16 bits.

    Raises: LatError.
    """
    if samples.dtype.kind == "f":
        finite = samples[np.isfinite(samples)]
        if far_outside(samples, 1) <= MANY:
            return 1, "float"
        if finite.size and far_outside(samples, 255) <= FEW and np.median(finite) > 8:
            return 255, "float (0 … 255)"
        low, high = (finite.min(), finite.max()) if finite.size else (np.nan, np.nan)
        share = far_outside(samples, 1)
        raise LatError(
            f"float samples from {low:g} to {high:g}, {share:.0%} of them far from 0 … 1: scale them to 0 … 1 first"
        )
    for top, said in ((255, "32-bit (0 … 255)"), (65535, "32-bit (0 … 65535)")):
        if far_outside(samples, top) <= FEW:
            return top, said
    raise LatError(f"32-bit samples from {samples.min()} to {samples.max()}: scale them to 0 … 65535 first")


def far_outside(samples: np.ndarray, top: float) -> float:
    """Share of the samples that are well beyond 0 … `top`, or no numbers."""
    inside = (samples >= -FAR_OUTSIDE * top) & (samples <= (1 + FAR_OUTSIDE) * top)
    return 1 - float(np.mean(inside))


def eight_bits(samples: np.ndarray, top: float) -> tuple[np.ndarray, int]:
    """(uint8, how many samples were clipped): 0 … top -> 0 … 255. Not a number becomes 0 and counts as clipped."""
    clipped = samples.size - int(np.count_nonzero((samples >= 0) & (samples <= top)))
    if samples.dtype.kind in "iu" and top == 65535:  # the upper byte, as Pillow reduces 16-bit RGB
        return (np.clip(samples, 0, 65535) >> 8).astype(np.uint8), clipped
    scaled = np.nan_to_num(samples.astype(np.float64), nan=0.0, posinf=top, neginf=0.0)
    return (np.clip(scaled, 0, top) * (255 / top) + 0.5).astype(np.uint8), clipped


def transparent_value(info: dict, raw: str) -> int | tuple[int, ...] | bytes | None:
    """The transparent sample or colour of a PNG in the depth that Pillow gives its pixels."""
    value = info.get("transparency")
    if not isinstance(value, (int, tuple, bytes)):  # the text of a PNG under that keyword
        return None
    scale = {"L;2": 85, "L;4": 17}.get(raw)  # Pillow spreads such pixels over 0 … 255, but not this value
    if isinstance(value, int) and scale:
        return value * scale
    if isinstance(value, tuple) and "RGB;16" in raw:
        return tuple(v >> 8 for v in value)
    return value
