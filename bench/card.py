"""Copy the measured rate-distortion points of a bench run into the card of the weights it used.

python -m bench.card bench/results/kodak.json weights/fast-1.json
"""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("result", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("card", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(result: Path, card: Path) -> None:
    run, described = json.loads(result.read_text()), json.loads(card.read_text())
    found = [c for c in run["codecs"].values() if f" {described['name']}," in c["version"]]
    if not found:
        raise click.ClickException(f"{result} has no rows of {described['name']}")
    described["rd_points"] = {"from": result.name, **found[0]["mean"]}
    card.write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
