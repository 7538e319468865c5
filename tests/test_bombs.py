"""What a file costs before it is trusted: large pictures inside small files, programs, pipes."""

import io
import os
import struct
import subprocess
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from codec import LatError, container, kinds
from codec.errors import LimitError
from codec.picture.declared import declare
from codec.picture.image import from_pillow, open_image
from codec.runs import job, plan
from tests.conftest import lat

SIDE = 4000  # pixels of what must not be decoded
LIMIT = 10**6


def png_header(side: int) -> bytes:
    """The beginning of a PNG; decoding it is an error of another kind."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def bitmap_header(side: int) -> bytes:
    return struct.pack("<IiiHHIIIIII", 40, side, 2 * side, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(99)


def icon(inside: bytes, kind: int = 1) -> bytes:
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inside), 22)
    return struct.pack("<HHH", 0, kind, 1) + entry + inside


def icns(inside: bytes) -> bytes:
    block = b"ic07" + struct.pack(">I", 8 + len(inside)) + inside
    return b"icns" + struct.pack(">I", 8 + len(block)) + block


def webp(kind: bytes, data: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I4s4sI", 12 + len(data), b"WEBP", kind, len(data)) + data


def jpeg2000_header(side: int) -> bytes:
    box = struct.pack(">I4s", 12, b"jP  ") + b"\r\n\x87\n" + struct.pack(">I4s4s", 16, b"ftyp", b"jp2 ") + bytes(4)
    return box + struct.pack(">I4sI4sIIHBBBB", 30, b"jp2h", 22, b"ihdr", side, side, 3, 7, 7, 0, 0)


def jxl_header(side: int) -> bytes:
    """Of a square: small 0, a side of 18 bits, ratio 1:1."""
    bits = 0 | 2 << 1 | (side - 1) << 3 | 1 << 21
    return b"\xff\x0a" + bits.to_bytes(12, "little")


BOMBS = {
    "PNG in ICO": icon(png_header(SIDE)),
    "bitmap in ICO": icon(bitmap_header(SIDE)),
    "PNG in CUR": icon(png_header(SIDE), 2),
    "PNG in ICNS": icns(png_header(SIDE)),
    "JPEG 2000 in ICNS": icns(jpeg2000_header(SIDE)),
    "JPEG XL": jxl_header(SIDE),
    "JPEG XL in boxes": struct.pack(">I8sI4s", 12, b"JXL \r\n\x87\n", 24, b"jxlc") + jxl_header(SIDE),
    "WebP": webp(b"VP8X", bytes(4) + 2 * (SIDE - 1).to_bytes(3, "little") + bytes(12)),
    "WebP, lossless": webp(b"VP8L", b"\x2f" + ((SIDE - 1) * 16385).to_bytes(17, "little")),
    "WebP, lossy": webp(b"VP8 ", struct.pack("<6xHH", SIDE, SIDE)),
    "PNG": png_header(SIDE),
    "BMP": b"BM" + bytes(8) + struct.pack("<I", 54) + bitmap_header(SIDE),
    "TGA": struct.pack("<BBB5xHHHHBB", 0, 0, 2, 0, 0, SIDE, SIDE, 24, 0x20),
    "PPM": b"P6 %d %d 255\n" % (SIDE, SIDE),
    "GIF": b"GIF89a" + struct.pack("<HHBBBB4xHHBB", SIDE, SIDE, 0, 0, 0, 44, SIDE, SIDE, 0, 8) + b"\0;",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_large_pictures_are_refused_before_anything_is_decoded(name, monkeypatch):
    def decoded(*args, **kwargs):
        raise AssertionError("pixels are decoded")

    kinds.register_plugins()
    monkeypatch.setattr(Image.Image, "load", decoded)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", decoded)
    with pytest.raises(LimitError, match="more than 1000000 pixels; raise --max-pixels"):
        open_image(io.BytesIO(BOMBS[name]), name, LIMIT)


@pytest.mark.parametrize("lossless", [True, False])
def test_the_canvas_of_a_webp_is_known_before_it_is_opened(lossless):
    for more in ({}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}):
        out = io.BytesIO()
        Image.new("RGB", (70, 50)).save(out, "WEBP", lossless=lossless, **more)
        assert declare(out.getvalue()).pixels == 70 * 50


@pytest.mark.parametrize("format", ["ICO", "ICNS", "JPEG2000", "WEBP", "AVIF", "BMP"])
def test_pictures_within_the_limit_are_taken(format):
    size = {"ICO": (64, 64), "ICNS": (1024, 1024)}.get(format, (70, 50))
    out = io.BytesIO()
    Image.new("RGB", size, "teal").save(out, format)
    assert from_pillow(open_image(io.BytesIO(out.getvalue()), "a", size[0] * size[1])).pixels.shape[:2] == size[::-1]


def test_a_limit_above_pillow_s_is_the_one_that_counts(tmp_path, monkeypatch, quick_codec):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    assert lat("compress", tmp_path / "a.png").returncode == 0
    small = lat("compress", tmp_path / "a.png", "-o", tmp_path / "b.lat", "--max-pixels", 100)
    assert small.returncode == 1 and "--max-pixels" in small.stderr and not (tmp_path / "b.lat").exists()
    assert Image.MAX_IMAGE_PIXELS == 100


NO_PICTURES = {
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n(evil) run\nshowpage\n",
    "PostScript in a preview": b"\xc5\xd0\xd3\xc6" + struct.pack("<6IH", 32, 9, 0, 0, 0, 0, 65535) + b"%!PS-Adobe-",
    "PDF": b"%PDF-1.7\n" + bytes(99),
    "WMF": b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<HHHHH", 0, 0, 32, 32, 96) + bytes(4) + b"\1\0\x09\0" + bytes(99),
    "EMF": b"\1\0\0\0" + struct.pack("<I8i", 108, *range(8)) + b" EMF" + bytes(99),
    "MPEG": b"\0\0\1\xb3\x01\x00\x10" + bytes(99),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(99),
    "GRIB": b"GRIB" + bytes(3) + b"\1" + bytes(99),
    "BUFR": b"BUFR" + bytes(99),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_PICTURES)
def test_what_is_no_picture_reaches_no_plugin_whatever_its_suffix(name, monkeypatch):
    kinds.register_plugins()
    monkeypatch.setattr(subprocess, "check_call", None)
    for format in kinds.NO_PICTURES & Image.OPEN.keys():
        monkeypatch.setitem(Image.OPEN, format, (None, None))
    for suffix in (".jpg", ".tif", ".eps", ""):
        with pytest.raises(LatError):
            open_image(io.BytesIO(NO_PICTURES[name]), f"photo{suffix}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes that have names")
def test_a_pattern_that_matches_a_pipe_passes_it_over(tmp_path, quick_codec):
    os.mkfifo(tmp_path / "x.png")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "y.png")
    os.symlink(tmp_path / "x.png", tmp_path / "z.png")
    found = plan.find([str(tmp_path / "*.png")], False, {".png"})
    assert [p.name for p in found.files] == ["y.png"] and found.passed_over == ["no regular file"] * 2
    assert lat("compress", f"{tmp_path}/*.png", "--out-dir", tmp_path / "o").returncode == 0
    (tmp_path / "y.png").unlink()
    only = lat("compress", f"{tmp_path}/*.png", "-o", tmp_path / "o.lat")
    assert only.returncode == 1 and "no regular file" in only.stderr
    assert lat("compress", f"{tmp_path}/*.png", "--out-dir", tmp_path / "p").returncode == 3


def test_what_an_icon_declares_is_that_of_its_largest_picture():
    assert declare(BOMBS["PNG in ICO"]).pixels == declare(BOMBS["JPEG XL"]).pixels == SIDE * SIDE


def test_a_few_bytes_decompress_to_no_more_pixels_than_a_server_can_hold():
    """Flat squares cost nothing in a file; what declares more of them than it has bytes for has to be asked for."""
    options, header = job.Options(), container.Header(2**14, 2**14, "RGB", 64, container.NO_WEIGHTS)
    with pytest.raises(LimitError, match="16384 × 16384, in 1365 bytes, is more than 67108864 pixels; raise --max-pix"):
        job.refuse_large(header, 1365, options)
    job.refuse_large(header, 2**18, options)
    job.refuse_large(replace(header, width=2**12), 60, options)
    job.refuse_large(header, 60, job.Options(max_hollow=2**28))
    with pytest.raises(LimitError, match="more than 1000 pixels"):
        job.refuse_large(header, 2**18, job.Options(max_pixels=1000))
