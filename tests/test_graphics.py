"""Synthetic graphics for training: every kind is drawn, and drawn again the same."""

import tarfile

import numpy as np
import pytest
from PIL import Image

from codec.train import graphics
from codec.train.sheet import find_fonts


@pytest.mark.parametrize("kind", range(len(graphics.KINDS)), ids=[k.__name__ for k in graphics.KINDS])
def test_a_kind_has_content_and_is_the_same_again(kind, photo):
    photos = [np.asarray(photo.convert("RGB"))]
    picture = graphics.make(kind, 7, 192, [], photos)
    assert picture.size == (192, 192) and picture.mode == "RGB"
    assert len(picture.getcolors(192 * 192)) > 1
    assert picture.tobytes() == graphics.make(kind, 7, 192, [], photos).tobytes()


def test_fonts_of_a_folder_are_found_and_those_without_letters_left_out(tmp_path):
    for name in ("Sans.ttf", "NotoColorEmoji.ttf", "notes.txt"):
        (tmp_path / name).touch()
    found = [f for f in find_fonts([tmp_path]) if f.startswith(str(tmp_path))]
    assert found == [str(tmp_path / "Sans.ttf")]


def test_the_command_writes_a_tar_of_pictures_that_training_reads(tmp_path):
    out = tmp_path / "graphics.tar"
    graphics.main(["--out", str(out), "--count", "2", "--size", "96"], standalone_mode=False)
    with tarfile.open(out) as tar:
        assert [m.name for m in tar] == ["00000-page.png", "00001-code.png"]
        assert Image.open(tar.extractfile("00000-page.png")).size == (96, 96)
