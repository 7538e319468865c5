"""What people really have: awkward pictures, tile seams, very large pictures. Each command prints and stores JSON.

python -m bench.everyday corpus --out bench/results/corpus.json
python -m bench.everyday seams --images DIR --out bench/results/seams.json
python -m bench.everyday mosaic --images DIR --out mosaic.jpg
python -m bench.everyday large --images DIR --megapixels 100 --out bench/results/large-100.json
python -m bench.everyday previews --images DIR --out bench/results/previews.json
"""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

import codec.plugin  # noqa: F401  # Pillow opens .lat files
from codec import Codec, kinds, previews
from codec.arguments import as_picture
from codec.bench.metrics import psnr
from codec.bench.photos import load, pictures, tiled
from codec.config import TILE
from codec.runs import job
from codec.runs.plan import Job
from codec.settings import Settings

SIZES = ((1, 1), (1, 257), (300, 2), (17, 33), (640, 480), (1100, 40))
FORMATS = {
    "1": ("PNG", "TIFF"),
    "L": ("PNG", "JPEG", "WEBP"),
    "LA": ("PNG", "TIFF"),
    "P": ("PNG", "GIF"),
    "RGB": ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF"),
    "RGBA": ("PNG", "WEBP", "TIFF"),
    "CMYK": ("JPEG", "TIFF"),
    "YCbCr": ("TIFF", "JPEG"),
    "LAB": ("TIFF",),
    "I;16": ("PNG", "TIFF"),
    "I": ("TIFF",),
    "F": ("TIFF",),
}


