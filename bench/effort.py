"""What encoder effort buys: BD-rate against effort 3 and seconds a picture.

python -m bench.effort --images DIR --out bench/results/effort.json
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image

from codec import Codec
from codec.weights import DEFAULT

from .metrics import bd_rate, psnr
from .run import processor

QUALITIES = (10, 30, 50, 70, 90)


@click.command()
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--efforts", default="3,4,5,7,9", show_default=True)
@click.option("--every", default=1, show_default=True, help="Take every n-th picture.")
@click.option("-m", "--model", default=DEFAULT, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(images: Path, efforts: str, every: int, model: str, out: Path) -> None:
    codec, files = Codec.load(model), sorted(images.glob("*.png"))[::every]
    result = {"weights": codec.name, "processor": processor(), "threads": torch.get_num_threads()}
    result |= {"pictures": len(files), "qualities": QUALITIES, "efforts": {}}
    base = None
    for effort in map(int, efforts.split(",")):
        rates, distortions = np.zeros(len(QUALITIES)), np.zeros(len(QUALITIES))
        start, seconds = time.perf_counter(), 0.0
        for path in files:
            with Image.open(path) as opened:
                image = opened.convert("RGB")
            for i, quality in enumerate(QUALITIES):
                start = time.perf_counter()
                data = codec.encode(image, quality, effort=effort)
                seconds += time.perf_counter() - start
                rates[i] += 8 * len(data) / (image.width * image.height)
                distortions[i] += psnr(np.asarray(image), np.asarray(codec.decode(data)))
        curve = (list(rates / len(files)), list(distortions / len(files)))
        base = base or curve
        entry = {"bd_rate_percent": round(bd_rate(*base, *curve)[0], 2) if curve != base else 0.0}
        entry["seconds_a_picture"] = round(seconds / len(files) / len(QUALITIES), 3)
        result["efforts"][effort] = entry | {"bpp": curve[0], "psnr": curve[1]}
        click.echo(f"effort {effort}: {entry}")
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
