"""BD-rate of every curve of a run against one of them, over ranges of PSNR: where a codec gains, and where it does not.

    python -m bench.ranges bench/results/kodak.json --against "published jpeg" --psnr 26.3 40.5 --psnr 26.9 40.5 \\
        --psnr 28 31 --psnr 31 34 --psnr 34 37 --psnr 37 40 --out bench/results/ranges.json

BD-rate over all that two curves have in common depends on where they end. Over a fixed range it does not: curves that
do not reach all of a range have no figure there.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import click

from codec.bench.metrics import bd_rate


def over_ranges(
    curves: dict[str, dict], against: str, ranges: list[tuple[float, float]]
) -> dict[str, list[float | None]]:
    """[curve][range]: % bytes against the reference, None where one of the two does not reach all of the range."""
    reference = curves[against]
    table: dict[str, list[float | None]] = {}
    for name, curve in curves.items():
        row: list[float | None] = []
        table[name] = row
        for wanted in ranges:
            percent, *covered = bd_rate(reference["bpp"], reference["psnr"], curve["bpp"], curve["psnr"], wanted)
            row.append(None if math.isnan(percent) or tuple(covered) != wanted else round(percent, 2))
    return table


@click.command()
@click.argument("result", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--against", required=True, help="A codec of the run, or a published curve: 'published jpeg'.")
@click.option("--psnr", "ranges", type=(float, float), multiple=True, required=True, help="Low and high, dB.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path))
def main(result: Path, against: str, ranges: tuple[tuple[float, float], ...], out: Path | None) -> None:
    run = json.loads(result.read_text())
    curves = {name: codec["mean"] for name, codec in run["codecs"].items()}
    curves |= {f"published {name}": curve for name, curve in run["published"].items()}
    if against not in curves:
        raise click.ClickException(f"{result} has no curve {against!r}; it has {', '.join(map(repr, curves))}")
    table = over_ranges(curves, against, [*ranges])
    heads = [f"{low:g} … {high:g} dB" for low, high in ranges]
    click.echo(f"{'% bytes against ' + against:52}" + "".join(f"{head:>17}" for head in heads))
    for name, row in table.items():
        click.echo(f"{name:52}" + "".join(f"{'–' if p is None else format(p, '+.2f'):>17}" for p in row))
    if out:
        out.write_text(json.dumps({"from": result.name, "against": against, "psnr": ranges, "curves": table}) + "\n")


if __name__ == "__main__":
    main()
