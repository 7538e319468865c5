"""The page for people who come from other codecs: its commands work as they stand there."""

import re
import shlex
from types import SimpleNamespace

import numpy as np
import pytest
from click.shell_completion import BashComplete
from PIL import Image

from codec import target
from codec.command.cli import main
from tests import quick
from tests.conftest import ROOT, lat

PAGE = ROOT / "codec" / "command" / "COMING_FROM.md"
ROWS = [line.split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][2:]
BLOCK = PAGE.read_text(encoding="utf-8").split("<!-- run -->\n```sh\n")[1].split("```")[0].splitlines()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with what the page's commands name, and a codec whose files show what they were made of."""
    quick.install(monkeypatch.setattr)
    seen = {}
    encode = quick.QuickCodec.encode_picture

    def remember(self, picture, settings, progress=None):
        seen[picture.pixels.shape[:2]] = picture.pixels
        return encode(self, picture, settings)

    monkeypatch.setattr(quick.QuickCodec, "encode_picture", remember)

    def decode(self, file, *args):
        return Image.fromarray(seen[file.header.height, file.header.width])

    monkeypatch.setattr(quick.QuickCodec, "decode", decode)
    monkeypatch.setattr(
        target,
        "to_size",
        lambda codec, picture, size, settings: SimpleNamespace(
            data=codec.encode_picture(picture, settings), quality=1.0, encodes=1, is_lossless=False
        ),
    )
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for size, name in ((30, "photo.png"), (29, "photos/a.png"), (28, "photos/sub/b.tif")):
        Image.fromarray(pixels[:size]).save(tmp_path / name)
    film = [Image.fromarray(pixels[i : i + 9]) for i in range(3)]
    film[0].save(tmp_path / "film.gif", save_all=True, append_images=film[1:])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_ten_jobs_and_the_archive_work_as_they_stand_there(place):
    commands = [re.search(r"`lat ([^`]+)` \|$", row[-1])[1] for row in ROWS]
    assert len(commands) == 10 and all(len(row) == 6 for row in ROWS)
    commands += [line.split("#")[0].strip().removeprefix("lat ") for line in BLOCK]
    assert len(commands) == 15
    for command in commands:
        done = lat(*shlex.split(command))
        assert done.returncode == 0, (command, done.stderr)
    assert len(list((place / "frames").iterdir())) == 3 and not (place / "photo.png").exists()
    assert {path.name for path in (place / "back").rglob("*") if path.is_file()} == {"a.png", "b.tif"}


def test_the_shell_completes_commands_options_and_files():
    def complete(*words: str) -> list[tuple[str, str]]:
        found = BashComplete(main, {}, "lat", "_LAT_COMPLETE").get_completions(list(words[:-1]), words[-1])
        return [(item.type, item.value) for item in found]

    assert ("plain", "compress") in complete("com") and ("plain", "compare") in complete("com")
    assert complete("compress", "--remove") == [("plain", "--remove-source")]
    assert complete("compress", "pho") == complete("info", "pho") == [("file", "pho")]
    assert complete("decompress", "--format", "or") == [("plain", "original")]
