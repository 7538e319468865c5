"""Alpha: what is no opacity hides nothing; colours that opacity hides are replaced where they are rubbish."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from codec.picture import alpha
from codec.picture.image import Picture, from_pillow, open_image

REPLACED = "colours of {:,} fully transparent pixels are replaced by their surroundings; --exact keeps them"


def opened(data: bytes, exact: bool = False) -> Picture:
    return from_pillow(open_image(io.BytesIO(data), "picture"), "picture", exact)


def psd(pixels: np.ndarray, layers: bytes) -> bytes:
    """Uncompressed, of (H, W, C) uint8."""
    height, width, channels = pixels.shape
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, channels, height, width, 8, 3)
    section = struct.pack(">I", len(layers)) + layers
    return head + bytes(8) + section + bytes(2) + pixels.transpose(2, 0, 1).tobytes()


def empty_layers(count: int) -> bytes:
    """Layer info; a negative count says that the first channel beyond the colours is transparency."""
    info = struct.pack(">h", count) + (bytes(18) + b"8BIMnorm" + bytes(8)) * abs(count)
    return struct.pack(">I", len(info)) + info


def tga(pixels: np.ndarray, attributes: int, kind: int | None = None) -> bytes:
    """Uncompressed, of (H, W, 4) uint8; `kind` of alpha as the extension area of TGA 2.0 has it."""
    height, width = pixels.shape[:2]
    head = struct.pack("<BBB5xHHHHBB", 0, 0, 2, 0, 0, width, height, 32, 0x20 | attributes)
    data = head + pixels[:, :, [2, 1, 0, 3]].tobytes()
    if kind is None:
        return data
    area = struct.pack("<H", 495) + bytes(492) + bytes([kind])
    return data + area + struct.pack("<II", len(data), 0) + b"TRUEVISION-XFILE.\0"


def dds(pixels: np.ndarray, mode: int) -> bytes:
    height, width = pixels.shape[:2]
    head = struct.pack("<7I44x", 124, 0x1007, height, width, 4 * width, 0, 0)
    head += struct.pack("<II4s5I", 32, 4, b"DX10", 0, 0, 0, 0, 0) + struct.pack("<I16x", 0x1000)
    return b"DDS " + head + struct.pack("<5I", 28, 3, 0, 1, mode) + pixels.tobytes()


@pytest.fixture(scope="module")
def cut_out(photo) -> np.ndarray:
    """(64, 64, 4): a photograph of which a square is visible."""
    pixels = np.dstack([np.asarray(photo)[200:264, 300:364], np.zeros((64, 64), np.uint8)])
    pixels[8:24, 8:24, 3] = 255
    return pixels


def with_hidden(pixels: np.ndarray, colours) -> np.ndarray:
    """The same with other colours where alpha is 0."""
    out = pixels.copy()
    out[:, :, :3] = np.where(pixels[:, :, 3:] == 0, colours, pixels[:, :, :3])
    return out


@pytest.mark.parametrize("layers", [b"", empty_layers(0), empty_layers(2), empty_layers(-1)])
def test_the_selection_of_a_psd_is_transparency_only_if_its_layers_say_so(cut_out, layers):
    picture = opened(psd(cut_out, layers))
    if layers == empty_layers(-1):
        assert (picture.pixels == cut_out).all() and not any("selection" in note for note in picture.notes)
    else:
        assert (picture.pixels == cut_out[:, :, :3]).all() and picture.mode == "RGB"
        assert picture.notes[-1] == "a saved selection of the PSD is dropped"


@pytest.mark.parametrize(
    ("attributes", "kind", "opacity"), [(0, None, False), (8, None, True), (8, 0, False), (8, 1, False), (0, 3, True)]
)
def test_alpha_of_a_tga_is_what_it_declares(cut_out, attributes, kind, opacity):
    picture = opened(tga(cut_out, attributes, kind))
    assert picture.mode == ("RGBA" if opacity else "RGB")
    assert (picture.pixels == cut_out[:, :, : picture.pixels.shape[2]]).all()
    assert picture.notes == ([] if opacity else ["a channel that the TGA declares to be no alpha is dropped"])


@pytest.mark.parametrize(("mode", "opacity"), [(0, True), (1, True), (3, False), (4, False)])
def test_data_in_the_alpha_of_a_texture_hide_nothing(cut_out, mode, opacity):
    picture = opened(dds(cut_out[:, :, [2, 1, 0, 3]], mode))
    assert picture.mode == ("RGBA" if opacity else "RGB") and len(picture.notes) == (not opacity)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "TGA", "QOI"])
def test_where_everything_or_a_picture_is_hidden_colours_stay(cut_out, format):
    nothing = cut_out * np.uint8([1, 1, 1, 0])
    scattered = cut_out.copy()
    scattered[:, :, 3] = np.random.default_rng(0).integers(0, 8, (64, 64))
    island = with_hidden(cut_out, 0)
    island[40:60, 40:60, :3] = cut_out[40:60, 40:60, :3]
    for pixels in (nothing, cut_out, scattered, island):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, format, **({"lossless": True, "exact": True} if format == "WEBP" else {}))
        picture = opened(out.getvalue())
        assert (picture.pixels == pixels).all() and not picture.notes


def test_rubbish_is_replaced_with_a_note_and_black_and_white_without_one(cut_out):
    count = 64 * 64 - 16 * 16
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for colours, note in ((0, []), (255, []), ([9, 99, 199], [REPLACED]), (noise, [REPLACED])):
        pixels = with_hidden(cut_out, colours)
        picture = from_pillow(Image.fromarray(pixels))
        assert picture.notes == [text.format(count) for text in note]
        visible = pixels[:, :, 3] > 0
        assert (picture.pixels[visible] == pixels[visible]).all() and (picture.pixels != pixels).any()
        assert (from_pillow(Image.fromarray(pixels), exact=True).pixels == pixels).all()


def test_a_colour_that_stands_for_transparency_is_not_worth_a_note(cut_out):
    image = Image.fromarray(np.where(cut_out[:, :, 3:] > 0, cut_out[:, :, :3], np.uint8([9, 99, 199])))
    image.info["transparency"] = (9, 99, 199)
    assert from_pillow(image).mode == "RGBA" and not from_pillow(image).notes


def test_grey_has_the_same_rules(cut_out):
    grey = np.ascontiguousarray(cut_out[:, :, 1::2])
    assert (alpha.without_hidden_colours(grey)[0] == grey).all()
    flat = np.where(grey[:, :, 1:] == 0, np.uint8([77, 0]), grey)
    assert alpha.without_hidden_colours(flat)[1] == REPLACED.format(64 * 64 - 16 * 16)
