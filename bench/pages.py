"""Write the tables of the Markdown pages from the committed results, between their marks.

    python -m bench pages

A page holds `<!-- table: NAME -->` … `<!-- end -->`; what lies between is replaced by the table of that name below.
Prose is the pages' own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from . import tables

ROOT = Path(__file__).parent.parent
SETS = ("kodak", "gb82")  # of pictures that judges have seen
PAGES = (
    "README.md",
    "bench/RESULTS.md",
    "codec/edit/EDIT.md",
    "codec/runs/FILES.md",
    "codec/engine/ENGINES.md",
    "codec/latent/LATENTS.md",
)
TABLE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Table:
    """A table of the pages: what writes it, the results it is made of, and the codecs of a run that it shows."""

    make: Callable[[], str]
    results: tuple[str, ...]
    codecs: tuple[str, ...] = ()

    def weights(self) -> list[str]:
        """Names of the weights that its figures were measured with."""
        return sorted(set().union(*(named(tables.result(name), self.codecs) for name in self.results)))

    def text(self) -> str:
        """In Markdown, with the weights below; where nothing was measured yet, the page says so."""
        if not all((tables.RESULTS / f"{name}.json").exists() for name in self.results):
            return "*Not measured yet with the weights of this release.*\n"
        names = ", ".join(self.weights())
        return self.make() + (f"\nWeights: {names}.\n" if names else "")


def named(found: object, codecs: tuple[str, ...] = ()) -> set[str]:
    """Every `weights` inside a result, and those of its codecs: of all, or of these."""
    if isinstance(found, list):
        return set().union(*(named(value, codecs) for value in found))
    if not isinstance(found, dict):
        return set()
    own = {found["weights"]} if isinstance(found.get("weights"), str) else set()
    entries = found.get("codecs", {})
    versions = [entry["version"] for name, entry in entries.items() if name in (codecs or entries)]
    own |= {version.split(", ")[1] for version in versions if version.startswith("codec ")}
    return own.union(*(named(value, codecs) for value in found.values()))


OURS = ("lat", "lat-best", "lat-psnr", "lat-best-psnr")
TABLES = {
    "headline": Table(tables.headline, ("kodak",), ("lat", "lat-psnr")),
    "rates": Table(partial(tables.rates, "lat"), ("kodak",), ("lat",)),
    "rates-best": Table(partial(tables.rates, "lat-best"), ("kodak",), ("lat-best",)),
    "qualities": Table(tables.qualities, ("kodak",), ("lat", "lat-best")),
    "ranges": Table(tables.ranges, ("ranges", "kodak"), OURS),
    "published": Table(tables.published, ("published",)),
    **{
        f"{t.__name__}-{of}": Table(partial(t, of), ("judges",))
        for t in (tables.judges, tables.untrained, tables.looks)
        for of in SETS
    },
    "engines": Table(tables.engines, ("engines",)),
    "efforts": Table(tables.efforts, ("effort",)),
    "targets": Table(tables.targets, ("targets",)),
    "graphics": Table(tables.graphics, ("graphics",)),
    "exactness": Table(tables.exactness, ("exactness",)),
    "seams": Table(tables.seams, ("seams",)),
    "situations": Table(tables.situations, ("situations",)),
    "restore": Table(tables.restored, ("restore",)),
    "surfaces": Table(tables.surfaces, ("anomaly",)),
    "samples": Table(tables.samples, ("sample",)),
    "directions": Table(tables.directions, ("edit",)),
    "fill": Table(tables.holes, ("fill",)),
    "grid": Table(tables.grid, ("fill",)),
}


def filled(page: str) -> str:
    """The page's text with every table made anew."""
    return TABLE.sub(lambda found: found[1] + TABLES[found[2]].text() + found[3], page)


@click.command()
def main() -> None:
    """Write the tables of the Markdown pages from bench/results."""
    for name in PAGES:
        page = ROOT / name
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
