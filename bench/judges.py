"""The panel over rates: BD-rates of codecs against AVIF by judges that nothing here is trained on, and by look.

    python -m bench judges --images KODAK --name kodak --out bench/results/judges.json
    python -m bench judges --images GB82 --name gb82 --out bench/results/judges.json

Every picture passes through a codec at ten of its settings, as real files, on one thread; `panel.py` and `look.py`
judge what comes back. A picture's rows are stored when they are complete: a run that was stopped goes on where it was.
Rows of another version of a codec or a judge are dropped. A judge whose package is missing is left out.

Curves are means over pictures. A BD-rate is taken where the reference needs 0.1 … 0.4, 0.4 … 0.9 and 0.9 … 2 bits a
pixel. The weights' cards say which judge they were trained on (`panel.trained_on`); the others are the untrained ones,
whose median and worst are the summary.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from scipy.interpolate import PchipInterpolator

from codec import weights
from codec.bench.base import Codec
from codec.bench.codecs import Lat, build
from codec.bench.metrics import bd_rate
from codec.bench.photos import load, pictures
from codec.runs.files import write_bytes

from . import panel
from .panel import LOOK, Judge, Measure

REFERENCE = "avif-s6"
CODECS = (REFERENCE, "avif-ssim", "avif-s4", "jxl", "jpegli", "lat", "lat-best")
RANGES = ((0.1, 0.4), (0.4, 0.9), (0.9, 2.0))  # bits a pixel of the reference
RATES = (0.15, 0.3, 0.6, 1.0)  # bits a pixel at which the contrast that is kept is told
SETTINGS = 10  # of each codec


def judges() -> dict[str, Judge]:
    return panel.JUDGES | LOOK


def installed() -> tuple[dict[str, Measure], dict[str, str]]:
    """What measures, and its version, by judge."""
    measures, versions = {}, {}
    for name, judge in judges().items():
        try:
            measures[name], versions[name] = judge.make()
        except ImportError as error:
            click.echo(f"{name}: left out, {error}", err=True)
    return measures, versions


def thinned(settings: Sequence[int], count: int = SETTINGS) -> list[int]:
    """At most so many, evenly, both ends among them."""
    at = np.linspace(0, len(settings) - 1, min(count, len(settings))).round().astype(int)
    return [settings[i] for i in at]


def evaluate(codec: Codec, path: Path, settings: Sequence[int], measures: dict[str, Measure]) -> list[dict]:
    """A row a setting: bits a pixel and what every judge says. Raises: click.ClickException."""
    image = load(path)
    if min(image.size) < panel.SMALLEST:
        raise click.ClickException(f"{path}: judges need {panel.SMALLEST} pixels a side, not {image.size}")
    original, rows = np.asarray(image), []
    for setting in settings:
        data = codec.encode(image, setting)
        decoded = np.asarray(codec.decode(data))
        row = {"setting": setting, "bpp": 8 * len(data) / (image.width * image.height)}
        rows.append(row | {name: measure(original, decoded) for name, measure in measures.items()})
    return rows


@dataclass
class Results:
    """A result file: sets of pictures, codecs in each, rows by picture. It is replaced whole or not at all."""

    path: Path

    def __post_init__(self) -> None:
        found = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        self.sets: dict[str, dict] = found.get("sets", {})

    def entry(self, set_name: str, codec: str, about: dict) -> dict:
        """Rows by picture of a codec; those that were measured otherwise are dropped."""
        codecs = self.sets.setdefault(set_name, {"codecs": {}})["codecs"]
        if {key: codecs.get(codec, {}).get(key) for key in about} != about:
            codecs[codec] = about | {"rows": {}}
        return codecs[codec]

    def store(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(str(self.path), json.dumps({"sets": self.sets}, indent=1).encode() + b"\n", overwrite=True)


def curve(rows: dict[str, list[dict]], key: str) -> list[float]:
    """Means over pictures, a setting after the other."""
    return np.mean([[row[key] for row in of_picture] for of_picture in rows.values()], axis=0).tolist()


def quality_at(bpp: Sequence[float], quality: Sequence[float], rate: float) -> float:
    """The quality of a curve at a rate; that of its nearer end beyond it."""
    rates, qualities = zip(*sorted(zip(bpp, quality)))
    return float(PchipInterpolator(np.log(rates), qualities)(np.log(min(max(rate, rates[0]), rates[-1]))))


def rates_by_range(reference: dict, other: dict, name: str) -> list[float | None]:
    """BD-rate in % of a codec's rows against the reference's by one judge, for each of RANGES; None without overlap."""
    curves = [
        (curve(rows, "bpp"), [judges()[name].quality(value) for value in curve(rows, name)])
        for rows in (reference, other)
    ]
    found: list[float | None] = []
    for rates in RANGES:
        low, high = (quality_at(*curves[0], rate) for rate in rates)
        percent = bd_rate(*curves[0], *curves[1], within=(low, high))[0]
        found.append(None if np.isnan(percent) else round(percent, 2))
    return found


def summary(found: dict[str, list[float | None]], trained: Sequence[str]) -> list[dict | None]:
    """Median and worst BD-rate of the untrained judges of the panel, for each of RANGES."""
    untrained = [name for name in panel.JUDGES if name in found and name not in trained]
    out: list[dict | None] = []
    for i in range(len(RANGES)):
        rates = [(rate, name) for name in untrained if (rate := found[name][i]) is not None]
        if rates:
            worst, judge = max(rates)
            out.append({"median": round(float(np.median([r for r, _ in rates])), 2), "worst": worst, "judge": judge})
        else:
            out.append(None)
    return out


def derive(of_set: dict) -> None:
    """Put a set's BD-rates, summaries and kept contrasts beside its rows, of the pictures that every codec has."""
    done = {name: entry for name, entry in of_set["codecs"].items() if entry["rows"]}
    if REFERENCE not in done:
        return
    shared = set.intersection(*(set(entry["rows"]) for entry in done.values()))
    of_set["pictures"] = sorted(shared)
    rows = {name: {p: entry["rows"][p] for p in sorted(shared)} for name, entry in done.items()}
    for name, entry in done.items() if shared else ():
        bpp = curve(rows[name], "bpp")
        if "contrast" in entry["judges"]:
            kept = curve(rows[name], "contrast")
            entry["contrast_kept"] = [round(quality_at(bpp, kept, rate), 3) for rate in RATES]
        if name != REFERENCE:
            named = [judge for judge in entry["judges"] if judge != "contrast" and judge in done[REFERENCE]["judges"]]
            entry["bd_rate"] = {judge: rates_by_range(rows[REFERENCE], rows[name], judge) for judge in named}
            entry["untrained"] = summary(entry["bd_rate"], entry["trained_on"])


