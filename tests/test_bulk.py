"""Archives: every picture is a file and a row of the log, whatever dies meanwhile, and a second run does the rest."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import zipfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from codec import Codec, LatError
from codec.bulk import driver as bulk
from codec.bulk import pools, worker
from codec.runs import claims, files, record
from codec.runs.job import Options
from codec.runs.plan import Job
from codec.runs.rows import Row, json_text
from codec.settings import Settings
from tests.conftest import ROOT, lat
from tests.test_batch import GOOD, below

SUFFIXES = {".png", ".jpg"}


def lat_bulk(*args):
    return lat("bulk", *args)


def log(folder) -> dict[str, dict]:
    return {row["source"]: row for row in map(json.loads, (folder / bulk.LOG).read_text().splitlines())}


def test_a_tree_and_its_log(tree, tmp_path, codec):
    out = tmp_path / "out"
    done = lat_bulk(tree, out, "--workers", 1, "-q", 30)
    assert done.returncode == 1
    assert "5 done, 1 failed" in done.stderr
    assert below(out) == GOOD
    assert not list(out.rglob("*.part*"))
    rows = log(out)
    assert {source: row["status"] for source, row in rows.items() if row["status"] != "done"} == {
        "broken.jpg": "failed"
    }
    assert rows["broken.jpg"]["error"].count("broken.jpg") == 1
    with Image.open(tree / "a.png") as image:
        assert record.remove((out / "a.lat").read_bytes()) == codec.encode(image, 30)

    (out / "a.lat").unlink()
    before = {name: (out / name).stat().st_mtime_ns for name in GOOD[1:]}
    again = lat_bulk(tree, out, "--workers", 1, "-q", 30)
    assert "4 done already, 2 to do" in again.stderr
    assert before == {name: (out / name).stat().st_mtime_ns for name in GOOD[1:]}
    assert len(log(out)) == 6

    (tree / "broken.jpg").unlink()
    assert lat_bulk(tree, out, "--workers", 1, "-q", 30).returncode == 3
    other = lat_bulk(tree, out, "--workers", 1, "-q", 31)
    assert other.returncode == 1 and "made from it with -q 30 -m fast-8, not -q 31 -m fast-8" in other.stderr


def test_outputs_whose_batch_was_lost_are_logged_by_the_next_run(tree, tmp_path):
    out = tmp_path / "out"
    lat_bulk(tree, out, "--workers", 1)
    (out / bulk.LOG).unlink()
    lat_bulk(tree, out, "--workers", 1)
    assert len(log(out)) == 6


def test_shards_are_whole_tar_files_that_webdataset_can_read(tree, tmp_path, codec):
    (tree / "b.jpg").rename(tree / "b.x%.jpg")
    out = tmp_path / "out"
    assert "5 done, 1 failed" in lat_bulk(tree, out, "--workers", 1, "--shards", "--batch", 4).stderr
    names = []
    for shard in sorted(out.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                names.append(member.name)
                assert codec.decode(tar.extractfile(member).read()).size == (128, 96)
    assert set(names) == {"a.lat", "b%2Ex%25.lat", "sub/c.lat", "sub/same%2Ejpg.lat", "sub/same%2Epng.lat"}
    targets = {row["target"] for row in log(out).values() if row["status"] == "done"}
    assert {t.partition("/")[2] for t in targets} == set(names)
    assert "5 done already, 1 to do" in lat_bulk(tree, out, "--workers", 1, "--shards").stderr


def test_urls(crop):
    fs = fsspec.filesystem("memory")
    with fs.open("/photos/sub/a.png", "wb") as file:
        Image.fromarray(crop).save(file, "PNG")
    plan = worker.Plan("memory://photos", "memory://out", Options(Settings(quality=20)))
    todo = bulk.missing(plan, SUFFIXES)
    assert [[row.status for row in rows] for rows in bulk.run(plan, todo.jobs, "local", 1, 32)] == [["done"]]
    decoded = Codec.load().decode(fs.cat_file("/out/sub/a.lat"))
    assert decoded.size == (crop.shape[1], crop.shape[0])
    assert bulk.missing(plan, SUFFIXES) == bulk.Todo(done=1)


@pytest.mark.parametrize(
    ("source", "expected"),
    [("{tmp}/none", "no such folder"), ("nonsense://x", "nonsense"), ("{tmp}", "no pictures here")],
)
def test_bad_places_are_one_sentence(tmp_path, source, expected):
    done = lat_bulk(source.format(tmp=tmp_path), tmp_path / "out")
    assert done.returncode == 1
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_engine_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LatError, match=r"\.\[ray\]"):
        pools.RayPool(lambda: None, 1)


def workers_of(driver: int, engine: str) -> list[int]:
    """Processes that do the work."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if (engine == "ray" and command.startswith(b"ray::RayWorker")) or (
            engine == "local" and parent == driver and b"multiprocessing.spawn" in command
        ):
            found.append(int(process.name))
    return found


