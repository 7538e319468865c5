"""Copy the measured rate-distortion points of a bench run into the card of the weights it used.

python -m bench.card bench/results/kodak.json weights/fast-1.json

With the card of earlier weights, also the bytes against theirs at equal PSNR (git has old cards):

git show REVISION:weights/fast-0.json > before.json
python -m bench.card bench/results/kodak.json weights/fast-1.json --before before.json
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from codec.bench.metrics import bd_rate

JSON_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("result", type=JSON_FILE)
@click.argument("card", type=JSON_FILE)
@click.option("--before", type=JSON_FILE, help="Card of earlier weights, with rate-distortion points.")
def main(result: Path, card: Path, before: Path | None) -> None:
    run, described = json.loads(result.read_text()), json.loads(card.read_text())
    found = [c for c in run["codecs"].values() if f" {described['name']}," in c["version"]]
    if not found:
        raise click.ClickException(f"{result} has no rows of {described['name']}")
    points = described["rd_points"] = {"from": result.name, **found[0]["mean"]}
    if before:
        earlier = json.loads(before.read_text())
        curves = [(p["bpp"], p["psnr"]) for p in (earlier["rd_points"], points)]
        percent, low, high = (round(v, 2) for v in bd_rate(*curves[0], *curves[1]))
        points["against"] = {"weights": earlier["name"], "bd_rate_percent": percent, "psnr": [low, high]}
        click.echo(f"{percent:+} % bytes against {earlier['name']} from {low} to {high} dB")
    card.write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
