"""Rate-distortion of codecs on a folder of pictures, with real file bytes.

    python -m bench.run --images DIR --codecs lat,jpeg --anchors DIR_OF_JSON --out results.json

Every row is one picture at one setting: bits per pixel of the whole file, PSNR (RGB) and MS-SSIM of the 8-bit
pixels, seconds to encode and decode in memory, after one warm-up. Averages and BD-rates derive from the rows.
"""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image

from bench.codecs import CODECS
from bench.metrics import bd_rate, ms_ssim, psnr


def processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def measure(codec, image: Image.Image, setting: int) -> dict:
    """One row."""
    original = np.asarray(image)
    start = time.perf_counter()
    data = codec.encode(image, setting)
    encoded = time.perf_counter()
    decoded = np.asarray(codec.decode(data))
    done = time.perf_counter()
    return {
        "setting": setting,
        "bytes": len(data),
        "bpp": 8 * len(data) / (image.width * image.height),
        "psnr": psnr(original, decoded),
        "ms_ssim": ms_ssim(original, decoded),
        "encode_s": round(encoded - start, 4),
        "decode_s": round(done - encoded, 4),
    }


def means(rows: list[dict]) -> dict[str, list]:
    """Dataset means per setting, in order of rate."""
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


@click.command()
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--codecs", default="lat,jpeg", show_default=True, help=f"Comma-separated, of {', '.join(CODECS)}.")
@click.option("--model", default="fast-1", show_default=True, help="Weights for lat: name or path.")
@click.option(
    "--anchors",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of JSON curves to compare with as well.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--threads", type=int, default=torch.get_num_threads(), show_default=True)
def main(images: Path, codecs: str, model: str, anchors: Path | None, out: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    files = [p for p in sorted(images.iterdir()) if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".tif")]
    if not files:
        raise click.ClickException(f"{images}: no pictures")
    pictures = {p.name: Image.open(p).convert("RGB") for p in files}
    result = {"processor": processor(), "threads": threads, "platform": platform.platform(), "codecs": {}}
    for name in codecs.split(","):
        if name not in CODECS:
            raise click.UsageError(f"unknown codec {name}; known: {', '.join(CODECS)}")
        try:
            codec, rows = CODECS[name](model), []
        except ImportError as error:
            click.echo(f"{name}: left out, {error}", err=True)
            continue
        measure(codec, next(iter(pictures.values())), codec.settings[0])
        for file, image in pictures.items():
            rows += [{"image": file} | measure(codec, image, s) for s in codec.settings]
            click.echo(f"\r{name}: {len(rows)}/{len(pictures) * len(codec.settings)}", nl=False, err=True)
        click.echo(err=True)
        pixels = sum(i.width * i.height for i in pictures.values()) * len(codec.settings) / 1e6
        result["codecs"][name] = {
            "version": codec.version,
            "encode_mp_per_s": round(pixels / sum(r["encode_s"] for r in rows), 2),
            "decode_mp_per_s": round(pixels / sum(r["decode_s"] for r in rows), 2),
            "mean": means(rows),
            "rows": rows,
        }
    curves = {n: (c["mean"]["bpp"], c["mean"]["psnr"]) for n, c in result["codecs"].items()}
    if anchors:
        curves |= {f"published {n}": c for n, c in anchor_curves(anchors).items()}
    result["bd_rate_psnr"] = {}
    for name in result["codecs"]:
        table = {}
        for other, curve in curves.items():
            if other != name:
                percent, low, high = bd_rate(*curve, *curves[name])
                table[other] = {"percent": round(percent, 2), "from_db": round(low, 2), "to_db": round(high, 2)}
                click.echo(f"{name} against {other}: {percent:+.2f} %  ({low:.2f} … {high:.2f} dB)")
        result["bd_rate_psnr"][name] = table
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
