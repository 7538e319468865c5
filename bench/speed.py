"""Seconds in memory, after loading: megapixels a second of encoding and decoding, and start-up of the command.

python -m bench.speed --images DIR --threads 2 --out bench/results/speed-fast-1.json
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from PIL import Image

from bench.run import processor
from codec import Codec


def seconds(action: Callable[[], object], repeats: int = 3) -> float:
    """Median of several runs after one to warm up."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def process_seconds(*args: str) -> float:
    return seconds(lambda: subprocess.run([sys.executable, *args], check=True, capture_output=True))


@click.command()
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--model", default="fast-1", show_default=True)
@click.option("--quality", default=50, show_default=True)
@click.option("--threads", type=int, default=2, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(images: Path, model: str, quality: int, threads: int, out: Path) -> None:
    torch.set_num_threads(threads)
    codec, rows = Codec.load(model), []
    for path in sorted(images.glob("*.png")):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        data = codec.encode(image, quality)
        megapixels = image.width * image.height / 1e6
        encode, decode = seconds(lambda: codec.encode(image, quality)), seconds(lambda: codec.decode(data))  # noqa: B023
        rows.append({"image": path.name, "megapixels": megapixels, "encode_s": encode, "decode_s": decode})
    total = sum(r["megapixels"] for r in rows)
    with tempfile.TemporaryDirectory() as folder:
        dot, packed = Path(folder) / "dot.png", Path(folder) / "dot.lat"
        Image.new("RGB", (1, 1)).save(dot)
        start_up = {
            "import_torch_s": process_seconds("-c", "import torch"),
            "compress_1x1_s": process_seconds("-m", "codec.cli", "compress", str(dot), "--overwrite"),
            "decompress_1x1_s": process_seconds("-m", "codec.cli", "decompress", str(packed), "--overwrite"),
            "info_s": process_seconds("-m", "codec.cli", "info", str(packed)),
        }
    result = {
        "weights": codec.name,
        "processor": processor(),
        "threads": threads,
        "torch": torch.__version__,
        "platform": platform.platform(),
        "quality": quality,
        "encode_mp_per_s": round(total / sum(r["encode_s"] for r in rows), 2),
        "decode_mp_per_s": round(total / sum(r["decode_s"] for r in rows), 2),
        "start_up": {k: round(v, 3) for k, v in start_up.items()},
        "rows": rows,
    }
    out.write_text(json.dumps(result, indent=1) + "\n")
    click.echo(json.dumps({k: v for k, v in result.items() if k != "rows"}, indent=1))


if __name__ == "__main__":
    main()
