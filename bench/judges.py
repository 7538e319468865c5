"""What judges say that nothing here is trained on, of files with the same bytes: Butteraugli and ColorVideoVDP.

    python -m bench.judges --images KODAK --codecs lat,lat-psnr,avif-s6,jxl --out bench/results/judges.json

For each picture and rate the two settings are found whose files lie around the rate; what a judge says of them is
interpolated over the logarithm of the bytes. Butteraugli is libjxl's `butteraugli_main` (Debian: libjxl-devtools), its
largest and its 3-norm: less is better. ColorVideoVDP (PyPI: cvvdp), on its standard_4k display, judges in just
objectionable differences, 10 are none; it imports torchvision, which has to fit torch: beside a build of torch for
CPUs, `pip install --no-deps cvvdp torchvision` and what they miss. A judge that is not installed is left out.
"""

from __future__ import annotations

import functools
import json
import math
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image

from codec.weights import DEFAULT

from .codecs import Codec, build, complete_torchvision
from .photos import load, pictures, spread

SETTINGS = range(101)  # of codecs with a quality of 0 … 100


def butteraugli() -> Callable[[np.ndarray, np.ndarray], dict[str, float]]:
    """Raises: ImportError."""
    tool = shutil.which("butteraugli_main")
    if tool is None:
        raise ImportError("butteraugli_main is not installed (libjxl-devtools)")

    def judge(original: np.ndarray, decoded: np.ndarray) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(Path(folder) / f"{i}.png") for i in range(2)]
            for path, pixels in zip(paths, (original, decoded)):
                Image.fromarray(pixels).save(path, compress_level=1)
            out = subprocess.run([tool, *paths], check=True, capture_output=True, text=True).stdout
        largest, norm = re.findall(r"^(?:3-norm: )?([\d.]+)$", out, re.MULTILINE)
        return {"butteraugli": float(largest), "butteraugli_3_norm": float(norm)}

    return judge


def cvvdp() -> Callable[[np.ndarray, np.ndarray], dict[str, float]]:
    """Raises: ImportError."""
    complete_torchvision()
    import pycvvdp

    metric = pycvvdp.cvvdp(display_name="standard_4k", device=torch.device("cpu"))

    def judge(original: np.ndarray, decoded: np.ndarray) -> dict[str, float]:
        jod, _ = metric.predict(decoded, original, dim_order="HWC")
        return {"cvvdp": float(jod)}

    return judge


JUDGES = {"butteraugli": butteraugli, "cvvdp": cvvdp}


def around(codec: Codec, image: Image.Image, size: float) -> list[tuple[int, bytes]]:
    """(bytes, file) just below and just above a size, by bisection over the settings; one where there is no other."""

    @functools.cache
    def file(setting: int) -> bytes:
        return codec.encode(image, setting)

    low, high = SETTINGS[0], SETTINGS[-1]
    if len(file(low)) > size or len(file(high)) < size:
        return [(len(end), end) for end in (file(low if len(file(low)) > size else high),)]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(file(middle)) <= size else (low, middle)
    return [(len(file(s)), file(s)) for s in (low, high)]


def judged(codec: Codec, image: Image.Image, bpp: float, judges: list[Callable]) -> dict[str, float]:
    """What judges say of a picture at a rate, and the rate that it could be had at."""
    size, original, said = bpp * image.width * image.height / 8, np.asarray(image), []
    for length, data in around(codec, image, size):
        decoded = np.asarray(codec.decode(data))
        said.append({"log_bpp": math.log(8 * length / (image.width * image.height))})
        for judge in judges:
            said[-1] |= judge(original, decoded)
    first, last = said[0], said[-1]
    width = last["log_bpp"] - first["log_bpp"]
    part = (math.log(bpp) - first["log_bpp"]) / width if width else 0.0
    found = {name: first[name] + part * (last[name] - first[name]) for name in first}
    return {"bpp": math.exp(found.pop("log_bpp"))} | found


@click.command()
@click.option("--images", type=click.Path(exists=True, path_type=Path), help="Folder of pictures, or one.")
@click.option("--count", default=6, show_default=True, help="Pictures, spread evenly over the folder.")
@click.option(
    "--codecs", default="lat,lat-psnr,avif-s6,jxl", show_default=True, help="Those with a quality of 0 … 100."
)
@click.option("--bpp", "rates", type=float, multiple=True, default=(0.25, 0.5, 1.0), show_default=True)
@click.option("-m", "--model", default=DEFAULT, show_default=True, help="Weights for lat: name or path.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Codecs in it are kept.")
def main(images: Path | None, count: int, codecs: str, rates: tuple[float, ...], model: str, out: Path) -> None:
    judges = {}
    for name, make in JUDGES.items():
        try:
            judges[name] = make()
        except ImportError as error:
            click.echo(f"{name}: left out, {error}", err=True)
    if not judges:
        raise click.ClickException("no judge is installed")
    files = spread(list(pictures(images).items()), count)
    result = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {"codecs": {}}
    result |= {"pictures": [name for name, _ in files], "judges": {n: about(n) for n in judges}}
    for name in codecs.split(","):
        codec = build(name, model, {})
        at = {}
        for bpp in rates:
            rows = [judged(codec, load(path), bpp, list(judges.values())) for _, path in files]
            at[f"{bpp:g}"] = {key: round(float(np.mean([r[key] for r in rows])), 3) for key in rows[0]}
            said = ", ".join(f"{key} {value:.2f}" for key, value in at[f"{bpp:g}"].items())
            click.echo(f"{name} at {bpp:g}: {said}")
        result["codecs"][name] = {"version": codec.version, "tuned": codec.tuned, "at": at}
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def about(judge: str) -> str:
    return f"cvvdp {version('cvvdp')}, standard_4k" if judge == "cvvdp" else "butteraugli_main of libjxl"


if __name__ == "__main__":
    main()
