"""Contact sheets: the original and what codecs make of it at equal bytes, a sheet a picture, a row a rate.

    python -m bench sheet --images KODAK --out SHEETS

AVIF's file is the best below the rate, every other codec's the best with no more bytes than AVIF's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from PIL import Image, ImageDraw, ImageFont

from codec.bench.base import Codec
from codec.bench.codecs import build
from codec.bench.photos import load, pictures
from codec.bench.report import at_bytes
from codec.weights import DEFAULT

REFERENCE = "avif-s6"
GAP, CAPTION = 8, 26  # pixels
Cell = tuple[str, Image.Image]  # caption and picture


def row(image: Image.Image, codecs: dict[str, Codec], bpp: float) -> list[Cell]:
    """The original and each codec's picture; the first codec sets the bytes."""
    cells, size = [("original", image)], round(bpp * image.width * image.height / 8)
    for name, codec in codecs.items():
        data = at_bytes(codec, image, size)
        if len(cells) == 1:
            size = len(data)
        cells.append(
            (f"{name}  {len(data):,} bytes, {8 * len(data) / (image.width * image.height):.2f} bpp", codec.decode(data))
        )
    return cells


def drawn(rows: Sequence[Sequence[Cell]]) -> Image.Image:
    """Rows of cells of one size, captions above them."""
    width, height = rows[0][0][1].size
    columns = len(rows[0])
    sheet = Image.new("RGB", (columns * (width + GAP) - GAP, len(rows) * (height + CAPTION)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for y, cells in enumerate(rows):
        for x, (caption, picture) in enumerate(cells):
            left, top = x * (width + GAP), y * (height + CAPTION)
            draw.text((left + 4, top + 4), caption, fill="black", font=font)
            sheet.paste(picture, (left, top + CAPTION))
    return sheet


@click.command()
@click.option(
    "--images", type=click.Path(exists=True, path_type=Path), required=True, help="Folder of pictures, or one."
)
@click.option(
    "--pictures", "numbers", default="4,5,13,15,19,23", show_default=True, help="Which, counted from 1; or all."
)
@click.option("--bpp", "rates", type=float, multiple=True, default=(0.15, 0.3, 0.6, 1.0), show_default=True)
@click.option("--codecs", default="lat,lat-best", show_default=True, help="Beside AVIF.")
@click.option("-m", "--model", default=DEFAULT, show_default=True, help="Weights for lat: name or path.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the sheets.")
def main(images: Path, numbers: str, rates: tuple[float, ...], codecs: str, model: str, out: Path) -> None:
    """Draw the original, AVIF and lat beside each other at equal bytes."""
    files = list(pictures(images).values())
    chosen = range(1, len(files) + 1) if numbers == "all" else [int(n) for n in numbers.split(",")]
    if not all(1 <= n <= len(files) for n in chosen):
        raise click.UsageError(f"--pictures {numbers}: there are {len(files)} in {images}")
    built = {name: build(name, model, {}) for name in (REFERENCE, *codecs.split(","))}
    out.mkdir(parents=True, exist_ok=True)
    for n in chosen:
        image = load(files[n - 1])
        target = out / f"{files[n - 1].stem}.png"
        drawn([row(image, built, bpp) for bpp in rates]).save(target, compress_level=4)
        click.echo(target)


if __name__ == "__main__":
    main()
