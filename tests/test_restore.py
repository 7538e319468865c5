"""Restoring wins over what it starts from, and says no more than what it was given."""

import io

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from codec import Codec
from codec.command.cli import main
from codec.errors import LatError
from codec.latent import restore
from tests.conftest import psnr

BICUBIC, LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS


@pytest.fixture(scope="module")
def clean(photo) -> Image.Image:
    return photo.crop((300, 200, 300 + 150, 200 + 100))


def jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def test_noise_goes_and_the_picture_stays(codec, clean):
    pixels = np.asarray(clean)
    noisy = np.clip(np.random.default_rng(0).normal(pixels, 25), 0, 255).astype(np.uint8)
    assert psnr(pixels, np.asarray(restore.denoise(codec, noisy, 25))) > psnr(pixels, noisy) + 8


def test_the_rate_row_follows_the_noise(codec):
    rows = [restore.row_of_noise(codec, sigma) for sigma in (50, 25, 15, 5, 1)]
    assert rows == sorted(rows) and len(set(rows)) == len(rows)
    with pytest.raises(ValueError, match="above 0"):
        restore.row_of_noise(codec, 0)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_deblocked_pictures_keep_to_their_file(codec, clean, mode):
    image = clean.convert(mode)
    data = jpeg(image, 15)
    restored = restore.deblock(codec, data)
    assert restored.mode == mode and restored.size == clean.size
    assert (
        psnr(np.asarray(image), np.asarray(restored))
        > psnr(np.asarray(image), np.asarray(Image.open(io.BytesIO(data)))) + 0.5
    )
    luma, table, _ = restore.coefficients(data)
    basis = restore.cosines()
    block = np.asarray(restored.convert("L"), np.float32)[:8, :8]
    moved = basis @ (block - luma[:8, :8]) @ basis.T
    assert (np.abs(moved) <= 0.5 * table + 4).all(), "rounding to grey levels moves a coefficient by some levels"


def test_what_is_no_jpeg_is_refused(codec):
    with pytest.raises(LatError, match="no JPEG"):
        restore.deblock(codec, b"nothing")
    file = io.BytesIO()
    Image.new("CMYK", (16, 16)).save(file, "JPEG")
    with pytest.raises(LatError, match="mode CMYK"):
        restore.deblock(codec, file.getvalue())


def test_twice_the_size_shrinks_to_what_was_given(codec, clean):
    small = clean.resize((75, 50), BICUBIC)
    large = restore.upscale(codec, small)
    assert large.size == clean.size
    assert psnr(np.asarray(large.resize(small.size, BICUBIC)), np.asarray(small)) > 45
    plain = small.resize(clean.size, LANCZOS)
    assert psnr(np.asarray(clean), np.asarray(large)) > psnr(np.asarray(clean), np.asarray(plain)) + 0.3


def test_alpha_and_metadata_stay(codec, clean):
    image = clean.crop((0, 0, 40, 30)).convert("RGBA")
    image.putalpha(77)
    image.info["icc_profile"] = b"a profile"
    restored, doubled = restore.denoise(codec, image, 10), restore.upscale(codec, image)
    assert restored.mode == doubled.mode == "RGBA"
    assert restored.getchannel("A").getextrema() == doubled.getchannel("A").getextrema() == (77, 77)
    assert restored.info["icc_profile"] == b"a profile"


def test_the_command(tmp_path, clean):
    source = tmp_path / "a.jpg"
    source.write_bytes(jpeg(clean.crop((0, 0, 48, 32)), 30))

    def lat(*args):
        return CliRunner().invoke(main, ["latent", "restore", str(source), *map(str, args)])

    assert lat("--noise", 10, "-o", tmp_path / "n.png").exit_code == 0
    assert lat("--deblock", "-o", tmp_path / "d.lat").exit_code == 0
    assert lat("--upscale", 2, "-o", tmp_path / "u.png").exit_code == 0
    with Image.open(tmp_path / "n.png") as n, Image.open(tmp_path / "u.png") as u:
        assert (n.size, u.size) == ((48, 32), (96, 64))
    file = (tmp_path / "d.lat").read_bytes()
    assert Codec.for_file(file).decode(file).size == (48, 32)
    both = lat("--noise", 10, "--deblock", "-o", tmp_path / "x.png")
    assert both.exit_code == 2 and "say one of" in both.output
    clean.save(source, "PNG")
    failed = lat("--deblock", "-o", tmp_path / "x.png")
    assert failed.exit_code == 1 and "a.jpg: no JPEG" in failed.output
