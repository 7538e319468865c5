"""What smaller formats declare, and the names of formats that are no pictures, or none that Pillow reads."""

from __future__ import annotations

import struct

from codec import kinds
from codec.picture.declared import photoshop
from codec.picture.declared.record import Declared, cut, further

TGA_FOOTER = b"TRUEVISION-XFILE.\0"
MOST = 100_000  # chunks of a WebP, elements of an icon
WEBP_CHUNKS = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP ")
VIDEO = (b"qt  ", b"isom", b"mp41", b"mp42", b"M4V ", b"3gp4", b"3gp5", b"iso2", b"avc1", b"dash")
NAMES: tuple[tuple[int, bytes, str], ...] = (  # offset, signature, what it is
    (0, b"\x8eLAT\r\n\x1a\n", "a .lat file already; lat decompress reads it"),
    (0, b"\x89PNG", "a PNG whose line ends were changed on its way: copy it again, as binary"),
    (0, b"P7\n", "PAM, which Pillow does not read; convert it to .ppm or .png first"),
    (0, b"%PDF", "a PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"v/1\x01", "OpenEXR, which Pillow does not read; convert it to .tif or .png first"),
    (0, b"#?RADIANCE", "Radiance HDR, which Pillow does not read; convert it to .tif or .png first"),
    (0, b"#?RGBE", "Radiance HDR, which Pillow does not read; convert it to .tif or .png first"),
    (0, b"SDPX", "DPX, which Pillow does not read; convert it to .tif or .png first"),
    (0, b"XPDS", "DPX, which Pillow does not read; convert it to .tif or .png first"),
    (0, b"II\xbc\x01", "JPEG XR, which Pillow does not read; convert it to .png first"),
    (0, b"II\xbc\x00", "JPEG XR, which Pillow does not read; convert it to .png first"),
    (0, b"gimp xcf", "an XCF of GIMP; export it as .png first"),
    (0, b"FUJIFILMCCD-RAW", kinds.DEVELOP),
    (0, b"BPG\xfb", "BPG, which Pillow does not read"),
    (0, b"FLIF", "FLIF, which Pillow does not read"),
    (0, b"\x8aMNG", "MNG, which Pillow does not read"),
    (0, b"\x8bJNG", "JNG, which Pillow does not read"),
    (0, b"\x89HDF", "HDF5, no picture"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (8, b"AVI ", "an AVI video"),
    (8, b"WAVE", "a WAV sound"),
    (0, b"<svg", "SVG, which has no pixels"),
    (0, b"<!DOCTYPE", "a web page"),
    (0, b"<!doctype", "a web page"),
    (0, b"<html", "a web page"),
    (0, b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with git lfs pull"),
)


def name(data: bytes) -> str:
    """What a file is that is no picture; empty where that is not known."""
    if not data:
        return "empty"
    if data[4:8] == b"ftyp" and data[8:12] in VIDEO:
        return "a video"
    if data[4:12] == b"ftypcrx ":
        return kinds.DEVELOP
    start = data[:512].lstrip()
    if start.startswith(b"<?xml") and b"<svg" in data[:4096]:
        return "SVG, which has no pixels"
    if not data[:512].strip(b"\0"):
        return "nothing but zeros" if not data.strip(b"\0") else ""
    for at, signature, said in NAMES:
        if data.startswith(signature, at) or at == 0 and start.startswith(signature):
            return said
    return ""


def psd(data: bytes) -> Declared:
    """Adobe Photoshop File Formats Specification: header, layers."""
    channels, _, _, bits, mode = struct.unpack_from(">HIIHH", data, 12)
    at, extras, xmp = 26, [], None
    for title in ("palette", "Photoshop resources", "Photoshop layers"):
        size = struct.unpack_from(">Q" if data[4:6] == b"\0\2" and title == "Photoshop layers" else ">I", data, at)[0]
        if title == "Photoshop resources":
            inside = data[at + 4 : at + 4 + size]
            xmp = dict(photoshop.resources(inside)).get(photoshop.XMP)
            size_of_others = sum(photoshop.others(inside))
            extras += [(title, size_of_others)] if size_of_others else []
        elif title == "Photoshop layers" and size:
            extras.append((title, size))
        at += 4 + size
    fault = ""
    if bits > 8:
        fault = f"its samples have {bits} bits, which Pillow does not read; save it as a 16-bit .tif or .png"
    elif mode in (7, 8):
        fault = f"it is {'multichannel' if mode == 7 else 'duotone'}, which Pillow does not read"
    elif data[4:6] == b"\0\2":
        fault = "it is a large document (PSB), which Pillow does not read; save it as .tif"
    return Declared("PSD", bits, channels=channels, xmp=xmp, extras=tuple(extras), fault=fault)


def dds(data: bytes) -> Declared:
    """Faces of a cube, slices of a volume, pictures of an array; Pillow takes the first (Direct3D's DDS_HEADER)."""
    depth = struct.unpack_from("<I", data, 24)[0]
    kind, more = struct.unpack_from("<4s20xI", data, 84)[0], struct.unpack_from("<I", data, 112)[0]
    count = struct.unpack_from("<I", data, 140)[0] if kind == b"DX10" else 1
    cube = kind == b"DX10" and struct.unpack_from("<I", data, 136)[0] & 4
    count = max(1, count) * (6 if cube or more & 0x200 else 1) * (max(1, depth) if more & 0x200000 else 1)
    size = max(0, len(data) - (148 if kind == b"DX10" else 128))
    extras = (further(count, size - size // count),) if count > 1 else ()
    return Declared("DDS", pictures=count, extras=extras)


def tga(data: bytes) -> Declared:
    """The extension area (author, comment, date, thumbnail) and the developer area of a TGA of version 2."""
    extension, developer = struct.unpack_from("<II", data, len(data) - 26)
    extras = []
    if 18 <= extension <= len(data) - 495 and (
        filled := len(data[extension + 2 : extension + 470].replace(b"\0", b""))
    ):
        extras.append(("TGA extension area", filled))
    if 18 <= developer < len(data) - 26:
        extras.append(("TGA developer area", len(data) - 26 - developer))
    return Declared("TGA", extras=tuple(extras))


def ico(data: bytes) -> Declared:
    """The directory of an ICO or CUR: how many pictures; Pillow takes the largest."""
    count = min(struct.unpack_from("<H", data, 4)[0], (len(data) - 6) // 16)
    entries = [struct.unpack_from("<BBBBHHII", data, 6 + 16 * i) for i in range(count)]
    largest = max(((e[0] or 256) * (e[1] or 256) for e in entries), default=0)
    kept = next((i for i, e in enumerate(entries) if (e[0] or 256) * (e[1] or 256) == largest), 0)
    size = sum(e[6] for i, e in enumerate(entries) if i != kept)
    if not count:  # a TGA can begin like this
        return Declared()
    extras = (further(count, size),) if count > 1 else ()
    pixels = max(pixels_inside(data, e[7]) for e in entries)
    return Declared("ICO" if data[2:3] == b"\1" else "CUR", 8, pixels=pixels, pictures=count, extras=extras)


def icns(data: bytes) -> Declared:
    """The elements of an ICNS that are pictures; Pillow takes the largest."""
    sizes, at, pixels = [], 8, 0
    for _ in range(MOST):
        if at + 8 > len(data):
            break
        kind, size = data[at : at + 4], struct.unpack_from(">I", data, at + 4)[0]
        pixels = max(pixels, pixels_inside(data, at + 8))
        if kind[:2] in (b"ic", b"is", b"il", b"ih", b"it") and kind not in (b"icnV", b"icns"):
            sizes.append(size)
        at += max(8, size)
    extras = (further(len(sizes), sum(sizes) - max(sizes)),) if len(sizes) > 1 else ()
    return Declared("ICNS", 8, pixels=pixels, pictures=max(1, len(sizes)), extras=extras)


def pixels_inside(data: bytes, at: int) -> int:
    """How many the PNG, JPEG 2000 or bitmap has that begins there in an icon; 0 where none of them does."""
    head = data[at : at + 96]
    if head.startswith(b"\x89PNG"):
        width, height = struct.unpack_from(">II", head.ljust(24, b"\0"), 16)
    elif head.startswith(b"\xff\x4f\xff\x51"):
        width, height = struct.unpack_from(">II", head.ljust(16, b"\0"), 8)
    elif head[4:8] == b"jP  ":
        height, width = struct.unpack_from(">II", head[head.find(b"ihdr") + 4 :].ljust(8, b"\0"))
    elif head[:4] in (b"\x28\0\0\0", b"\x34\0\0\0", b"\x38\0\0\0", b"\x6c\0\0\0", b"\x7c\0\0\0"):
        width, height = struct.unpack_from("<ii", head.ljust(12, b"\0"), 4)
        height //= 2  # the mask has as many rows
    else:
        return 0
    return abs(width * height)


def webp(data: bytes) -> Declared:
    """RIFF chunks that are not kept; data behind the file (WebP Container Specification)."""
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    extras: dict[str, int] = {}
    at, pixels = 12, False
    for _ in range(MOST):
        if at + 8 > min(end, len(data)):
            break
        kind, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        if at + 8 + size > len(data):
            break
        pixels = pixels or kind in (b"VP8 ", b"VP8L")
        if kind not in WEBP_CHUNKS and len(extras) < 8:
            title = f"WebP chunk {kind.decode('ascii', 'replace')}"
            extras[title] = extras.get(title, 0) + size
        at += 8 + size + size % 2
    if len(data) > end + end % 2:
        extras["data behind the WebP"] = len(data) - end
    mended = None
    if pixels and end > len(data):  # what is cut lies behind the pixels
        whole = data[12:at]
        mended = data[:4] + struct.pack("<I", 4 + len(whole)) + data[8:12] + whole
    size = webp_pixels(data[12:30].ljust(18, b"\0"))
    return Declared("WebP", 8, pixels=size, extras=tuple(extras.items()), blemishes=cut(end, data), mended=mended)


def webp_pixels(head: bytes) -> int:
    """Of its canvas, for which libwebp takes memory before Pillow knows the size; `head`: from the first chunk on."""
    if head[:4] == b"VP8X":
        width, height = (1 + int.from_bytes(head[at : at + 3], "little") for at in (12, 15))
    elif head[:4] == b"VP8L":
        bits = int.from_bytes(head[9:13], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (n & 0x3FFF for n in struct.unpack_from("<HH", head, 14))
    return width * height


def sgi(data: bytes) -> Declared:
    """Bytes of a sample, channels (the SGI Image File Format, 1.00)."""
    return Declared("SGI", 8 * data[3], channels=struct.unpack_from(">H", data, 10)[0])
