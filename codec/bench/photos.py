"""Pictures to measure on."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import click
from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


def load(path: Path) -> Image.Image:
    """A picture in RGB."""
    with Image.open(path) as opened:
        return opened.convert("RGB")


def shipped_photographs() -> list[Path]:
    """Real photographs that scikit-image and scikit-learn carry, where they are installed."""
    names = {
        "skimage/data": ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg"),
        "sklearn/datasets/images": ("china.jpg", "flower.jpg"),
    }
    found = []
    for place, files in names.items():
        package, _, inside = place.partition("/")
        spec = importlib.util.find_spec(package)
        if spec and spec.submodule_search_locations:
            folder = Path(spec.submodule_search_locations[0]) / inside
            found += [folder / name for name in files if (folder / name).exists()]
    return found


def pictures(images: Path | None) -> dict[str, Path]:
    """Files to measure, under the names that rows give them: paths relative to the folder.

    Raises: click.ClickException.
    """
    if images is None:
        if files := shipped_photographs():
            return {p.name: p for p in files}
        raise click.ClickException("no --images given, and neither scikit-image nor scikit-learn is installed")
    if images.is_file():
        return {images.name: images}
    if files := [p for p in sorted(images.rglob("*")) if p.suffix.lower() in SUFFIXES]:
        return {p.relative_to(images).as_posix(): p for p in files}
    raise click.ClickException(f"{images}: no pictures")


def spread(items: list, count: int) -> list:
    """At most `count` of the items, evenly over them, ends left out where there are more."""
    if len(items) <= count:
        return items
    return [items[int((i + 0.5) * len(items) / count)] for i in range(count)]


def tiled(images: Path, megapixels: float) -> Image.Image:
    """The photographs of a folder side by side, over and over, up to a size."""
    width = round(math.sqrt(megapixels * 1.4) * 1000)
    height = round(megapixels * 1e6 / width)
    parts = [load(path).resize((768, 512)) for path in pictures(images).values()]
    out = Image.new("RGB", (width, height))
    for i, (y, x) in enumerate((y, x) for y in range(0, height, 512) for x in range(0, width, 768)):
        out.paste(parts[i % len(parts)], (x, y))
    return out
