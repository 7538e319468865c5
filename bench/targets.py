"""Do --target-size, --target-psnr and --target-ssimulacra2 keep their word, and in how many encodes?

python -m bench.targets --images DIR --out bench/results/targets.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from codec import Codec, LatError
from codec.bench.metrics import psnr, ssimulacra2
from codec.bench.photos import load, pictures
from codec.target import to_psnr, to_size, to_ssimulacra2
from codec.weights import DEFAULT

BPP = (0.15, 0.4, 1.0)
QUALITIES = {  # goals, what reaches them, what measures them, and the tolerance's name
    "psnr": ((30.0, 34.0, 38.0), to_psnr, psnr, 0.1, "within_0.1_db"),
    "ssimulacra2": ((50.0, 70.0, 80.0), to_ssimulacra2, ssimulacra2, 0.7, "within_0.7"),
}


@click.command()
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("-m", "--model", default=DEFAULT, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(images: Path, model: str, out: Path) -> None:
    codec, files = Codec.load(model), pictures(images)
    rows: list[dict[str, Any]] = []
    for name, path in files.items():
        image = load(path)
        for bpp in BPP:
            size = round(bpp * image.width * image.height / 8)
            row = {"image": name, "bpp": bpp}
            try:
                found = to_size(codec, image, size)
                rows.append(row | {"used": len(found.data) / size, "encodes": found.encodes})
            except LatError as error:
                rows.append(row | {"impossible": str(error)})
        for kind, (goals, reach, measure, _, _) in QUALITIES.items():
            for goal in goals:
                row = {"image": name, kind: goal}
                try:
                    found = reach(codec, image, goal)
                    value = measure(np.asarray(image), np.asarray(codec.decode(found.data)))
                    over = value - goal if value is not None else float("nan")
                    rows.append(row | {"over": round(over, 4), "encodes": found.encodes})
                except LatError as error:
                    rows.append(row | {"impossible": str(error)})
    result: dict[str, Any] = {"weights": codec.name}
    reached, figures = encodes([r for r in rows if "bpp" in r])
    near = sum(0.97 <= r["used"] <= 1 for r in reached)
    result["size"] = {"exceeded": sum(r["used"] > 1 for r in reached), "within_3_percent": near} | figures
    for kind, (*_, tolerance, label) in QUALITIES.items():
        reached, figures = encodes([r for r in rows if kind in r])
        near = sum(0 <= r["over"] <= tolerance for r in reached)
        result[kind] = {"undershot": sum(r["over"] < 0 for r in reached), label: near} | figures
    result["rows"] = rows
    out.write_text(json.dumps(result, indent=1) + "\n")
    click.echo(json.dumps({k: v for k, v in result.items() if k != "rows"}, indent=1))


def encodes(rows: list[dict]) -> tuple[list[dict], dict[str, float]]:
    """The rows whose goal was reached, and how many encodes that took."""
    reached = [r for r in rows if "encodes" in r]
    counts = [r["encodes"] for r in reached]
    figures = {"of": len(reached), "impossible": len(rows) - len(reached)}
    return reached, figures | {"mean_encodes": round(float(np.mean(counts)), 2), "most_encodes": max(counts)}


if __name__ == "__main__":
    main()
