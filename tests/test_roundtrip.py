"""Any picture comes back at its own size and mode, and better as quality rises."""

import numpy as np
import pytest
from PIL import Image

from codec import LatError, LimitError, coder
from tests.conftest import psnr

SIZES = [(1, 1), (1, 40), (40, 1), (2, 3), (15, 17), (16, 16), (17, 31), (63, 65), (64, 64), (129, 100)]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_size_and_mode_comes_back(codec, photo, width, height, mode):
    image = photo.crop((300, 200, 300 + width, 200 + height)).convert(mode)
    decoded = codec.decode(codec.encode(image, quality=70))
    assert (decoded.size, decoded.mode) == (image.size, mode)
    assert psnr(np.asarray(decoded), np.asarray(image)) > 25


def test_bytes_and_psnr_rise_with_quality(codec, photo):
    original = np.asarray(photo)
    sizes, quality = [], []
    for q in (5, 20, 35, 50, 65, 80, 95):
        data = codec.encode(photo, quality=q)
        sizes.append(len(data))
        quality.append(psnr(np.asarray(codec.decode(data)), original))
    assert sizes == sorted(set(sizes))
    assert quality == sorted(set(quality))


def test_arrays_and_images_give_the_same_file(codec, crop):
    assert codec.encode(crop, quality=40) == codec.encode(Image.fromarray(crop), quality=40)
    assert codec.encode(crop[:, :, 0]) == codec.encode(Image.fromarray(crop[:, :, 0]))


def test_a_read_only_or_strided_array_is_welcome(codec, crop):
    view = crop[::2, ::2]
    view.flags.writeable = False
    assert codec.encode(view) == codec.encode(view.copy())


@pytest.mark.parametrize("array", [np.zeros((4, 4), float), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)])
def test_other_arrays_are_refused_in_words(codec, array):
    with pytest.raises(LatError, match="array of"):
        codec.encode(array)


@pytest.mark.parametrize("quality", [-1, 100.5, float("nan")])
def test_quality_outside_0_to_100_is_refused(codec, crop, quality):
    with pytest.raises(ValueError, match="quality must be"):
        codec.encode(crop, quality=quality)


@pytest.mark.parametrize("mode", ["1", "LA", "RGBA", "P", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_other_modes_are_converted_with_a_note(crop, mode):
    from codec.image import from_pillow

    image = Image.fromarray(crop)
    if mode == "I;16":
        image = Image.fromarray(crop[:, :, 0].astype(np.uint16) * 257)
    elif mode == "LA":
        image = image.convert("L").convert("LA")
    else:
        image = image.convert(mode)
    picture = from_pillow(image)
    assert picture.pixels.shape == crop.shape
    assert picture.mode == ("L" if mode in ("1", "LA", "I;16", "I", "F") else "RGB")
    assert bool(picture.notes) == (mode not in ("1", "P"))


def test_sixteen_bits_keep_their_upper_eight(crop):
    from codec.image import from_pillow

    grey = crop[:, :, 0]
    assert (from_pillow(Image.fromarray(grey.astype(np.uint16) * 257)).pixels[:, :, 0] == grey).all()


def test_tiles_change_nothing(codec, photo, monkeypatch):
    """The tiled picture is the untiled one: the networks see across tile borders."""
    image = photo.crop((100, 100, 420, 388))
    whole = np.asarray(codec.decode(codec.encode(image, 60))).astype(int)
    monkeypatch.setattr(coder, "TILE", 8)
    tiled = np.asarray(codec.decode(codec.encode(image, 60))).astype(int)
    # the entropy model starts anew in each tile, so μ and with it the rounding of ŷ differs; no seam may show
    original, seam = np.asarray(image).astype(int), np.zeros(whole.shape[:2], bool)
    for k in (128, 256):
        seam[k - 2 : k + 2] = seam[:, k - 2 : k + 2] = True
    assert abs(psnr(tiled[seam], original[seam]) - psnr(whole[seam], original[seam])) < 0.3
    assert abs(psnr(tiled, original) - psnr(whole, original)) < 0.05


def test_synthesis_of_tiles_equals_synthesis_of_the_whole(codec, photo, monkeypatch):
    """Given the same latents, pixels agree to ±1 wherever tile borders lie."""
    monkeypatch.setattr(coder, "TILE", 8)
    import torch

    from codec import container
    from codec.tiles import tile_box

    data = codec.encode(photo.crop((100, 100, 420, 388)), 60)
    parsed = container.parse(data)
    tiles = [
        (tile_box(parsed.header, i), codec.decode_tile(parsed.tile(i), tile_box(parsed.header, i)))
        for i in range(len(parsed.tiles))
    ]
    y_hat = torch.empty(1, codec.cfg.latents, 18, 20)
    for box, tile in tiles:
        y_hat[(..., *box.slices)] = tile.y_hat
    whole = codec.synthesise(y_hat, tiles[0][1].row)[:288, :320].astype(int)
    assert np.abs(whole - np.asarray(codec.decode(data)).astype(int)).max() <= 1


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (100, 90, 300, 200), (127, 127, 129, 129), (0, 0, 320, 288)])
def test_a_region_equals_the_crop(codec, photo, monkeypatch, box):
    monkeypatch.setattr(coder, "TILE", 8)
    data = codec.encode(photo.crop((100, 100, 420, 388)), 30)
    assert codec.decode_region(data, box).tobytes() == codec.decode(data).crop(box).tobytes()


def test_metadata_passes_through(codec, crop):
    image = Image.fromarray(crop)
    image.info |= {"icc_profile": b"profile", "exif": b"Exif\0\0II*\0", "xmp": b"<x/>"}
    decoded = codec.decode(codec.encode(image))
    assert {k: decoded.info[k] for k in ("icc_profile", "exif", "xmp")} == {
        "icc_profile": b"profile",
        "exif": b"Exif\0\0II*\0",
        "xmp": b"<x/>",
    }


def test_more_pixels_than_allowed_are_refused(codec, crop):
    with pytest.raises(LimitError, match="128 × 96"):
        codec.decode(codec.encode(crop), max_pixels=100)


def test_encoding_leaves_the_random_state_alone():
    import torch

    from codec import Codec

    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    Codec.load()
    assert torch.rand(1) == expected
