"""What a picture says beside its pixels, from Pillow into a .lat file and back. FILES.md lists what is kept.

ICC, EXIF and XMP stay as they are, byte for byte. The rest of what a person would miss (resolution, comments, the
captions and copyright of PNG, IPTC and TIFF) goes into the text chunk, as a JSON object of keyword: value.
"""

from __future__ import annotations

import json
import math
import re
import struct
from contextlib import suppress
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, IptcImagePlugin

from codec.picture import icc, xmp

XMP_KEY = "XML:com.adobe.xmp"
INFO = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}  # ours -> Pillow's
KINDS = (*INFO, "text")
ORIENTATION = 0x0112
INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # types of EXIF, for `struct`
XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))([1-8])")
NUMBERS = {
    1: "B",
    3: "H",
    4: "I",
    5: "I",
    6: "b",
    8: "h",
    9: "i",
    10: "i",
    11: "f",
    12: "d",
    13: "I",
}  # of TIFF; 5 and 10: fractions
TEXT_LIMIT = 2**20  # bytes of text
DPI_LIMIT = 65535  # what a JPEG can hold
TYPES: dict[str, type | tuple[type, ...]] = {  # of what Pillow has in `info` under these names
    "transparency": (int, tuple, bytes),
    "gamma": (int, float),
    "chromaticity": tuple,
    "aspect": tuple,
    "cicp": bytes,
    "icc_profile": bytes,
    "exif": bytes,
    "xmp": (bytes, str),
    XMP_KEY: (bytes, str),
}
RENAMED = "text:"
OTHERS = {  # in Pillow's `info` these are no texts either
    *("adobe", "background", "default_image", "dpi", "duration", "extension", "flavor", "interlace", "jfif"),
    *("jfif_density", "jfif_unit", "jfif_version", "loop", "mp", "mpoffset", "photoshop", "progression", "progressive"),
    *("srgb", "timestamp", "version"),
}
RAW_PROFILE = "Raw profile type "  # what ImageMagick's texts begin with that are EXIF, XMP or ICC
IPTC = {(2, 5): "Title", (2, 80): "Author", (2, 116): "Copyright", (2, 120): "Description"}
TIFF_TAGS = (270, 271, 272, 305, 306, 315, 33432)  # description, make, model, software, date, artist, copyright
TIFF_IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)


def read(image: Image.Image) -> tuple[dict[str, bytes], list[str]]:
    """{"icc", "exif", "xmp", "text"} of a loaded picture, as far as it has them, and notes on what is dropped."""
    info = typed(image.info)
    notes: list[str] = []
    found = {"icc": info.get("icc_profile"), "exif": info.get("exif")}
    found["xmp"] = info.get("xmp") or info.get(XMP_KEY)
    words = text_of(image)
    for kind, value in raw_profiles(words).items():
        found[kind] = found[kind] or value
    if image.format == "TIFF":
        found["exif"] = found["exif"] or exif_of_tiff(image)
    if not found["icc"]:
        grey = image.mode in ("1", "L", "LA", "I;16", "I")
        found["icc"] = icc_of_png(info, grey)
    credits = iptc(image)
    words = credits | words
    if resolution := dpi(info, None if image.format == "LAT" else found["exif"]):
        words["dpi"] = resolution
    if "aspect" in info and len(set(info["aspect"])) > 1:
        notes.append("pixels that are not square become square")
    if (size := len(json.dumps(words))) > TEXT_LIMIT:
        notes.append(f"text of {size:,} bytes is dropped")
        words = {}
    if credits or has_iptc(image):
        notes.append("IPTC is dropped but for title, author, copyright and description")
    if found["xmp"]:
        packet = found["xmp"].encode() if isinstance(found["xmp"], str) else found["xmp"]
        found["xmp"], changed = xmp.without_promises(packet)
        notes += [changed] if changed else []
    found["text"] = json.dumps(words, ensure_ascii=False).encode("utf-8", "replace") if words else None
    kept = {key: v.encode() if isinstance(v, str) else bytes(v) for key, v in found.items() if v}
    if image.format is None:  # made from another: whoever turned it left the old tag in `info`
        if orientation(kept) != 1:
            notes.append("the orientation in its metadata is dropped, because the picture may have been turned since")
        kept = upright(kept)
    return kept, notes


def update_words(metadata: dict[str, bytes], words: dict[str, Any]) -> None:
    """Put words into the text of a picture, and take those out that are None or empty."""
    try:
        text = json.loads(metadata.pop("text", b"{}"))
    except ValueError:
        text = {}
    text = {key: value for key, value in ((text if isinstance(text, dict) else {}) | words).items() if value}
    if text:
        metadata["text"] = json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")


