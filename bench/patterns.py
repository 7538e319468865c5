"""Pictures that no photograph looks like, and the promise that none takes more bytes than it does without loss.

python -m bench.patterns --images tests/photos/kodim23.png

Checkerboards, zone plates, noise, grain, stars, dithered pictures, palettes, faxes, tiny pictures: all made by code
from one photograph, the same every time. Each is encoded at all of QUALITIES and compared with lossless WebP as Pillow
has it.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import click
import numpy as np
from PIL import Image

from codec import Codec, container, weights
from codec.arguments import as_picture

QUALITIES = (5, 25, 50, 75, 90, 95, 100)
FACTOR, BYTES = 1.02, 200  # how much larger than lossless WebP a file may be
SIDE = 128
Draw = Callable[[np.random.Generator, np.ndarray], np.ndarray]  # random numbers, a photograph -> uint8 (H, W[, C])


def grid(height: int = SIDE, width: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """y and x of every pixel."""
    y, x = np.mgrid[:height, :width]
    return y, x


def rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def checkerboard(period: int, low: int = 0, high: int = 255) -> np.ndarray:
    y, x = grid()
    return np.where((y // period + x // period) % 2, high, low).astype(np.uint8)


def stripes(period: float, angle: float = 0.0) -> np.ndarray:
    y, x = grid()
    along = x * np.cos(angle) + y * np.sin(angle)
    return rounded(127.5 + 127.5 * np.sin(2 * np.pi * along / period))


def zone_plate(side: int = SIDE, centre: float = 0.5, steps: int = 0) -> np.ndarray:
    """`steps`: of grey; 0: all there are."""
    y, x = grid(side, side)
    wave = np.cos(np.pi * ((x - centre * side) ** 2 + (y - centre * side) ** 2) / side)
    return rounded(127.5 + 127.5 * (np.rint(wave * steps) / steps if steps else wave))


def speckle(random: np.random.Generator, side: int = SIDE) -> np.ndarray:
    """Multiplicative noise, as radar has it."""
    y, x = grid(side, side)
    return rounded((60 + 60 * np.sin(x / 40) * np.cos(y / 30)) * random.exponential(1, (side, side)))


def salt_and_pepper(random: np.random.Generator, photo: np.ndarray, part: float) -> np.ndarray:
    out = photo.copy()
    out[random.random(photo.shape[:2]) < part / 2] = 0
    out[random.random(photo.shape[:2]) < part / 2] = 255
    return out


def stars(random: np.random.Generator, count: int, sky: float = 0.0) -> np.ndarray:
    out = random.normal(8, sky, (SIDE, SIDE)) if sky else np.zeros((SIDE, SIDE))
    out[random.integers(0, SIDE, count), random.integers(0, SIDE, count)] = random.integers(60, 256, count)
    return rounded(out)


def fax(random: np.random.Generator) -> np.ndarray:
    """Runs of black in white rows, each row like the one above but for a few pixels."""
    rows = [np.cumsum(random.random(SIDE) < 0.06) % 2]
    for _ in range(SIDE - 1):
        rows.append(np.where(random.random(SIDE) < 0.03, np.roll(rows[-1], 1), rows[-1]))
    return (255 * np.stack(rows)).astype(np.uint8)


def pixel_art(random: np.random.Generator, factor: int, colours: int = 12) -> np.ndarray:
    """A small picture of few colours, each pixel `factor` pixels wide."""
    palette = random.integers(0, 256, (colours, 3), dtype=np.uint8)
    small = palette[random.integers(0, colours, (SIDE // factor + 1,) * 2)]
    return small.repeat(factor, 0).repeat(factor, 1)[:SIDE, :SIDE]


def dithered(photo: np.ndarray, colours: int) -> np.ndarray:
    image = Image.fromarray(photo)
    return np.asarray(
        image.convert("1").convert("L")
        if colours == 2
        else image.quantize(colours, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB")
    )


def ordered(photo: np.ndarray, levels: int) -> np.ndarray:
    """Dithered by a Bayer matrix of 4 × 4, as consoles and GIFs of old were."""
    matrix = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16 - 0.5
    tiled = np.tile(matrix, (photo.shape[0] // 4 + 1, photo.shape[1] // 4 + 1))[: photo.shape[0], : photo.shape[1]]
    return rounded(np.rint(photo / 255 * (levels - 1) + tiled[..., None] * 0.98) * 255 / (levels - 1))


def beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two pictures in one, as colour."""
    pair = [part if part.ndim == 3 else part[..., None].repeat(3, 2) for part in (left, right)]
    return np.concatenate(pair, 1)


