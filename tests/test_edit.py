"""What is made up goes on from its border, and nothing else of the picture changes."""

import itertools

import numpy as np
import pytest
from PIL import Image

from codec import edit
from codec.edit.membrane import membrane
from codec.errors import LatError
from tests.conftest import lat, psnr


@pytest.fixture(scope="module")
def small(photo) -> np.ndarray:
    return np.asarray(photo.crop((96, 64, 96 + 250, 64 + 170)))


def test_a_filled_hole_leaves_the_rest_alone_and_beats_its_mean(small):
    gains = []  # of one hole −2 … +12 dB: it takes many to tell
    for x, y in itertools.product(range(16, 208, 32), range(16, 128, 32)):
        filled = np.asarray(edit.fill(small, (x, y, x + 16, y + 16)))
        inside = np.zeros(small.shape[:2], bool)
        inside[y : y + 16, x : x + 16] = True
        assert np.array_equal(filled[~inside], small[~inside])
        ring = small[y - 8 : y + 24, x - 8 : x + 24].reshape(-1, 3).mean(0)
        gains.append(psnr(small[inside], filled[inside]) - psnr(small[inside], ring[None].repeat(256, 0)))
    assert np.mean(gains) > 3


def test_a_membrane_is_flat_between_equal_borders_and_even_between_two():
    values, missing = np.full((40, 61, 1), 7.0, np.float32), np.zeros((40, 61), bool)
    missing[5:30, 10:60] = True
    values[missing] = 99
    assert np.abs(membrane(values, missing) - 7).max() < 1e-3
    ramp = np.broadcast_to(np.arange(33, dtype=np.float32)[None, :, None], (20, 33, 1))
    missing = np.ones((20, 33), bool)
    missing[:, [0, -1]] = False
    assert np.abs(membrane(np.where(missing[:, :, None], 0, ramp), missing) - ramp).max() < 0.2


def test_holes_that_cannot_be_filled(small):
    for box, message in [
        ((240, 0, 260, 16), "leaves"),
        ((9, 9, 9, 12), "empty"),
        ((0, 0, 250, 170), "covers the whole picture"),
    ]:
        with pytest.raises(LatError, match=message):
            edit.fill(small, box)


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_outpainting_keeps_the_middle(small, mode):
    image = Image.fromarray(small).convert(mode)
    grown = edit.outpaint(image, 11)
    assert grown.mode == mode and grown.size == (272, 192)
    assert np.array_equal(np.asarray(grown)[11:-11, 11:-11], np.asarray(image))


def test_a_pasted_patch_has_no_seam(small):
    brighter = np.clip(small[20:80, 30:110].astype(int) + 60, 0, 255).astype(np.uint8)
    pasted = np.asarray(edit.paste(small, brighter, (30, 20)))
    assert np.abs(pasted.astype(int) - small).mean() < 3, "the same place, another light: the light is made to fit"
    outside = np.ones(small.shape[:2], bool)
    outside[20:80, 30:110] = False
    assert np.array_equal(pasted[outside], small[outside])
    with pytest.raises(LatError, match="leaves the picture"):
        edit.paste(small, brighter, (200, 20))
    assert edit.paste(Image.fromarray(small).convert("L"), brighter, (0, 0)).mode == "L"


def test_the_commands_answer_to_their_old_names_too(tmp_path):
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "a.png")
    done = lat("latent", "fill", tmp_path / "a.png", "--box", "8,8,16,16", "-o", tmp_path / "b.png")
    assert done.returncode == 0, done.stderr
    assert " fill " not in lat("latent", "--help").stdout
