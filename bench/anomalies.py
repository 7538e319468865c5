"""How well anomalies are found: AUROC on real defects and on synthetic ones, against two baselines.

    python -m bench.anomalies [--images DIR] [--tiles DIR] --out bench/results/anomaly.json

synthetic   cuts, scratches, stains and foreign patches in photographs. `alone`: the damaged picture is all there is.
            `camera`: eight undamaged shots of the same scene are known, each moved by up to 2 pixels, with its own
            brightness (± 5 %) and noise (σ 3), as is the damaged one.
tiles       magnetic-tile surfaces with blowholes and fray (Huang et al.): folders normal, test_normal, blowhole, fray.

Baselines: error of reconstructing 16 × 16 pixels from 24 principal components (of the normal pictures; of the picture
itself where it is alone), and local variance (its absolute log-ratio to that of the normal pictures, where known).
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import map_coordinates, uniform_filter
from scipy.stats import rankdata

from codec import Codec
from codec.bench.photos import load, pictures
from codec.latent import anomaly
from codec.latent.surface import Surface
from codec.weights import FOR_PIXELS

SHOTS = 8
MARGIN = 8  # pixels at the picture's border that moving leaves out
COMPONENTS = 24
STEP = 4  # every fourth pixel each way is scored
KINDS = ("cut", "scratch", "stain", "patch")


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a positive scores above a negative."""
    ranks = rankdata(np.concatenate([positive, negative]))
    n, m = len(positive), len(negative)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


# Defects: (pixels as float, mask).


def line(random: np.random.Generator, shape: tuple[int, int], width: int, jitter: float) -> np.ndarray:
    """(H, W) 0 or 1: a jagged line of 80 to 200 pixels."""
    height, across = shape
    mask = Image.new("L", (across, height))
    x, y, angle = random.uniform(0.2, 0.8) * across, random.uniform(0.2, 0.8) * height, random.uniform(0, 2 * np.pi)
    along = np.linspace(0, random.uniform(80, 200), 8)
    points = np.stack([x + np.cos(angle) * along, y + np.sin(angle) * along], 1) + random.normal(0, jitter, (8, 2))
    ImageDraw.Draw(mask).line([tuple(p) for p in points], fill=1, width=width)
    return np.asarray(mask)


def blob(random: np.random.Generator, shape: tuple[int, int], radius: float) -> np.ndarray:
    """(H, W) 0 … 1: an irregular spot with a soft border."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    rows = rows - random.uniform(0.2, 0.8) * shape[0]
    columns = columns - random.uniform(0.2, 0.8) * shape[1]
    angle = np.arctan2(rows, columns)
    wave = sum(random.normal(0, 0.12) * np.cos(k * angle + random.uniform(0, 6)) for k in range(2, 6))
    return np.clip((radius * (1 + wave) - np.hypot(rows, columns)) / 4 + 0.5, 0, 1)


def damaged(kind: str, pixels: np.ndarray, other: np.ndarray, random: np.random.Generator):
    """uint8 (H, W, 3) with one defect, and its mask (H, W)."""
    x, shape = pixels.astype(float), pixels.shape[:2]
    if kind == "cut":
        mask = line(random, shape, 3, 3)
        x[mask > 0] = random.uniform(5, 30)
    elif kind == "scratch":
        mask = line(random, shape, 2, 1)
        x[mask > 0] = 0.4 * x[mask > 0] + 0.6 * random.uniform(200, 250)
    elif kind == "stain":
        mask = blob(random, shape, random.uniform(20, 45))
        x *= 1 - mask[:, :, None] * (1 - np.array([0.72, 0.6, 0.42]) * random.uniform(0.7, 1.1))
        mask = mask > 0.5
    else:
        side = int(random.integers(40, 90))
        (y0, x0), (y1, x1) = ((random.integers(0, n - side) for n in s) for s in (shape, other.shape[:2]))
        x[y0 : y0 + side, x0 : x0 + side] = other[y1 : y1 + side, x1 : x1 + side]
        mask = np.zeros(shape, np.uint8)
        mask[y0 : y0 + side, x0 : x0 + side] = 1
    return np.clip(x + 0.5, 0, 255).astype(np.uint8), mask > 0


def shot(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The same scene once more: moved, a little brighter or darker, noisy; MARGIN pixels smaller on every side."""
    dy, dx = random.integers(-2, 3, 2)
    height, width = pixels.shape[:2]
    x = pixels[MARGIN + dy : height - MARGIN + dy, MARGIN + dx : width - MARGIN + dx].astype(float)
    x = x * random.uniform(0.95, 1.05) + random.normal(0, 3, x.shape)
    return np.clip(x + 0.5, 0, 255).astype(np.uint8)


