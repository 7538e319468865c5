"""Outputs that are checked before they count, and sources that are deleted after that."""

import errno
import io
import os
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from codec import container, lossless, weights
from codec.errors import MissingModelError
from codec.runs import check, claims, files, job
from codec.runs.job import Options
from codec.runs.plan import Job
from codec.settings import Settings
from tests import quick
from tests.conftest import lat

STEPS = ("open", "fdopen", "fsync", "link", "unlink", "replace", "rename", "chmod", "chown", "utime", "fchmod", "close")
STEPS += ("stat", "lstat", "fstat")
EXACT = Options(Settings(lossless=True), remove_source=True)


def picture(seed: int = 0, size: tuple[int, int] = (12, 9)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8))


@pytest.fixture
def source(tmp_path) -> Path:
    path = tmp_path / "a.png"
    picture().save(path)
    return path


def compress(source: Path, options: Options = EXACT):
    return job.attempt(job.compress, Job(str(source), str(source.with_suffix(".lat"))), options)


def is_safe(source: Path, before: bytes) -> bool:
    """The source is there as it was, or its output has every pixel of it."""
    if source.exists():
        return source.read_bytes() == before
    back = lossless.decode(container.parse(source.with_suffix(".lat").read_bytes()))
    return np.array_equal(np.asarray(back), np.asarray(Image.open(io.BytesIO(before))))


# -- --remove-source -------------------------------------------------------------------------------------------------


def test_a_source_goes_once_its_output_has_proved_good(source):
    before = source.read_bytes()
    done = lat("compress", source, "--lossless", "--remove-source")
    assert done.returncode == 0 and "source removed" in done.stderr and "every pixel is the same" in done.stderr
    assert not source.exists() and is_safe(source, before)


def test_the_same_command_again_finishes_what_was_killed_between_output_and_source(source):
    before = source.read_bytes()
    assert lat("compress", source, "--lossless").returncode == 0 and source.exists()
    done = lat("compress", "-r", source.parent, "--lossless", "--remove-source")
    assert "source removed" in done.stderr, done.stderr
    assert not source.exists() and is_safe(source, before)


class Killed(BaseException):
    pass


class Failing:
    """The system's calls, of which number `at` fails; in a killed process nothing that would come later happens."""

    def __init__(self, kind: str, at: int):
        self.kind, self.at, self.count = kind, at, 0
        self.real = {name: getattr(os, name) for name in STEPS if hasattr(os, name)}

    def install(self, put) -> None:
        for name in self.real:
            put(os, name, partial(self.call, name))

    def call(self, name, *args, **kwargs):
        number, self.count = self.count, self.count + 1
        if number == self.at and self.kind == "disk full" and name not in ("close", "stat", "lstat", "fstat"):
            raise OSError(errno.ENOSPC, "No space left on device")
        if number == self.at and self.kind == "killed before" or number > self.at and self.kind != "disk full":
            raise Killed
        result = self.real[name](*args, **kwargs)
        if number == self.at and self.kind == "killed after":
            raise Killed
        return result


@pytest.mark.parametrize("kind", ["killed before", "killed after", "disk full"])
def test_no_moment_of_a_kill_or_a_full_disk_loses_a_picture(tmp_path, monkeypatch, kind):
    picture().save(kept := tmp_path / "kept.png")
    before, at, failed = kept.read_bytes(), 0, True
    while failed:
        (folder := tmp_path / str(at)).mkdir()
        (source := folder / "a.png").write_bytes(before)
        failing = Failing(kind, at)
        with monkeypatch.context() as patch:
            failing.install(patch.setattr)
            compress(source)
        for descriptor in claims._own.values():
            with suppress(OSError):
                os.close(descriptor)
        claims._own.clear()
        assert is_safe(source, before), at
        at, failed = at + 1, failing.count > at
    assert at > 30 and not source.exists()  # the last one had no failure


