"""`python -m bench`: every figure of the project, the command behind it, what it needs and how long it takes.

python -m bench                      the list
python -m bench FIGURE [OPTIONS]     measure one, with the options of its module
python -m bench inputs DIR...        check inputs against the SHA-256 in bench/inputs.json
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

INPUTS = Path(__file__).parent / "inputs.json"


@dataclass(frozen=True)
class Figure:
    """A result that is committed: where it lies below bench/results, its command, its inputs and its minutes."""

    module: str
    options: str
    inputs: str  # keys of inputs.json
    minutes: int  # on two cores
    result: str


FIGURES = [
    Figure("run", "--images KODAK --anchors CURVES --out RESULT", "kodak, curves", 180, "kodak.json"),
    Figure("ranges", "RESULTS/kodak.json --against 'published jpeg' --psnr 28 31 --psnr 31 34 … --out RESULT", "", 1,
           "ranges.json"),
    Figure("published", "--images KODAK --result RESULTS/kodak.json --anchors CURVES --out RESULT", "kodak, curves", 5,
           "published.json"),
    Figure("judges", "--images KODAK --name kodak --out RESULT", "kodak", 240, "judges.json"),
    Figure("judges", "--images GB82 --name gb82 --out RESULT", "gb82", 300, "judges.json"),
    Figure("figures", "--result RESULTS/kodak.json --images KODAK --out RESULTS", "kodak", 2,
           "kodak-rd.svg, kodak-rd.png, comparison.png"),
    Figure("sheet", "--images KODAK --out SHEETS", "kodak", 5, ""),
    Figure("engines", "--images KODAK --out RESULT", "kodak", 9, "engines.json"),
    Figure("exactness", "--images KODAK --out RESULT", "kodak", 5, "exactness.json"),
    Figure("effort", "--images KODAK --every 12 --settings 3,7 --out RESULT", "kodak", 15, "effort.json"),
    Figure("targets", "--images KODAK --out RESULT", "kodak", 20, "targets.json"),
    Figure("everyday corpus", "--out RESULT", "", 5, ""),
    Figure("everyday seams", "--images KODAK --out RESULT", "kodak", 5, "seams.json"),
    Figure("situations", "--out RESULT", "", 2, "situations.json"),
    Figure("graphics", "--images tests/photos/kodim23.png --out RESULT", "", 10, "graphics.json"),
    Figure("patterns", "--images tests/photos/kodim23.png", "", 5, ""),
    Figure("everyday large", "--images KODAK --megapixels 100 --out RESULT", "kodak", 3, ""),
    Figure("web", "--images KODAK --out RESULT", "kodak", 3, ""),
    Figure("bulk", "--data SHARD.tar --count 500 --out RESULT", "training", 15, ""),
    Figure("distributed", "--data SHARD.tar --minutes 0.8 --out RESULT", "training", 5, ""),
    Figure("heldout", "--data SHARD.tar NETWORK... --out RESULT", "training", 10, ""),
    Figure("latents sample", "--data KODAK --out RESULT", "kodak", 5, "sample.json"),
    Figure("retouch", "--data KODAK --out RESULT", "kodak", 20, "fill.json"),
    Figure("latents gallery", "--images PHOTO --second PHOTO --out RESULT", "kodak", 2, "gallery.png"),
    Figure("restore", "--images KODAK --crop 192 128 --out RESULT", "kodak", 10, "restore.json"),
    Figure("latents edit", "--data SHARD.tar --count 50 --out RESULT", "training", 10, "edit.json"),
    Figure("anomalies", "--tiles SURFACES --out RESULT", "surfaces", 10, "anomaly.json"),
    Figure("similarity", "--data SHARD.tar --count 400 --out RESULT", "training", 15, ""),
]  # fmt: skip


def listing() -> str:
    lines = ["Figures (result in bench/results: command; inputs; minutes on two cores):", ""]
    for figure in FIGURES:
        needs = f"needs {figure.inputs}; " if figure.inputs else ""
        lines.append(f"  {figure.result or '(not kept)':18} python -m bench {figure.module} {figure.options}")
        lines.append(f"  {'':18} {needs}about {figure.minutes} min")
    lines += ["", "  pages              python -m bench pages   writes the tables of the Markdown pages from these", ""]
    lines.append("Inputs (checked by `python -m bench inputs DIR...`):")
    lines += [f"  {name:10} {entry['what']}\n  {'':10} {entry['source']}" for name, entry in known_inputs().items()]
    return "\n".join(lines)


def known_inputs() -> dict[str, dict]:
    return json.loads(INPUTS.read_text(encoding="utf-8"))


def digest(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of its `name digest` lines."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    lines = "".join(f"{inside.name} {digest(inside)}\n" for inside in sorted(path.iterdir()))
    return hashlib.sha256(lines.encode()).hexdigest()


def check(folders: list[str]) -> int:
    """Says of everything in the folders that has a known name whether it is the right one; 1 where one is not."""
    expected = {name: sha for entry in known_inputs().values() for name, sha in entry["sha256"].items()}
    found = [path for folder in folders for path in sorted(Path(folder).iterdir()) if path.name in expected]
    wrong = [path for path in found if digest(path) != expected[path.name]]
    for path in wrong:
        print(f"{path}: not the input that the figures were measured on")
    print(f"{len(found) - len(wrong)} of {len(found)} known inputs are right")
    return 1 if wrong or not found else 0


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "list"):
        print(listing())
        return 0
    name, *rest = arguments
    if name == "inputs":
        return check(rest)
    modules = {figure.module.split()[0] for figure in FIGURES} | {"pages", "card", "report"}
    if name not in modules:
        print(f"no figure {name!r}: `python -m bench` lists them", file=sys.stderr)
        return 2
    package = "codec.bench" if name in ("run", "report") else "bench"  # what users run is part of the package
    importlib.import_module(f"{package}.{name}").main(rest, prog_name=f"python -m bench {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
