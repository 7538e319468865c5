"""A batch never dies of one file, whatever Pillow, the file system or the terminal raises: its row says what."""

import io
import json
import os
import random
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from codec import container
from codec.bulk import driver
from codec.runs import job, process, rows
from codec.runs.plan import Job
from tests.conftest import ROOT, lat, run
from tests.quick import QuickCodec

posix = pytest.mark.skipif(os.name != "posix", reason="names, pipes and devices of POSIX")


def child(*args, **kwargs) -> subprocess.CompletedProcess:
    return run("-m", "codec", *args, **kwargs)


@pytest.fixture
def good(tmp_path, crop) -> Path:
    """A folder with a good picture, first and last by name."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("0.png", "zz.png"):
        Image.fromarray(crop[:24, :32]).save(folder / name)
    return folder


FORMATS = {"tif": "TIFF", "gif": "GIF", "webp": "WEBP", "avif": "AVIF", "png": "PNG", "jpg": "MPO"}


@pytest.mark.parametrize("suffix", FORMATS)
def test_files_cut_anywhere_cost_themselves(good, tmp_path, crop, quick_codec, suffix):
    frames = [Image.fromarray(crop[i : i + 24, :32]) for i in range(3)]
    out = io.BytesIO()
    frames[0].save(out, FORMATS[suffix], save_all=True, append_images=frames[1:])
    whole = out.getvalue()
    for part in range(40):
        (good / f"cut{part:02}.{suffix}").write_bytes(whole[: len(whole) * part // 40])
    for done in (
        lat("compress", "-r", good, "--out-dir", tmp_path / "out", "--json"),
        lat("bulk", good, tmp_path / "bulk", "--workers", 1),
    ):
        assert done.returncode == 1 and "Traceback" not in done.stderr + done.stdout
    logged = {Path(row["source"]).name: row for row in map(json.loads, lat_log(tmp_path / "bulk"))}
    assert len(logged) == 42 and {row["status"] for row in logged.values()} == {"done", "failed"}
    assert logged["0.png"]["status"] == logged["zz.png"]["status"] == "done"
    assert logged[f"cut00.{suffix}"]["error"].startswith(f"cut00.{suffix}: ")
    made = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert made == sorted(p.name for p in (tmp_path / "bulk").glob("*.lat"))


def lat_log(folder: Path) -> list[str]:
    return (folder / driver.LOG).read_text().splitlines()


class RustPanic(BaseException):
    """What plugins written in Rust raise."""


@pytest.mark.parametrize(
    "error", [RustPanic("index out of bounds"), RecursionError("deep"), MemoryError(), SystemError()]
)
def test_whatever_a_plugin_raises_is_a_row(good, tmp_path, quick_codec, monkeypatch, error):
    real = Image.Image.load

    def load(self):
        if self.size == (7, 7):
            raise error
        return real(self)

    Image.new("RGB", (7, 7)).save(good / "a.bmp")
    monkeypatch.setattr(Image.Image, "load", load)
    for done in (
        lat("compress", "-r", good, "--out-dir", tmp_path / "out"),
        lat("bulk", good, tmp_path / "bulk", "--workers", 1),
    ):
        assert done.returncode == 1 and "2 done, 1 failed" in done.stderr and "a.bmp: " in done.stderr
    single = lat("compress", good / "a.bmp")
    assert single.returncode == 1 and single.stderr.startswith(f"lat: {good / 'a.bmp'}: ")


@pytest.mark.parametrize("suffix", ["avif", "gif", "webp", "jpg"])
def test_outputs_that_a_format_cannot_hold(tmp_path, quick_codec, suffix):
    data = QuickCodec().encode_picture(picture_of(70000, 1), None)
    (tmp_path / "a.lat").write_bytes(data)
    done = lat("decompress", tmp_path / "a.lat", "-o", tmp_path / f"a.{suffix}")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "cannot be written as" in done.stderr
    assert os.listdir(tmp_path) == ["a.lat"]


@pytest.mark.parametrize("suffix", ["tif", "avif", "jpg", "webp"])
def test_garbage_exif_costs_the_exif(tmp_path, quick_codec, suffix):
    picture = picture_of(8, 8)
    picture.metadata["exif"] = b"Exif\0\0MM\0*\0\0\0\x08\0\x03" + b"\x87\x69\0\4\0\0\0\1\xff\xff\xff\xff" * 3
    (tmp_path / "a.lat").write_bytes(QuickCodec().encode_picture(picture, None))
    done = lat("decompress", tmp_path / "a.lat", "-o", tmp_path / f"a.{suffix}")
    assert done.returncode == 0, done.stderr


def picture_of(width: int, height: int):
    from codec.picture.image import from_pillow

    return from_pillow(Image.new("RGB", (width, height)))


def test_a_damaged_lat_file_among_others(tmp_path, quick_codec):
    data = QuickCodec().encode_picture(picture_of(8, 8), None)
    for part in range(40):
        (tmp_path / f"cut{part:02}.lat").write_bytes(data[: len(data) * part // 40])
    (tmp_path / "whole.lat").write_bytes(data)
    done = lat("decompress", "-r", tmp_path, "--out-dir", tmp_path / "out")
    assert done.returncode == 1 and "1 done, 40 failed" in done.stderr
    checked = lat("verify", "-r", tmp_path)
    assert checked.returncode == 1 and "1 done, 40 failed" in checked.stderr


# -- names ----------------------------------------------------------------------------------------------------------


LONG = ["é" * 60, "橋" * 80, "x" * 251]  # 120, 240 and 251 bytes; most file systems take 255


@posix
@pytest.mark.parametrize("name", ["a**b", "a[1]", "[ab]*?", "-x", "a\nb", *LONG])
def test_names_of_any_kind(tmp_path, crop, quick_codec, name):
    source = tmp_path / "in[1]**" / f"{name}.png"
    source.parent.mkdir()
    Image.fromarray(crop).save(source)
    assert lat("compress", "--", source).returncode == 0
    assert source.with_suffix(".lat").exists()
    assert lat("compress", "-r", source.parent, "--out-dir", tmp_path / "out[2]**").returncode == 0
    done = lat("bulk", source.parent, tmp_path / "bulk[3]**::x", "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert lat("bulk", source.parent, tmp_path / "bulk[3]**::x", "--workers", 1).returncode == 3
    assert not list(tmp_path.rglob("*.part"))


@posix
def test_a_name_that_is_not_utf8(good, tmp_path):
    name = os.fsencode(good) + b"/caf\xe9.png"
    try:
        os.rename(good / "zz.png", name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    listed = child("compress", "-r", good, "--dry-run", "--out-dir", tmp_path / "out")
    assert listed.returncode == 0 and b"caf\\udce9.png" in listed.stdout and not listed.stderr
    failed = child("verify", name, text=True)
    assert failed.returncode == 1 and "caf\\udce9.png: not a .lat file" in failed.stderr
    row = rows.Row(os.fsdecode(name), "x")
    assert json.loads(rows.json_text({"source": row.source}).encode())["source"] == row.source


@posix
def test_bulk_with_a_name_that_is_not_utf8(good, tmp_path, quick_codec, monkeypatch):
    try:
        os.rename(good / "zz.png", os.fsencode(good) + b"/caf\xe9.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    assert lat("bulk", good, tmp_path / "out", "--workers", 1).returncode == 0
    assert (tmp_path / "out" / os.fsdecode(b"caf\xe9.lat")).exists()
    assert lat("bulk", good, tmp_path / "out", "--workers", 1).returncode == 3


# -- streams, devices, pipes -----------------------------------------------------------------------------------------


@posix
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has this device")
def test_a_full_disk_behind_standard_output(good, quick_codec):
    packed = good / "0.lat"
    packed.write_bytes(QuickCodec().encode_picture(picture_of(8, 8), None))
    with open("/dev/full", "wb") as full:
        for args in (["verify", "-r", good, "--json"], ["info", packed], ["compress", "-r", good, "--dry-run"]):
            done = subprocess.run(
                [sys.executable, "-m", "codec", *args], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True
            )
            assert done.returncode == 1 and "standard output: cannot be written" in done.stderr, (args, done.stderr)
            assert "Traceback" not in done.stderr and "Exception" not in done.stderr


@posix
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(good, quick_codec, closed):
    packed = good / "0.lat"
    packed.write_bytes(QuickCodec().encode_picture(picture_of(8, 8), None))
    command = f"{sys.executable} -m codec verify -r {good} {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr


def test_output_to_closed_standard_output_is_an_error(good, quick_codec, monkeypatch):
    from codec import LatError
    from codec.runs import files

    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(LatError, match="standard output: is closed"):
        files.write_bytes("-", b"data", False)
    with pytest.raises(LatError, match="standard input: is closed"):
        files.read_bytes("-")


@pytest.mark.parametrize("encoding", ["cp437", "cp1252", "ascii", "utf-8", "cp932"])
def test_every_console_can_show_what_is_said(encoding):
    import codecs

    codecs.register_error("lat", process.spelled)
    said = "a\udce9.png → b.lat: 3 × 4 … 橋"
    assert said.encode(encoding, "lat").decode(encoding).startswith("a\\udce9.png ")
    assert "?" not in said.encode(encoding, "lat").decode(encoding)
    if encoding in ("cp437", "ascii"):
        assert b"-> b.lat: 3 x 4 ... \\u6a4b" in said.encode(encoding, "lat")


@posix
def test_pipes_and_devices(good, tmp_path, quick_codec):
    def through(pipe: Path, data: bytes) -> None:
        threading.Thread(target=lambda: pipe.write_bytes(data), daemon=True).start()

    data, pipe = (good / "0.png").read_bytes(), tmp_path / "pipe.png"
    os.mkfifo(pipe)
    through(pipe, data)
    assert lat("compress", pipe, "-o", tmp_path / "named.lat").returncode == 0
    assert (tmp_path / "named.lat").exists() and stat.S_IMODE((tmp_path / "named.lat").stat().st_mode) & 0o400
    if os.geteuid() == 0 or os.access("/dev/null", os.W_OK):
        assert lat("compress", good / "0.png", "-o", "/dev/null", "--overwrite").returncode == 0
        assert lat("compress", good / "0.png", "-o", "/dev/null").returncode == 0
        assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    back = tmp_path / "back"
    os.mkfifo(back)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(back.read_bytes()), daemon=True)
    reader.start()
    assert lat("compress", good / "0.png", "-o", back).returncode == 0
    reader.join(10)
    assert got[0].startswith(container.MAGIC) and stat.S_ISFIFO(back.stat().st_mode)


@posix
def test_standard_streams_by_their_names(good, tmp_path):
    data = (good / "0.png").read_bytes()
    done = child("compress", "/dev/stdin", "--dry-run", input=data)
    assert done.stdout == "/dev/stdin → -\n".encode()
    from codec.runs import files

    code = "from codec.runs import files; files.write_bytes('/dev/stdout', b'data', False)"
    assert run("-c", code).stdout == b"data"
    target = tmp_path / "redirected"
    with open(target, "wb") as out:
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=out, check=True)
    assert target.read_bytes() == b"data" and os.path.islink("/dev/stdout") == os.path.lexists("/dev/stdout")
    assert files.is_stream("/dev/stdout") and files.is_stream("/dev/fd/63") and not files.is_stream("/dev/shm/a.lat")


def test_an_output_is_never_ignored(good, tmp_path, quick_codec):
    pattern = f"{good}/*.png"
    refused = lat("compress", pattern, "-o", tmp_path / "one.lat")
    assert refused.returncode == 2 and "2 files" in refused.stderr and not (tmp_path / "one.lat").exists()
    (good / "zz.png").unlink()
    assert lat("compress", pattern, "-o", tmp_path / "one.lat").returncode == 0 and (tmp_path / "one.lat").exists()


@posix
def test_mode_and_time_of_the_photograph_are_kept(good, tmp_path, quick_codec):
    source = good / "0.png"
    source.chmod(0o600)
    os.utime(source, (10**9, 10**9))
    assert lat("compress", source).returncode == 0
    assert lat("decompress", good / "0.lat", "-o", tmp_path / "back.png").returncode == 0
    assert lat("bulk", good, tmp_path / "bulk", "--workers", 1).returncode == 0
    for path in (good / "0.lat", tmp_path / "back.png", tmp_path / "bulk/0.lat"):
        assert (path.stat().st_mtime, stat.S_IMODE(path.stat().st_mode)) == (10**9, 0o600), path


def test_large_metadata_is_no_reason_to_refuse(tmp_path, crop, quick_codec):
    """Pillow's limit is 1 MB of each."""
    words = PngInfo()
    words.add_text("notes", "x" * 2**21, zip=True)
    profile = random.Random(0).randbytes(2**21)
    Image.fromarray(crop).save(tmp_path / "a.png", icc_profile=profile, pnginfo=words)
    done = lat("compress", tmp_path / "a.png")
    assert done.returncode == 0 and "text of 2,097,1" in done.stderr, done.stderr
    assert container.parse((tmp_path / "a.lat").read_bytes()).metadata == {"icc": profile}


def test_notes_reach_people(good, tmp_path, crop, quick_codec):
    for name in "abc":
        frames = [Image.fromarray(crop[i : i + 24, :32]) for i in range(2 + (name == "c"))]
        frames[0].save(good / f"{name}.gif", save_all=True, append_images=frames[1:])
    for done in (
        lat("compress", "-r", good, "--out-dir", tmp_path / "out", "--first-frame"),
        lat("bulk", good, tmp_path / "bulk", "--workers", 1, "--first-frame"),
    ):
        assert "3 files: only the first of 2 … 3 frames is kept" in done.stderr


def test_attempt_lets_only_the_user_stop_it(tmp_path):
    def interrupted(*args):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.attempt(interrupted, Job("a", ""), job.Options())