@pytest.mark.campaign
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds worker processes in /proc")
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_killed_worker_costs_nothing(tmp_path, photo, engine):
    if engine == "ray":
        pytest.importorskip("ray")
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for i in range(40):
        photo.crop((i, 0, i + 384, 256)).save(source / f"{i:02}.png")
    (source / "99.png").write_bytes(b"corrupt")
    module = "tests.quick" if engine == "local" else "codec"
    command = [sys.executable, "-m", module, "bulk", source, out, "--on", engine, "--workers", "2"]
    with subprocess.Popen([*command, "--batch", "4"], cwd=ROOT, stderr=subprocess.PIPE, text=True) as driver:
        while not list(out.glob("*.lat")) and driver.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                driver.wait(0.02)
        victims = workers_of(driver.pid, engine)
        assert victims
        os.kill(victims[0], signal.SIGKILL)
        said = driver.communicate(timeout=240)[1]
    found = re.search(r"(\d+) done(?:, (\d+) skipped)?, 1 failed", said)
    assert found and int(found[1]) + int(found[2] or 0) == 40, said  # a batch may be written, but not logged
    assert below(out) == [f"{i:02}.lat" for i in range(40)]
    assert len(log(out)) == 41
    assert not list(out.rglob("*.part*"))


class Engine:
    """One whose worker dies of some pictures."""

    count = 1

    def __init__(self, make_worker, workers):
        self.replaced = 0
        Engine.last = self

    def submit(self, worker, work):
        return work

    def ready(self, futures):
        return futures[0]

    def result(self, work):
        if any(job.source.startswith("deadly") for job in work.jobs):
            raise pools.WorkerDied("killed")
        return [Row(job.source, job.target) for job in work.jobs]

    def replace(self, worker):
        self.replaced += 1

    def stop(self):
        pass


def driven(tmp_path, names, size) -> list[Row]:
    jobs = [Job(f"{name}.png", f"{name}.lat") for name in names]
    plan = worker.Plan(str(tmp_path), str(tmp_path), Options())
    return [row for rows in bulk.run(plan, jobs, "fake", 1, size) for row in rows]


def test_a_picture_that_kills_its_worker_is_a_failed_row(tmp_path, monkeypatch):
    monkeypatch.setitem(bulk.POOLS, "fake", Engine)
    rows = driven(tmp_path, ["a", "deadly", "b"], 3)
    assert {row.source: row.status for row in rows} == {"a.png": "done", "deadly.png": "failed", "b.png": "done"}
    assert Engine.last.replaced == 3


def test_workers_that_cannot_start_end_the_run(tmp_path, monkeypatch):
    monkeypatch.setitem(bulk.POOLS, "fake", Engine)
    with pytest.raises(LatError, match="died one after another"):
        driven(tmp_path, [f"deadly{i}" for i in range(100)], 1)
    assert Engine.last.replaced == bulk.MAX_DEATHS


@pytest.fixture
def one(tmp_path, quick_codec):
    """A folder with a picture, and one for its output with the log of a run before."""
    (tmp_path / "in").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "in/a.png")
    assert lat_bulk(tmp_path / "in", tmp_path / "out", "--workers", 1).returncode == 0
    return tmp_path / "out"


