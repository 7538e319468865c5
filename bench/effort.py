"""What encoder effort buys: BD-rate against effort 3 by SSIMULACRA 2, MS-SSIM and PSNR, and seconds a picture.

python -m bench effort --images KODAK --every 12 --settings 3,7 --out bench/results/effort.json
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image

from codec import Codec
from codec.bench.machine import processor
from codec.bench.metrics import IN_TABLES, bd_rate
from codec.bench.photos import pictures
from codec.weights import DEFAULT

QUALITIES = (10, 30, 50, 70, 90)


@click.command()
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--settings", default="3,4,5,6,7,7 ms-ssim,9", show_default=True, help="Effort, or effort and --tune.")
@click.option("--every", default=1, show_default=True, help="Take every n-th picture.")
@click.option("-m", "--model", default=DEFAULT, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(images: Path, settings: str, every: int, model: str, out: Path) -> None:
    codec, files = Codec.load(model), [*pictures(images).values()][::every]
    result: dict[str, Any] = {"weights": codec.name, "processor": processor(), "threads": torch.get_num_threads()}
    result |= {"pictures": len(files), "qualities": QUALITIES, "settings": {}}
    base: dict[str, list[float]] | None = None
    for setting in settings.split(","):
        effort, tune = (setting.split() + [codec.weights.tune])[:2]
        curve: dict[str, list[float]] = {name: [] for name in ("bpp", *IN_TABLES)}
        seconds = 0.0
        for quality in QUALITIES:
            sums = np.zeros(len(curve))
            for path in files:
                with Image.open(path) as opened:
                    image = opened.convert("RGB")
                start = time.perf_counter()
                data = codec.encode(image, quality, effort=int(effort), tune=tune)
                seconds += time.perf_counter() - start
                pair = np.asarray(image), np.asarray(codec.decode(data))
                row = [8 * len(data) / (image.width * image.height)]
                for m in IN_TABLES.values():
                    if (value := m.measure(*pair)) is None:
                        raise click.ClickException(f"{path} is too small for {m.label}")
                    row.append(m.scale(value))
                sums += row
            for name, value in zip(curve, sums / len(files)):
                curve[name].append(float(value))
        base = base or curve
        entry = {"seconds_a_picture": round(seconds / len(files) / len(QUALITIES), 3)}
        for metric in IN_TABLES:
            rate = bd_rate(base["bpp"], base[metric], curve["bpp"], curve[metric])[0] if curve is not base else 0.0
            entry[f"bd_rate_{metric}_percent"] = round(rate, 2)
        result["settings"][setting] = entry | curve
        click.echo(f"effort {setting}: {entry}")
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