def with_alpha(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.dstack([pixels, alpha])


def coloured(pixels: np.ndarray) -> np.ndarray:
    """Grey -> three channels that differ."""
    return np.stack([pixels, np.roll(pixels, 1, 0), 255 - pixels], 2)


def each(name: str, values: Iterable[int], draw: Callable[[int, np.random.Generator, np.ndarray], np.ndarray]) -> dict:
    """A drawing for each value; "{}" in the name stands for it."""
    return {name.format(value): partial(draw, value) for value in values}


DRAWINGS: dict[str, Draw] = {
    **each("checkerboard {}", range(1, 8), lambda n, r, p: checkerboard(n)),
    "checkerboard 1, faint": lambda r, p: checkerboard(1, 120, 136),
    "checkerboard 3, colour": lambda r, p: coloured(checkerboard(3)),
    "stripes 2.3": lambda r, p: stripes(2.3),
    "stripes 5, slanted": lambda r, p: stripes(5, 0.4),
    "stripes 3, colour": lambda r, p: coloured(stripes(3)),
    "zone plate": lambda r, p: zone_plate(),
    "zone plate, large": lambda r, p: zone_plate(256),
    "zone plate, off centre": lambda r, p: zone_plate(SIDE, 0.13),
    "zone plate, 1 bit": lambda r, p: zone_plate(SIDE, 0.3, 1),
    "zone plate, colour": lambda r, p: coloured(zone_plate()),
    "gradient": lambda r, p: rounded(np.add(*grid())),
    "gradient, colour": lambda r, p: rounded(np.stack([*grid(), np.add(*grid())], 2) * 0.9),
    "gradient, dithered": lambda r, p: rounded(np.add(*grid()) / 3 + r.random((SIDE, SIDE))),
    "gradient with banding": lambda r, p: rounded(np.add(*grid()) // 16 * 16),
    **each("noise {}", (1, 5, 20, 60), lambda s, r, p: rounded(r.normal(128, s, (SIDE, SIDE)))),
    **each("noise {}, colour", (1, 5, 20, 60), lambda s, r, p: rounded(r.normal(128, s, (SIDE, SIDE, 3)))),
    "noise, uniform": lambda r, p: r.integers(0, 256, (SIDE, SIDE), dtype=np.uint8),
    "noise, uniform colour": lambda r, p: r.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8),
    "noise, 1 bit": lambda r, p: r.integers(0, 2, (SIDE, SIDE), dtype=np.uint8) * 255,
    "noise, 4 levels": lambda r, p: r.integers(0, 4, (SIDE, SIDE), dtype=np.uint8) * 85,
    "noise, blocks of 2": lambda r, p: r.integers(0, 256, (64, 64), dtype=np.uint8).repeat(2, 0).repeat(2, 1),
    "noise, one tile repeated": lambda r, p: np.tile(r.integers(0, 256, (32, 32, 3), dtype=np.uint8), (6, 6, 1)),
    "noise, rows repeated": lambda r, p: np.tile(r.integers(0, 256, (1, SIDE, 3), dtype=np.uint8), (SIDE, 1, 1)),
    "salt and pepper on grey": lambda r, p: salt_and_pepper(r, np.full((SIDE, SIDE), 128, np.uint8), 0.05),
    "salt and pepper on a photograph": lambda r, p: salt_and_pepper(r, p[:SIDE, :SIDE], 0.1),
    "speckle": lambda r, p: speckle(r),
    "grain on flat": lambda r, p: rounded(128 + r.normal(0, 9, (SIDE, SIDE))),
    "grain on a ramp": lambda r, p: rounded(np.add(*grid()) / 2 + 60 + r.normal(0, 6, (SIDE, SIDE))),
    "grain on a photograph": lambda r, p: rounded(p[:SIDE, :SIDE] + r.normal(0, 20, (SIDE, SIDE, 1))),
    "white noise on a photograph": lambda r, p: rounded(p[:SIDE, :SIDE] + r.normal(0, 20, (SIDE, SIDE, 3))),
    "stars": lambda r, p: stars(r, 150),
    "stars, many": lambda r, p: stars(r, 2000),
    "stars in a sky": lambda r, p: stars(r, 150, 2.0),
    "fax": lambda r, p: fax(r),
    **each("dithered to {}", (2, 8, 64), lambda n, r, p: dithered(p[:SIDE, :SIDE], n)),
    **each("ordered dither, {} levels", (2, 4, 8), lambda n, r, p: ordered(p[:SIDE, :SIDE], n)),
    "palette of 16": lambda r, p: np.asarray(
        Image.fromarray(p[:SIDE, :SIDE]).quantize(16, dither=Image.Dither.NONE).convert("RGB")
    ),
    "palette of 256": lambda r, p: np.asarray(Image.fromarray(p[:SIDE, :SIDE]).quantize(256).convert("RGB")),
    "posterised": lambda r, p: p[:SIDE, :SIDE] & 0xC0,
    **each("pixel art × {}", (1, 2, 3, 8), lambda n, r, p: pixel_art(r, n)),
    "photograph × 4": lambda r, p: p[:SIDE:4, :SIDE:4].repeat(4, 0).repeat(4, 1),
    "photograph × 2": lambda r, p: p[:SIDE:2, :SIDE:2].repeat(2, 0).repeat(2, 1),
    "photograph, one tile repeated": lambda r, p: np.tile(p[:64, :64], (4, 4, 1)),
    "photograph, mirrored": lambda r, p: np.concatenate([p[:64, :SIDE], p[:64, :SIDE][::-1]]),
    "photograph of every other row": lambda r, p: p[:SIDE, :SIDE] * (grid()[0] % 2)[..., None].astype(np.uint8),
    "photograph and noise": lambda r, p: beside(p[:SIDE, :SIDE], r.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)),
    "photograph and checkerboard": lambda r, p: beside(p[:SIDE, :SIDE], checkerboard(1)),
    "photograph and zone plate": lambda r, p: beside(p[:SIDE, :SIDE], zone_plate()),
    "photograph and stars": lambda r, p: beside(p[:SIDE, :SIDE], stars(r, 150)),
    "photograph": lambda r, p: p[:SIDE, :SIDE],
    "photograph, grey": lambda r, p: p[:SIDE, :SIDE, 1],
    "photograph with alpha": lambda r, p: with_alpha(p[:SIDE, :SIDE], checkerboard(8)),
    "checkerboard with alpha": lambda r, p: with_alpha(coloured(checkerboard(1)), rounded(grid()[0])),
    "checkerboard with alpha of noise": lambda r, p: with_alpha(
        checkerboard(1), r.integers(1, 256, (SIDE, SIDE), dtype=np.uint8)
    ),
    "noise with alpha": lambda r, p: with_alpha(r.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8), checkerboard(4)),
    "flat": lambda r, p: np.full((SIDE, SIDE, 3), 77, np.uint8),
    "one pixel is another": lambda r, p: stars(r, 1),
    "tall": lambda r, p: r.integers(0, 256, (512, 2), dtype=np.uint8),
    "wide checkerboard": lambda r, p: np.where(np.add(*grid(3, 700)) % 2, 255, 0).astype(np.uint8),
}
TINY = ((1, 1), (1, 2), (2, 2), (3, 3), (5, 4), (8, 8), (16, 16), (17, 15), (31, 32), (64, 64))


