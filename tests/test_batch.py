"""Folders of pictures: nothing is lost, one bad file stops nothing, a second run goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from PIL import Image

from codec import container
from codec.runs import job, plan
from codec.settings import Settings
from tests.conftest import ROOT, lat, run


def quick(*args, **kwargs):
    """The command as a process, with a codec that takes no time."""
    return run("-m", "tests.quick", *map(str, args), text=True, **kwargs)


GOOD = ["a.lat", "b.lat", "sub/c.lat", "sub/same.jpg.lat", "sub/same.png.lat"]


def below(folder, pattern="*.lat"):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob(pattern))


@pytest.mark.parametrize(("command", "jobs"), [(lat, 1), (quick, 2)])
def test_a_folder_keeps_its_tree_and_one_bad_file_stops_nothing(tree, tmp_path, command, jobs):
    out = tmp_path / "out"
    done = command("compress", tree, "-r", "-j", jobs, "--out-dir", out)
    assert done.returncode == 1
    assert "5 done, 1 failed" in done.stderr and "broken.jpg" in done.stderr and "Traceback" not in done.stderr
    assert below(out) == GOOD
    back = command("decompress", out, "-r", "-j", jobs, "--out-dir", tmp_path / "back", "--json")
    rows = [json.loads(line) for line in back.stdout.splitlines()]
    assert back.returncode == 0 and {r["status"] for r in rows} == {"done"} and len(rows) == 5
    assert lat("verify", out, "-r").returncode == 0


def test_a_second_run_does_only_what_is_missing(tree, tmp_path):
    out = tmp_path / "out"
    (tree / "broken.jpg").unlink()
    assert lat("compress", tree, "-r", "--out-dir", out).returncode == 0
    (out / "a.lat").unlink()
    kept = (out / "b.lat").stat().st_mtime_ns
    again = lat("compress", tree, "-r", "--out-dir", out)
    assert "1 done, 4 skipped" in again.stderr and again.returncode == 0
    assert (out / "b.lat").stat().st_mtime_ns == kept
    assert lat("compress", tree, "-r", "--out-dir", out).returncode == 3


def test_dry_run_writes_nothing(tree, tmp_path):
    done = lat("compress", tree, "-r", "--dry-run", "--out-dir", tmp_path / "out")
    assert len(done.stdout.splitlines()) == 6 and done.returncode == 0
    assert not (tmp_path / "out").exists()


def test_patterns_and_several_names(tree, tmp_path):
    assert lat("compress", f"{tree}/sub/*.png", "--out-dir", tmp_path / "x").returncode == 0
    assert below(tmp_path / "x") == ["c.lat", "same.lat"]
    assert lat("compress", tree / "a.png", tree / "b.jpg").returncode == 0
    assert (tree / "a.lat").exists() and (tree / "b.lat").exists()


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["compress", "{tree}"], 1, "-r"),
        (["compress", "{tree}", "-r", "-o", "x.lat"], 2, "--out-dir"),
        (["compress", "{tree}/none*.png"], 1, "no such file"),
        (["decompress", "{tree}", "-r"], 3, "no files"),
        (["compress", "-", "{tree}/a.png"], 2, "standard input"),
    ],
)
def test_mistakes_are_explained(tree, args, code, words):
    done = lat(*[a.format(tree=tree) for a in args])
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr


def test_animations(tmp_path, crop):
    path = tmp_path / "moving.gif"
    frames = [Image.fromarray(crop), Image.fromarray(crop[::-1])]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    refused = lat("compress", path)
    assert refused.returncode == 1 and "2 frames" in refused.stderr
    kept = lat("compress", path, "--first-frame")
    assert kept.returncode == 0 and "first of 2 frames" in kept.stderr


def test_metadata_passes_byte_for_byte_or_is_stripped(tmp_path, crop):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: kept as it is, pixels are not turned
    exif[0x010F] = "maker"
    path = tmp_path / "a.jpg"
    Image.fromarray(crop).save(path, exif=exif, icc_profile=b"profile" * 9, xmp=b"<x:xmpmeta/>")
    with Image.open(path) as image:
        raw = image.info["exif"]
    assert lat("compress", path).returncode == 0
    metadata = container.parse(path.with_suffix(".lat").read_bytes()).metadata
    assert metadata == {"icc": b"profile" * 9, "exif": raw, "xmp": b"<x:xmpmeta/>"}
    assert lat("decompress", path.with_suffix(".lat")).returncode == 0
    with Image.open(path.with_suffix(".png")) as image:
        assert image.getexif()[0x0112] == 6 and image.info["icc_profile"] == b"profile" * 9
        assert image.info["xmp"] == b"<x:xmpmeta/>" and image.size == (128, 96)
    for strip, left in (("exif,xmp", {"icc"}), ("all", set())):
        assert lat("compress", path, "--overwrite", "--strip", strip).returncode == 0
        assert set(container.parse(path.with_suffix(".lat").read_bytes()).metadata) == left
    assert lat("compress", path, "--strip", "gps").returncode == 2


def test_a_damaged_tile_costs_that_tile(codec, photo, tmp_path):
    data = codec.encode_picture(photo.crop((0, 0, 384, 256)), Settings(tile=8))
    damaged = bytearray(data)
    parsed = container.parse(data)
    damaged[data.index(bytes(parsed.tiles[0])) + 9] ^= 1  # in tile 0
    path = tmp_path / "a.lat"
    path.write_bytes(damaged)
    refused = lat("decompress", path)
    assert refused.returncode == 1 and "tile 0: checksum" in refused.stderr and not path.with_suffix(".png").exists()
    kept = lat("decompress", path, "--ignore-errors")
    assert kept.returncode == 1 and "tile 0" in kept.stderr
    with Image.open(path.with_suffix(".png")) as image:
        far = (192, 0, 384, 256)  # beyond the neighbours that g_s reaches into
        assert image.crop(far).tobytes() == codec.decode(data).crop(far).tobytes()


def limit_file_size():
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))


posix = pytest.mark.skipif(os.name != "posix", reason="limits, signals and process groups of POSIX")


@posix
def test_a_full_disk_leaves_nothing_half_written(tree):
    before = sorted(tree.rglob("*"))
    for args in (["compress", tree / "a.png"], ["compress", tree, "-r"]):
        done = quick(*args, preexec_fn=limit_file_size)
        assert done.returncode == 1 and "cannot be written" in done.stderr and "Traceback" not in done.stderr
        assert sorted(tree.rglob("*")) == before


def test_a_folder_that_cannot_be_written_gives_a_message(tree):
    (tree / "file").write_text("in the way")
    done = lat("compress", tree / "a.png", "-o", tree / "file" / "a.lat")
    assert done.returncode == 1 and "cannot be written" in done.stderr


def started(*args) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.quick", *map(str, args)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)


@posix
@pytest.mark.parametrize("lines", [0, 1, 3])
def test_killed_runs_leave_whole_files_or_none(tree, tmp_path, lines):
    """kill -9 after so many files; the next run completes what is missing."""
    (tree / "broken.jpg").unlink()
    out = tmp_path / "out"
    with started("compress", tree, "-r", "--out-dir", out) as child:
        for _ in range(lines):
            child.stderr.readline()
        os.killpg(child.pid, signal.SIGKILL)
    for path in out.rglob("*.lat"):
        container.parse(path.read_bytes()).verify()
    assert quick("compress", tree, "-r", "--out-dir", out).returncode in (0, 3)
    assert below(out) == GOOD


@posix
@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupt_leaves_no_half_file(tree, tmp_path, jobs):
    out = tmp_path / "out"
    for i in range(200):
        shutil.copy2(tree / "a.png", tree / f"{i}.png")
    with started("compress", tree, "-r", "--out-dir", out, "-j", jobs) as child:
        child.stderr.readline()
        os.killpg(child.pid, signal.SIGINT)
        errors = child.communicate(timeout=60)[1]
    assert child.returncode == 1 and "Traceback" not in errors and "interrupted" in errors, errors
    assert not list(out.rglob("*.part"))


def test_work_that_dies_is_a_row(tmp_path):
    row = job.attempt(job.compress, plan.Job(str(tmp_path / "none"), str(tmp_path / "x.lat")), job.Options())
    assert row.status == "failed" and "cannot be read" in row.error
    assert "no such file" in plan.find([str(tmp_path / "none")], False, {".png"}).failed[0].error
