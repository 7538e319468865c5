"""Rate-distortion and speed of codecs on pictures, with real file bytes.

    lat bench --quick --html report.html
    lat bench --images DIR --codecs lat,jpeg,avif-s6 --anchors DIR_OF_JSON --out results.json

First the rates: every row is one picture at one setting, with the bytes of the whole file and the distortion of
the 8-bit pixels. Rows do not depend on the machine or its load and are measured in `--jobs` processes, one thread each.
Then the speed: on a few pictures and settings, one at a time, seconds in memory after a warm-up. All speeds of a
file come from one machine: timing on another one drops those that are there (`--timed 0` times nothing).
Averages and BD-rates derive from the rows. Rows are stored as they are finished; the same command goes on
after a stop and measures only what is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np
import torch

from codec.runs.files import write_bytes
from codec.weights import DEFAULT

from .base import Codec
from .codecs import CODECS, Lat, build
from .compressai import weights_files
from .curves import anchor_curves, bd_rates, means, speeds
from .machine import peak_mb, processor, timed
from .metrics import IN_TABLES, METRICS
from .photos import load, pictures, spread

STORE_SECONDS = 2.0  # rows finished since are lost by a kill


# In the worker processes: the codec is built once in each.

_codec: Codec


def start_worker(name: str, model: str, compressai: dict) -> None:
    global _codec
    _codec = build(name, model, compressai)


def use_threads(count: int) -> None:
    """Of the codec in this process."""
    torch.set_num_threads(count)
    if isinstance(_codec, Lat):
        _codec.use_threads(count)


def rate_row(path: Path, setting: int) -> dict:
    """Bytes and distortion of one picture at one setting."""
    use_threads(1)
    image = load(path)
    data = _codec.encode(image, setting)
    original, decoded = np.asarray(image), np.asarray(_codec.decode(data))
    row = {"setting": setting, "bytes": len(data), "bpp": 8 * len(data) / (image.width * image.height)}
    return row | {name: metric.measure(original, decoded) for name, metric in METRICS.items()}


def memory_row(path: Path, setting: int, threads: int) -> dict:
    """Memory beyond the loaded codec for one picture, in a process that has coded nothing before."""
    use_threads(threads)
    image = load(path)
    row = {"setting": setting, "megapixels": image.width * image.height / 1e6, "encode_mb": None, "decode_mb": None}
    with contextlib.suppress(OSError, ImportError):  # only Linux tells
        data, row["encode_mb"] = peak_mb(lambda: _codec.encode(image, setting))
        _, row["decode_mb"] = peak_mb(lambda: _codec.decode(data))
    return row


def speed_row(path: Path, setting: int, threads: int, repeats: int) -> dict:
    """Seconds of one picture at one setting, warm."""
    use_threads(threads)
    image = load(path)
    _codec.decode(_codec.encode(image, setting))
    data, encode_s, encode_repeats = timed(lambda: _codec.encode(image, setting), repeats)
    _, decode_s, decode_repeats = timed(lambda: _codec.decode(data), repeats)
    return {
        "setting": setting,
        "megapixels": image.width * image.height / 1e6,
        "encode_s": encode_s,
        "decode_s": decode_s,
        "repeats": [encode_repeats, decode_repeats],
    }


class Bench:
    """One result file and the rows in it."""

    def __init__(self, out: Path):
        self.out = out
        self.result = json.loads(out.read_text()) if out.exists() else {"codecs": {}}
        self.stored = time.monotonic()

    def time_on(self, machine: dict) -> None:
        """From now on speeds are those of `machine`; another one's are dropped."""
        if {k: self.result.get(k) for k in machine} != machine:
            for entry in self.result["codecs"].values():
                entry["speed"] = []
                for key in ("memory", "encode_mp_per_s", "decode_mp_per_s"):
                    entry.pop(key, None)
            self.result = machine | {"codecs": self.result["codecs"]}

    def entry(self, name: str, version: str) -> dict:
        """The rows of a codec; those of another version are dropped."""
        entry = self.result["codecs"].get(name)
        if entry is None or entry["version"] != version:
            entry = self.result["codecs"][name] = {"version": version, "rows": [], "speed": []}
        return entry

    def store(self, now: bool = True) -> None:
        if now or time.monotonic() - self.stored > STORE_SECONDS:
            write_bytes(str(self.out), json.dumps(self.result, indent=1).encode() + b"\n", overwrite=True)
            self.stored = time.monotonic()


@contextlib.contextmanager
def workers(bench: Bench, processes: int, codec: tuple):
    """Worker processes with a codec each; rows are stored and what waits is dropped, however the block ends."""
    if not processes:
        yield None
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"), start_worker, codec)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        bench.store()


def bar(label: str, length: int):
    return click.progressbar(length=length, label=f"{label:18}", show_pos=True, file=sys.stderr)


