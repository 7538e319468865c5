"""Pictures that are no photographs, by lat and beside PNG, lossless WebP, AVIF and JPEG XL.

python -m bench graphics --images tests/photos/kodim23.png --out bench/results/graphics.json

Those made by code use Pillow's own font, so that they are the same wherever Pillow is; none is in a training mix.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from codec import Codec, container, weights
from codec.arguments import as_picture
from codec.bench.codecs import Avif6, JpegXL
from codec.bench.metrics import psnr, ssimulacra2
from codec.config import LATENT
from codec.errors import install
from codec.settings import Settings
from codec.tiles import tile_kinds
from codec.train import graphics as synthetic

SIZE, SEED = 256, 77_000_000
QUALITIES = (50, 90)
BAND = 8  # pixels beside a border


def corpus(photo: Image.Image) -> dict[str, Image.Image]:
    """Every kind of synthetic graphics, what a folder has besides, and what scikit-image ships."""
    pixels = [np.asarray(photo)]
    found = {
        kind.__name__.strip("_"): synthetic.make(k, SEED + k, SIZE, [], pixels)
        for k, kind in enumerate(synthetic.KINDS)
    }
    found["drawing, 1 bit"] = synthetic.make(5, SEED + 50, SIZE, [], []).convert("L").point(lambda v: 255 * (v > 127))
    found["dithered, 1 bit"] = photo.crop((0, 0, SIZE, SIZE)).convert("1").convert("L")
    found["flat art, palette"] = (
        synthetic.make(6, SEED + 60, SIZE, [], []).quantize(24, dither=Image.Dither.NONE).convert("RGB")
    )
    found["half photograph, half text"] = mosaic(photo, found["page"])
    found["page of several tiles"] = synthetic.make(0, SEED + 70, 1100, [], []).crop((0, 0, 1100, 300))
    try:
        from skimage import data
    except ImportError:
        raise click.ClickException(f"needs scikit-image: {install('bench')}") from None
    found |= {f"skimage {name}": Image.fromarray(getattr(data, name)()) for name in ("page", "text", "clock")}
    return found


def mosaic(photo: Image.Image, page: Image.Image) -> Image.Image:
    """Part of the photograph above, text below; the border is that of no tile and no latent."""
    width, height = page.size
    out = Image.new("RGB", (width, 2 * height - 7), "white")
    out.paste(photo.crop((0, 0, width, height - 7)))
    out.paste(page, (0, height - 7))
    return out


def saved(image: Image.Image, format: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def score(image: Image.Image, data: bytes, decode: Callable[[bytes], Image.Image]) -> dict:
    """Bytes, and of lossy files PSNR and SSIMULACRA 2."""
    a, b = (np.asarray(picture.convert("RGB")) for picture in (image, decode(data)))
    if np.array_equal(a, b):
        return {"bytes": len(data), "lossless": True}
    return {"bytes": len(data), "psnr": round(psnr(a, b), 2), "ssimulacra2": round(ssimulacra2(a, b) or 0, 2)}


def rivals(image: Image.Image) -> dict[str, dict]:
    """By format and setting."""
    found = {
        "png": {"bytes": len(saved(image, "PNG", optimize=True)), "lossless": True},
        "webp lossless": {"bytes": len(saved(image, "WEBP", lossless=True, method=6, quality=100)), "lossless": True},
    }
    colour = image.convert("RGB")
    for name, make, settings in (("avif", Avif6, (50, 80)), ("jxl", JpegXL, (50, 90))):
        try:
            rival = make("")
        except ImportError:
            continue
        for setting in settings:
            found[f"{name} {setting}"] = score(colour, rival.encode(colour, setting), rival.decode)
    if "jxl 50" in found:
        found["jxl lossless"] = {"bytes": len(saved(image, "JXL", lossless=True, effort=7)), "lossless": True}
    return found


def ours(codec: Codec, image: Image.Image) -> dict[str, dict]:
    """By quality, with the kinds of tiles; what learned tiles alone are, too."""
    found = {}
    for quality in QUALITIES:
        data = codec.encode(image, quality)
        found[f"q{quality}"] = score(image, data, codec.decode) | {"kinds": tile_kinds(container.parse(data))}
        if found[f"q{quality}"]["kinds"]["learned"] != sum(found[f"q{quality}"]["kinds"].values()):
            plain = container.build(codec.learned.encode(as_picture(image), Settings(quality)))
            found[f"q{quality} learned"] = score(image, plain, codec.decode)
    if "lossless" not in found[f"q{quality}"]:  # else that is the same file
        data = codec.encode(image, lossless=True)
    found["lossless"] = score(image, data, codec.decode)
    return found


def seam(codec: Codec, image: Image.Image, quality: int, border: int) -> dict[str, float]:
    """PSNR of the last rows of learned pixels above a patch, of those further up, and of both without a patch."""
    pixels = np.asarray(image)
    end = border // LATENT * LATENT  # learned pixels end where the block does that has both
    files = {"with": codec.encode(image, quality)}
    files["without"] = container.build(codec.learned.encode(as_picture(image), Settings(quality)))
    found = {}
    for name, data in files.items():
        decoded = np.asarray(codec.decode(data))
        for where, rows in (("beside", slice(end - BAND, end)), ("further", slice(end - 5 * BAND, end - BAND))):
            found[f"{where} {name}"] = round(psnr(pixels[rows], decoded[rows]), 3)
    return found


@click.command()
@click.option("--images", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("-m", "--model", default=weights.DEFAULT, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(path: Path, model: str, out: Path) -> None:
    """Bytes, PSNR and SSIMULACRA 2 of graphics. --images: one photograph, which some of them have in them."""
    with Image.open(path) as opened:
        photo = opened.convert("RGB")
    codec = Codec.load(model)
    result: dict[str, dict[str, Any]] = {}
    for name, image in corpus(photo).items():
        result[name] = {"size": image.size, "lat": ours(codec, image), "others": rivals(image)}
        limit = result[name]["others"]["webp lossless"]["bytes"] * 1.02 + 200
        result[name]["within"] = {q: result[name]["lat"][q]["bytes"] <= limit for q in ("q50", "q90")}
        click.echo(f"{name}: {json.dumps(result[name])}")
    page = corpus(photo)["half photograph, half text"]
    seams = {f"q{quality}": seam(codec, page, quality, page.height // 2 - 3) for quality in QUALITIES}
    click.echo(f"seam: {seams}")
    out.write_text(json.dumps({"weights": codec.name, "pictures": result, "seam": seams}, indent=1) + "\n")


if __name__ == "__main__":
    main()
