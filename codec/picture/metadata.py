"""What a picture says beside its pixels, from Pillow into a .lat file and back. FILES.md lists what is kept.

ICC, EXIF and XMP stay as they are, byte for byte. The rest of what a person would miss (resolution, comments, the
captions and copyright of PNG, IPTC and TIFF) goes into the text chunk, as a JSON object of keyword: value.
"""

from __future__ import annotations

import io
import json
import math
import re
import struct
from contextlib import suppress
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, IptcImagePlugin

from codec.picture import icc

XMP_KEY = "XML:com.adobe.xmp"
INFO = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}  # ours -> Pillow's
KINDS = (*INFO, "text")
ORIENTATION = 0x0112
XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))([1-8])")
TEXT_LIMIT = 2**20  # bytes of text
IPTC = {(2, 5): "Title", (2, 80): "Author", (2, 116): "Copyright", (2, 120): "Description"}
TIFF_TAGS = (270, 271, 272, 305, 306, 315, 33432)  # description, make, model, software, date, artist, copyright
TIFF_IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
SEGMENTS = {"APP0", "APP1", "APP13", "APP14", "COM"}  # of JPEG: read elsewhere, or about the coding


def read(image: Image.Image) -> tuple[dict[str, bytes], list[str]]:
    """{"icc", "exif", "xmp", "text"} of a loaded picture, as far as it has them, and notes on what is dropped."""
    info = image.info
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
        found["icc"] = icc_of_png(info, grey, notes)
    credits = iptc(image)
    words = credits | words
    if resolution := dpi(info, found["exif"]):
        words["dpi"] = resolution
    if "aspect" in info and len(set(info["aspect"])) > 1:
        notes.append("pixels that are not square become square")
    if (size := len(json.dumps(words))) > TEXT_LIMIT:
        notes.append(f"text of {size:,} bytes is dropped")
        words = {}
    if credits or has_iptc(image):
        notes.append("IPTC is dropped but for title, author, copyright and description")
    if others := other_segments(image):
        notes.append(f"dropped JPEG segments: {', '.join(others)}")
    found["text"] = json.dumps(words, ensure_ascii=False).encode("utf-8", "replace") if words else None
    kept = {key: v.encode() if isinstance(v, str) else bytes(v) for key, v in found.items() if v}
    if image.format is None:  # made from another: whoever turned it left the old tag in `info`
        if orientation(kept) != 1:
            notes.append("the orientation in its metadata is dropped, because the picture may have been turned since")
        kept = upright(kept)
    return kept, notes


def to_info(metadata: dict[str, bytes]) -> dict:
    """Metadata of a .lat file as Pillow's `info`."""
    info: dict[str, Any] = {name: metadata[key] for key, name in INFO.items() if key in metadata}
    if "text" in metadata:
        text = metadata["text"].decode("utf-8", "replace")
        try:
            words = json.loads(text)
        except ValueError:
            words = {"comment": text}
        if isinstance(words, dict):
            info |= {k: v for k, v in words.items() if isinstance(v, str) and k not in INFO.values()}
            numbers = words.get("dpi")
            if isinstance(numbers, list) and len(numbers) == 2 and all(isinstance(n, (int, float)) for n in numbers):
                info["dpi"] = tuple(numbers)
    return info


def text_of(image: Image.Image) -> dict:
    """Keywords of a PNG, the comment of a JPEG or GIF; of a picture decoded from a .lat file what it had."""
    words = {k: str(v) for k, v in getattr(image, "text", {}).items() if k != XMP_KEY}
    comment = image.info.get("comment")
    if isinstance(comment, bytes):
        with suppress(UnicodeDecodeError):
            comment = comment.decode()
        words["comment"] = comment if isinstance(comment, str) else comment.decode("latin-1")
    if image.format == "LAT":
        known = {*INFO.values(), "dpi"}
        words |= {k: v for k, v in image.info.items() if k not in known and isinstance(v, str)}
    return {k: v for k, v in words.items() if v.strip("\0 \n")}


