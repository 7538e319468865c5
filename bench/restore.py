"""What `lat latent restore` wins, in PSNR, against what people use today; and processor seconds a megapixel.

    python -m bench.restore --images DIR [--crop 192 128] --out bench/results/restore.json

noise       Gaussian of σ 15 and 25, rounded to 8 bits: OpenCV's fastNlMeansDenoisingColored (h = 0.7 σ, the best of
            0.5, 0.7 and 1 σ on training photographs); on every sixth picture BM3D too, where it is installed.
jpeg        Pillow's, 4:2:0, qualities 10, 20, 30: the JPEG itself.
upscale     photographs shrunk to half by Pillow's bicubic filter, and by means of 2 × 2 pixels: Pillow's Lanczos.

Pictures that the output file has already are not measured again: a run that was stopped goes on.
"""

from __future__ import annotations

import importlib.util
import io
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import numpy as np
from PIL import Image

from codec import Codec
from codec.bench import photos
from codec.bench.metrics import psnr
from codec.latent import restore
from codec.weights import FOR_PIXELS

SIGMAS = (15, 25)
QUALITIES = (10, 20, 30)
NLM = 0.7  # h, times σ
SHRINK = {"bicubic": Image.Resampling.BICUBIC, "2 × 2 means": Image.Resampling.BOX}

Methods = dict[str, Callable]  # each makes a picture like the original


def denoising(codec: Codec, original: np.ndarray, sigma: float, seed: int) -> Methods:
    import cv2  # a baseline's package: nothing else here needs it

    noisy = np.random.default_rng(seed).normal(original, sigma)
    noisy = np.clip(np.round(noisy), 0, 255).astype(np.uint8)
    h = NLM * sigma
    methods: Methods = {
        "lat": partial(restore.denoise, codec, noisy, sigma),
        "noisy": lambda: noisy,
        "fastNlMeans": partial(cv2.fastNlMeansDenoisingColored, noisy, None, h, h, 7, 21),
    }
    if seed % 6 == 0 and importlib.util.find_spec("bm3d"):
        bm3d = importlib.import_module("bm3d")
        methods["BM3D"] = lambda: np.clip(bm3d.bm3d_rgb(noisy.astype(float), sigma), 0, 255)
    return methods


def deblocking(codec: Codec, original: np.ndarray, quality: int) -> Methods:
    file = io.BytesIO()
    Image.fromarray(original).save(file, "JPEG", quality=quality)
    return {"lat": partial(restore.deblock, codec, file.getvalue()), "JPEG": partial(Image.open, file)}


def enlarging(codec: Codec, original: np.ndarray, filter: Image.Resampling) -> Methods:
    size = original.shape[1], original.shape[0]
    small = Image.fromarray(original).resize((size[0] // 2, size[1] // 2), filter)
    return {
        "lat": partial(restore.upscale, codec, small),
        "Lanczos": partial(small.resize, size, Image.Resampling.LANCZOS),
    }


def measured(codec: Codec, original: np.ndarray, seed: int) -> dict[str, dict[str, list[float]]]:
    """(PSNR, processor seconds a megapixel) by task and method."""
    tasks = {f"noise σ {sigma}": denoising(codec, original, sigma, seed) for sigma in SIGMAS}
    tasks |= {f"jpeg q{quality}": deblocking(codec, original, quality) for quality in QUALITIES}
    tasks |= {f"upscale {name}": enlarging(codec, original, filter) for name, filter in SHRINK.items()}
    found: dict[str, dict[str, list[float]]] = {}
    for task, methods in tasks.items():
        for name, method in methods.items():
            start = time.process_time()
            restored = np.asarray(method())
            seconds = (time.process_time() - start) / original[:, :, 0].size * 1e6
            found.setdefault(task, {})[name] = [round(psnr(original, restored), 3), round(seconds, 2)]
    return found


def summary(rows: dict[str, dict]) -> dict:
    """By task: the mean PSNR of ours; and what it gains on the others, on the pictures that both have restored."""
    out: dict[str, dict] = {}
    for task in next(iter(rows.values())):
        found = [row[task] for row in rows.values()]
        out[task] = {"psnr": round(float(np.mean([f["lat"][0] for f in found])), 2), "gain_on": {}}
        for method in found[0]:
            both = [f for f in found if method in f]
            seconds = round(float(np.mean([f[method][1] for f in both])), 1)
            out[task].setdefault("processor_seconds_a_megapixel", {})[method] = seconds
            if method != "lat":
                gains = [f["lat"][0] - f[method][0] for f in both]
                numbers = {"mean": round(float(np.mean(gains)), 2), "least": round(float(np.min(gains)), 2)}
                out[task]["gain_on"][method] = numbers | {"pictures": len(gains)}
    return out


def centre(pixels: np.ndarray, crop: tuple[int, int] | None) -> np.ndarray:
    """A crop (width, height) of even sides from the middle."""
    width, height = crop or (pixels.shape[1] // 2 * 2, pixels.shape[0] // 2 * 2)
    top, left = (pixels.shape[0] - height) // 16 * 8, (pixels.shape[1] - width) // 16 * 8
    return pixels[top : top + height, left : left + width]


@click.command()
@click.option("--images", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--crop", type=(int, int), help="Width and height, from the middle of each picture.")
@click.option("-m", "--model", default=FOR_PIXELS, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(images: Path, crop: tuple[int, int] | None, model: str, out: Path) -> None:
    """Restored photographs against the originals."""
    codec = Codec.load(model)
    settings = {"weights": codec.name, "crop": crop and list(crop)}
    rows: dict[str, dict] = {}
    if out.exists():
        before = json.loads(out.read_text(encoding="utf-8"))
        if {key: before[key] for key in settings} != settings:
            raise click.ClickException(f"{out} holds a run with other settings: remove it first")
        rows = before["rows"]
    for seed, (name, path) in enumerate(photos.pictures(images).items()):
        if name in rows:
            continue
        rows[name] = measured(codec, centre(np.asarray(photos.load(path)), crop), seed)
        result = settings | {"tasks": summary(rows), "rows": rows}
        out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        click.echo(f"{name}: " + ", ".join(f"{task} {found['lat'][0]:.2f}" for task, found in rows[name].items()))


if __name__ == "__main__":
    main()
