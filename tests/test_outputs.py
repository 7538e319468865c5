"""Outputs: made once, from one state of one input, and never in the place of anything else."""

import io
import json
import multiprocessing
import os
import stat
import struct
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from codec.errors import ExistsError, LatError
from codec.runs import claims, files, job, output, permissions, record
from codec.runs.plan import Job
from codec.runs.record import Record
from tests.conftest import lat
from tests.quick import QuickCodec

pytestmark = pytest.mark.usefixtures("quick_codec")
posix = pytest.mark.skipif(os.name != "posix", reason="locks, groups and pipes of POSIX")
RUNS = {"folder": ("compress", "-r"), "bulk": ("bulk", "--workers", 1), "shards": ("bulk", "--workers", 1, "--shards")}


def save(path: Path, colour: str, size: tuple[int, int] = (2, 2), time: int = 10**9, format: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, format)
    os.utime(path, (time, time))
    return path


def compressed(kind: str, source: Path, out: Path, *options):
    return lat(*RUNS[kind], source, *((out,) if kind != "folder" else ("--out-dir", out)), *options)


# -- what an output was made from ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("format", ["PNG", "BMP"])  # BMP: the same number of bytes too
def test_another_picture_of_the_same_time_is_not_taken_for_done(tmp_path, kind, format):
    save(tmp_path / "jan/a.png", "red", format=format)
    save(tmp_path / "feb/a.png", "blue", format=format)
    assert compressed(kind, tmp_path / "jan", tmp_path / "out").returncode == 0
    done = compressed(kind, tmp_path / "feb", tmp_path / "out")
    assert done.returncode == 1 and "made from another file" in done.stderr


@pytest.mark.parametrize("kind", RUNS)
def test_the_same_picture_is_done_whatever_its_time(tmp_path, kind):
    path = save(tmp_path / "in/a.png", "red")
    assert compressed(kind, tmp_path / "in", tmp_path / "out").returncode == 0
    os.utime(path, (5, 5))
    assert compressed(kind, tmp_path / "in", tmp_path / "out").returncode == 3
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    assert compressed(kind, tmp_path / "in", tmp_path / "out").returncode == 3


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("options", [("-q", 95), ("-m", "best"), ("--lossless",), ("--strip", "xmp"), ("-e", 7)])
def test_other_settings_are_not_skipped_in_silence(tmp_path, kind, options):
    save(tmp_path / "in/a.png", "red")
    assert compressed(kind, tmp_path / "in", tmp_path / "out", "-q", 30).returncode == 0
    done = compressed(kind, tmp_path / "in", tmp_path / "out", *options)
    assert done.returncode == 1 and "made from it with -q 30 -m fast-8, not " in done.stderr
    assert str(options[-1]).replace("best", "best-8") in done.stderr and "--overwrite replaces it" in done.stderr
    assert compressed(kind, tmp_path / "in", tmp_path / "out", "-q", 30).returncode == 3


def test_decompressing_tells_inputs_and_settings_apart_too(tmp_path):
    for folder, colour in (("jan", "red"), ("feb", "blue")):
        save(tmp_path / folder / "a.png", colour)
        assert lat("compress", "-r", tmp_path / folder, "--out-dir", tmp_path / f"{folder}-lat").returncode == 0
    back = ("--out-dir", tmp_path / "back")
    assert lat("decompress", "-r", tmp_path / "jan-lat", *back).returncode == 0
    assert lat("decompress", "-r", tmp_path / "jan-lat", *back).returncode == 3
    assert "made from another file" in lat("decompress", "-r", tmp_path / "feb-lat", *back).stderr
    other = lat("decompress", "-r", tmp_path / "jan-lat", *back, "--ignore-errors")
    assert other.returncode == 1 and "with the default settings, not --ignore-errors" in other.stderr


def test_an_output_without_a_record_is_made_again_and_compared(tmp_path):
    source, target = save(tmp_path / "in/a.png", "red"), tmp_path / "out/a.lat"
    assert lat("compress", "-r", source.parent, "--out-dir", target.parent).returncode == 0
    target.write_bytes(record.remove(target.read_bytes()))  # as an earlier version or the Pillow plugin wrote it
    assert lat("compress", "-r", source.parent, "--out-dir", target.parent).returncode == 3
    target.write_bytes(b"precious")
    assert lat("compress", "-r", source.parent, "--out-dir", target.parent).returncode == 1
    assert target.read_bytes() == b"precious"


