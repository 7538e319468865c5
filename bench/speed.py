"""Speed and memory against size of picture, threads and codec, and start-up of the command.

    python -m bench.speed --images DIR --out bench/results/speed.json

Each row is one codec on one mosaic of the photographs, in a process of its own: memory of the first encode and
decode, then the median of `--repeats` calls (one where a call takes seconds). lat runs with all weights that are
installed. CompressAI's mbt2018-mean (quality 4) has random weights, which cost what trained ones do, up to 12 MP:
it takes a picture whole. `processes` are whole runs of the command on a 12 MP JPEG, PNG out.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import click
import torch
from PIL import Image

from codec.bench.compressai import complete_torchvision
from codec.bench.machine import processor, timed
from codec.bench.photos import tiled
from codec.bench.run import memory_row, speed_row, start_worker
from codec.weights import DEFAULT, cards

SIZES = (0.1, 0.4, 1, 3, 12, 48, 100)  # megapixels
THREAD_SIZE = 3
RIVALS = {"jpeg": 80, "avif-s6": 60, "jxl": 75}  # settings of about the quality of lat's
MBT_LARGEST = 12


def random_mbt2018_mean(folder: Path) -> dict[str, dict[int, Path]]:
    """A weights file of CompressAI's model, as `codec.bench.codecs.build` takes it; {} where CompressAI is missing."""
    complete_torchvision()
    try:
        from compressai.zoo import mbt2018_mean
    except (ImportError, RuntimeError) as error:
        click.echo(f"mbt2018-mean: left out, {error}", err=True)
        return {}
    path = folder / "random.pth"
    torch.save(mbt2018_mean(4, pretrained=False).state_dict(), path)
    return {"mbt2018-mean": {4: path}}


def measure(codec: tuple, setting: int, picture: Path, threads: int, repeats: int) -> dict:
    """Memory, then seconds, in a fresh process."""
    with ProcessPoolExecutor(1, get_context("spawn"), start_worker, codec) as pool:
        memory = pool.submit(memory_row, picture, setting, threads).result()
        return memory | pool.submit(speed_row, picture, setting, threads, repeats).result() | {"threads": threads}


def process_seconds(repeats: int, *args: str) -> float:
    command = [sys.executable, *args]
    return timed(lambda: subprocess.run(command, check=True, capture_output=True), repeats, patience=60)[1]


def start_up(folder: Path, repeats: int) -> dict[str, float]:
    dot, packed = folder / "dot.png", folder / "dot.lat"
    Image.new("RGB", (1, 1)).save(dot)
    lat = ("-m", "codec")
    return {
        "import_torch_s": process_seconds(repeats, "-c", "import torch"),
        "compress_1x1_s": process_seconds(repeats, *lat, "compress", str(dot), "--overwrite"),
        "decompress_1x1_s": process_seconds(repeats, *lat, "decompress", str(packed), "--overwrite"),
        "info_s": process_seconds(repeats, *lat, "info", str(packed)),
    }


def whole_processes(images: Path, folder: Path, quality: int, threads: int, repeats: int) -> dict[str, float]:
    source, packed, back = (str(folder / f"photo.{s}") for s in ("jpg", "lat", "png"))
    tiled(images, 12).save(source, "JPEG", quality=92, subsampling="4:4:4")
    common = ("--overwrite", "--threads", str(threads))
    lat = ("-m", "codec")
    return {
        "compress_s": process_seconds(repeats, *lat, "compress", source, "-o", packed, "-q", str(quality), *common),
        "decompress_s": process_seconds(repeats, *lat, "decompress", packed, "-o", back, *common),
    }


@click.command()
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--quality", default=50, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=torch.get_num_threads(), show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option("--largest", default=100.0, show_default=True, help="Megapixels of the largest mosaic.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(images: Path, quality: int, threads: int, repeats: int, largest: float, out: Path) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compressai = random_mbt2018_mean(folder)
        codecs: list[tuple[str, tuple[str, str, dict], int]]  # label, what `start_worker` takes, setting
        codecs = [(f"lat {weights}", ("lat", weights, {}), quality) for weights in cards()]
        codecs += [(rival, (rival, DEFAULT, {}), setting) for rival, setting in RIVALS.items()]
        codecs += [(model, (model, DEFAULT, compressai), 4) for model in compressai]
        for size in (s for s in SIZES if s <= largest):
            picture = folder / "mosaic.bmp"
            tiled(images, size).save(picture)
            counts = sorted({1, threads, os.cpu_count() or 1}) if size == THREAD_SIZE else [threads]
            for label, codec, setting in codecs:
                if label in compressai and size > MBT_LARGEST:
                    continue
                for count in counts:
                    row = {"codec": label} | measure(codec, setting, picture, count, repeats)
                    rows.append(row)
                    mp = row["megapixels"]
                    click.echo(
                        f"{label:14} {mp:6.1f} MP {count} threads: {mp / row['encode_s']:8.2f} MP/s to encode, "
                        f"{mp / row['decode_s']:8.2f} to decode; {row['encode_mb']} and {row['decode_mb']} MB"
                    )
        result = {
            "processor": processor(),
            "torch": torch.__version__,
            "platform": platform.platform(),
            "quality": quality,
            "start_up": start_up(folder, repeats),
            "processes_12mp": whole_processes(images, folder, quality, threads, repeats),
            "rows": rows,
        }
    out.write_text(json.dumps(result, indent=1) + "\n")
    click.echo(json.dumps({k: v for k, v in result.items() if k != "rows"}, indent=1))


if __name__ == "__main__":
    main()
