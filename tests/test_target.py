"""Targets are kept, or it is said what is possible."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from codec import LatError
from codec.command.cli import main
from codec.settings import Settings
from codec.ssimulacra2 import score
from codec.target import next_level, to_psnr, to_size, to_ssimulacra2
from tests.conftest import psnr


@pytest.fixture(scope="module")
def part(photo) -> Image.Image:
    return photo.crop((100, 50, 500, 350))


@pytest.mark.parametrize("size", [2_500, 8_000, 16_000])
def test_size_is_never_exceeded(codec, part, size):
    found = to_size(codec, part, size)
    assert 0.97 * size <= len(found.data) <= size and found.encodes <= 5
    assert codec.decode(found.data).size == part.size


@pytest.mark.parametrize("goal", [30.0, 35.0, 39.0])
def test_psnr_is_never_undershot(codec, part, goal):
    found = to_psnr(codec, part, goal)
    reached = psnr(np.asarray(part), np.asarray(codec.decode(found.data)))
    assert goal <= reached <= goal + 0.15 and found.value == pytest.approx(reached, abs=0.01) and found.encodes <= 5


@pytest.mark.parametrize("goal", [55, 70, 80])
def test_ssimulacra2_is_never_undershot(codec, part, goal):
    found = to_ssimulacra2(codec, part, goal)
    pair = [torch.tensor(np.asarray(x)).permute(2, 0, 1)[None] / 255 for x in (part, codec.decode(found.data))]
    reached = float(score(*pair))
    assert goal <= reached <= goal + 1 and found.value == pytest.approx(reached, abs=0.01) and found.encodes <= 4


def test_ssimulacra2_of_grey_small_and_impossible_pictures(codec, part):
    grey = part.convert("LA").crop((0, 0, 60, 50))
    assert to_ssimulacra2(codec, grey, 60).value >= 60
    with pytest.raises(LatError, match="needs 8 pixels a side"):
        to_ssimulacra2(codec, part.crop((0, 0, 7, 50)), 60)
    with pytest.raises(LatError, match="98 cannot be reached: the highest quality has"):
        to_ssimulacra2(codec, part.crop((0, 0, 60, 50)), 98)


def test_the_impossible_is_named(codec, part):
    with pytest.raises(LatError, match="300 bytes are not enough: at the lowest quality it takes"):
        to_size(codec, part, 300)
    with pytest.raises(LatError, match="cannot be reached: the highest quality has"):
        to_psnr(codec, part, 58)


def test_a_target_beyond_the_best_gives_the_best(codec, part):
    assert to_size(codec, part, 10_000_000).quality == 100


def test_flat_grey_and_alpha(codec):
    flat = Image.new("RGBA", (50, 40), (10, 200, 30, 77))
    assert len(to_size(codec, flat, 500).data) <= 500
    assert to_psnr(codec, flat.convert("L"), 35).value >= 35


def test_secants_stay_between_their_points():
    assert next_level({10: 1.0, 20: 2.0}, 1.5, 0.1) == 15
    assert next_level({10: 1.0}, 1.5, 0.1) == 15
    assert next_level({10: 1.0, 20: 2.0}, 3.0, 0.1) == 30


def test_a_higher_threshold_makes_smaller_files(codec, part):
    sizes = [len(codec.encode_picture(part, Settings(50, threshold=t))) for t in (0.5, 0.55, 0.6)]
    assert sizes[0] > sizes[1] > sizes[2]


def test_the_command_says_what_it_chose(tmp_path, part):
    source = tmp_path / "a.png"
    part.save(source)
    done = CliRunner().invoke(main, ["compress", str(source), "--target-size", "8k"])
    assert done.exit_code == 0 and "gives" in done.output and "encodes" in done.output, done.output
    assert 7_700 <= (tmp_path / "a.lat").stat().st_size <= 8_000
    done = CliRunner().invoke(main, ["compress", str(source), "--target-bpp", "0.5", "--overwrite"])
    assert done.exit_code == 0 and (tmp_path / "a.lat").stat().st_size <= 400 * 300 / 16
    for args, message in (
        (["--target-size", "8k", "--target-psnr", "30"], "one target at a time"),
        (["--target-ssimulacra2", "100"], "is not in the range"),
        (["--target-size", "much"], "is no number of bytes"),
        (["--target-size", "100", "--overwrite"], "not enough"),
    ):
        done = CliRunner().invoke(main, ["compress", str(source), *args])
        assert done.exit_code in (1, 2) and message in done.output, done.output
