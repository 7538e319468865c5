"""Effort makes smaller files of the same kind."""

import numpy as np
import pytest
from click.testing import CliRunner

from codec import Codec
from codec.cli import main
from codec.latents import Latents
from tests.conftest import psnr


@pytest.fixture(scope="module")
def part(photo) -> np.ndarray:
    return np.asarray(photo.crop((300, 100, 620, 340)))


def cost(codec: Codec, pixels: np.ndarray, data: bytes, quality: float) -> float:
    """Bits + λ · squared error of a file: what effort is to lower."""
    error = np.asarray(codec.decode(data)).astype(float) - pixels
    return 8 * len(data) + float(codec.model.lambdas[codec.row(quality)]) / 3 * float((error**2).sum())


def test_effort_pays(codec, part):
    """Never worse than one pass, and better where there is something to win: a tile keeps the best that was seen."""
    for quality in (15, 50, 85):
        costs = [cost(codec, part, codec.encode(part, quality, effort=e), quality) for e in (3, 5, 7)]
        assert max(costs) <= 1.001 * costs[0], quality
        if quality >= 50:
            assert max(costs[1:]) < 0.997 * costs[0], quality


def test_low_efforts_are_one_pass(codec, crop):
    files = [codec.encode(crop, 40, effort=e) for e in (1, 2, 3)]
    assert files[0] == files[1] == files[2] == codec.encode(crop, 40)


def test_any_size_tiles_grey_and_alpha(codec, photo):
    for image in (
        photo.crop((0, 0, 37, 21)),
        photo.crop((0, 0, 1, 1)),
        photo.convert("L").crop((0, 0, 70, 50)),
        photo.convert("RGBA").crop((0, 0, 70, 50)),
        photo.resize((1060, 40)),  # two tiles
    ):
        data = codec.encode(image, 30, effort=4)
        decoded = codec.decode(data)
        assert (decoded.size, decoded.mode) == (image.size, image.mode)
        assert psnr(np.asarray(decoded), np.asarray(image)) > 20


def test_refined_latents_are_latents(codec, crop):
    data = codec.encode(crop, 40, effort=5)
    latents = Latents.from_file(codec, data)
    assert latents.to_file(codec) == data


def test_the_command_takes_effort(tmp_path, photo):
    source = tmp_path / "a.png"
    photo.crop((0, 0, 200, 150)).save(source)
    for e in (3, 6):
        done = CliRunner().invoke(main, ["compress", str(source), "-e", str(e), "-o", str(tmp_path / f"{e}.lat")])
        assert done.exit_code == 0, done.output
    assert (tmp_path / "6.lat").stat().st_size != (tmp_path / "3.lat").stat().st_size
    assert CliRunner().invoke(main, ["compress", str(source), "-e", "10"]).exit_code == 2
