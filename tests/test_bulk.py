"""Archives: every picture is a file and a row of the log, whatever dies meanwhile, and a second run does the rest."""

import json
import os
import signal
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from codec import Codec, LatError
from codec.bulk import driver as bulk
from codec.bulk import engines, worker
from codec.job import Options, Row
from codec.plan import Job
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
        assert (out / "a.lat").read_bytes() == codec.encode(image, 30)

    (out / "a.lat").unlink()
    before = {name: (out / name).stat().st_mtime_ns for name in GOOD[1:]}
    again = lat_bulk(tree, out, "--workers", 1, "-q", 30)
    assert "4 done already, 2 to do" in again.stderr
    assert before == {name: (out / name).stat().st_mtime_ns for name in GOOD[1:]}
    assert len(log(out)) == 6

    (tree / "broken.jpg").unlink()
    assert lat_bulk(tree, out, "--workers", 1).returncode == 3


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
    [("{tmp}/none", "no pictures here"), ("nonsense://x", "nonsense"), ("{tmp}", "no pictures here")],
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
        engines.RayEngine(lambda: None, 1)


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
    command = [sys.executable, "-m", module, "bulk", source, out, "--engine", engine, "--workers", "2"]
    with subprocess.Popen([*command, "--batch", "4"], cwd=ROOT, stderr=subprocess.PIPE, text=True) as driver:
        while not list(out.glob("*.lat")) and driver.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                driver.wait(0.02)
        victims = workers_of(driver.pid, engine)
        assert victims
        os.kill(victims[0], signal.SIGKILL)
        said = driver.communicate(timeout=240)[1]
    assert "40 done, 1 failed" in said
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
            raise engines.WorkerDied("killed")
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
    monkeypatch.setitem(bulk.ENGINES, "fake", Engine)
    rows = driven(tmp_path, ["a", "deadly", "b"], 3)
    assert {row.source: row.status for row in rows} == {"a.png": "done", "deadly.png": "failed", "b.png": "done"}
    assert Engine.last.replaced == 3


def test_workers_that_cannot_start_end_the_run(tmp_path, monkeypatch):
    monkeypatch.setitem(bulk.ENGINES, "fake", Engine)
    with pytest.raises(LatError, match="died one after another"):
        driven(tmp_path, [f"deadly{i}" for i in range(100)], 1)
    assert Engine.last.replaced == bulk.MAX_DEATHS
