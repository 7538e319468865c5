"""Rate-distortion of codecs on a folder of pictures, with real file bytes.

    lat bench --quick --html report.html
    lat bench --images DIR --codecs lat,jpeg,avif-s6 --anchors DIR_OF_JSON --out results.json

Every row is one picture at one setting: bits per pixel of the whole file, PSNR (RGB) and MS-SSIM of the 8-bit
pixels, seconds to encode and decode in memory (median of --repeats, after a warm-up). Averages and BD-rates
derive from the rows. Rows are stored as they are finished; the same command goes on after a stop.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import statistics
import time
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image

from codec.files import write_bytes

from .codecs import CODECS
from .metrics import bd_rate, ms_ssim, psnr

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
QUICK = ("lat", "jpeg", "jpeg420", "webp", "avif-s6", "jxl")


def processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def timed(action, repeats: int):
    """Result of a call and the median of its seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = action()
        times.append(time.perf_counter() - start)
    return result, round(statistics.median(times), 4)


def measure(codec, image: Image.Image, setting: int, repeats: int) -> dict:
    """One row."""
    data, encode_s = timed(lambda: codec.encode(image, setting), repeats)
    decoded, decode_s = timed(lambda: np.asarray(codec.decode(data)), repeats)
    original = np.asarray(image)
    return {
        "setting": setting,
        "bytes": len(data),
        "bpp": 8 * len(data) / (image.width * image.height),
        "psnr": psnr(original, decoded),
        "ms_ssim": ms_ssim(original, decoded),
        "encode_s": encode_s,
        "decode_s": decode_s,
    }


def means(rows: list[dict]) -> dict[str, list]:
    """Dataset means per setting, in the order of the settings."""
    out: dict[str, list] = {"setting": [], "bpp": [], "psnr": [], "ms_ssim": []}
    for setting in dict.fromkeys(r["setting"] for r in rows):
        here = [r for r in rows if r["setting"] == setting]
        out["setting"].append(setting)
        for key in ("bpp", "psnr", "ms_ssim"):
            values = [r[key] for r in here if r[key] is not None]
            out[key].append(float(np.mean(values)) if values else None)
    return out


def anchor_curves(folder: Path) -> dict[str, tuple[list, list]]:
    """(bpp, PSNR) of published results, in CompressAI's JSON layout."""
    curves = {}
    for path in sorted(folder.glob("*.json")):
        results = json.loads(path.read_text())["results"]
        curves[path.stem] = (results["bpp"], results.get("psnr-rgb") or results["psnr"])
    return curves


def bd_rates(codecs: dict[str, dict], anchors: Path | None) -> dict[str, dict]:
    """Each measured codec against all others and the published curves, on dataset means, in % with the dB range."""
    curves = {name: (c["mean"]["bpp"], c["mean"]["psnr"]) for name, c in codecs.items()}
    if anchors:
        curves |= {f"published {name}": curve for name, curve in anchor_curves(anchors).items()}
    tables = {}
    for name in codecs:
        tables[name] = {}
        for other, curve in curves.items():
            if other != name:
                percent, low, high = bd_rate(*curve, *curves[name])
                tables[name][other] = {"percent": round(percent, 2), "from_db": round(low, 2), "to_db": round(high, 2)}
    return tables


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
        if spec:
            folder = Path(spec.submodule_search_locations[0]) / inside
            found += [folder / name for name in files if (folder / name).exists()]
    return found


def pictures(images: Path | None) -> list[Path]:
    """Files to measure.

    Raises: click.ClickException.
    """
    if images is None:
        if files := shipped_photographs():
            return files
        raise click.ClickException("no --images given, and neither scikit-image nor scikit-learn is installed")
    if files := [p for p in sorted(images.iterdir()) if p.suffix.lower() in SUFFIXES]:
        return files
    raise click.ClickException(f"{images}: no pictures")


@click.command()
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of pictures. Default: photographs that scikit-image and scikit-learn carry.",
)
@click.option("--codecs", help=f"Comma-separated, of {', '.join(CODECS)}. Default: all; with --quick the fast ones.")
@click.option("--model", default="fast-1", show_default=True, help="Weights for lat: name or path.")
@click.option(
    "--anchors",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of JSON curves to compare with as well.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("lat-bench.json"), show_default=True
)
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a report page too.")
@click.option("--quick", is_flag=True, help="Every second setting, fast rivals: a few minutes.")
@click.option("--threads", type=int, default=torch.get_num_threads(), show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=1, show_default=True, help="Timings are medians of so many.")
def main(
    images: Path | None,
    codecs: str | None,
    model: str,
    anchors: Path | None,
    out: Path,
    html: Path | None,
    quick: bool,
    threads: int,
    repeats: int,
) -> None:
    """Measure this codec and its rivals on pictures: real file bytes, quality, seconds."""
    torch.set_num_threads(threads)
    names = codecs.split(",") if codecs else list(QUICK if quick else CODECS)
    if unknown := set(names) - set(CODECS):
        raise click.UsageError(f"unknown codec {', '.join(unknown)}; known: {', '.join(CODECS)}")
    files = pictures(images)
    out.parent.mkdir(parents=True, exist_ok=True)
    machine = {"processor": processor(), "threads": threads, "platform": platform.platform(), "repeats": repeats}
    result = machine | {"codecs": {}, "bd_rate_psnr": {}}
    if out.exists():
        before = json.loads(out.read_text())
        if {k: before.get(k) for k in machine} == machine:
            result = before

    def store() -> None:
        write_bytes(str(out), json.dumps(result, indent=1).encode() + b"\n", overwrite=True)

    for name in names:
        try:
            codec = CODECS[name](model)
        except ImportError as error:
            click.echo(f"{name}: left out, {error}", err=True)
            continue
        entry = result["codecs"].get(name)
        if entry is None or entry["version"] != codec.version:
            entry = result["codecs"][name] = {"version": codec.version, "rows": []}
        have = {(r["image"], r["setting"]) for r in entry["rows"]}
        settings = codec.settings[::2] if quick else codec.settings
        todo = [(p, s) for p in files for s in settings if (p.name, s) not in have]
        with click.progressbar(todo, label=f"{name:10}", show_pos=True, file=click.get_text_stream("stderr")) as bar:
            warm = None
            for path, setting in bar:
                with Image.open(path) as opened:
                    image = opened.convert("RGB")
                if warm != path:
                    codec.decode(codec.encode(image, setting))
                    warm = path
                entry["rows"].append({"image": path.name} | measure(codec, image, setting, repeats))
                if setting == settings[-1]:
                    store()
        rows = entry["rows"]
        pixels = sum(8 * r["bytes"] / r["bpp"] for r in rows) / 1e6
        entry["encode_mp_per_s"] = round(pixels / sum(r["encode_s"] for r in rows), 2)
        entry["decode_mp_per_s"] = round(pixels / sum(r["decode_s"] for r in rows), 2)
        entry["mean"] = means(rows)
    result["bd_rate_psnr"] = bd_rates(result["codecs"], anchors)
    store()
    for name, table in result["bd_rate_psnr"].items():
        for other, rate in table.items():
            if name == "lat" or "lat" not in result["codecs"]:
                span = f"{rate['from_db']} … {rate['to_db']} dB"
                click.echo(f"{name} against {other}: {rate['percent']:+.2f} %  ({span})")
    click.echo(f"rows and means: {out}")
    if html:
        from .report import write

        write(result, files, model, html)


if __name__ == "__main__":
    main()
