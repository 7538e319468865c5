"""The README's pictures, from a bench run's JSON and one photograph.

python -m bench.figures --result bench/results/kodak-fast-1.json --anchors DIR_OF_JSON --photo PHOTO --out bench/results
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .codecs import Jpeg420, Lat
from .metrics import psnr
from .run import anchor_curves

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

SHOWN = {
    "jpeg": "JPEG (published)",
    "webp": "WebP (published)",
    "bpg_444_x265_ycbcr": "BPG 4:4:4 (published)",
    "compressai-mbt2018-mean_mse_cuda": "mbt2018-mean (published)",
    "vtm": "VVC / VTM (published)",
}


def rd_plot(result: dict, anchors: Path | None, target: Path) -> None:
    figure, axes = plt.subplots(figsize=(7.5, 5), layout="constrained")
    curves = anchor_curves(anchors) if anchors else {}
    for key, label in SHOWN.items():
        if key in curves:
            axes.plot(*curves[key], marker=".", linewidth=1, label=label)
    mean = result["codecs"]["lat"]["mean"]
    axes.plot(
        mean["bpp"], mean["psnr"], marker="o", markersize=4, linewidth=2.4, color="black", label="lat, file bytes"
    )
    axes.set(
        xlim=(0, 2),
        ylim=(25, 41),
        xlabel="bits per pixel (whole file)",
        ylabel="PSNR of RGB, dB",
        title=f"Kodak, mean of 24 pictures — {mean_version(result)}",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(target / "kodak-rd.svg", metadata={"Date": None})
    figure.savefig(target / "kodak-rd.png", dpi=110)


def mean_version(result: dict) -> str:
    return result["codecs"]["lat"]["version"].split(", ")[1]


def same_bytes(codec: Jpeg420, image: Image.Image, size: int) -> bytes:
    """The JPEG at the highest quality that is no larger than `size`, or else the smallest."""
    best = codec.encode(image, 1)
    for quality in range(2, 96):
        data = codec.encode(image, quality)
        if len(data) <= size:
            best = data
    return best


def comparison(model: str, photo: Path, quality: int, box: tuple[int, int, int, int], target: Path) -> None:
    """Original, JPEG and lat of one photograph at equal bytes, a part of it enlarged twofold."""
    with Image.open(photo) as opened:
        image = opened.convert("RGB")
    lat, jpeg = Lat(model), Jpeg420(model)
    ours = lat.encode(image, quality)
    theirs = same_bytes(jpeg, image, len(ours))
    panels = [("original", image, None), ("JPEG", jpeg.decode(theirs), theirs), ("lat", lat.decode(ours), ours)]
    width, height = (box[2] - box[0]) * 2, (box[3] - box[1]) * 2
    sheet = Image.new("RGB", (3 * width + 20, height + 34), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(17)
    for i, (label, picture, data) in enumerate(panels):
        x = i * (width + 10)
        sheet.paste(picture.crop(box).resize((width, height), Image.Resampling.NEAREST), (x, 34))
        if data is not None:
            label += f"  {len(data):,} bytes  {psnr(np.asarray(image), np.asarray(picture)):.1f} dB"
        draw.text((x + 4, 7), label, fill="black", font=font)
    sheet.save(target / "comparison.png", optimize=True)


@click.command()
@click.option("--result", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--anchors", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--photo", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--quality", default=12, show_default=True)
@click.option("--box", type=(int, int, int, int), default=(380, 40, 640, 300), show_default=True)
@click.option("--model", default="fast-1", show_default=True)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("bench/results"), show_default=True
)
def main(result: Path, anchors: Path | None, photo: Path, quality: int, box: tuple, model: str, out: Path) -> None:
    rd_plot(json.loads(result.read_text()), anchors, out)
    comparison(model, photo, quality, box, out)


if __name__ == "__main__":
    main()