def raw_profiles(words: dict) -> dict[str, bytes]:
    """EXIF, XMP and ICC that ImageMagick wrote into a PNG as hexadecimal text; these words are taken out of `words`."""
    found = {}
    for key in [k for k in words if k.startswith("Raw profile type ")]:
        with suppress(ValueError):
            data = bytes.fromhex("".join(words.pop(key).split("\n")[3:]))
            kind = key.removeprefix("Raw profile type ")
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


def icc_of_png(info: dict, grey: bool, notes: list[str]) -> bytes | None:
    """The profile that the colour chunks of a PNG amount to."""
    if cicp := info.get("cicp"):
        if found := icc.of_cicp(cicp, grey):
            return found
        if cicp[:2] not in (b"\x01\x0d", b"\x01\x01"):
            notes.append(f"colours of an unknown kind (cICP {'/'.join(map(str, cicp))}) are taken as sRGB")
        return None
    if "srgb" in info:
        return None
    return icc.of_png(info.get("gamma"), info.get("chromaticity"), grey)


def colour_chunk(image: Image.Image) -> None:
    """Put the cICP chunk of a PNG that is not loaded yet into its `info`: Pillow passes it over."""
    file = getattr(image, "fp", None)
    if image.format != "PNG" or file is None:
        return
    at = file.tell()
    try:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
            (length,) = struct.unpack(">I", head[:4])
            if head[4:] == b"cICP" and length == 4:
                image.info["cicp"] = file.read(4)
                break
            file.seek(length + 4, io.SEEK_CUR)
    finally:
        file.seek(at)


def dpi(info: dict, exif: bytes | None) -> list[float] | None:
    """Dots per inch, where somebody said some and EXIF does not say it."""
    try:
        found = [round(float(v), 2) for v in info["dpi"]]
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    found = [round(v) if abs(v - round(v)) < 0.02 else v for v in found]
    if len(found) != 2 or not all(math.isfinite(v) and 1 < v < 1e6 for v in found) or set(found) & {72}:
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


def other_segments(image: Image.Image) -> list[str]:
    """Application segments of a JPEG that nothing here reads."""
    known = (b"ICC_PROFILE", b"MPF\0")  # in APP2: the profile, and where further pictures are
    segments = getattr(image, "applist", [])
    return sorted({n for n, data in segments if n not in SEGMENTS and not (n == "APP2" and data.startswith(known))})


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
        endian, at = place
        return struct.unpack_from(f"{endian}H", metadata["exif"], at)[0]
    found = XMP_ORIENTATION.search(metadata.get("xmp", b""))
    return int(found[2]) if found else 1


def orientation_from(metadata: dict[str, bytes]) -> str:
    """Which kind of metadata the orientation is from."""
    return "exif" if _orientation_entry(metadata.get("exif", b"")) else "xmp"


def upright(metadata: dict[str, bytes]) -> dict[str, bytes]:
    """The same metadata for pixels that are turned already; nothing else of it changes."""
    result = dict(metadata)
    if place := _orientation_entry(metadata.get("exif", b"")):
        endian, at = place
        exif = bytearray(metadata["exif"])
        struct.pack_into(f"{endian}H", exif, at, 1)
        result["exif"] = bytes(exif)
    if "xmp" in metadata:
        result["xmp"] = XMP_ORIENTATION.sub(rb"\g<1>1", metadata["xmp"])
    return result


def _orientation_entry(exif: bytes) -> tuple[str, int] | None:
    """(byte order, position of the value) of a valid orientation in IFD 0."""
    start = 6 if exif.startswith(b"Exif\0\0") else 0
    endian = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[start : start + 4])
    if endian is None:
        return None
    try:
        ifd = start + struct.unpack_from(f"{endian}I", exif, start + 4)[0]
        for i in range(struct.unpack_from(f"{endian}H", exif, ifd)[0]):
            at = ifd + 2 + 12 * i
            tag, kind, count = struct.unpack_from(f"{endian}HHI", exif, at)
            if (tag, kind, count) == (ORIENTATION, 3, 1):
                valid = 1 <= struct.unpack_from(f"{endian}H", exif, at + 8)[0] <= 8
                return (endian, at + 8) if valid else None
    except struct.error:
        pass
    return None


def stored(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (H, W, C) as they are to be seen -> as a picture with this orientation has them: undoes `turned`."""
    return turned(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (H, W, C) as they are to be seen."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