def tiny(random: np.random.Generator, photo: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Icons and single pixels, of each kind."""
    for height, width in TINY:
        size = f"{width} × {height}"
        yield f"photograph of {size}", photo[100 : 100 + height, 100 : 100 + width]
        yield f"noise of {size}", random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        yield f"checkerboard of {size}", np.where(np.add(*grid(height, width)) % 2, 255, 0).astype(np.uint8)


def family(photo: np.ndarray) -> dict[str, np.ndarray]:
    """Every picture by name, from a photograph of at least 256 × 256, uint8 (H, W, 3)."""
    found = {name: draw(np.random.default_rng(i), photo) for i, (name, draw) in enumerate(DRAWINGS.items())}
    return found | dict(tiny(np.random.default_rng(len(found)), photo))


def lossless_webp(pixels: np.ndarray) -> int:
    """Bytes of the smallest lossless WebP that Pillow makes of uint8 (H, W[, C])."""
    out = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    (image.convert("RGBA") if image.mode == "LA" else image).save(
        out, "WEBP", lossless=True, exact=True, method=6, quality=100
    )
    return out.tell()


@click.command()
@click.option("--images", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("-m", "--model", default=weights.DEFAULT, show_default=True)
def main(path: Path, model: str) -> None:
    """Bytes of every picture at every quality, beside lossless WebP; exit code 1 where one has too many."""
    with Image.open(path) as opened:
        photo = np.asarray(opened.convert("RGB"))
    codec, failed = Codec.load(model, threads=1), 0
    for name, pixels in family(photo).items():
        limit = lossless_webp(as_picture(pixels).pixels)
        sizes = []
        for quality in QUALITIES:
            data = codec.encode(pixels, quality)
            over = len(data) > FACTOR * limit + BYTES
            failed += over
            sizes.append(f"{len(data)}{'=' * container.parse(data).header.lossless}{'!' * over}")
        click.echo(f"{name:36} {limit:7}   {'  '.join(f'{size:>8}' for size in sizes)}")
    click.echo(f"{failed} files are larger than {FACTOR} × lossless + {BYTES} bytes")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