def described(codec: Codec, versions: dict[str, str], settings: Sequence[int]) -> dict:
    """What rows depend on: those of other weights, packages or settings are others."""
    about = {"version": codec.version, "tuned": codec.tuned, "settings": list(settings), "judges": versions}
    own = codec.codec.weights if isinstance(codec, Lat) else None
    card = {"tune": own.tune} | weights.cards().get(own.name, {}) if own else None
    return about | {"trained_on": panel.trained_on(card) if card else []}


@click.command()
@click.option(
    "--images", type=click.Path(exists=True, path_type=Path), required=True, help="Folder of pictures, or one."
)
@click.option("--name", required=True, help="Of the set of pictures: kodak, gb82.")
@click.option("--codecs", default=",".join(CODECS), show_default=True)
@click.option("--settings", "count", default=SETTINGS, show_default=True, help="Of each codec, evenly.")
@click.option("-m", "--model", default=weights.DEFAULT, show_default=True, help="Weights for lat: name or path.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Rows in it are kept.")
def main(images: Path, name: str, codecs: str, count: int, model: str, out: Path) -> None:
    """Ask the panel about codecs, picture by picture; stop it and run it again at will."""
    torch.set_num_threads(1)
    measures, versions = installed()
    if not measures:
        raise click.ClickException("no judge is installed")
    results, files = Results(out), pictures(images)
    for codec_name in codecs.split(","):
        try:
            codec = build(codec_name, model, {})
        except ImportError as error:
            click.echo(f"{codec_name}: left out, {error}", err=True)
            continue
        if isinstance(codec, Lat):
            codec.use_threads(1)
        settings = thinned(codec.settings, count)
        entry = results.entry(name, codec_name, described(codec, versions, settings))
        for picture, path in files.items():
            if picture not in entry["rows"]:
                entry["rows"][picture] = evaluate(codec, path, settings, measures)
                results.store()
                click.echo(f"{codec_name}: {picture}", err=True)
        derive(results.sets[name])
        results.store()
        show(codec_name, entry)


def show(name: str, entry: dict) -> None:
    """The summary of a codec, a line a range."""
    for rates, found in zip(RANGES, entry.get("untrained", ())):
        if found:
            words = f"median {found['median']:+.1f} %, worst {found['worst']:+.1f} % by {found['judge']}"
            click.echo(f"{name}, {rates[0]:g} … {rates[1]:g} bpp: {words}")


if __name__ == "__main__":
    main()
