"""Duplicates found by latents: precision, recall and time, against decoding to pixels and a difference hash.

    python -m bench.similarity --data photos.tar --count 400 --out bench/results/similar.json

Every photograph is coded at -q 50. Its copies are: recompressed (JPEG of quality 40, then -q 25), resized to 50 %
(-q 40), cropped to 90 % (-q 50). A pair of files is called a duplicate from a similarity on; recall is the part of
copies found, precision the part of pairs called duplicates that are, over all originals against all copies.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image

from codec import Codec
from codec.latent.similar import DUPLICATE, descriptor
from codec.train.data import decode_rgb, read_files
from codec.weights import FOR_PIXELS

SIDE = 512  # pixels on the longer side of an original


def recompressed(image: Image.Image) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=40)
    return Image.open(out).convert("RGB")


def halved(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def cropped(image: Image.Image) -> Image.Image:
    x, y = image.width // 20, image.height // 20
    return image.crop((x, y, image.width - x, image.height - y))


COPIES: dict[str, tuple[Callable, int]] = {
    "recompressed": (recompressed, 25),
    "halved": (halved, 40),
    "cropped": (cropped, 50),
}


def difference_hash(image: Image.Image) -> np.ndarray:
    """256 signs of horizontal differences of a 17 × 16 grey thumbnail, as ±1/16: products are like cosines."""
    grey = np.asarray(image.convert("L").resize((17, 16), Image.Resampling.BOX), np.float32)
    return np.where(grey[:, 1:] > grey[:, :-1], 1, -1).reshape(-1) / 16


def at_threshold(similarity: np.ndarray, threshold: float) -> dict[str, float]:
    """`similarity` (originals, copies), true pairs on the diagonal."""
    called = similarity >= threshold
    true = int(np.trace(called))
    precision = true / max(1, int(called.sum()))
    return {"recall": round(true / len(called), 4), "precision": round(precision, 4)}


def best(similarity: np.ndarray) -> dict[str, float]:
    """The threshold with the largest recall at precision of at least 0.95."""
    choices = [at_threshold(similarity, t) | {"threshold": round(float(t), 4)} for t in np.linspace(0.3, 0.995, 140)]
    good = [c for c in choices if c["precision"] >= 0.95] or choices
    return max(good, key=lambda c: c["recall"])


@click.command()
@click.option("--data", "photos", type=click.Path(exists=True, path_type=Path), multiple=True, required=True)
@click.option("--count", default=400, show_default=True)
@click.option("-m", "--model", default=FOR_PIXELS, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(photos: tuple[Path, ...], count: int, model: str, out: Path) -> None:
    codec = Codec.load(model)
    originals: list[Image.Image] = []
    for data in read_files(list(photos)):
        pixels = decode_rgb(data)
        if pixels is not None and len(originals) < count:
            image = Image.fromarray(pixels)
            image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            originals.append(image)
    seconds = {"descriptor": 0.0, "decode and hash": 0.0}

    def describe(image: Image.Image, quality: int) -> tuple[np.ndarray, np.ndarray]:
        data = codec.encode(image, quality)
        start = time.perf_counter()
        vector = descriptor(codec, data)
        middle = time.perf_counter()
        signs = difference_hash(codec.decode(data))
        seconds["descriptor"] += middle - start
        seconds["decode and hash"] += time.perf_counter() - middle
        return vector, signs

    def table(images: list[Image.Image], quality: int) -> list[np.ndarray]:
        return [np.stack(column) for column in zip(*(describe(image, quality) for image in images))]

    base = table(originals, 50)
    result = {"weights": codec.name, "torch": torch.__version__, "threads": torch.get_num_threads()}
    result |= {"photographs": len(originals), "threshold": DUPLICATE}
    for name, (change, quality) in COPIES.items():
        latents, hashes = (a @ b.T for a, b in zip(base, table([change(image) for image in originals], quality)))
        result[name] = {
            "at the threshold": at_threshold(latents, DUPLICATE),
            "best threshold": best(latents),
            "difference hash, best threshold": best(hashes),
        }
    files = len(originals) * (1 + len(COPIES))
    result["ms_per_file"] = {k: round(1e3 * v / files, 2) for k, v in seconds.items()}
    result["times_faster"] = round(seconds["decode and hash"] / seconds["descriptor"], 2)
    out.write_text(json.dumps(result, indent=1) + "\n")
    click.echo(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
