"""What the whole-number entropy path costs: bytes of real files against the estimate of the float networks.

    python -m bench.exactness --images DIR --out exactness.json

The estimate is −log₂ of the float model's likelihood of the rounded latents, no tables, no header, nothing
skipped. The file is the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from codec import Codec
from codec.bench.photos import load, pictures
from codec.weights import DEFAULT


@torch.inference_mode()
def float_bits(codec: Codec, image: Image.Image, quality: float) -> float:
    x = torch.tensor(np.asarray(image), dtype=torch.float32).permute(2, 0, 1)[None] / 255
    x = F.pad(x, (0, -x.shape[3] % 16, 0, -x.shape[2] % 16), mode="replicate")
    x = x.contiguous(memory_format=torch.channels_last)
    _, bpp = codec.model(x, torch.tensor([codec.cfg.row(quality)]), noise=False)
    return bpp.item() * x.shape[2] * x.shape[3]


@click.command()
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--model", default=DEFAULT, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(images: Path, model: str, out: Path) -> None:
    codec = Codec.load(model)
    rows: list[dict[str, Any]] = []
    for name, path in pictures(images).items():
        image = load(path)
        for quality in (5, 35, 65, 95):
            estimate, real = float_bits(codec, image, quality) / 8, len(codec.encode(image, quality))
            rows.append({"image": name, "quality": quality, "float_bytes": round(estimate, 1), "file_bytes": real})
    summary = {}
    for quality in (5, 35, 65, 95):
        here = [r for r in rows if r["quality"] == quality]
        estimate, real = sum(r["float_bytes"] for r in here), sum(r["file_bytes"] for r in here)
        summary[quality] = {
            "float_bytes": round(estimate),
            "file_bytes": real,
            "percent": round((real / estimate - 1) * 100, 3),
        }
        click.echo(
            f"q {quality}: float estimate {estimate:.0f} bytes, files {real}: {(real / estimate - 1) * 100:+.2f} %"
        )
    estimate, real = sum(r["float_bytes"] for r in rows), sum(r["file_bytes"] for r in rows)
    total = round((real / estimate - 1) * 100, 3)
    click.echo(f"all: {total:+.2f} %")
    out.write_text(
        json.dumps({"weights": codec.name, "total_percent": total, "by_quality": summary, "rows": rows}, indent=1)
        + "\n"
    )


if __name__ == "__main__":
    main()
