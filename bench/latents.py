"""What sampling and editing of latents are good for, in numbers and in pictures.

python -m bench.latents sample --data DIR --out bench/results/sample.json
python -m bench.latents edit --data photos.tar --count 50 --out bench/results/edit.json
python -m bench.latents gallery --images PHOTO --second PHOTO --out bench/results/gallery.png
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import laplace

from codec import Codec
from codec import edit as retouching
from codec.config import TILE
from codec.latent import anomaly, edit, generate, restore
from codec.latent.latents import Latents
from codec.train.data import decode_rgb, read_files
from codec.weights import FOR_PIXELS

STRENGTHS = (-1.0, -0.5, 0.0, 0.5, 1.0)
SIDE = 512  # pixels, of samples
ATTRIBUTE_OF = {
    "brighten": "brightness",
    "contrast": "contrast",
    "denoise": "noise",
    "saturate": "colour",
    "sharpen": "detail",
    "warm": "warmth",
}
FALLING = {"denoise"}  # the attribute falls with strength

photos_option = click.option(
    "--data", "photos", type=click.Path(exists=True, path_type=Path), multiple=True, required=True
)
model_option = click.option("-m", "--model", default=FOR_PIXELS, show_default=True)
out_option = click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)


@click.group()
def main() -> None:
    """Measure what can be done with latents."""


def pictures(sources: tuple[Path, ...], count: int) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    for data in read_files(list(sources)):
        pixels = decode_rgb(data)
        if pixels is not None and len(found) < count:
            found.append(pixels)
    return found


def store(result: dict, out: Path) -> None:
    out.write_text(json.dumps(result, indent=1) + "\n")
    click.echo(json.dumps(result, indent=1))


# Sampling


def own_entropy(codec: Codec, latents: Latents) -> float:
    """Bits that the model itself expects along the path that drew these latents: the entropies of all tables used."""

    def entropies(tables) -> np.ndarray:
        rows = [tables.probabilities(i) for i in range(len(tables.cdfs))]
        return np.array([-(p * np.log2(p)).sum() for p in rows])

    if max(latents.grid) > TILE:
        raise ValueError("one tile only")
    assert latents.z_hat is not None  # what was drawn has it
    y, z = latents.y_hat[None], latents.z_hat[None]
    of_y, of_z = entropies(codec.tile_coder.tables.y[0]), entropies(codec.tile_coder.tables.z)
    hyper, quantised = codec.tile_coder.quantise_z(z, latents.row), codec.tile_coder.quantise(y, z, latents.row)
    bits = sum(of_z[index].sum() for _, index in hyper.coded) + sum(of_y[index].sum() for _, index in quantised.coded)
    return float(bits)


def statistics(pixels: np.ndarray) -> dict[str, float]:
    """Slope of the log-log power spectrum of luma (photographs: about −2), mean saturation, spread of luma."""
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    side = min(luma.shape) // 2 * 2
    window = np.hanning(side)
    power = np.abs(np.fft.fft2((luma[:side, :side] - luma[:side, :side].mean()) * np.outer(window, window))) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side), indexing="ij"))
    band = (frequency > 0.02) & (frequency < 0.4)
    slope = np.polyfit(np.log(frequency[band]), np.log(power[band] + 1e-9), 1)[0]
    colour = pixels.max(2).astype(float) - pixels.min(2)
    return {"spectrum_slope": float(slope), "colour": float(colour.mean()), "luma_spread": float(luma.std())}


@main.command()
@photos_option
@model_option
@click.option("--count", default=24, show_default=True)
@out_option
def sample(photos: tuple[Path, ...], model: str, count: int, out: Path) -> None:
    """File bytes of samples against the model's own entropy, and statistics beside those of photographs."""
    codec, by_quality = Codec.load(model), {}
    for quality in (10, 30, 60):
        drawn = [generate.sample(codec, SIDE, SIDE, seed, quality) for seed in range(count)]
        bits = sum(8 * len(d.to_file(codec)) for d in drawn)
        expected = sum(own_entropy(codec, d) for d in drawn)
        found = [statistics(np.asarray(d.to_image(codec))) for d in drawn]
        by_quality[quality] = {
            "file_bits_over_entropy": round(bits / expected, 4),
            "bpp": round(bits / (SIDE * SIDE * count), 4),
        } | {k: round(float(np.mean([f[k] for f in found])), 3) for k in found[0]}
    real = [statistics(p) for p in pictures(photos, count)]
    result = {"weights": codec.name, "samples": count, "by_quality": by_quality}
    result["photographs"] = {k: round(float(np.mean([f[k] for f in real])), 3) for k in real[0]}
    store(result, out)


# Editing


def attributes(pixels: np.ndarray) -> dict[str, float]:
    """What directions are to change, each on a scale of its own."""
    x = pixels.astype(float)
    luma = x @ np.array([0.299, 0.587, 0.114])
    laplacian = laplace(luma)
    return {
        "brightness": float(luma.mean()),
        "contrast": float(luma.std()),
        "noise": float(np.median(np.abs(laplacian))),  # of flat parts: edges do not move a median
        "detail": float(np.sqrt((laplacian**2).mean())),
        "colour": float((x.max(2) - x.min(2)).mean()),
        "warmth": float((x[:, :, 0] - x[:, :, 2]).mean()),
    }