def test_weights_of_ones_own_are_known_by_their_content(tmp_path, monkeypatch):
    from codec import weights

    path = tmp_path / "mine.safetensors"
    for content in (b"1", b"2"):
        path.write_bytes(content)
        os.utime(path, (ord(content), ord(content)))
        weights._fingerprint.cache_clear()
        assert job.Options(model=str(path)).describe_encoding() == f"-q 50 -m {weights.read(path)[1].hex()}"


@pytest.mark.parametrize("data", [b"\x89PNG", b"", b"x" * 99])
def test_what_has_no_place_for_a_record_stays_as_it_is(data):
    assert record.add(data, Record(1, bytes(8), "")) == data == record.remove(data) and record.find(data) is None


def test_records_survive_the_way_through_a_file_and_nothing_else_changes():
    out = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(out, "PNG")
    for size in (0, 200, 2**35 - 1):
        kept = Record(size, b"12345678", "-q 50 -m fast-8")
        made = record.add(out.getvalue(), kept)
        assert record.find(made[: record.READ]) == kept and record.remove(made) == out.getvalue()
        with Image.open(io.BytesIO(made)) as image:
            assert image.getpixel((0, 0)) == (255, 0, 0) and "maDE" not in image.info
    flipped = bytearray(made)
    flipped[record.PNG_AT + 12] ^= 1
    assert record.find(bytes(flipped)) is None


def test_a_target_of_bytes_holds_with_the_record(tmp_path, monkeypatch):
    from codec import target

    asked = []

    def to_size(codec, picture, size, settings):
        asked.append(size)
        return SimpleNamespace(data=codec.encode_picture(picture, settings), quality=1.0, encodes=1, is_lossless=False)

    monkeypatch.setattr(target, "to_size", to_size)
    source = save(tmp_path / "a.png", "red")
    assert lat("compress", source, "--target-size", "5000").returncode == 0
    plain = len(record.remove((tmp_path / "a.lat").read_bytes()))
    assert asked[0] + len((tmp_path / "a.lat").read_bytes()) - plain <= 5000


# -- inputs that change ----------------------------------------------------------------------------------------------


def replace(path: Path) -> None:
    other = save(path.with_name("new"), "blue", format="BMP")
    os.replace(other, path)