LINES = {
    "torn": b'{"source": "a.p',
    "foreign": b'{"step": 1, "loss": 0.3}',
    "no row": b"[]",
    "half a row": b'{"source": "a.png"}',
    "of other types": b'{"source": 1, "target": [], "status": null}',
    "binary": b"\xff\xfe\0",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("where", [bulk.LOG, f"{worker.PARTS}/x.jsonl"])
def test_lines_that_are_no_rows_are_put_aside_with_a_warning(one, kind, where):
    path, whole = one / where, (one / bulk.LOG).read_bytes()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((whole if where == bulk.LOG else b"") + LINES[kind] + b"\n")
    done = lat_bulk(one.parent / "in", one, "--workers", 1)
    assert done.returncode == 3 and f"{where}: lines that are no rows" in done.stderr, done.stderr
    assert (one / bulk.REJECTED).read_bytes() == LINES[kind] + b"\n" and (one / bulk.LOG).read_bytes() == whole
    assert "no rows" not in lat_bulk(one.parent / "in", one, "--workers", 1).stderr


def test_a_folder_in_the_place_of_the_log_is_named(one):
    (one / bulk.LOG).unlink()
    (one / bulk.LOG).mkdir()
    done = lat_bulk(one.parent / "in", one, "--workers", 1)
    assert done.returncode == 1 and f"{bulk.LOG}: cannot be read" in done.stderr


@pytest.mark.parametrize("folder", [bulk.LOG, worker.PARTS, bulk.REJECTED, "LOG.Parts"])
def test_folders_named_as_the_log_cost_themselves(one, folder):
    source = one.parent / "in"
    (source / folder).mkdir()
    shutil.copy(source / "a.png", source / folder / "b.png")
    for _ in range(2):
        done = lat_bulk(source, one, "--workers", 1)
        assert done.returncode == 1 and f"{folder}/b.png: its output would be among" in done.stderr, done.stderr
    assert below(one) == ["a.lat"]


def test_what_killed_runs_left_goes_where_nothing_is_to_do(one):
    left = [f"{worker.PARTS}/.lat-0123456789abcdef.part", ".lat-0123456789abcdef-01234567.part"]
    (one / worker.PARTS).mkdir(exist_ok=True)
    for name in [*left, ".lat-diary.part"]:
        (one / name).write_bytes(b"")
    claims.remove_stale.cache_clear()  # as another process
    again = lat_bulk(one.parent / "in", one, "--workers", 1)
    assert again.returncode == 3, again.stderr
    assert [path.name for path in one.rglob("*.part")] == [".lat-diary.part"]
    assert below(one) == ["a.lat"]


UNSAFE = ["../up.png", "a/../../up2.png", "a\\..\\..\\back.png", "/absolute.png", "C:evil.png", "//x/share.png"]
UNSAFE += ["a//twice.png", "./dot.png", "x/./y.png"]  # each has another spelling


def test_names_in_an_archive_that_lead_out_of_it_or_have_two_spellings_are_failures(tmp_path, quick_codec):
    out = io.BytesIO()
    Image.new("RGB", (2, 2)).save(out, "PNG")
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        for name in ["ok.png", "sub/ok.png", *UNSAFE]:
            archive.writestr(name, out.getvalue())
    done = lat_bulk(f"zip://::{tmp_path}/e.zip", tmp_path / "x/y/out", "--workers", 1)
    assert done.returncode == 1 and done.stderr.count("is no name below") == len(UNSAFE), done.stderr
    assert below(tmp_path) == ["x/y/out/ok.lat", "x/y/out/sub/ok.lat"]


def test_a_file_in_the_place_of_a_folder_is_named(one):
    done = lat_bulk(one.parent / "in/a.png", one)
    assert done.returncode == 1 and "is a file; lat compress takes files" in done.stderr


def test_a_store_that_is_down_is_named(tmp_path, monkeypatch):
    def refused(url):
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refused)
    with pytest.raises(LatError, match="ftp://host/x: cannot be reached: .*Connection refused"):
        bulk.Store("ftp://host/x")


def test_runs_that_end_together_lose_no_row(monkeypatch):
    """The other one merges and removes parts after this one has listed them; in a folder it waits."""
    target = bulk.Store("memory://closing")
    worker.log(target, "first", [Row("a.png", "a.lat")])
    worker.log(target, "second", [Row("b.png", "b.lat")])
    real, calls = bulk.Store.read_there, []

    def read_there(self, names):
        calls.append(names)
        if len(calls) == 1:
            bulk._merge(target, lambda data: target.write(bulk.LOG, data))
            worker.log(target, "third", [Row("c.png", "c.lat")])
        return real(self, names)

    monkeypatch.setattr(bulk.Store, "read_there", read_there)
    bulk.close_log(target)
    rows = bulk.logged(target)[0]
    assert sorted(rows) == ["a.png", "b.png", "c.png"]
    bulk.close_log(target)
    assert target.names() == [bulk.LOG]


def test_runs_that_end_together_in_a_folder_take_turns(tmp_path, monkeypatch):
    target, waits, real = bulk.Store(str(tmp_path)), threading.Event(), claims._wait_until_free
    worker.log(target, "first", [Row("a.png", "a.lat")])
    monkeypatch.setattr(claims, "_wait_until_free", lambda name: waits.set() or real(name))
    other = threading.Thread(target=bulk.close_log, args=(target,))
    with files.claim(target.path(bulk.LOG)) as claimed:
        other.start()
        assert waits.wait(30)
        claimed.write(json_text(asdict(Row("b.png", "b.lat"))).encode(), overwrite=True)
    other.join(30)
    assert sorted(log(tmp_path)) == ["a.png", "b.png"]


def test_an_object_that_another_run_put_meanwhile_is_not_replaced(crop, quick_codec):
    fs = fsspec.filesystem("memory")
    with fs.open("/mine/a.png", "wb") as file:
        Image.fromarray(crop).save(file, "PNG")
    plan = worker.Plan("memory://mine", "memory://ours", Options())
    jobs = bulk.missing(plan, SUFFIXES).jobs
    other = list(bulk.run(plan, jobs, "local", 1, 32))
    again = list(bulk.run(plan, jobs, "local", 1, 32))
    assert [row.status for rows in other + again for row in rows] == ["done", "skipped"]
    fs.pipe_file("/ours/a.lat", b"precious")
    (failed,) = next(bulk.run(plan, jobs, "local", 1, 32))
    assert failed.status == "failed" and fs.cat_file("/ours/a.lat") == b"precious"


def test_a_rerun_reads_no_picture_whose_state_is_in_the_log(one, monkeypatch):
    monkeypatch.setattr(bulk.Store, "read", lambda self, name: pytest.fail("read"))
    assert lat_bulk(one.parent / "in", one, "--workers", 1).returncode == 3
