"""Seconds and memory of decoding in a browser: the module that `lat web` writes, in headless Chromium.

    python -m bench.web --images DIR --out bench/results/web.json

A row is one set of weights, one mosaic of the photographs and a number of threads, in a browser of its own. `first_s`
is the first decode of a page, with all files fetched from this machine; `decode_s` the median of those that follow it;
`memory_mb` the most that the page's process has held.
"""

from __future__ import annotations

import json
import platform
import statistics
import tempfile
import threading
from pathlib import Path

import click

from codec import Codec, weights
from codec.bench.machine import processor
from codec.bench.photos import tiled
from codec.command import web

from .browser import Page

CASES = (("fast", 0.4, 8), ("best", 0.4, 5), ("fast", 12, 2))  # weights, megapixels, decodes
THREADS = (1, 2)
MEASURE = """(async () => {
  const { Decoder } = await import("/lat/lat.js");
  const file = await (await fetch("/FILE")).arrayBuffer(), decoder = new Decoder({ threads: THREADS, gpu: false });
  const rows = [];
  for (let i = 0; i < COUNT; i++) {
    const start = performance.now();
    const { seconds } = await decoder.decode(file);
    rows.push({ wall: (performance.now() - start) / 1000, ...seconds });
  }
  return { rows, isolated: crossOriginIsolated };
})()"""


def measure(address: str, folder: Path, file: str, threads: int, count: int) -> dict:
    """One row, in a browser of its own."""
    script = MEASURE.replace("FILE", file).replace("THREADS", str(threads)).replace("COUNT", str(count))
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as profile, Page(Path(profile)) as page:
        page.open(address + "lat/errors.js")
        found = page.run(script, timeout=600)
        memory = page.peak_mb()
    first, *rest = found["rows"]
    medians = {name: round(statistics.median(row[name] for row in rest), 3) for name in ("wall", "latents", "pixels")}
    return {
        "threads": threads if found["isolated"] else 1,
        "first_s": round(first["wall"], 3),
        "load_s": round(first["load"], 3),
        "decode_s": medians["wall"],
        "latents_s": medians["latents"],
        "pixels_s": medians["pixels"],
        "decodes": len(rest),
        "memory_mb": round(memory),
    }


@click.command()
@click.option("--images", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--quality", default=50, show_default=True)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path))
def main(images: Path, quality: int, out: Path) -> None:
    """Measure the decoder in a browser."""
    rows = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        web.build(folder / "site", tuple(weights.cards()))
        for size, megapixels, _ in CASES:
            data = Codec.load(size).encode(tiled(images, megapixels), quality)
            (folder / "site" / f"{size}-{megapixels}.lat").write_bytes(data)
        with web.server(folder / "site", 0) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            for size, megapixels, count in CASES:
                for threads in THREADS:
                    address = f"http://localhost:{server.server_port}/"
                    row = measure(address, folder, f"{size}-{megapixels}.lat", threads, count)
                    rows.append({"weights": weights.newest(size), "megapixels": megapixels} | row)
                    click.echo(json.dumps(rows[-1]))
            server.shutdown()
    result = {"processor": processor(), "platform": platform.platform(), "quality": quality, "rows": rows}
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