@main.command("edit")
@photos_option
@model_option
@click.option("--count", default=50, show_default=True)
@out_option
def edit_command(photos: tuple[Path, ...], model: str, count: int, out: Path) -> None:
    """Does the intended attribute move with strength, in how many photographs; how far do the others move?

    Moves are in standard deviations of the attribute over the photographs. `denoise` gets them with noise of σ 8.
    """
    codec = Codec.load(model)
    known = edit.load(edit.directions_file(codec))
    tables: dict[str, list] = {name: [] for name in known}
    spreads = []
    for photo in pictures(photos, count):
        photo = photo[:384, :384]
        noise = np.random.default_rng(0).normal(0, 8, photo.shape)
        noisy = Latents.from_image(codec, np.clip(photo + noise + 0.5, 0, 255).astype(np.uint8), 90)
        latents = Latents.from_image(codec, photo, 90)
        spreads.append(attributes(np.asarray(latents.to_image(codec))))
        for name, direction in known.items():
            start = noisy if name == "denoise" else latents
            edited = [np.asarray(edit.apply(codec, start, direction, s).to_image(codec)) for s in STRENGTHS]
            tables[name].append([attributes(e) for e in edited])
    between = {k: float(np.std([s[k] for s in spreads])) for k in spreads[0]}  # over photographs: the unit of moves
    result: dict = {"weights": codec.name, "photographs": len(spreads), "strengths": STRENGTHS, "directions": {}}
    for name, rows in tables.items():
        aim, sign = ATTRIBUTE_OF[name], -1 if name in FALLING else 1
        monotone = [all(sign * (b[aim] - a[aim]) > 0 for a, b in zip(row, row[1:])) for row in rows]
        moves = {k: float(np.mean([row[-1][k] - row[2][k] for row in rows])) / between[k] for k in between}
        result["directions"][name] = {
            "attribute": aim,
            "monotone": round(float(np.mean(monotone)), 3),
            "moves_at_strength_1": {k: round(v, 3) for k, v in moves.items()},
        }
    store(result, out)


# Gallery


def sheet(rows: list[tuple[str, list[Image.Image]]], side: int) -> Image.Image:
    """Rows of pictures, each under its title."""
    font = ImageFont.load_default(15)
    width = max(sum(p.width + 6 for p in pictures) for _, pictures in rows)
    out = Image.new("RGB", (width, len(rows) * (side + 30)), "white")
    draw = ImageDraw.Draw(out)
    for i, (title, row) in enumerate(rows):
        top, x = i * (side + 30), 0
        draw.text((2, top + 5), title, fill="black", font=font)
        for picture in row:
            out.paste(picture, (x, top + 26))
            x += picture.width + 6
    return out


@main.command()
@click.option("--images", "photo", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--second", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@model_option
@out_option
def gallery(photo: Path, second: Path, model: str, out: Path) -> None:
    """One sheet with every tool."""
    codec, side = Codec.load(model), 240
    a, b = (
        Image.open(p).convert("RGB").crop((96, 32, 96 + side * 2, 32 + side * 2)).resize((side, side))
        for p in (photo, second)
    )
    la, lb = (Latents.from_image(codec, p, 90) for p in (a, b))
    known = edit.load(edit.directions_file(codec))
    scratched = a.copy()
    ImageDraw.Draw(scratched).line([(60, 180), (110, 150), (190, 60)], fill=(235, 230, 220), width=2)
    surprise = anomaly.features(codec, scratched).surprise
    forgotten = a.copy()
    forgotten.paste("grey", (112, 64, 144, 96))
    filled = retouching.fill(a, (112, 64, 144, 96))
    beyond = retouching.outpaint(a, 32).resize((side, side))
    noisy = np.random.default_rng(0).normal(np.asarray(a), 25).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    a.save(file, "JPEG", quality=10)
    deblocked = restore.deblock(codec, file.getvalue())
    rows = [
        (
            "sample: drawn from the prior at -q 20, temperatures 0.6, 0.8, 1, 1.2",
            [generate.sample(codec, side, side, 3, 20, t).to_image(codec) for t in (0.6, 0.8, 1.0, 1.2)],
        ),
        (
            "restore: noise with a deviation of 25, without it; JPEG of quality 10, without its blocks",
            [Image.fromarray(noisy), restore.denoise(codec, noisy, 25), Image.open(file), deblocked],
        ),
        (
            "original; hole of 32 pixels; filled; outpaint: 32 pixels beyond every border",
            [a, forgotten, filled, beyond],
        ),
        ("blend: t = 0, 1/3, 2/3, 1", [edit.blend(codec, la, lb, t / 3).to_image(codec) for t in range(4)]),
        (
            "edit: sharpen, denoise, saturate, warm, each with strength 1",
            [edit.apply(codec, la, known[n], 1).to_image(codec) for n in ("sharpen", "denoise", "saturate", "warm")],
        ),
        (
            "paste without a seam; a scratch, and the surprise that it is",
            [
                retouching.paste(a, b.crop((64, 64, 192, 192)), (64, 64)),
                scratched,
                anomaly.overlay(scratched, surprise, float(np.median(surprise)), float(surprise.max())),
            ],
        ),
    ]  # fmt: skip
    sheet(rows, side).save(out, optimize=True)


if __name__ == "__main__":
    main()