def edit(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def replace(path: Path) -> None:
    picture(1).save(other := path.with_name("other"), "PNG")
    os.replace(other, path)


def link(path: Path) -> None:
    os.link(path, path.with_name("second name"))


def touch(path: Path) -> None:
    os.utime(path, (5, 5))


@pytest.mark.parametrize("change", [edit, replace, link, touch])
@pytest.mark.parametrize("moment", ["flush_folder", "read_from_disk", "publish"])
def test_a_source_that_changes_meanwhile_stays(source, monkeypatch, change, moment):
    original, done = getattr(files, moment), []

    def changing(*args):
        if not done:
            done.append(change(source))
        return original(*args)

    monkeypatch.setattr(files, moment, changing)
    row = compress(source)
    assert source.exists() and "source removed" not in row.notes, row


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_linked_sources_stay(source):
    os.link(source, source.with_name("b.png"))
    assert "more than one hard link" in compress(source).notes[-1] and source.exists()
    (linked := source.with_name("c.png")).symlink_to(source)
    assert "symbolic link" in compress(linked).notes[-1] and linked.is_symlink() and source.exists()


def test_an_output_that_changed_since_it_was_checked_removes_nothing(source, monkeypatch):
    original = files.publish

    def publish(temporary, target, overwrite):
        original(temporary, target, overwrite)
        Path(target).write_bytes(b"other")

    monkeypatch.setattr(files, "publish", publish)
    assert "not what was checked" in compress(source).notes[-1] and source.exists()


def lossy_in_more_than_pixels(path: Path) -> None:
    first = picture()
    kinds = {
        "pages.tif": {"save_all": True, "append_images": [picture(1)]},
        "film.gif": {"save_all": True, "append_images": [picture(1)]},
    }
    if path.name in kinds:
        first.save(path, **kinds[path.name])
    elif path.name == "chunk.png":
        first.save(path, pnginfo=(info := PngImagePlugin.PngInfo()) and info.add(b"prVt", b"data") or info)
    elif path.name == "deep.png":
        Image.fromarray(np.arange(108, dtype=np.uint16).reshape(9, 12) * 600).save(path)
    elif path.name == "behind.jpg":
        first.save(path, quality=90)
        path.write_bytes(path.read_bytes() + b"a film, say")
    elif path.name == "inks.tif":
        first.convert("CMYK").save(path)
    elif path.name == "icon.ico":
        first.save(path, sizes=[(8, 8), (4, 4)])


@pytest.mark.parametrize(
    "name", ["pages.tif", "film.gif", "chunk.png", "deep.png", "behind.jpg", "inks.tif", "icon.ico"]
)
@pytest.mark.parametrize("option", [("--first-frame",), ("--all-frames",), ("--first-frame", "--overwrite")])
def test_what_is_lost_in_more_than_pixels_keeps_its_source(tmp_path, monkeypatch, name, option):
    perfect(monkeypatch)
    lossy_in_more_than_pixels(path := tmp_path / name)
    done = lat("compress", path, "--remove-source", "--check", 1, "--even-if-larger", *option)
    assert done.returncode == 0 and path.exists() and "source not removed" in done.stderr, done.stderr


def test_harmless_chunks_are_no_reason_to_stay(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add(b"tIME", b"\x07\xe8\1\1\0\0\0")
    picture().save(path := tmp_path / "a.png", pnginfo=info)
    assert "source removed" in compress(path).notes and not path.exists()


def test_kept_sources_and_pipes_are_not_removed(tmp_path, source, monkeypatch):
    perfect(monkeypatch)
    flat = tmp_path / "flat.webp"
    Image.new("L", (8, 8)).save(flat)
    assert "kept as it is" in lat("compress", flat, "--remove-source").stderr and flat.exists()
    assert lat("compress", source, "--lossless", "--remove-source", "-o", "-").returncode == 0
    assert source.exists()


# -- --check ---------------------------------------------------------------------------------------------------------


def perfect(monkeypatch, change=lambda pixels: pixels) -> None:
    """The quick codec, which decodes what it encoded last, but for `change`."""
    quick.install(monkeypatch.setattr)
    seen = []
    encode = quick.QuickCodec.encode_picture

    def remember(self, picture, settings, progress=None):
        seen[:] = [picture.pixels]
        return encode(self, picture, settings)

    def decode(self, file, *args):
        return Image.fromarray(np.squeeze(change(seen[0].copy())))

    monkeypatch.setattr(quick.QuickCodec, "encode_picture", remember)
    monkeypatch.setattr(quick.QuickCodec, "decode", decode)


def test_an_output_below_the_wanted_score_is_no_output(source, monkeypatch):
    quick.install(monkeypatch.setattr)  # decodes to black
    done = lat("compress", source, "--check", 80)
    assert done.returncode == 1 and "below the 80 of --check" in done.stderr, done.stderr
    assert [path.name for path in source.parent.iterdir()] == ["a.png"]
    assert lat("compress", source, "--remove-source").returncode == 1 and source.exists()


def test_a_replaced_output_stays_where_the_new_one_falls_short(source, monkeypatch):
    quick.install(monkeypatch.setattr)
    (target := source.with_suffix(".lat")).write_bytes(b"precious")
    assert lat("compress", source, "--check", 80, "--overwrite").returncode == 1
    assert target.read_bytes() == b"precious"


def test_skipped_outputs_are_checked_too(source, monkeypatch):
    quick.install(monkeypatch.setattr)
    assert lat("compress", "-r", source.parent).returncode == 0
    done = lat("compress", "-r", source.parent, "--check", 80)
    assert done.returncode == 1 and "below the 80" in done.stderr and source.with_suffix(".lat").exists()


def test_a_good_output_is_made_and_says_its_score(source, monkeypatch):
    perfect(monkeypatch, lambda pixels: pixels ^ 1)
    done = lat("compress", source, "--check", 50)
    assert done.returncode == 0 and "checked: SSIMULACRA 2" in done.stderr and "metadata kept" in done.stderr


def test_lossless_means_every_pixel(source, monkeypatch):
    real = lossless.decode
    monkeypatch.setattr(lossless, "decode", lambda file: Image.fromarray(np.asarray(real(file)) ^ 1))
    done = lat("compress", source, "--lossless", "--remove-source")
    assert done.returncode == 1 and "pixels differ" in done.stderr and source.exists()


def test_a_pipe_gets_nothing_that_falls_short(source, monkeypatch):
    quick.install(monkeypatch.setattr)
    done = lat("compress", source, "-o", "-", "--check", 80, binary=True)
    assert done.returncode == 1 and not done.stdout


def test_without_torch_nothing_is_deleted_on_trust(source, monkeypatch):
    monkeypatch.setattr(check, "find_spec", lambda name: None)
    for option in (("--remove-source",), ("--check", 80)):
        done = lat("compress", source, *option)
        assert done.returncode == 1 and "PyTorch" in done.stderr
    assert lat("compress", source, "--lossless", "--remove-source").returncode == 0 and not source.exists()


# -- lat verify ------------------------------------------------------------------------------------------------------


def test_verify_says_where_weights_are_missing_and_decode_fails_there(tmp_path, source):
    header = container.Header(16, 16, "RGB", 64, bytes(8))
    (path := tmp_path / "a.lat").write_bytes(container.build(container.Container(header, [bytes(40)])))
    said = lat("verify", path)
    assert said.returncode == 0 and "cannot be decoded here" in said.stderr and "good" not in said.stdout
    assert lat("verify", path, "--decode").returncode == 1
    assert lat("compress", source, "--lossless", "-o", good := tmp_path / "b.lat").returncode == 0
    assert "good" in lat("verify", good, "--decode").stdout


def test_weights_of_nobody_else_keep_the_source(source, monkeypatch):
    perfect(monkeypatch)

    def missing(fingerprint):
        raise MissingModelError("written with others")

    monkeypatch.setattr(weights, "name_for", missing)
    assert "weights are not installed" in compress(source, Options(remove_source=True)).notes[-1] and source.exists()
