"""Pillow opens and saves .lat files. Names follow the tests of pillow-heif and pillow-avif-plugin where they apply."""

import io
import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

import codec.plugin  # noqa: F401
from codec import loaded, weights
from codec.settings import Settings
from tests.conftest import run


@pytest.fixture
def packed(codec, crop) -> bytes:
    image = Image.fromarray(crop)
    image.info |= {"icc_profile": b"profile", "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0", "xmp": b"<x/>"}
    return codec.encode(image, 60)


def save(image, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, "LAT", **options)
    return out.getvalue()


def test_read(packed, codec):
    with Image.open(io.BytesIO(packed)) as image:
        assert (image.format, image.mode, image.size) == ("LAT", "RGB", (128, 96))
        assert image.get_format_mimetype() == "image/x-lat"
        assert image.tobytes() == codec.decode(packed).tobytes()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_write_modes(crop, mode):
    with Image.open(io.BytesIO(save(Image.fromarray(crop).convert(mode)))) as image:
        assert image.mode == mode


def test_write_quality(crop):
    image = Image.fromarray(crop)
    assert len(save(image, quality=5)) < len(save(image)) < len(save(image, quality=95))
    for bad in (-1, 101, "high"):
        with pytest.raises(ValueError, match="quality"):
            save(image, quality=bad)


def test_save_by_extension(tmp_path, crop):
    path = tmp_path / "a.lat"
    Image.fromarray(crop).save(path, quality=30)
    with Image.open(path) as image:
        image.load()
        assert image.size == (128, 96)


def test_open_is_lazy_and_needs_no_torch(packed, tmp_path):
    path = tmp_path / "a.lat"
    path.write_bytes(packed)
    code = "import sys, codec.plugin as p; p.Image.open(sys.argv[1]).close(); print('torch' in sys.modules)"
    assert run("-c", code, str(path), text=True).stdout == "False\n"


def test_load_twice_and_copy(packed):
    with Image.open(io.BytesIO(packed)) as image:
        first = image.load()
        assert image.load()[0, 0] == first[0, 0]
        assert image.copy().crop((1, 1, 5, 5)).size == (4, 4)


def test_info_icc_exif_xmp(packed):
    with Image.open(io.BytesIO(packed)) as image:
        assert image.info["icc_profile"] == b"profile"
        assert image.info["exif"].startswith(b"Exif") and image.info["xmp"] == b"<x/>"


def test_metadata_survives_a_second_save(packed):
    with Image.open(io.BytesIO(packed)) as image:
        again = save(image)
        without = save(image, exif=b"", icc_profile=None)
        other = save(image, icc_profile=b"other")
    with Image.open(io.BytesIO(again)) as image:
        assert set(image.info) == {"icc_profile", "exif", "xmp"}
    with Image.open(io.BytesIO(without)) as image:
        assert set(image.info) == {"xmp"}
    with Image.open(io.BytesIO(other)) as image:
        assert image.info["icc_profile"] == b"other"


def test_exif_object(crop):
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(io.BytesIO(save(Image.fromarray(crop), exif=exif))) as image:
        assert image.getexif()[0x0112] == 6


def test_verify(packed):
    with Image.open(io.BytesIO(packed)) as image:
        image.verify()


def test_invalid_file():
    with pytest.raises(UnidentifiedImageError, match="cannot read .lat file"):
        Image.open(io.BytesIO(b"\x8eLAT\r\n\x1a\nnothing"))


def test_damage_is_an_os_error(codec, crop):
    damaged = bytearray(codec.encode_picture(crop, Settings(tile=4)))
    damaged[len(damaged) // 2] ^= 1
    with Image.open(io.BytesIO(bytes(damaged))) as image, pytest.raises(OSError, match="tile"):
        image.load()
    with Image.open(io.BytesIO(bytes(damaged))) as image, pytest.raises(OSError, match="checksum"):
        image.verify()


def test_decompression_bomb_check(packed, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(packed))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8000)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Image.open(io.BytesIO(packed)).close()
    assert any(issubclass(w.category, Image.DecompressionBombWarning) for w in caught)


def test_file_pointer_is_closed_after_load(packed, tmp_path):
    path = tmp_path / "a.lat"
    path.write_bytes(packed)
    image = Image.open(path)
    image.load()
    path.unlink()
    assert np.asarray(image).shape == (96, 128, 3)


def test_thumbnail_and_convert(packed):
    with Image.open(io.BytesIO(packed)) as image:
        image.thumbnail((32, 32))
        assert image.size == (32, 24) and image.convert("L").mode == "L"


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_dpi_and_comment_are_kept_as_in_a_jpeg(crop):
    image = Image.fromarray(crop[:16, :16])
    for comment in ("grüße", "grüße".encode()):
        info = opened(save(image, dpi=(300, 72), comment=comment, lossless=True)).info
        assert info == {"dpi": (300, 72), "comment": "grüße"}
    first = opened(save(image, dpi=(300, 300), comment="a", lossless=True))
    assert opened(save(first, lossless=True)).info == first.info, "what it had stays"
    assert opened(save(first, comment="b", lossless=True)).info == {"dpi": (300, 300), "comment": "b"}
    assert opened(save(first, comment=None, dpi=None, lossless=True)).info == {}
    exif = Image.Exif()
    exif[0x011A] = 72.0
    own = opened(save(image, dpi=(300, 300), exif=exif, lossless=True))
    assert own.info["dpi"] == (300, 300) and opened(save(own, lossless=True)).info["dpi"] == (300, 300)


@pytest.mark.parametrize("dpi", [300, "300", (300,), (0, 0), (300, float("inf")), (float("nan"), 1), (1, 2, 3)])
def test_what_is_no_resolution_is_refused(crop, dpi):
    with pytest.raises(ValueError, match="dpi must be"):
        save(Image.fromarray(crop[:16, :16]), dpi=dpi, lossless=True)


def test_effort_and_tune_are_those_of_encode(codec, crop, monkeypatch):
    image, asked = Image.fromarray(crop[:32, :32]), []
    assert save(image, lossless=True, effort=1) == codec.encode(image, lossless=True, effort=1)
    stand_in = SimpleNamespace(encode_picture=lambda picture, settings: asked.append(settings) or b"")
    monkeypatch.setattr(loaded, "codec", lambda name: asked.append(name) or stand_in)
    save(image, effort=7, tune="psnr", quality=30)
    assert asked == [weights.newest("fast", "psnr"), Settings(30, 7, "psnr")]
    for wrong in ({"effort": 10}, {"effort": "slow"}, {"tune": "beauty"}):
        with pytest.raises(ValueError, match="must be"):
            save(image, **wrong)


def test_save_all_of_one_picture_saves_it_and_of_more_is_refused(crop):
    image = Image.fromarray(crop[:16, :16])
    assert save(image, save_all=True, lossless=True) == save(image, lossless=True)
    assert save(image, save_all=True, append_images=[], lossless=True) == save(image, lossless=True)
    with pytest.raises(ValueError, match="one picture, not 2"):
        save(image, save_all=True, append_images=[image])
    film = io.BytesIO()
    image.save(film, "GIF", save_all=True, append_images=[Image.new("RGB", (16, 16), c) for c in ("red", "teal")])
    with pytest.raises(ValueError, match="one picture, not 3"):
        save(Image.open(film), save_all=True)


def test_an_opened_picture_pickles(packed):
    image = pickle.loads(pickle.dumps(opened(packed)))
    assert image.tobytes() == opened(packed).tobytes()