# Baselines: (H, W) of pixels, higher is odder.


def patches(pixels: np.ndarray) -> np.ndarray:
    """(N, 768): all whole 16 × 16 squares at steps of 8."""
    windows = np.lib.stride_tricks.sliding_window_view(pixels.astype(np.float32), (16, 16), (0, 1))[::8, ::8]
    return windows.reshape(-1, 768)


def components(pictures: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    rows = np.concatenate([patches(p) for p in pictures])
    mean = rows.mean(0)
    vectors = np.linalg.eigh(np.cov((rows - mean).T))[1]
    return mean, vectors[:, -COMPONENTS:]


def pca_error(pixels: np.ndarray, fitted: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    mean, basis = fitted
    height, width = pixels.shape[:2]
    rows = patches(pixels) - mean
    error = ((rows - rows @ basis @ basis.T) ** 2).mean(1)
    return at_pixels(error.reshape((height - 16) // 8 + 1, (width - 16) // 8 + 1), (height, width), 8, 7.5)


def log_variance(pixels: np.ndarray) -> np.ndarray:
    grey = pixels.astype(float).mean(2)
    mean = uniform_filter(grey, 16)
    return np.log(np.maximum(uniform_filter(grey * grey, 16) - mean**2, 0) + 1)[::STEP, ::STEP]


def at_pixels(values: np.ndarray, shape: tuple[int, int], cell: int, first: float) -> np.ndarray:
    """A coarse map at every STEP-th pixel, bilinear; `first`: pixel of its first centre."""
    grid = np.meshgrid(*((np.arange(0, n, STEP) - first) / cell for n in shape), indexing="ij")
    return map_coordinates(values, grid, order=1, mode="nearest")


def latent_map(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return at_pixels(values, shape, 16, 7.5)


def synthetic(codec: Codec, photos: list[np.ndarray]) -> dict:
    """Mean pixel AUROC over the photographs, by setting, defect and method; and image AUROC with a camera."""
    pixel: dict[str, dict] = {setting: {k: {} for k in KINDS} for setting in ("alone", "camera")}
    image: dict[str, list] = {k: [] for k in (*KINDS, "undamaged")}
    for i, photo in enumerate(photos):
        random = np.random.default_rng(i)
        shots = [shot(photo, random) for _ in range(SHOTS)]
        normal = [anomaly.features(codec, s) for s in shots]
        reference, fitted = anomaly.Scene(normal), components(shots)
        usual = np.mean([log_variance(s) for s in shots], 0)
        limit = anomaly.threshold(anomaly.Scene, normal, 0.05)
        fresh = anomaly.features(codec, shot(photo, random))
        image["undamaged"].append(anomaly.score(reference.distance(fresh)) / limit)
        for kind in KINDS:
            alone, mask = damaged(kind, photo, photos[(i + 5) % len(photos)], random)
            inside = (slice(MARGIN, -MARGIN),) * 2
            with_camera, shifted = shot(alone, random), mask[inside]  # moved by at most 2 pixels
            found = anomaly.features(codec, alone)
            maps = {
                "surprise": latent_map(found.surprise, mask.shape),
                "pixel PCA": pca_error(alone, components([alone])),
                "local variance": log_variance(alone),
            }
            add(pixel["alone"][kind], maps, mask)
            found = anomaly.features(codec, with_camera)
            distance = reference.distance(found)
            maps = {
                "distance": latent_map(distance, shifted.shape),
                "pixel PCA": pca_error(with_camera, fitted),
                "local variance": np.abs(log_variance(with_camera) - usual),
            }
            add(pixel["camera"][kind], maps, shifted)
            image[kind].append(anomaly.score(distance) / limit)
    undamaged = np.array(image.pop("undamaged"))
    return {
        "pixel_auroc": {s: {k: {m: mean(v) for m, v in t.items()} for k, t in by.items()} for s, by in pixel.items()},
        "image_auroc_camera": {k: round(auroc(np.array(v), undamaged), 4) for k, v in image.items()},
        "false_alarms_at_5_percent": round(float((undamaged > 1).mean()), 3),
        "found_at_5_percent": {k: round(float((np.array(v) > 1).mean()), 3) for k, v in image.items()},
    }


def mean(values: list[float]) -> float:
    return round(float(np.mean(values)), 4)


def add(table: dict, maps: dict[str, np.ndarray], mask: np.ndarray) -> None:
    mask = uniform_filter(mask.astype(float), STEP, origin=-STEP // 2)[::STEP, ::STEP] > 0  # a thin line counts
    for method, values in maps.items():
        table.setdefault(method, []).append(auroc(values[mask], values[~mask]))


def tiles(codec: Codec, folder: Path) -> dict:
    """AUROC over all pixels, and over pictures, of each kind of defect against the undamaged test pictures."""

    def read(name: str) -> list[Path]:
        return sorted((folder / name).glob("*.jpg"))

    def pixels(path: Path) -> np.ndarray:
        with Image.open(path) as opened:
            return np.asarray(opened.convert("RGB"))

    normal = [pixels(p) for p in read("normal")]
    reference, fitted = Surface([Surface.measure(codec, p) for p in normal]), components(normal)
    usual = np.mean([log_variance(p).mean() for p in normal])

    def maps(x: np.ndarray) -> dict[str, np.ndarray]:
        distance = reference.distance(Surface.measure(codec, x))
        return {
            "distance": at_pixels(distance, x.shape[:2], Surface.cell, 3.5),
            "surprise": latent_map(anomaly.features(codec, x).surprise, x.shape[:2]),
            "pixel PCA": pca_error(x, fitted),
            "local variance": np.abs(log_variance(x) - usual),
        }

    sound = scores([maps(pixels(p)) for p in read("test_normal")])
    out: dict[str, dict] = {}
    for kind in ("blowhole", "fray"):
        masks, found = [], []
        for path in read(kind):
            with Image.open(path.with_suffix(".png")) as opened:
                masks.append(np.asarray(opened.convert("L"))[::STEP, ::STEP] > 127)
            found.append(maps(pixels(path)))
        of_pictures = scores(found)
        for method, values in of_pictures.items():
            inside = np.concatenate([f[method][mask] for f, mask in zip(found, masks)])
            outside = np.concatenate([f[method][~mask] for f, mask in zip(found, masks)])
            out.setdefault(kind, {})[method] = {
                "pixel_auroc": round(auroc(inside, outside), 4),
                "image_auroc": round(auroc(values, sound[method]), 4),
            }
    return out


def scores(found: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """By method, of each picture: what only 0.5 % of its pixels exceed."""
    return {method: np.array([np.quantile(f[method], 0.995) for f in found]) for method in found[0]}


@click.command()
@click.option("--images", "photos", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--tiles", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-m", "--model", default=FOR_PIXELS, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(photos: Path | None, folder: Path | None, model: str, out: Path) -> None:
    """Measure the parts whose pictures are given; the output file's other part stays."""
    codec = Codec.load(model)
    result = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    if photos:
        originals = [np.asarray(load(path)) for path in pictures(photos).values()]
        result["synthetic"] = {"weights": codec.name, "photographs": len(originals), **synthetic(codec, originals)}
    if folder:
        result["magnetic tiles"] = {"weights": codec.name, "auroc": tiles(codec, folder)}
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    click.echo(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
