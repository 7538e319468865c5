"""The README's pictures, from a bench run's JSON and one photograph.

python -m bench.figures --result bench/results/kodak.json --images PHOTO --out bench/results
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from codec.weights import DEFAULT

from .codecs import Jpeg420, Lat
from .metrics import LABELS, psnr, scaled
from .report import OURS, PUBLISHED, RANGES, at_bytes, colour, label

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

SHOWN = ("jpeg", "webp", "jxl", "heic-psnr", "avif-psnr", "vvc420")
METRICS_SHOWN = ("psnr", "ms_ssim")


def rd_plot(result: dict, target: Path) -> None:
    """Dataset means: what was measured solid, what was published dotted."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    for axes, metric in zip(panels, METRICS_SHOWN):
        for name in (*SHOWN, *OURS):
            if name in result["codecs"]:
                mean, ours = result["codecs"][name]["mean"], name in OURS
                axes.plot(
                    mean["bpp"], scaled(metric, mean[metric]), marker=".", color=colour(name), label=label(name),
                    linewidth=2.8 if ours else 1.2, markersize=8 if ours else 4,
                )  # fmt: skip
        for (name, shown), dash in zip(PUBLISHED.items(), (":", "--", "-.")):
            curve = result["published"].get(name, {})
            if metric in curve:
                axes.plot(curve["bpp"], scaled(metric, curve[metric]), dash, color="0.45", linewidth=1, label=shown)
        low, high = RANGES[metric]
        axes.set(xlim=(0, 2), ylim=(low, high), xlabel="bits per pixel (whole file)", ylabel=LABELS[metric])
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize=8, loc="lower right")
    count = len({r["image"] for r in result["codecs"]["lat"]["rows"]})
    weights = [result["codecs"][name]["version"].split(", ")[1] for name in OURS if name in result["codecs"]]
    figure.suptitle(f"Kodak, mean of {count} pictures — {', '.join(weights)}")
    figure.savefig(target / "kodak-rd.svg", metadata={"Date": None})
    figure.savefig(target / "kodak-rd.png", dpi=100)


def comparison(model: str, photo: Path, quality: int, box: tuple[int, int, int, int], target: Path) -> None:
    """Original, JPEG and lat of one photograph at equal bytes, a part of it enlarged twofold."""
    with Image.open(photo) as opened:
        image = opened.convert("RGB")
    lat, jpeg = Lat(model), Jpeg420(model)
    ours = lat.encode(image, quality)
    theirs = at_bytes(jpeg, image, len(ours))
    panels = [("original", image, None), ("JPEG", jpeg.decode(theirs), theirs), ("lat", lat.decode(ours), ours)]
    width, height = (box[2] - box[0]) * 2, (box[3] - box[1]) * 2
    sheet = Image.new("RGB", (3 * width + 20, height + 34), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(17)
    for i, (title, picture, data) in enumerate(panels):
        x = i * (width + 10)
        sheet.paste(picture.crop(box).resize((width, height), Image.Resampling.NEAREST), (x, 34))
        if data is not None:
            title += f"  {len(data):,} bytes  {psnr(np.asarray(image), np.asarray(picture)):.1f} dB"
        draw.text((x + 4, 7), title, fill="black", font=font)
    sheet.save(target / "comparison.png", optimize=True)


@click.command()
@click.option("--result", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--images", "photo", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--quality", default=12, show_default=True)
@click.option("--box", type=(int, int, int, int), default=(380, 40, 640, 300), show_default=True)
@click.option("--model", default=DEFAULT, show_default=True)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("bench/results"), show_default=True
)
def main(result: Path, photo: Path, quality: int, box: tuple, model: str, out: Path) -> None:
    rd_plot(json.loads(result.read_text()), out)
    comparison(model, photo, quality, box, out)


if __name__ == "__main__":
    main()
