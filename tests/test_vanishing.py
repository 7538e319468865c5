"""What a file holds beside its picture and what is not kept: each thing is named once, with its size."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from codec import LatError
from tests.test_declared import COLOUR, SRGB, chunk
from tests.test_jpeg import segment, with_segments, written
from tests.test_pictures import opened

ICC, XMP = b"ICC_PROFILE\0", b"http://ns.adobe.com/xap/1.0/\0"


def resource(number: int, content: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HHI", number, 0, len(content)) + content + bytes(len(content) % 2)


def saved(format: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(COLOUR).save(out, format)
    return out.getvalue()


@pytest.mark.parametrize(
    "parts, note",
    [
        ([segment(0, b"JFXX\0\x10" + bytes(40))], "dropped thumbnail (46 bytes)"),
        ([segment(0, b"JFIF\0\1\1\0\0\1\0\1\2\2" + bytes(12))], "dropped thumbnail (12 bytes)"),
        ([segment(13, b"Photoshop 3.0\0" + resource(2000, bytes(26)))], "dropped Photoshop resources (26 bytes)"),
        ([segment(1, XMP + b"<a/>"), segment(1, XMP + b"<b/>")], "dropped further XMP (33 bytes)"),
        ([segment(2, ICC + b"\1\2" + bytes(9))], "dropped unreadable ICC profile (23 bytes)"),
        ([segment(2, ICC + b"\0\0" + bytes(9))], "dropped unreadable ICC profile (23 bytes)"),
    ],
)
def test_segments_of_a_jpeg_that_pillow_passes_over_are_named(parts, note):
    assert opened(with_segments(written(COLOUR), *parts)).notes == [note]


def test_a_profile_in_two_segments_is_kept_whatever_their_order():
    halves = [ICC + bytes([i, 2]) + SRGB[a:b] for i, a, b in ((2, 300, None), (1, 0, 300))]
    picture = opened(with_segments(written(COLOUR), *(segment(2, half) for half in halves)))
    assert picture.metadata["icc"] == SRGB and not picture.notes


def test_xmp_of_a_psd_is_kept_and_other_resources_are_named():
    resources = resource(1060, b"<x/>") + resource(1036, bytes(50)) + resource(1005, bytes(16))
    head = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, *COLOUR.shape[:2], 8, 3)
    data = head + struct.pack(">II", 0, len(resources)) + resources + bytes(6) + COLOUR.transpose(2, 0, 1).tobytes()
    picture = opened(data)
    assert picture.metadata["xmp"] == b"<x/>" and picture.notes == ["dropped Photoshop resources (50 bytes)"]
    assert (picture.pixels == COLOUR).all()


def test_faces_of_a_cube_areas_of_a_tga_and_data_behind_a_bmp_are_named():
    cube = bytearray(saved("DDS"))
    cube[112:116] = struct.pack("<I", 0xFE00)
    assert opened(bytes(cube) + 5 * bytes(cube)[128:]).notes == [
        f"dropped 5 further pictures ({5 * COLOUR.size:,} bytes)"
    ]
    tga = saved("TGA")[:-26]
    area = struct.pack("<H", 495) + b"Jane Doe".ljust(493, b"\0")
    signed = tga + area + struct.pack("<II", len(tga), 0) + b"TRUEVISION-XFILE.\0"
    assert opened(signed).notes == ["dropped TGA extension area (8 bytes)"]
    assert opened(saved("BMP") + b"data").notes == ["dropped data behind the BMP (4 bytes)"]


def test_the_comment_of_a_ppm_is_named_and_a_pfm_of_colours_says_what_it_is():
    head = f"P6\n# by Jane\n{COLOUR.shape[1]} {COLOUR.shape[0]}\n255\n".encode()
    assert opened(head + COLOUR.tobytes()).notes == ["dropped comment (8 bytes)"]
    with pytest.raises(LatError, match="three float samples"):
        opened(b"PF\n2 2\n-1.0\n" + bytes(48))


@pytest.mark.parametrize("code_points", [(1, 13, 0, 0), (9, 16, 1, 1), (12, 13, 0, 0)])
def test_code_points_of_a_png_that_are_not_of_full_range_rgb_are_a_note(code_points):
    data = saved("PNG")
    picture = opened(data[:33] + chunk(b"cICP", bytes(code_points)) + data[33:])
    assert "icc" not in picture.metadata and "are taken as sRGB" in picture.notes[0]


def test_a_cut_profile_of_a_png_is_left_out_with_a_note():
    data = saved("PNG")
    picture = opened(data[:33] + chunk(b"iCCP", b"x\0\0" + zlib.compress(SRGB)[:100]) + data[33:])
    assert picture.notes == ["the ICC profile cannot be read and is left out (103 bytes)"]
    assert "icc" not in picture.metadata and np.array_equal(picture.pixels, COLOUR)
