"""Pictures that are no photographs, made by code: text, code, windows, tables, plots, maps, drawings, slides, scans.

`python -m codec.train.graphics --out graphics.tar --count 160 --photos photos-0.tar` writes PNG files into a tar file
that training takes beside photographs. What they are drawn on and with, and the licences of that: `sheet.py`.
"""

from __future__ import annotations

import io
import itertools
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageFilter

from codec.train.data import decode_rgb, read_files
from codec.train.sheet import Sheet, find_fonts, source


def page(s: Sheet) -> None:
    """Columns of prose, headings of another size."""
    paper, ink = s.theme()
    s.fill(paper)
    size, columns, margin, y = s.whole(9, 30), s.whole(1, 4), s.whole(10, 60), s.whole(4, 40)
    face, head = s.face(size), s.face(s.whole(20, 64))
    width = (s.size - margin) // columns
    while y < s.size:
        if s.chance(0.6):
            s.text((margin, y), s.words(5), head, ink if s.chance(0.7) else s.colour())
            y += int(head.size * 1.5)
        height = s.whole(100, 500)
        for k in range(columns):
            left = margin + k * width
            s.paragraph((left, y, left + width - margin // 2 - 8, y + height), face, ink)
        y += height + size


def code(s: Sheet) -> None:
    """Source text, each kind of word in its colour."""
    paper, ink = s.theme(0.6)
    s.fill(paper)
    face = s.face(s.whole(10, 22), "mono")
    size, across = int(face.size * s.rng.uniform(1.2, 1.6)), face.getlength("n")
    dark = sum(paper) < 380
    colours = [ink, *(s.colour(110, 256) if dark else s.colour(0, 150) for _ in range(5))]
    start, gutter = s.whole(0, len(source()) - 200), s.whole(0, 2) * int(5 * across)
    for k, line in enumerate(source()[start : start + s.size // size + 1]):
        y, x = k * size + 3, gutter + 4.0
        if gutter:
            s.text((6, y), str(k + 1), face, colours[1])
        for word in line.replace("(", " ( ").replace('"', ' " ').split(" "):
            s.text((x, y), word, face, colours[sum(word.encode()) % len(colours)])
            x += face.getlength(word + " ")
            if x > s.size:
                break


def window(s: Sheet) -> None:
    """Bars, lists, buttons, fields, icons, a picture."""
    paper, ink = s.theme()
    s.fill(paper)
    accent, face, bar = s.colour(), s.face(s.whole(11, 19)), s.whole(24, 60)
    shade = tuple(int(0.9 * p + 0.1 * i) for p, i in zip(paper, ink))
    side = s.whole(0, 260)
    s.draw.rectangle((0, bar, side, s.size), fill=shade)
    s.draw.rectangle((0, 0, s.size, bar), fill=accent if s.chance(0.5) else shade)
    for k in range(s.whole(2, 8)):
        s.text((14 + k * s.whole(60, 120), bar // 3), s.words(1)[:10], face, ink)
    row = s.whole(20, 48)
    for y in range(bar + 6, s.size, row):
        icon = s.whole(6, max(7, row - 10))
        s.draw.ellipse((8, y, 8 + icon, y + icon), fill=s.colour() if s.chance(0.4) else accent)
        s.text((16 + icon, y), s.label(), face, ink)
    for _ in range(s.whole(5, 14)):
        x, y, w, h = s.whole(side, s.size), s.whole(bar, s.size), s.whole(60, 320), s.whole(18, 240)
        fill = [paper, shade, accent, s.colour()][s.whole(0, 4)]
        radius = s.whole(0, 12)
        if s.chance(0.3):  # a shadow under it
            s.draw.rounded_rectangle((x + 3, y + 4, x + w + 3, y + h + 4), radius, fill=shade)
        s.draw.rounded_rectangle((x, y, x + w, y + h), radius, fill=fill, outline=ink if s.chance(0.5) else shade)
        if s.chance(0.3) and h > 60:
            s.image.paste(s.photo(w, h), (x, y))
        elif h > 60:
            s.paragraph((x + 8, y + 6, x + w - 8, y + h - 4), face, ink)
        else:
            s.text((x + 10, y + 3), s.label(), face, ink)


def table(s: Sheet) -> None:
    """Rows and columns of labels between lines."""
    paper, ink = s.theme()
    s.fill(paper)
    face, row, x = s.face(s.whole(9, 20)), s.whole(16, 40), 0
    edge, band = s.colour(), s.colour(200, 256) if sum(paper) > 380 else s.colour(0, 60)
    for y in range(0, s.size, 2 * row):
        s.draw.rectangle((0, y, s.size, y + row), fill=band)
    while x < s.size:
        width = s.whole(50, 200)
        for y in range(0, s.size, row):
            s.text((x + 5, y + 2), s.label(), face, ink)
            s.draw.line((x, y, x + width, y), fill=edge)
        x += width
        s.draw.line((x, 0, x, s.size), fill=edge)


def enlarged(s: Sheet, times: int = 2) -> Sheet:
    """A larger sheet to draw smooth lines on: reduced in the end."""
    return Sheet(s.rng, s.size * times, s.fonts, s.photos)


def plot(s: Sheet) -> None:
    """Axes, grid, curves, points, bars, a legend."""
    paper, ink = s.theme(0.15)
    big = enlarged(s)
    big.fill(paper)
    n, (left, bottom) = big.size, (s.whole(80, 240), s.whole(80, 240))
    face, grid = s.face(2 * s.whole(9, 18)), tuple((4 * p + i) // 5 for p, i in zip(paper, ink))
    for at in np.linspace(0, n, s.whole(4, 12)).astype(int).tolist():
        big.draw.line((left, at, n, at), fill=grid, width=2)
        big.draw.line((left + at, 0, left + at, n - bottom), fill=grid, width=2)
        big.draw.text((left - 70, at), s.label()[:6], fill=ink, font=face)
        big.draw.text((left + at, n - bottom + 8), s.label()[:6], fill=ink, font=face)
    big.draw.line((left, 0, left, n - bottom, n, n - bottom), fill=ink, width=s.whole(2, 6))
    x = np.linspace(left, n, 160)
    for k in range(s.whole(1, 7)):
        colour, rough = s.colour(0, 220), s.rng.normal(0, 1, 160).cumsum() * s.rng.uniform(2, 40)
        y = n / 2 + s.rng.normal(0, n / 5) + rough + n / 6 * np.sin(x / s.rng.uniform(60, 400))
        points = np.stack([x, y.clip(0, n - bottom)], 1)
        kind = s.whole(0, 3)
        if kind == 0:
            big.draw.line([tuple(p) for p in points], fill=colour, width=s.whole(2, 10))
        for px, py in points[:: 2 if kind == 1 else 8] if kind else ():
            dot = (px - 6, py - 6, px + 6, py + 6) if kind == 1 else (px, py, px + s.whole(8, 30), n - bottom)
            (big.draw.ellipse if kind == 1 else big.draw.rectangle)(dot, fill=colour)
        big.draw.line((n - 320, 40 + 50 * k, n - 260, 40 + 50 * k), fill=colour, width=8)
        big.draw.text((n - 250, 25 + 50 * k), s.label(), fill=ink, font=face)
    s.put(big.image.reduce(2))
    s.text((s.size // 4, 6), s.words(4), s.face(s.whole(12, 26)), ink)


def line_art(s: Sheet) -> None:
    """Curves, hatching and polygons, with hard edges or smooth ones."""
    times = s.whole(1, 4)
    big, (paper, ink) = enlarged(s, times), s.theme(0.2)
    big.fill(paper)
    n = big.size
    for _ in range(s.whole(8, 40)):
        x, y, r, wide = s.whole(0, n), s.whole(0, n), s.whole(n // 40, n // 3), s.whole(1, 5) * times
        colour, kind = ink if s.chance(0.7) else s.colour(), s.whole(0, 5)
        if kind == 0:
            big.draw.arc((x - r, y - r, x + r, y + s.whole(0, r)), s.whole(0, 360), s.whole(0, 360), colour, wide)
        elif kind == 1:
            big.draw.line([tuple(p) for p in s.rng.normal((x, y), r / 2, (s.whole(2, 9), 2))], colour, wide)
        elif kind == 2:
            for k in range(0, r, s.whole(4, 14) * times):
                big.draw.line((x + k, y, x + k + r // 3, y + r), colour, times)
        elif kind == 3:
            corners = [tuple(p) for p in s.rng.normal((x, y), r / 2, (s.whole(3, 7), 2))]
            big.draw.polygon(corners, fill=s.colour() if s.chance(0.3) else None, outline=colour, width=wide)
        else:
            big.draw.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=wide)
    s.put(big.image.reduce(times) if times > 1 else big.image)


def map_(s: Sheet) -> None:
    """Regions of flat colours between smooth borders, roads, names."""
    coarse = Image.fromarray(s.rng.random((s.whole(4, 20), s.whole(4, 20)), np.float32))
    heights = np.asarray(coarse.resize((2 * s.size, 2 * s.size), Image.Resampling.BICUBIC))
    levels = np.quantile(heights, np.linspace(0.1, 0.9, s.whole(3, 10)))
    colours = np.array([s.colour(120, 256) for _ in range(len(levels) + 1)], np.uint8)
    big = enlarged(s)
    big.put(Image.fromarray(colours[np.digitize(heights, levels)]))
    for _ in range(s.whole(3, 20)):
        road = s.rng.normal(s.rng.uniform(0, big.size, 2), big.size / 3, (s.whole(2, 7), 2))
        colour, width = s.colour(), s.whole(2, 20)
        big.draw.line([tuple(p) for p in road], fill=(90, 90, 90), width=width + 4, joint="curve")
        big.draw.line([tuple(p) for p in road], fill=colour, width=width, joint="curve")
    s.put(big.image.reduce(2))
    for _ in range(s.whole(5, 40)):
        s.text((s.whole(0, s.size), s.whole(0, s.size)), s.words(1), s.face(s.whole(9, 24)), s.colour(0, 90))


def gradient(s: Sheet) -> Image.Image:
    """Two colours into each other, along a line or around a point; dithered or not."""
    y, x = np.mgrid[: s.size, : s.size].astype(np.float32) / s.size
    angle, (cx, cy) = s.rng.uniform(0, 2 * np.pi), s.rng.uniform(0, 1, 2)
    t = np.hypot(x - cx, y - cy) if s.chance(0.3) else np.cos(angle) * x + np.sin(angle) * y
    t = ((t - t.min()) / np.ptp(t))[..., None]
    noise = s.rng.random((s.size, s.size, 1), np.float32) if s.chance(0.3) else 0.5
    one, other = (np.array(s.colour(), np.float32) for _ in range(2))
    return Image.fromarray((one * (1 - t) + other * t * 254 / 255 + noise).astype(np.uint8))


def slide(s: Sheet) -> None:
    """Large text and shapes over a gradient."""
    s.put(gradient(s))
    ink = (255, 255, 255) if np.asarray(s.image).mean() < 128 else s.colour(0, 80)
    for _ in range(s.whole(0, 6)):
        x, y, w, h = s.whole(0, s.size), s.whole(0, s.size), s.whole(40, 300), s.whole(40, 300)
        if s.chance(0.6):
            s.draw.rounded_rectangle((x, y, x + w, y + h), 12, fill=s.colour())
        else:
            s.draw.ellipse((x, y, x + w, y + h), fill=s.colour())
    face, top = s.face(s.whole(18, 60)), s.whole(10, 100)
    s.text((30, top), s.words(4), s.face(s.whole(30, 90)), ink)
    for y in range(top + 110, s.size, int(face.size * 1.7)):
        s.text((40, y), "• " + s.words(5), face, ink)


def captions(s: Sheet) -> None:
    """Text over a photograph."""
    s.put(s.photo(s.size, s.size))
    for _ in range(s.whole(2, 14)):
        x, y, face = s.whole(-40, s.size), s.whole(0, s.size), s.face(s.whole(10, 80))
        if s.chance(0.3):
            s.draw.rectangle((x, y, x + s.whole(100, 500), y + face.size * 1.4), fill=s.colour())
        stroke = int(s.chance(0.3)) * s.whole(1, 4)
        ink = (255, 255, 255) if s.chance(0.5) else s.colour()
        s.draw.text((x, y), s.words(s.whole(1, 6)), fill=ink, font=face, stroke_width=stroke, stroke_fill=(0, 0, 0))


def damaged(s: Sheet) -> None:
    """A screenshot that was a JPEG file once."""
    KINDS[s.whole(0, CLEAN)](s)
    data = io.BytesIO()
    s.image.save(data, "JPEG", quality=s.whole(30, 95), subsampling=s.whole(0, 3))
    s.put(Image.open(data).convert("RGB"))


def scan(s: Sheet) -> None:
    """A page on paper: turned a little, blurred, on grey, unevenly lit, noisy."""
    (page, page, table, line_art, plot)[s.whole(0, 5)](s)
    image = s.image.convert("L") if s.chance(0.6) else s.image
    image = image.convert("RGB").rotate(s.rng.normal(0, 1), Image.Resampling.BICUBIC, fillcolor=(235, 235, 235))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(s.rng.uniform(0.3, 1.2))), np.float32)
    y, x = np.mgrid[: s.size, : s.size].astype(np.float32)[..., None] / s.size
    light = s.rng.uniform(0.75, 1, 3).astype(np.float32) + s.rng.normal(0, 0.05) * x + s.rng.normal(0, 0.05) * y
    channels = 1 if s.chance(0.5) else 3
    noise = s.rng.normal(0, s.rng.uniform(0.5, 6), (s.size, s.size, channels))
    s.put(Image.fromarray(np.uint8((pixels * light + s.whole(0, 30) + noise).clip(0, 255))))


KINDS: list[Callable[[Sheet], None]] = [page, code, window, table, plot, line_art, map_, slide, captions, damaged, scan]
CLEAN = KINDS.index(damaged)  # what comes before is damaged by none yet


def make(kind: int, seed: int, size: int, fonts: list[str], photos: list[np.ndarray]) -> Image.Image:
    """One picture (RGB, size × size); equal arguments give equal pictures."""
    sheet = Sheet(np.random.default_rng(seed), size, fonts or [""], photos)
    KINDS[kind % len(KINDS)](sheet)
    return sheet.image


@click.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Tar file to write.")
@click.option("--count", default=160, show_default=True)
@click.option("--size", default=768, show_default=True, help="Pixels a side.")
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--photos",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="Folder or tar file of photographs to put under text and into windows.",
)
@click.option(
    "--fonts", type=click.Path(exists=True, path_type=Path), multiple=True, help="Folder of fonts beside the system's."
)
def main(out: Path, count: int, size: int, seed: int, photos: tuple[Path, ...], fonts: tuple[Path, ...]) -> None:
    """Write pictures of every kind in turn."""
    decoded = (decode_rgb(data) for data in itertools.islice(read_files(list(photos)), 100))
    usable, found = [p for p in decoded if p is not None], find_fonts(list(fonts))
    click.echo(f"{len(found)} fonts, {len(usable)} photographs")
    temporary = out.with_name(out.name + ".part")
    with tarfile.open(temporary, "w") as tar:
        for k in range(count):
            data = io.BytesIO()
            make(k, seed * 1_000_003 + k, size, found, usable).save(data, "PNG")
            member = tarfile.TarInfo(f"{k:05d}-{KINDS[k % len(KINDS)].__name__.strip('_')}.png")
            member.size = data.tell()
            data.seek(0)
            tar.addfile(member, data)
    os.replace(temporary, out)


if __name__ == "__main__":
    main()
