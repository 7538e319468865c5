"""The engines side by side: seconds of encoding and decoding, idle and on a busy machine; memory; whole processes.

    python -m bench.engines --images DIR --out bench/results/engines.json

Every row is a process of its own, which loads a codec and codes one mosaic of the photographs in memory, twice: the
first time graphs are compiled. Seconds of all cores together (`cpu`) hardly depend on what else the machine does. On
the busy machine two processes a core compute all the while. Rows "as AVX2" are of processes that are told to make do
with what processors without AVX-512 have.
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
from codec.bench.machine import memory_kb, processor, timed
from codec.bench.photos import tiled
from codec.weights import newest

SMALL = (96, 64)
QUALITY = 50
AS_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def variants() -> list[tuple[str, bool]]:
    """(engine, float32) that can be measured here."""
    return [*((name, True) for name in reversed(engine.installed())), ("openvino", False)]


def row(picture: Path, weights: str, name: str | None, float32: bool, threads: int, repeats: int) -> dict:
    """Of one codec on one picture, in this process."""
    with Image.open(picture) as image:
        pixels = np.asarray(image)
    codec, load_s, _ = timed(lambda: Codec.load(weights, name, threads, float32), 1)
    data, first_encode_s, _ = timed(lambda: codec.encode(pixels, QUALITY), 1)
    _, first_decode_s, _ = timed(lambda: codec.decode(data, pixels.size), 1)
    found = {
        "engine": codec.engine.description,
        "processor": "as AVX2" if AS_AVX2.items() <= os.environ.items() else "all that it can",
        "weights": codec.name,
        "megapixels": pixels.shape[0] * pixels.shape[1] / 1e6,
        "threads": threads,
        "load_s": load_s,
        "first_encode_s": first_encode_s,
        "first_decode_s": first_decode_s,
    }
    for way, action in (("encode", lambda: codec.encode(pixels, QUALITY)), ("decode", lambda: codec.decode(data))):
        if repeats:
            begun = time.process_time()
            _, found[f"{way}_s"], count = timed(action, repeats)
            found[f"{way}_cpu_s"] = round((time.process_time() - begun) / count, 4)
        else:
            found[f"{way}_s"] = found[f"first_{way}_s"]
    linux = Path("/proc/self/status").exists()
    return found | {"peak_mb": round(memory_kb("VmHWM") / 1e3) if linux else None}


def measured(*args: object, **environment: str) -> dict:
    command = [sys.executable, "-m", "bench.engines", "--one", json.dumps([str(args[0]), *args[1:]])]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | environment)
    click.echo(done.stdout, nl=False)
    return json.loads(done.stdout)


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
@click.option("--megapixels", type=float, multiple=True, default=(0.4, 12), show_default=True, help="Of small weights.")
@click.option("--best-megapixels", default=3.0, show_default=True, help="Of the picture for the large weights.")
@click.option(
    "--largest", default=100.0, show_default=True, help="Coded once, by the engines that `lat` chooses; or 0."
)
@click.option("--threads", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option("--hogs", default=2 * (os.cpu_count() or 1), show_default=True, help="Processes that make it busy; or 0.")
@click.option("--one", hidden=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path))
def main(images, megapixels, best_megapixels, largest, threads, repeats, hogs, one, out) -> None:
    """Measure all engines in one run."""
    if one:
        click.echo(json.dumps(row(*json.loads(one))))
        return
    if not (images and out):
        raise click.UsageError("--images and --out are needed")
    fast, best = newest("fast"), newest("best")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def picture(size: float) -> Path:
            path = folder / f"{size:g}.bmp"
            if not path.exists():
                tiled(images, size).save(path)
            return path

        photo = tiled(images, 0.8)
        photo.crop((0, 0, *SMALL)).save(folder / "tiny.bmp")
        photo.crop((0, 0, 768, 512)).save(folder / "small.png")
        result = {"quality": QUALITY, "processor": processor(), "platform": platform.platform()}
        result["processes_768x512"] = whole_processes(folder, repeats)
        idle = [measured(folder / "tiny.bmp", fast, *variant, threads, repeats) for variant in variants()]
        for count in sorted({1, threads}):
            for size in megapixels:
                idle += [measured(picture(size), fast, *variant, count, repeats) for variant in variants()]
            idle += [measured(picture(best_megapixels), best, *variant, count, repeats) for variant in variants()]
        at_float32 = [variant for variant in variants() if variant[1]]
        large = picture(max(megapixels))
        idle += [measured(large, fast, *variant, threads, repeats, **AS_AVX2) for variant in at_float32]
        if largest:
            idle.append(measured(picture(largest), fast, None, False, threads, 0))
        with busy(hogs):
            tiny = folder / "tiny.bmp"
            loaded = [measured(tiny, fast, *variant, threads, 9) for variant in (variants() if hogs else [])]
    out.write_text(json.dumps(result | {"idle": idle, "busy": loaded}, indent=1) + "\n")


if __name__ == "__main__":
    main()
