"""The engines side by side: seconds of encoding and decoding, idle and on a busy machine; memory; whole processes.

    python -m bench.engines --images DIR --out bench/results/engines.json

Every row is a process of its own, which loads a codec and codes one mosaic of the photographs in memory, twice: the
first time graphs are compiled. Seconds of all cores together (`cpu`) hardly depend on what else the machine does. On
the busy machine two processes a core compute all the while. To make a processor with AVX-512 look like one with AVX2,
set ATEN_CPU_CAPABILITY=avx2 and ONEDNN_MAX_CPU_ISA=AVX2; the result tells.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
from PIL import Image

from codec import Codec, engine
from codec.weights import newest

from .machine import memory_kb, processor, timed
from .photos import tiled

SMALL = (96, 64)
QUALITY = 50
CAPABILITIES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")


def variants() -> list[tuple[str, bool]]:
    """(engine, float32) that can be measured here."""
    return [*((name, True) for name in reversed(engine.installed())), ("openvino", False)]


def row(picture: Path, weights: str, name: str, float32: bool, threads: int, repeats: int) -> dict:
    """Of one codec on one picture, in this process."""
    with Image.open(picture) as image:
        pixels = np.asarray(image)
    codec, load_s, _ = timed(lambda: Codec.load(weights, name, threads, float32), 1)
    data, first_encode_s, _ = timed(lambda: codec.encode(pixels, QUALITY), 1)
    _, first_decode_s, _ = timed(lambda: codec.decode(data), 1)
    begun, times = time.process_time(), []
    for action in (lambda: codec.encode(pixels, QUALITY), lambda: codec.decode(data)):
        _, seconds, count = timed(action, repeats)
        times.append((seconds, round((time.process_time() - begun) / count, 4)))
        begun = time.process_time()
    (encode_s, encode_cpu_s), (decode_s, decode_cpu_s) = times
    return {
        "engine": codec.engine.description,
        "weights": codec.name,
        "megapixels": pixels.shape[0] * pixels.shape[1] / 1e6,
        "threads": threads,
        "load_s": load_s,
        "first_encode_s": first_encode_s,
        "first_decode_s": first_decode_s,
        "encode_s": encode_s,
        "decode_s": decode_s,
        "encode_cpu_s": encode_cpu_s,
        "decode_cpu_s": decode_cpu_s,
        "peak_mb": round(memory_kb("VmHWM") / 1e3) if Path("/proc/self/status").exists() else None,
    }


def measured(*args: object) -> dict:
    command = [sys.executable, "-m", "bench.engines", "--one", json.dumps([str(args[0]), *args[1:]])]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that compute."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def whole_processes(folder: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of `lat decompress` of a 768 × 512 picture, process and PNG included."""
    source, packed, back = (str(folder / f"small.{suffix}") for suffix in ("png", "lat", "back.png"))
    lat, out = (sys.executable, "-m", "codec"), {}
    subprocess.run([*lat, "compress", source, "-o", packed, "--overwrite", "--quiet"], check=True)
    for label, options in [("chosen", ()), *((name, ("--engine", name)) for name in engine.installed())]:
        command = [*lat, "decompress", packed, "-o", back, "--overwrite", "--quiet", *options]
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            subprocess.run(command, check=True)
            times.append(time.perf_counter() - start)
        out[label] = {"decompress_s": round(statistics.median(times), 3)}
    return out


@click.command()
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--megapixels", default=12.0, show_default=True, help="Of the large picture, with the small weights.")
@click.option("--best-megapixels", default=3.0, show_default=True, help="The same with the large weights.")
@click.option("--threads", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option("--hogs", default=2 * (os.cpu_count() or 1), show_default=True, help="Processes that make it busy; or 0.")
@click.option("--one", hidden=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path))
def main(images, megapixels, best_megapixels, threads, repeats, hogs, one, out) -> None:
    """Measure all engines in one run."""
    if one:
        click.echo(json.dumps(row(*json.loads(one))))
        return
    if not (images and out):
        raise click.UsageError("--images and --out are needed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = {size: folder / f"{size}.bmp" for size in ("fast", "best", "tiny")}
        tiled(images, megapixels).save(pictures["fast"])
        tiled(images, best_megapixels).save(pictures["best"])
        photo = tiled(images, 0.8)
        photo.crop((0, 0, *SMALL)).save(pictures["tiny"])
        photo.crop((0, 0, 768, 512)).save(folder / "small.png")
        idle, loaded = [], []
        for size in ("tiny", "fast", "best"):
            weights = newest("best" if size == "best" else "fast")
            for variant in variants():
                idle.append(measured(pictures[size], weights, *variant, threads, repeats))
                click.echo(json.dumps(idle[-1]))
        with busy(hogs):
            for variant in variants() if hogs else []:
                loaded.append(measured(pictures["tiny"], newest("fast"), *variant, threads, 9))
                click.echo(json.dumps(loaded[-1]))
        result = {
            "processor": processor(),
            "platform": platform.platform(),
            "capabilities": {key: os.environ[key] for key in CAPABILITIES if key in os.environ},
            "quality": QUALITY,
            "processes_768x512": whole_processes(folder, repeats),
            "idle": idle,
            "busy": loaded,
        }
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
