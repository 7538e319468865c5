"""Do our codecs measure what others published? PSNR at equal bits per pixel, and at equal settings where known.

    python -m bench.published --images KODAK --result bench/results/kodak.json --anchors DIR_OF_JSON \\
        --out bench/results/published.json

The published JPEG and WebP curves are Pillow's defaults at quality 5, 10 … 95: those settings are run again here.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import click
import numpy as np
from PIL import Image
from scipy.interpolate import PchipInterpolator

from codec.bench.curves import anchor_curves
from codec.bench.metrics import psnr
from codec.bench.photos import load, pictures

PAIRS = {
    "jpeg": "jpeg",
    "jpeg420": "jpeg",
    "webp": "webp",
    "avif-s4": "av1",
    "avif-psnr": "av1",
    "heic": "bpg_444_x265_ycbcr",
    "heic-psnr": "bpg_444_x265_ycbcr",
    "jpeg2000": "jpeg2000",
}


def against(curve: dict, bpp: list[float], quality: list[float]) -> dict:
    """Differences in dB from a published curve at the same rates, where it reaches."""
    order = np.argsort(curve["bpp"])
    published = PchipInterpolator(np.array(curve["bpp"])[order], np.array(curve["psnr"])[order])
    inside = [(b, q) for b, q in zip(bpp, quality) if published.x[0] <= b <= published.x[-1]]
    return {
        "bpp": [round(b, 3) for b, _ in inside],
        "db": [round(q - float(published(b)), 3) for b, q in inside],
    }


def defaults(images: Path, format: str) -> tuple[list[float], list[float]]:
    """Mean bits per pixel and PSNR of Pillow's defaults."""
    rates, distortions = [], []
    for quality in range(5, 100, 5):
        rows = []
        for path in pictures(images).values():
            image = load(path)
            out = io.BytesIO()
            image.save(out, format, quality=quality)
            decoded = np.asarray(Image.open(out).convert("RGB"))
            rows.append((8 * len(out.getvalue()) / (image.width * image.height), psnr(np.asarray(image), decoded)))
        rate, distortion = np.mean(rows, 0)
        rates.append(float(rate))
        distortions.append(float(distortion))
    return rates, distortions


@click.command()
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--result", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--anchors", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(images: Path, result: Path, anchors: Path, out: Path) -> None:
    codecs, curves = json.loads(result.read_text())["codecs"], anchor_curves(anchors)
    found = {
        f"{format} defaults": against(curves[format], *defaults(images, name))
        for format, name in (("jpeg", "JPEG"), ("webp", "WEBP"))
    }
    for ours, theirs in PAIRS.items():
        mean = codecs[ours]["mean"]
        found[ours] = {"published": theirs} | against(curves[theirs], mean["bpp"], mean["psnr"])
    for name, row in found.items():
        click.echo(f"{name}: {min(row['db']):+.2f} … {max(row['db']):+.2f} dB from the published curve")
    out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
