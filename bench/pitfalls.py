"""Situations in which a file is not what its first reader makes of it: more for the table of `bench.situations`."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from bench import everyday
from bench.rivals import SUFFIX, TOOLS, decoded, pack, pack_half, packed, restored

SIZE = (300, 200)
TIME = 315532800  # 1980-01-01, as archives unpack


def picture() -> Image.Image:
    """Smooth enough that only another picture is more than 20 dB away."""
    return everyday.scene(*SIZE).filter(ImageFilter.GaussianBlur(4))


def jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


def png_with(kind: bytes, data: bytes) -> bytes:
    """The picture as a PNG with one more chunk behind IHDR."""
    out = io.BytesIO()
    picture().save(out, "PNG")
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return out.getvalue()[:33] + chunk + out.getvalue()[33:]


def psnr(image: Image.Image, expected: np.ndarray) -> float:
    """Of 8-bit RGB, in dB; 0 for another size."""
    pixels = np.asarray(image.convert("RGB"), np.float64)
    if pixels.shape != expected.shape:
        return 0.0
    return float(10 * np.log10(255**2 / max(np.mean((pixels - expected) ** 2), 1e-9)))


def drawing(image: Image.Image) -> str:
    return "right" if psnr(image, np.asarray(picture())) > 20 else "another picture, exit 0"


def all_transparent(tool: str, folder: Path) -> str:
    """A picture whose alpha is 0 everywhere, as programs that mean something else by alpha write it."""
    Image.fromarray(np.dstack([np.asarray(picture()), np.zeros(SIZE[::-1], np.uint8)])).save(folder / "a.png")
    target = packed(tool, folder / "a.png")
    if target is None:
        return "refused"
    return "colours kept" if psnr(decoded(target), np.asarray(picture())) > 20 else "colours gone"


def white_is_zero(tool: str, folder: Path) -> str:
    """A 16-bit grey TIFF in which white is zero."""
    grey = np.asarray(picture().convert("L"))
    samples = (65535 - grey.astype(np.uint16) * 257).astype("<u2").tobytes()
    tags = {256: SIZE[0], 257: SIZE[1], 258: 16, 259: 1, 262: 0, 273: 8, 277: 1, 278: SIZE[1], 279: len(samples)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    (folder / "a.tif").write_bytes(struct.pack("<2sHI", b"II", 42, 8 + len(samples)) + samples + directory)
    if tool in ("avifenc", "cjxl"):
        return "takes no TIFF"
    target = packed(tool, folder / "a.tif")
    if target is None:
        return "refused"
    image = decoded(target)
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.int64) // 257).astype(np.uint8))
    return "right" if psnr(image, np.dstack([grey] * 3)) > 20 else "a negative, exit 0"


def hdr(tool: str, folder: Path) -> str:
    """A PNG in BT.2100 PQ (cICP)."""
    (folder / "a.png").write_bytes(png_with(b"cICP", bytes((9, 16, 0, 1))))
    target, printed = pack(tool, folder / "a.png")
    if target is None:
        return "refused"
    back = restored(target)
    declared = back.read_bytes() + Image.open(back).info.get(
        "icc_profile", b""
    )  # of PNG, AVIF; or a tag of the profile
    if any(mark in declared for mark in (b"cICP\x09\x10", b"nclx\x00\x09\x00\x10", b"cicp\0\0\0\0\x09\x10")):
        return "kept"
    return "dropped, with a note" if "cICP" in printed else "dropped: other colours, exit 0"


def video(tool: str, folder: Path) -> str:
    """A motion photo: a JPEG with a video behind it."""
    clip = struct.pack(">I4s4sI4s", 20, b"ftyp", b"mp42", 0, b"mp42") + struct.pack(">I4s", 40008, b"mdat")
    clip += np.random.default_rng(0).bytes(40000)
    (folder / "a.jpg").write_bytes(jpeg(picture()) + clip)
    target, printed = pack(tool, folder / "a.jpg")
    if target is None:
        return "refused"
    if clip in restored(target).read_bytes():
        return "kept"
    return "dropped, with a note" if any(word in printed for word in ("video", "behind", "trailing")) else "dropped"


def checkerboard(tool: str, folder: Path) -> str:
    """A checkerboard: bytes against a PNG of it, and how near it comes."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    pixels = np.dstack([((x + y) % 2 * 255).astype(np.uint8)] * 3)
    Image.fromarray(pixels).save(folder / "a.png", optimize=True)
    target = packed(tool, folder / "a.png")
    if target is None:
        return "fails"
    near = psnr(decoded(target), pixels)
    ratio = target.stat().st_size / (folder / "a.png").stat().st_size
    return f"× {ratio:.1f}, {'exact' if near > 100 else f'{near:.0f} dB'}"


def same_time(tool: str, folder: Path) -> str:
    """A run repeated after another picture of the same time took the place of the first."""
    source, target = folder / "in" / "a.png", folder / f"a{SUFFIX[tool]}"
    source.parent.mkdir()
    command = TOOLS[tool](source, target)
    if tool == "lat":  # a run that skips what is done
        command = [sys.executable, "-m", "codec", "compress", "-r", source.parent, "--out-dir", folder]
    for image in (ImageOps.mirror(picture()), picture()):
        image.save(source)
        os.utime(source, (TIME, TIME))
        done = subprocess.run(command, capture_output=True, text=True)
    if "made from another" in done.stderr:
        return "refused by name"
    return "redone" if drawing(decoded(target)) == "right" else "the old one stays"


def zeros(tool: str, folder: Path) -> str:
    """A JPEG with zeros in place of its second half, as after a broken download."""
    found = set()
    for name, image in (("a", picture()), ("b", everyday.scene(*SIZE))):  # some stumble over one, not over the other
        data = jpeg(image)
        half = len(data) // 2
        source = folder / f"{name}.jpg"
        source.write_bytes(data[:half] + bytes(len(data) - half - 2) + data[-2:])
        found.add(pack_half(tool, source))
    return ", or ".join(sorted(found))


def long_orientation(tool: str, folder: Path) -> str:
    """A photograph on its side whose EXIF orientation is a LONG."""
    tag = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x0112, 4, 1, 6, 0)
    picture().save(folder / "a.jpg", exif=b"Exif\0\0" + tag)
    target = packed(tool, folder / "a.jpg")
    return "upright" if target and ImageOps.exif_transpose(decoded(target)).size == SIZE[::-1] else "on its side"


def no_end(tool: str, folder: Path) -> str:
    """A JPEG that is complete but for its last two bytes (EOI)."""
    (folder / "a.jpg").write_bytes(jpeg(picture())[:-2])
    target = packed(tool, folder / "a.jpg")
    return drawing(decoded(target)) if target else "refused"


def jpeg_name(tool: str, folder: Path) -> str:
    """An output that is named x.jpg."""
    picture().save(folder / "a.png")
    target = folder / "x.jpg"
    subprocess.run(TOOLS[tool](folder / "a.png", target), capture_output=True)
    if not target.exists():
        return "refused"
    return "a JPEG" if target.read_bytes()[:2] == b"\xff\xd8" else f"{SUFFIX[tool]} data, exit 0"


SITUATIONS: tuple[Callable[[str, Path], str], ...] = (
    all_transparent,
    white_is_zero,
    hdr,
    video,
    checkerboard,
    same_time,
    zeros,
    long_orientation,
    no_end,
    jpeg_name,
)