def missing(rows: list[dict], wanted: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The pairs of picture and setting that have no row."""
    have = {(r["image"], r["setting"]) for r in rows}
    return [pair for pair in wanted if pair not in have]


def measure(
    bench: Bench, entry: dict, codec: tuple, files: dict[str, Path], settings: list[int], processes: int
) -> None:
    """The rows that a codec's entry lacks."""
    wanted = [(image, s) for image in files for s in settings]
    # Rows that lack a metric, because it is newer than they are, are measured again.
    entry["rows"] = [r for r in entry["rows"] if set(METRICS) <= set(r) or (r["image"], r["setting"]) not in wanted]
    todo = missing(entry["rows"], wanted)
    with workers(bench, processes if todo else 0, codec) as pool, bar(codec[0], len(todo)) as progress:
        running = {pool.submit(rate_row, files[image], s): image for image, s in todo}
        for done in as_completed(running):
            entry["rows"].append({"image": running[done]} | done.result())
            progress.update(1)
            bench.store(now=False)
    order = {image: i for i, image in enumerate(files)}
    entry["rows"].sort(key=lambda r: (order.get(r["image"], -1), r["bpp"]))


def time_some(
    bench: Bench,
    entry: dict,
    codec: tuple,
    files: dict[str, Path],
    settings: list[int],
    wanted: list[tuple[str, int]],
    threads: int,
    repeats: int,
) -> None:
    """The speeds that a codec's entry lacks of those wanted, and its memory on the largest file."""
    todo = missing(entry["speed"], wanted)
    with workers(bench, 1 if todo else 0, codec) as pool, bar(f"{codec[0]}, timed", len(todo)) as progress:
        if todo and "memory" not in entry:
            image = max(files, key=lambda image: files[image].stat().st_size)
            middle = settings[len(settings) // 2]
            row = pool.submit(memory_row, files[image], middle, threads).result()
            entry["memory"] = {"image": image} | row
        for image, setting in todo:
            row = pool.submit(speed_row, files[image], setting, threads, repeats).result()
            entry["speed"].append({"image": image} | row)
            progress.update(1)
            bench.store(now=False)


@click.command()
@click.option(
    "--images",
    type=click.Path(exists=True, path_type=Path),
    help="Folder of pictures, or one. Default: photographs that scikit-image and scikit-learn carry.",
)
@click.option("--codecs", help=f"Comma-separated, of {', '.join(CODECS)}. Default: all; with --quick the fast ones.")
@click.option("-m", "--model", default=DEFAULT, show_default=True, help="Weights for lat: name or path.")
@click.option(
    "--compressai",
    "specs",
    multiple=True,
    metavar="MODEL:QUALITY=FILE",
    help="Weights of a model of CompressAI's zoo, which is measured too; may be given several times.",
)
@click.option(
    "--anchors",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of JSON curves to compare with as well.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("lat-bench.json"), show_default=True
)
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a report page too.")
@click.option("--quick", is_flag=True, help="Every second setting, fast rivals: a few minutes.")
@click.option("-j", "--jobs", type=click.IntRange(1), default=os.cpu_count(), help="Processes for the rates.")
@click.option("--threads", type=click.IntRange(1), default=torch.get_num_threads(), help="Threads when timed.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="Timings are medians of so many.")
@click.option("--timed", "timed_pictures", default=3, show_default=True, help="Pictures to time; 0: none.")
def main(
    images: Path | None,
    codecs: str | None,
    model: str,
    specs: tuple[str, ...],
    anchors: Path | None,
    out: Path,
    html: Path | None,
    quick: bool,
    jobs: int,
    threads: int,
    repeats: int,
    timed_pictures: int,
) -> None:
    """Measure this codec and its rivals on pictures: real file bytes, quality, seconds."""
    weights = weights_files(specs)
    names = [*(codecs.split(",") if codecs else (name for name, c in CODECS.items() if c.quick or not quick)), *weights]
    if unknown := set(names) - set(CODECS) - set(weights):
        raise click.UsageError(f"unknown codec {', '.join(sorted(unknown))}; known: {', '.join(CODECS)}")
    files = pictures(images)
    out.parent.mkdir(parents=True, exist_ok=True)
    bench = Bench(out)
    if timed_pictures:
        bench.time_on({"processor": processor(), "threads": threads, "platform": platform.platform()})
    for name in names:
        try:
            codec = build(name, model, weights)
        except ImportError as error:
            click.echo(f"{name}: left out, {error}", err=True)
            continue
        entry = bench.entry(name, codec.version)
        entry["tuned"] = codec.tuned
        settings = list(codec.settings[::2] if quick else codec.settings)
        measure(bench, entry, (name, model, weights), files, settings, jobs)
        few = [(image, s) for image in spread(list(files), timed_pictures) for s in spread(settings, 3)]
        time_some(bench, entry, (name, model, weights), files, settings, few, threads, repeats)
        entry["mean"] = means(entry["rows"])
        if entry["speed"]:
            entry |= speeds(entry["speed"])
    result = bench.result
    result["codecs"] = {name: entry for name, entry in result["codecs"].items() if entry.get("mean")}
    result["published"] = anchor_curves(anchors) if anchors else {}
    result["bd_rate"] = bd_rates(result["codecs"], result["published"])
    bench.store()
    print_table(result)
    click.echo(f"rows and means: {out}")
    if html:
        from .report import write

        write(result, files, model, html)


def print_table(result: dict) -> None:
    """Print the BD-rates of lat, or of all codecs where it was not measured."""
    tables = result["bd_rate"]
    for name in ["lat"] if "lat" in tables["psnr"] else tables["psnr"]:
        for other in tables["psnr"][name]:
            rates = {metric: tables[metric][name].get(other) for metric in IN_TABLES}
            found = [f"{rate['percent']:+.2f} % by {IN_TABLES[metric].label}" for metric, rate in rates.items() if rate]
            click.echo(f"{name} against {other}: {', '.join(found)}")


if __name__ == "__main__":
    main()