def edit(path: Path) -> None:
    about = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 255
    path.write_bytes(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def touch(path: Path) -> None:
    os.utime(path, (7, 7))


def copy(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize(("change", "code"), [(replace, 1), (edit, 1), (touch, 0), (copy, 0), (Path.unlink, 0)])
def test_an_input_that_changes_while_it_is_coded_is_never_taken_for_done(tmp_path, monkeypatch, kind, change, code):
    path, real = save(tmp_path / "in/a.bmp", "red", format="BMP"), QuickCodec.encode_picture

    def encode_picture(*args):
        change(path)
        return real(*args)

    monkeypatch.setattr(QuickCodec, "encode_picture", encode_picture)
    done = compressed(kind, path.parent, tmp_path / "out")
    assert done.returncode == code, done.stderr
    if code:
        assert "changed while it was being coded" in done.stderr
        assert not [p for p in (tmp_path / "out").rglob("*") if p.suffix in (".lat", ".tar", ".part")]
        monkeypatch.setattr(QuickCodec, "encode_picture", real)
        assert compressed(kind, path.parent, tmp_path / "out").returncode == 0


def test_an_input_that_grows_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", "red")
    with pytest.raises(LatError, match="changed while it was being read"):
        files.read(str(path), lambda head: path.write_bytes(b"longer" * 99))


# -- outputs that appear ---------------------------------------------------------------------------------------------


def without_links(monkeypatch) -> None:
    def link(*args, **kwargs):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_before_the_last_moment_is_not_replaced(tmp_path, monkeypatch, links):
    source, target = save(tmp_path / "a.png", "red"), tmp_path / "a.lat"
    if not links:
        without_links(monkeypatch)
    real = os.link

    def link(*args):
        target.write_bytes(b"precious")
        return real(*args)

    monkeypatch.setattr(os, "link", link)
    done = lat("compress", source)
    assert done.returncode == 1 and "exists" in done.stderr and target.read_bytes() == b"precious"
    assert sorted(os.listdir(tmp_path)) == ["a.lat", "a.png"]


def test_file_systems_without_links_work(tmp_path, monkeypatch):
    without_links(monkeypatch)
    assert lat("compress", save(tmp_path / "a.png", "red")).returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["a.lat", "a.png"]


@pytest.mark.parametrize("kind", ["single", "folder", "bulk"])
def test_an_output_that_another_run_made_meanwhile_is_done(tmp_path, monkeypatch, kind):
    source, out, real = save(tmp_path / "in/a.png", "red"), tmp_path / "out", os.link
    out.mkdir()

    def link(temporary, target, **kwargs):
        if str(target).endswith(".lat"):
            Path(target).write_bytes(Path(temporary).read_bytes())
        return real(temporary, target, **kwargs)

    monkeypatch.setattr(os, "link", link)
    single = ("compress", source, "-o", out / "a.lat")
    done = lat(*single) if kind == "single" else compressed(kind, source.parent, out)
    assert done.returncode == 0, done.stderr
    assert output.MEANWHILE in done.stderr
    assert not list(out.glob(".lat-*"))


@posix
@pytest.mark.parametrize("same", [True, False])
def test_a_second_process_waits_for_the_one_that_makes_an_output(tmp_path, monkeypatch, same):
    source, target = save(tmp_path / "a.png", "red"), str(tmp_path / "a.lat")
    other = save(tmp_path / "b.png", "blue")
    waits, rows, real = threading.Event(), [], claims._wait_until_free

    def wait(name: str) -> bool:
        waits.set()
        return real(name)

    monkeypatch.setattr(claims, "_wait_until_free", wait)
    second = threading.Thread(
        target=lambda: rows.append(job.attempt(job.compress, Job(str(source), target), job.Options()))
    )
    made = tmp_path / "first.lat"
    job.attempt(job.compress, Job(str(source if same else other), str(made)), job.Options())
    with files.claim(target) as claimed:
        second.start()
        assert waits.wait(30) and not rows
        claimed.write(made.read_bytes(), overwrite=False)
    second.join(30)
    assert rows[0].status == ("skipped" if same else "failed")
    assert rows[0].notes == ([output.MEANWHILE] if same else []) and "exists" in (rows[0].error or "exists")
    assert not list(tmp_path.glob(".lat-*"))


@posix
def test_only_what_nobody_holds_is_stale(tmp_path):
    claims.remove_stale.cache_clear()
    left, others = tmp_path / f".lat-{'0' * 16}.part", tmp_path / ".lat-diary.part"
    left.write_bytes(b"half")
    others.write_bytes(b"dear diary")
    name, descriptor = claims.reserve(tmp_path / "b.lat")
    claims._own.pop(name)  # as if another process had it, of another container
    lat("compress", save(tmp_path / "a.png", "red"))
    assert not left.exists() and others.exists() and os.path.exists(name)
    claims.release(name, descriptor)
    assert not os.path.exists(name)


@posix
def test_a_temporary_file_that_is_taken_for_stale_too_early_is_made_anew(tmp_path, monkeypatch):
    real, taken = claims._lock, []

    def lock(descriptor: int) -> bool:
        if not taken:
            taken.append(next(tmp_path.glob(".lat-*.part")))
            taken[0].unlink()
        return real(descriptor)

    monkeypatch.setattr(claims, "_lock", lock)
    name, descriptor = claims.reserve(tmp_path / "a.lat")
    assert taken == [Path(name)] and claims._is_at(name, descriptor)
    claims.release(name, descriptor)


@posix
def test_a_claim_lets_others_files_of_its_name_alone(tmp_path):
    """After a rename, another process may have begun the same output anew."""
    name, descriptor = claims.reserve(tmp_path / "a.lat")
    os.replace(name, tmp_path / "a.lat")
    Path(name).write_bytes(b"the next one's")
    claims.release(name, descriptor)
    assert Path(name).exists()


@posix
def test_folders_are_flushed_before_success_is_reported(tmp_path, monkeypatch):
    flushed, real = [], os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            flushed.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    save(tmp_path / "in/x/a.png", "red")
    for kind in ("folder", "bulk"):
        out = tmp_path / kind
        assert compressed(kind, tmp_path / "in", out).returncode == 0
        assert {p.stat().st_ino for p in (tmp_path, out, out / "x")} <= set(flushed)
        flushed.clear()


# -- permissions -----------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(
    ("mode", "left"), [(0o640, 0o600), (0o660, 0o600), (0o644, 0o644), (0o604, 0o600), (0o775, 0o755), (0o400, 0o400)]
)
def test_a_group_that_cannot_be_kept_gets_nothing(tmp_path, monkeypatch, mode, left):
    source = save(tmp_path / "a.png", "red")
    source.chmod(mode)
    about = source.stat()
    model = SimpleNamespace(
        st_mode=about.st_mode, st_uid=about.st_uid, st_gid=about.st_gid + 1, st_atime_ns=0, st_mtime_ns=0
    )

    def chown(*args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", chown)
    target = tmp_path / "b"
    target.touch(0o600)
    permissions.take_after(str(target), model)
    assert stat.S_IMODE(target.stat().st_mode) == left


@posix
def test_owner_and_group_are_kept_one_by_one(tmp_path, monkeypatch):
    asked = []

    def chown(path, uid, gid):
        asked.append((uid, gid))
        if uid != -1:
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", chown)
    source = save(tmp_path / "a.png", "red")
    source.chmod(0o640)
    assert lat("compress", source).returncode == 0
    assert asked == [(-1, source.stat().st_gid), (source.stat().st_uid, -1)]
    assert stat.S_IMODE((tmp_path / "a.lat").stat().st_mode) == 0o640


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="Linux has access control lists there")
@pytest.mark.parametrize("can_set", [True, False])
def test_an_access_list_is_kept_or_its_mask_is_not_taken_for_the_group(tmp_path, monkeypatch, can_set):
    entries = [(1, 6, 2**32 - 1), (2, 4, 12345), (4, 0, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    source, real = save(tmp_path / "a.png", "red"), os.setxattr
    try:
        os.setxattr(source, permissions.ACL, acl)
    except OSError:
        pytest.skip("this file system has no access control lists")
    assert stat.S_IMODE(source.stat().st_mode) == 0o640  # the mask
    if not can_set:
        monkeypatch.setattr(os, "setxattr", lambda *args: (_ for _ in ()).throw(OSError(95, "not supported")))
    assert lat("compress", source).returncode == 0
    monkeypatch.setattr(os, "setxattr", real)
    target = tmp_path / "a.lat"
    if can_set:
        assert os.getxattr(target, permissions.ACL) == acl
    else:
        assert stat.S_IMODE(target.stat().st_mode) == 0o600


# -- hopeless inputs -------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("command", ["compress", "decompress", "verify"])
def test_endless_and_sparse_inputs_are_refused_by_their_first_bytes(tmp_path, command):
    sparse = tmp_path / "sparse.lat"
    with open(sparse, "wb") as file:
        file.truncate(2**40)
    out = tmp_path / ("out.lat" if command == "compress" else "out.png")
    options = ("-o", out) if command != "verify" else ()
    for source in (sparse, "/dev/zero"):
        done = lat(command, source, *options)
        assert done.returncode == 1 and "Memory" not in done.stderr and not out.exists()
        assert ("not a .lat file" if command != "compress" else "no image format") in done.stderr


@posix
def test_a_pattern_passes_pipes_over(tmp_path):
    save(tmp_path / "a.png", "red")
    os.mkfifo(tmp_path / "b.png")
    done = lat("compress", f"{tmp_path}/*.png", "--out-dir", tmp_path / "out")
    assert done.returncode == 0 and "1 no regular file" in done.stderr


def test_existing_files_are_refused_with_their_own_error(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(ExistsError):
        files.write_bytes(str(tmp_path / "a"), b"", overwrite=False)


# -- without shared memory -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file"), PermissionError(13, "no"), ImportError("sem")])
def test_without_shared_memory_one_process_does_it_all(tmp_path, monkeypatch, error):
    def lock(*args):
        raise error

    monkeypatch.setattr(type(multiprocessing.get_context("spawn")), "Lock", lock)
    for i in range(3):
        save(tmp_path / f"in/{i}.png", "red")
    for done in (
        lat("compress", "-r", tmp_path / "in", "--out-dir", tmp_path / "out", "-j", 2),
        lat("bulk", tmp_path / "in", tmp_path / "bulk", "--workers", 2),
    ):
        assert done.returncode == 0 and "3 done" in done.stderr and "no shared memory" in done.stderr


def test_a_skipped_file_says_so_in_json(tmp_path):
    save(tmp_path / "in/a.png", "red")
    compressed("folder", tmp_path / "in", tmp_path / "out")
    row = json.loads(compressed("folder", tmp_path / "in", tmp_path / "out", "--json").stdout)
    assert row["status"] == "skipped" and row["notes"] == []