def scene(width: int, height: int) -> Image.Image:
    """Gradients, edges and noise, the same every time."""
    y, x = np.mgrid[:height, :width]
    base = np.stack([x * 255 // max(1, width - 1), y * 255 // max(1, height - 1), (x // 7 + y // 5) % 2 * 200], 2)
    noise = np.random.default_rng(0).integers(-20, 20, base.shape)
    return Image.fromarray(np.clip(base + noise, 0, 255).astype(np.uint8))


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if mode == "LAB":
        return Image.merge("LAB", image.split())
    if mode == "LA":
        return image.convert("L").convert("LA")
    return image.convert(mode)


def awkward(folder: Path) -> Iterator[Path]:
    """Pictures in every mode, size and format that Pillow writes, with and without metadata; and broken ones."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode, formats in FORMATS.items():
        for width, height in SIZES:
            for format in formats:
                path = folder / f"{mode.replace(';', '')}-{width}x{height}.{format.lower()}"
                options = {"exif": exif, "icc_profile": b"icc" * 99} if format in ("PNG", "JPEG", "WEBP") else {}
                try:
                    in_mode(scene(width, height), mode).save(path, format, **options)
                except (OSError, ValueError, KeyError):
                    path.unlink(missing_ok=True)
                    continue  # this format does not take this mode or size
                yield path
    frames = [scene(60, 40), scene(60, 40).transpose(Image.Transpose.ROTATE_180)]
    for format in ("GIF", "WEBP", "PNG", "TIFF"):
        path = folder / f"animated.{format.lower()}"
        frames[0].save(path, format, save_all=True, append_images=frames[1:])
        yield path
    whole = folder / "RGB-640x480.jpeg"
    for name, data in {
        "cut.jpeg": whole.read_bytes()[:4000],
        "head.jpeg": whole.read_bytes()[:30],
        "empty.jpeg": b"",
        "text.jpeg": b"this is no picture",
        "flipped.png": (folder / "RGB-640x480.png").read_bytes().replace(b"IDAT", b"IDAX", 1),
        "huge.ppm": b"P6 2000000000 2000000000 255\n",
    }.items():
        (folder / name).write_bytes(data)
        yield folder / name
    for package, sub in (("skimage", "data"), ("sklearn", "datasets/images")):
        try:
            root = Path(__import__(package).__path__[0]) / sub
        except ImportError:
            continue
        yield from (p for p in sorted(root.rglob("*")) if p.suffix.lower() in (".png", ".jpg", ".tif", ".tiff", ".gif"))


@click.group()
def main() -> None:
    """Everyday pictures."""


out_option = click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)


@main.command()
@out_option
def corpus(out: Path) -> None:
    """Round trip of awkward pictures: each comes back at its size, or gives one clear sentence."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        for path in awkward(folder / "in"):
            packed, back = folder / f"{path.name}.lat", folder / f"{path.name}.png"
            row = job.attempt(job.compress, Job(str(path), str(packed)), job.Options(overwrite=True, first_frame=True))
            if row.status == "done":
                again = job.attempt(job.decompress, Job(str(packed), str(back)), job.Options(overwrite=True))
                with Image.open(path) as a, Image.open(back) as b:
                    assert again.status == "done" and a.size == b.size, (path, again)
            error = row.error.replace(str(path.parent) + os.sep, "") if row.error else None
            rows.append({"file": path.name, "status": row.status, "notes": row.notes, "error": error})
    counts = Counter(r["status"] for r in rows)
    click.echo(f"{len(rows)} pictures: {dict(counts)}")
    for failed in rows:
        if failed["error"]:
            click.echo(f"  {failed['error']}")
    out.write_text(json.dumps({"counts": counts, "rows": rows}, indent=1) + "\n")


@main.command()
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@out_option
def seams(images: Path, out: Path) -> None:
    """PSNR within 8 pixels of tile borders, tiled (256 pixels) against untiled, at the same places."""
    codec, result = Codec.load(), {}
    for quality in (10, 40, 80):
        squared: dict[int, list[float]] = {16: [], TILE: []}
        sizes = dict.fromkeys(squared, 0)
        for path in pictures(images).values():
            original = np.asarray(load(path))
            band = np.zeros(original.shape[:2], bool)
            for k in range(256, max(band.shape), 256):
                band[max(0, k - 8) : k + 8] = band[:, max(0, k - 8) : k + 8] = True
            for tile in squared:
                data = codec.encode_picture(original, Settings(quality, tile=tile))
                sizes[tile] += len(data)
                decoded = np.asarray(codec.decode(data))
                squared[tile].append(np.mean((decoded[band].astype(float) - original[band]) ** 2))
        tiled, whole = (float(np.mean([10 * math.log10(255**2 / m) for m in squared[t]])) for t in (16, TILE))
        result[quality] = {"tiled_db": tiled, "untiled_db": whole, "seam_db": whole - tiled, "bytes": sizes}
        click.echo(f"q {quality}: seam band {tiled:.3f} dB tiled, {whole:.3f} dB untiled: {whole - tiled:+.4f} dB")
    out.write_text(json.dumps({"weights": codec.name, "by_quality": result}, indent=1) + "\n")


REGION = (1000, 1000, 512, 512)  # of a large picture: left, top, width, height


def measured(*args: str) -> dict[str, float]:
    """Seconds and peak resident MB of a process."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "codec", *args], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise click.ClickException(f"lat {' '.join(args)} failed")
    return {"seconds": round(time.perf_counter() - start, 2), "peak_mb": round(usage.ru_maxrss / 1024)}


@main.command()
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--megapixels", default=12, show_default=True)
@out_option
def mosaic(images: Path, megapixels: int, out: Path) -> None:
    """Write a large JPEG made of photographs, to try the command on."""
    tiled(images, megapixels).save(out, "JPEG", quality=92, subsampling="4:4:4")


@main.command()
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--megapixels", default=100.0, show_default=True)
@out_option
def large(images: Path, megapixels: float, out: Path) -> None:
    """A mosaic of photographs: time and memory of whole processes, and of a 512 × 512 region."""
    left, top, across, down = REGION
    with tempfile.TemporaryDirectory() as name:
        source, packed, back = (str(Path(name) / f"mosaic.{s}") for s in ("jpg", "lat", "png"))
        picture = tiled(images, megapixels)
        width, height = picture.size
        picture.save(source, quality=92)
        original = np.asarray(picture.crop((left, top, left + across, top + down)))
        del picture
        limit = ("--max-pixels", str(width * height), "--overwrite")
        result = {"width": width, "height": height, "compress": measured("compress", source, "-o", packed, *limit)}
        result["bytes"] = os.path.getsize(packed)
        result["decompress"] = measured("decompress", packed, "-o", back, *limit)
        region = str(Path(name) / "region.png")
        result["region"] = measured("decompress", packed, "--region", ",".join(map(str, REGION)), "-o", region, *limit)
        with Image.open(region) as opened:
            result["region_psnr"] = round(psnr(original, np.asarray(opened)), 2)
        codec, data = Codec.load(), Path(packed).read_bytes()
        codec.decode_region(data, (0, 0, 64, 64))
        start = time.perf_counter()
        codec.decode_region(data, (width // 2, height // 2, width // 2 + across, height // 2 + down))
        result["region_in_memory_s"] = round(time.perf_counter() - start, 3)
    click.echo(json.dumps(result))
    out.write_text(json.dumps(result, indent=1) + "\n")


THUMBNAIL = (256, 256)
RIVALS: dict[str, dict] = {"JPEG": {"quality": 85}, "AVIF": {"quality": 70, "speed": 8}, "JXL": {"quality": 80}}


def thumbnail_seconds(data: bytes) -> float:
    """The least time of three in which Pillow makes a thumbnail of a file in memory, with `draft` where it has that."""
    best = math.inf
    for _ in range(3):
        start = time.process_time()
        with Image.open(io.BytesIO(data)) as image:
            image.thumbnail(THUMBNAIL)
            image.load()
        best = min(best, time.process_time() - start)
    return best


def thumbnail_row(codec: Codec, picture: Image.Image) -> dict[str, Any]:
    """Bytes of one picture's files, of its preview, and seconds of CPU for a thumbnail of each format."""
    plain = codec.encode(picture)
    data = previews.add(plain, made) if (made := previews.make(as_picture(picture), "auto", len(plain))) else plain
    row: dict[str, Any] = {"width": picture.width, "height": picture.height, "preview": len(data) - len(plain)}
    row["bytes"], row["seconds"] = {"lat": len(data)}, {"lat": thumbnail_seconds(data)}
    for format, options in RIVALS.items():
        if format in Image.SAVE:
            out = io.BytesIO()
            picture.save(out, format, **options)
            row["bytes"][format], row["seconds"][format] = len(out.getvalue()), thumbnail_seconds(out.getvalue())
    return row


def parts(whole: Image.Image, side: int, count: int) -> Iterator[Image.Image]:
    """Squares of a picture along its diagonal, as far as they lie in it."""
    width, height = min(side, whole.width), min(side, whole.height)
    for number in range(count):
        left, top = ((whole.width - width) * number // count, (whole.height - height) * number // count)
        yield whole.crop((left, top, left + width, top + height))


@main.command("previews")
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--megapixels", default=[0.3, 1, 3, 12, 50], multiple=True, type=float, show_default=True)
@click.option("--count", default=8, show_default=True, help="Pictures of each size.")
@out_option
def measure_previews(images: Path, megapixels: tuple[float, ...], count: int, out: Path) -> None:
    """Bytes and CPU time of thumbnails of 256 pixels beside JPEG (draft), AVIF and JPEG XL in Pillow."""
    kinds.register_plugins()
    codec, rows = Codec.load(), []
    whole = tiled(images, max(megapixels))
    for size in megapixels:
        for picture in parts(whole, round(math.sqrt(size * 1e6)), count):
            rows.append(row := thumbnail_row(codec, picture))
            times = ", ".join(f"{name} {seconds * 1000:.1f} ms" for name, seconds in row["seconds"].items())
            click.echo(f"{row['width']} × {row['height']}: preview of {row['preview']:,} bytes, thumbnail {times}")
    out.write_text(json.dumps({"weights": codec.name, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
