"""Throughput of `lat bulk` by engine and workers, and a run whose worker is killed in the middle.

python -m bench.bulk --data photos-0.tar --data photos-1.tar --count 500 --out bench/results/bulk.json
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from codec.bench.machine import processor
from codec.train.data import read_files

ENGINES = ("local", "ray")


def fill(folder: Path, sources: list[Path], count: int) -> None:
    """`count` photographs as JPEG files, in ten folders."""
    for i, data in zip(range(count), read_files(sources)):
        path = folder / f"{i % 10}" / f"{i:04}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)


def start(source: Path, target: Path, engine: str, workers: int) -> subprocess.Popen:
    arguments = [str(source), str(target), "--on", engine, "--workers", str(workers), "--batch", "16"]
    return subprocess.Popen([sys.executable, "-m", "codec", "bulk", *arguments], stderr=subprocess.PIPE, text=True)


def timed(source: Path, target: Path, engine: str, workers: int) -> dict:
    begun = time.perf_counter()
    said = start(source, target, engine, workers).communicate()[1]
    wall = time.perf_counter() - begun
    rows = [json.loads(line) for line in (target / "log.jsonl").read_text().splitlines()]
    pixels = sum(row["width"] * row["height"] for row in rows)
    coding = sum(row["seconds"] for row in rows)
    return {
        "engine": engine,
        "workers": workers,
        "pictures": len(rows),
        "megapixels": round(pixels / 1e6, 1),
        "seconds": round(wall, 1),
        "mp_per_second": round(pixels / 1e6 / wall, 2),
        "mp_per_second_a_worker_while_coding": round(pixels / 1e6 / coding, 2),
        "said": said.splitlines()[-1],
    }


def killed(source: Path, target: Path, engine: str) -> dict:
    """One of two workers killed when a third of the files are there, a corrupt picture among the sources."""
    bad = source / "0" / "corrupt.jpg"
    bad.write_bytes(b"\xff\xd8\xff\xe0 this is no photograph")
    count = sum(1 for _ in source.rglob("*.jpg"))
    driver = start(source, target, engine, 2)
    while sum(1 for _ in target.rglob("*.lat")) < count / 3:
        time.sleep(0.1)
    victim = worker_of(driver.pid, engine)
    os.kill(victim, signal.SIGKILL)
    said = driver.communicate()[1].splitlines()
    rows = [json.loads(line) for line in (target / "log.jsonl").read_text().splitlines()]
    written = {path: path.stat().st_mtime_ns for path in target.rglob("*.lat")}
    for path in list(written)[:20]:
        path.unlink()
    again = start(source, target, engine, 2).communicate()[1].splitlines()
    left_alone = sum(path.stat().st_mtime_ns == written[path] for path in list(written)[20:])
    whole = subprocess.run([sys.executable, "-m", "codec", "verify", "-r", str(target)], capture_output=True)
    bad.unlink()
    return {
        "engine": engine,
        "sources": count,
        "said": [line for line in said if re.match(r"\d+ done", line)],
        "files": len(written),
        "rows": len(rows),
        "failed": [row["error"] for row in rows if row["status"] == "failed"],
        "rerun_after_removing_20": [line for line in again if re.match(r"\d+ (done|failed)", line)],
        "others_left_alone": left_alone,
        "all_files_verify": whole.returncode == 0,
        "half_written": len(list(target.rglob("*.part*"))),
    }


def worker_of(driver: int, engine: str) -> int:
    """A process that does the work (Linux)."""
    for process in Path("/proc").glob("[0-9]*"):
        command = (process / "cmdline").read_bytes()
        parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        if command.startswith(b"ray::RayWorker") or (parent == driver and b"spawn_main" in command):
            return int(process.name)
    raise SystemExit("no worker found")


@click.command()
@click.option("--data", "photos", type=click.Path(exists=True, path_type=Path), multiple=True, required=True)
@click.option("--count", default=500, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(photos: tuple[Path, ...], count: int, out: Path) -> None:
    result: dict[str, Any] = {"processor": processor(), "cores": os.cpu_count(), "runs": [], "killed": []}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "photos"
        source.mkdir()
        fill(source, list(photos), count)
        for engine in ENGINES:
            for workers in (1, 2):
                entry = timed(source, Path(folder) / f"{engine}{workers}", engine, workers)
                result["runs"].append(entry)
                click.echo(json.dumps(entry))
        for engine in ENGINES:
            entry = killed(source, Path(folder) / f"{engine}-killed", engine)
            result["killed"].append(entry)
            click.echo(json.dumps(entry, indent=1))
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
