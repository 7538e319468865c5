"""Do --target-size and --target-psnr keep their word, and in how many encodes?

python -m bench.targets --images DIR --out bench/results/targets.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from codec import Codec, LatError
from codec.target import to_psnr, to_size
from codec.weights import DEFAULT

from .metrics import psnr
from .photos import load, pictures

BPP = (0.15, 0.4, 1.0)
PSNR = (30.0, 34.0, 38.0)


@click.command()
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("-m", "--model", default=DEFAULT, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(images: Path, model: str, out: Path) -> None:
    codec = Codec.load(model)
    sizes: list[dict[str, Any]] = []
    qualities: list[dict[str, Any]] = []
    for name, path in pictures(images).items():
        image = load(path)
        for bpp in BPP:
            size = round(bpp * image.width * image.height / 8)
            try:
                found = to_size(codec, image, size)
            except LatError as error:
                sizes.append({"image": name, "bpp": bpp, "impossible": str(error)})
                continue
            sizes.append({"image": name, "bpp": bpp, "used": len(found.data) / size, "encodes": found.encodes})
        for goal in PSNR:
            try:
                found = to_psnr(codec, image, goal)
            except LatError as error:
                qualities.append({"image": name, "psnr": goal, "impossible": str(error)})
                continue
            over = psnr(np.asarray(image), np.asarray(codec.decode(found.data))) - goal
            qualities.append({"image": name, "psnr": goal, "over_db": round(over, 4), "encodes": found.encodes})
    fitted, reached = ([r for r in rows if "encodes" in r] for rows in (sizes, qualities))
    result = {
        "weights": codec.name,
        "size": {
            "exceeded": sum(r["used"] > 1 for r in fitted),
            "within_3_percent": sum(0.97 <= r["used"] <= 1 for r in fitted),
            "of": len(fitted),
            "impossible": len(sizes) - len(fitted),
            "mean_encodes": round(float(np.mean([r["encodes"] for r in fitted])), 2),
            "most_encodes": max(r["encodes"] for r in fitted),
        },
        "psnr": {
            "undershot": sum(r["over_db"] < 0 for r in reached),
            "within_0.1_db": sum(0 <= r["over_db"] <= 0.1 for r in reached),
            "of": len(reached),
            "impossible": len(qualities) - len(reached),
            "mean_encodes": round(float(np.mean([r["encodes"] for r in reached])), 2),
            "most_encodes": max(r["encodes"] for r in reached),
        },
        "rows": sizes + qualities,
    }
    out.write_text(json.dumps(result, indent=1) + "\n")
    click.echo(json.dumps({k: v for k, v in result.items() if k != "rows"}, indent=1))


if __name__ == "__main__":
    main()
