"""The pages' pictures, from a bench run's JSON and its photographs.

python -m bench figures --result bench/results/kodak.json --images KODAK --out bench/results
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from codec.bench.codecs import PUBLISHED, Avif6, Lat
from codec.bench.metrics import METRICS, scaled
from codec.bench.photos import load, pictures
from codec.bench.report import OURS, at_bytes, colour, label
from codec.weights import DEFAULT

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

SHOWN = ("jpeg420", "webp", "jxl", "heic", "avif-s6", "avif-psnr", "vvc420")
PANELS = ("ssimulacra2", "psnr")  # what looks and what pixel errors say


def rd_plot(result: dict, target: Path) -> None:
    """Dataset means: what was measured solid, what was published dotted."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    for axes, metric in zip(panels, PANELS):
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
        low, high = METRICS[metric].range
        axes.set(xlim=(0, 2), ylim=(low, high), xlabel="bits per pixel (whole file)", ylabel=METRICS[metric].axis)
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize=8, loc="lower right")
    count = len({r["image"] for r in result["codecs"]["lat"]["rows"]})
    weights = [result["codecs"][name]["version"].split(", ")[1] for name in OURS if name in result["codecs"]]
    figure.suptitle(f"Kodak, mean of {count} pictures — {', '.join(weights)}")
    figure.savefig(target / "kodak-rd.svg", metadata={"Date": None})
    figure.savefig(target / "kodak-rd.png", dpi=100)


def typical(result: dict, ours: str, theirs: str, bpp: float) -> str:
    """The picture whose lead in SSIMULACRA 2 at a rate is the median of all: neither a triumph nor a failure."""

    def at_rate(name: str, image: str) -> float:
        rows = sorted((r for r in result["codecs"][name]["rows"] if r["image"] == image), key=lambda r: r["bpp"])
        return float(np.interp(np.log(bpp), np.log([r["bpp"] for r in rows]), [r["ssimulacra2"] for r in rows]))

    images = sorted({row["image"] for row in result["codecs"][ours]["rows"]})
    leads = sorted((at_rate(ours, image) - at_rate(theirs, image), image) for image in images)
    return leads[len(leads) // 2][1]


def comparison(result: dict, images: Path, model: str, bpp: float, target: Path) -> None:
    """Original, AVIF and lat of the typical picture at equal bytes: its middle, enlarged twofold."""
    image = load(pictures(images)[typical(result, "lat", "avif-s6", bpp)])
    lat, avif = Lat(model), Avif6(model)
    theirs = at_bytes(avif, image, round(bpp * image.width * image.height / 8))
    ours = at_bytes(lat, image, len(theirs))
    panels = [("original", image, None), ("AVIF", avif.decode(theirs), theirs), ("lat", lat.decode(ours), ours)]
    side = 300
    left, top = (image.width - side) // 2, (image.height - side) // 2
    sheet = Image.new("RGB", (3 * 2 * side + 20, 2 * side + 34), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(17)
    for i, (title, picture, data) in enumerate(panels):
        x = i * (2 * side + 10)
        part = picture.crop((left, top, left + side, top + side))
        sheet.paste(part.resize((2 * side, 2 * side), Image.Resampling.NEAREST), (x, 34))
        if data is not None:
            title += f"  {len(data):,} bytes"
        draw.text((x + 4, 7), title, fill="black", font=font)
    sheet.save(target / "comparison.png", optimize=True)


@click.command()
@click.option("--result", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--bpp", default=0.25, show_default=True)
@click.option("-m", "--model", default=DEFAULT, show_default=True)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("bench/results"), show_default=True
)
def main(result: Path, images: Path, bpp: float, model: str, out: Path) -> None:
    """Draw the pages' pictures."""
    run = json.loads(result.read_text())
    rd_plot(run, out)
    comparison(run, images, model, bpp, out)


if __name__ == "__main__":
    main()
