"""Seconds in memory, after loading: megapixels a second of encoding and decoding, and start-up of the command.

    python -m bench.speed --images DIR --photo LARGE.jpg --threads 2 --out bench/results/speed-fast-1.json

`--photo` adds one large photograph: whole processes of `lat`, and CompressAI's mbt2018-mean (quality 4, random
weights, which cost what trained ones do) beside this codec in memory.
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
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from codec import Codec

from .run import processor


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


def mbt2018_mean(image: Image.Image) -> dict[str, float] | str:
    """Seconds of CompressAI's model on one picture, or why there are none."""
    operators = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):  # missing where the registry's torchvision lies beside a CPU build of torch
        if not hasattr(torch.ops.torchvision, name):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    try:
        from compressai.zoo import mbt2018_mean as zoo
    except (ImportError, RuntimeError) as error:
        return f"CompressAI cannot be imported here: {error}"
    net = zoo(4, pretrained=False).eval()
    net.update(force=True)
    x = torch.tensor(np.asarray(image), dtype=torch.float32).permute(2, 0, 1)[None] / 255
    x = F.pad(x, (0, -x.shape[3] % 64, 0, -x.shape[2] % 64))
    with torch.inference_mode():
        packed = net.compress(x)
        return {
            "encode_s": seconds(lambda: net.compress(x), 1),
            "decode_s": seconds(lambda: net.decompress(packed["strings"], packed["shape"]), 1),
        }


def large_photo(path: Path, codec: Codec, quality: int, threads: int) -> dict:
    """One large photograph: this codec in memory and as processes, and mbt2018-mean in memory."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    data = codec.encode(image, quality)
    with tempfile.TemporaryDirectory() as folder:
        packed, back = str(Path(folder) / "photo.lat"), str(Path(folder) / "photo.png")
        common = ("--overwrite", "--threads", str(threads))
        lat = ("-m", "codec.cli")
        compress = process_seconds(*lat, "compress", str(path), "-o", packed, "-q", str(quality), *common)
        decompress = process_seconds(*lat, "decompress", packed, "-o", back, *common)
    return {
        "megapixels": image.width * image.height / 1e6,
        "lat": {
            "encode_s": seconds(lambda: codec.encode(image, quality)),
            "decode_s": seconds(lambda: codec.decode(data)),
            "compress_process_s": compress,
            "decompress_process_s": decompress,
        },
        "mbt2018-mean": mbt2018_mean(image),
    }


@click.command()
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--model", default="fast-1", show_default=True)
@click.option("--quality", default=50, show_default=True)
@click.option("--photo", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--threads", type=int, default=2, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(images: Path, model: str, quality: int, photo: Path | None, threads: int, out: Path) -> None:
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
    if photo:
        result["large_photo"] = large_photo(photo, codec, quality, threads)
    out.write_text(json.dumps(result, indent=1) + "\n")
    click.echo(json.dumps({k: v for k, v in result.items() if k != "rows"}, indent=1))


if __name__ == "__main__":
    main()
