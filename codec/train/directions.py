"""Find edit directions on photographs, or on pairs of your own.

    python -m codec.train.directions --data PHOTOS [--pairs NAME=FOLDER]

PHOTOS (folder or tar, may be given several times) are changed in each of the ways below. A FOLDER of pairs holds
`before/` and `after/` with pictures of the same names; its direction is added under NAME. The result lies beside
the weights as `<weights>.directions`, where `lat latent edit` finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter

from codec import weights
from codec.coder import Codec
from codec.latent import edit
from codec.train.data import Photos

Change = Callable[[Image.Image], Image.Image]


def warm(image: Image.Image) -> Image.Image:
    factors = np.array([1.1, 1.0, 0.88])
    return Image.fromarray(np.clip(np.asarray(image) * factors + 0.5, 0, 255).astype(np.uint8))


def noisy(image: Image.Image) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, 8, np.asarray(image).shape)
    return Image.fromarray(np.clip(np.asarray(image) + noise + 0.5, 0, 255).astype(np.uint8))


def unchanged(image: Image.Image) -> Image.Image:
    return image


CHANGES: dict[str, tuple[Change, Change]] = {  # the picture before, the picture after
    "sharpen": (unchanged, lambda im: im.filter(ImageFilter.UnsharpMask(1.5, 100, 0))),
    "denoise": (noisy, unchanged),
    "brighten": (unchanged, lambda im: ImageEnhance.Brightness(im).enhance(1.2)),
    "contrast": (unchanged, lambda im: ImageEnhance.Contrast(im).enhance(1.25)),
    "saturate": (unchanged, lambda im: ImageEnhance.Color(im).enhance(1.4)),
    "warm": (unchanged, warm),
}


def changed(crops: list[Image.Image], name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    before, after = CHANGES[name]
    return ((np.asarray(before(crop)), np.asarray(after(crop))) for crop in crops)


def paired(folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for path in sorted((folder / "before").iterdir()):
        with Image.open(path) as before, Image.open(folder / "after" / path.name) as after:
            yield np.asarray(before.convert("RGB")), np.asarray(after.convert("RGB"))


@click.command()
@click.option("--data", "sources", type=click.Path(exists=True, path_type=Path), multiple=True)
@click.option("--pairs", multiple=True, metavar="NAME=FOLDER", help="Pairs of your own; may be given several times.")
@click.option("--count", default=200, show_default=True, help="Crops of 256 × 256 pixels from PHOTOS.")
@click.option("-m", "--model", default=weights.DEFAULT, show_default=True)
def main(sources: tuple[Path, ...], pairs: tuple[str, ...], count: int, model: str) -> None:
    codec = Codec.load(model)
    path = edit.directions_file(codec)
    found = edit.load(path) if path.exists() else {}
    if sources:
        torch.manual_seed(0)
        photographs = Photos(list(sources), torch.device("cpu")).crops(count, 256)
        crops = [Image.fromarray((c.permute(1, 2, 0) * 255).round().byte().numpy()) for c in photographs]
        found |= {name: edit.fit(codec, changed(crops, name)) for name in CHANGES}
    for spec in pairs:
        name, _, folder = spec.partition("=")
        if not name or not (Path(folder) / "before").is_dir():
            raise click.UsageError(f"--pairs {spec}: expected NAME=FOLDER with before/ and after/ in it")
        found[name] = edit.fit(codec, paired(Path(folder)))
    if not found:
        raise click.UsageError("nothing to find directions from: give --data or --pairs")
    edit.save(found, path)
    click.echo(f"{path}: {', '.join(found)}")


if __name__ == "__main__":
    main()