def to_info(metadata: dict[str, bytes]) -> dict:
    """Metadata of a .lat file as Pillow's `info`; words under a name that means something to Pillow get another one."""
    info: dict[str, Any] = {name: metadata[key] for key, name in INFO.items() if key in metadata}
    for key, value in words_of(metadata.get("text", b"")).items():
        if isinstance(value, str):
            info[RENAMED + key if is_reserved(key) else whole(key)] = whole(value)
        elif key == "dpi" and isinstance(value, list) and is_dpi(value):
            info["dpi"] = tuple(value)
    return info


def keyword(key: str) -> str:
    """The name that words in `info` had before `to_info` gave them another one."""
    name = key.removeprefix(RENAMED)
    return name if is_reserved(name) else key


def is_reserved(key: str) -> bool:
    """Whether Pillow takes what `info` has under this name for something other than a text."""
    return key in TYPES or key in OTHERS or key.startswith(RAW_PROFILE)


def words_of(text: bytes) -> dict:
    """The object in a text chunk; whatever else it holds is a comment. Writers keep to TEXT_LIMIT."""
    said = text.decode("utf-8", "replace")
    try:
        words = json.loads(said) if 0 < len(text) <= TEXT_LIMIT else None
    except (ValueError, RecursionError):
        words = None
    return words if isinstance(words, dict) else {"comment": said} if said else {}


def whole(text: str) -> str:
    """Text that every encoding of Unicode can hold: half of a surrogate pair becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def is_dpi(values: list) -> bool:
    numbers = len(values) == 2 and all(isinstance(v, (int, float)) for v in values)
    return numbers and all(1 < v <= DPI_LIMIT for v in values)


def typed(info: dict[Any, Any]) -> dict[Any, Any]:
    """Pillow's `info` less what has the wrong type for its name: a PNG may have a text "gamma", programs any value."""
    known = {key: value for key, value in info.items() if isinstance(value, TYPES.get(key, object))}
    if len(tuple(known.get("chromaticity", range(8)))) != 8:  # type: ignore[arg-type]
        del known["chromaticity"]
    return known


def text_of(image: Image.Image) -> dict:
    """Keywords of a PNG, the comment of a JPEG or GIF; of a picture decoded from a .lat file what it had."""
    words = {keyword(k): str(v) for k, v in getattr(image, "text", {}).items() if k != XMP_KEY}
    comment = image.info.get("comment")
    if isinstance(comment, bytes):
        with suppress(UnicodeDecodeError):
            comment = comment.decode()
        words["comment"] = comment if isinstance(comment, str) else comment.decode("latin-1")
    if image.format == "LAT":
        known = {*INFO.values(), "dpi"}
        words |= {keyword(str(k)): v for k, v in image.info.items() if k not in known and isinstance(v, str)}
    return {k: v for k, v in words.items() if v.strip("\0 \n")}


def raw_profiles(words: dict) -> dict[str, bytes]:
    """EXIF, XMP and ICC that ImageMagick wrote into a PNG as hexadecimal text; these words are taken out of `words`."""
    found = {}
    for key in [k for k in words if k.startswith(RAW_PROFILE)]:
        with suppress(ValueError):
            data = bytes.fromhex("".join(words.pop(key).split("\n")[3:]))
            kind = key.removeprefix(RAW_PROFILE)
            if data.startswith(b"Exif\0\0") or kind == "exif":
                found["exif"] = data.removeprefix(bytes(4))  # which djxl leaves there
            elif kind in ("icc", "icm", "xmp"):
                found["xmp" if kind == "xmp" else "icc"] = data
            elif data.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
                found["xmp"] = data.partition(b"\0")[2]
    return found


def exif_of_tiff(image: Image.Image) -> bytes | None:
    """The EXIF that the tags of a TIFF amount to, less those about its coding."""
    kept = Image.Exif()
    try:
        own = image.getexif()
        for tag in TIFF_TAGS:
            if tag in own:
                kept[tag] = as_bytes(own[tag])
        for tag in TIFF_IFDS:
            if inside := own.get_ifd(tag):
                kept.get_ifd(tag).update((key, as_bytes(value)) for key, value in inside.items())
        return kept.tobytes() if len(kept) or kept._ifds else None
    except Exception:  # tags of the wrong type, in as many ways as there are programs
        return None


def as_bytes(value):
    """A text of EXIF as it was: Pillow reads Latin-1, but writes "?" for all that is not ASCII."""
    return value.encode("latin-1", "replace") if isinstance(value, str) else value


def icc_of_png(info: dict, grey: bool) -> bytes | None:
    """The profile that the colour chunks of a PNG amount to; its cICP is read in `picture/colours.py`."""
    if "srgb" in info:
        return None
    return icc.of_png(info.get("gamma"), info.get("chromaticity"), grey)


def dpi(info: dict, exif: bytes | None) -> list[float] | None:
    """Dots per inch, where somebody said some and EXIF does not say it."""
    try:
        given = [float(v) for v in info["dpi"]]
        found = [round(v, 2) for v in given if math.isfinite(v)]
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    found = [round(v) if abs(v - round(v)) < 0.02 else v for v in found]
    if not is_dpi(found) or set(found) & {72}:
        return None
    if exif and 0x011A in loaded(exif):
        return None
    return found


def iptc(image: Image.Image) -> dict[str, str]:
    """Title, author, copyright and description of an IPTC block."""
    if not isinstance(image, ImageFile.ImageFile):
        return {}
    try:
        fields = IptcImagePlugin.getiptcinfo(image) or {}
    except Exception:  # damaged blocks
        return {}
    found = {}
    for key, name in IPTC.items():
        values = fields.get(key, [])
        values = [values] if isinstance(values, bytes) else values
        said = "; ".join(v.decode("utf-8", "replace") for v in values).strip("\0 ")
        if said:
            found[name] = said
    return found


def has_iptc(image: Image.Image) -> bool:
    photoshop = image.info.get("photoshop")
    return bool(isinstance(photoshop, dict) and photoshop.get(0x0404))


def loaded(exif: bytes) -> Image.Exif:
    """EXIF as Pillow understands it; empty where it does not."""
    found = Image.Exif()
    try:
        found.load(exif)
    except Exception:  # struct.error, SyntaxError and others: EXIF is written by anybody
        return Image.Exif()
    return found


# -- orientation -----------------------------------------------------------------------------------------------------


def orientation(metadata: dict[str, bytes]) -> int:
    """1 … 8 as EXIF, or else XMP, has it."""
    if place := _orientation_entry(metadata.get("exif", b"")):
        layout, at, one = place
        return int(struct.unpack_from(layout, metadata["exif"], at)[0] // one)
    found = XMP_ORIENTATION.search(metadata.get("xmp", b""))
    return int(found[2]) if found else 1


def orientation_from(metadata: dict[str, bytes]) -> str:
    """Which kind of metadata the orientation is from."""
    return "exif" if _orientation_entry(metadata.get("exif", b"")) else "xmp"


def upright(metadata: dict[str, bytes]) -> dict[str, bytes]:
    """The same metadata for pixels that are turned already; nothing else of it changes."""
    result = dict(metadata)
    if place := _orientation_entry(metadata.get("exif", b"")):
        layout, at, one = place
        exif = bytearray(metadata["exif"])
        struct.pack_into(layout, exif, at, one)
        result["exif"] = bytes(exif)
    if "xmp" in metadata:
        result["xmp"] = XMP_ORIENTATION.sub(rb"\g<1>1", metadata["xmp"])
    return result


def _orientation_entry(exif: bytes) -> tuple[str, int, int] | None:
    """(struct layout, position and unit of the first value) of a valid orientation in IFD 0, of any type of number."""
    start = 6 if exif.startswith(b"Exif\0\0") else 0
    endian = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[start : start + 4])
    if endian is None:
        return None
    try:
        ifd = start + struct.unpack_from(f"{endian}I", exif, start + 4)[0]
        for i in range(struct.unpack_from(f"{endian}H", exif, ifd)[0]):
            at = ifd + 2 + 12 * i
            tag, kind, count = struct.unpack_from(f"{endian}HHI", exif, at)
            if tag == ORIENTATION:
                return _orientation_value(exif, start, at + 8, endian, kind, count)
    except struct.error:
        pass
    return None


def _orientation_value(
    exif: bytes, start: int, at: int, endian: str, kind: int, count: int
) -> tuple[str, int, int] | None:
    """`at`: where the value is, or if it is longer than four bytes, its offset from `start`."""
    if kind not in NUMBERS or not count:
        return None
    layout, unit, fraction = endian + NUMBERS[kind], 1, kind in (5, 10)
    if count * struct.calcsize(layout) * (1 + fraction) > 4:
        at = start + struct.unpack_from(f"{endian}I", exif, at)[0]
    if fraction:
        unit = struct.unpack_from(layout, exif, at + 4)[0]
    value = struct.unpack_from(layout, exif, at)[0]
    return (layout, at, unit) if unit and value % unit == 0 and 1 <= value // unit <= 8 else None


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (H, W, C) as they are to be seen."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def reorient(pixels: np.ndarray, before: int, after: int) -> np.ndarray:
    """Pixels (H, W, C) stored for one orientation -> the same picture, stored for another one."""
    return pixels if before == after else turned(turned(pixels, before), {6: 8, 8: 6}.get(after, after))
