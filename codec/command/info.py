"""`lat info`: what a .lat file is, or a table of many."""

from __future__ import annotations

import re
import sys
from typing import Any

import click

from codec import container, kinds, previews, weights
from codec.command.parts import FAILED, NOTHING_TO_DO, LatCommand, complete_files, say
from codec.config import LATENT
from codec.errors import LatError, about
from codec.runs import job, plan, record
from codec.runs.files import shown
from codec.runs.rows import json_text
from codec.tiles import tile_kinds

COLUMNS = ("file", "size", "bytes", "bpp", "quality", "model")


@click.command(cls=LatCommand)
@click.argument("sources", metavar="IN...", nargs=-1, required=True, shell_complete=complete_files)
@click.option("-r", "--recursive", is_flag=True, help="Take folders with everything in them.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file.")
def info(sources: tuple[str, ...], recursive: bool, as_json: bool) -> None:
    """Describe a .lat file, or list many in a table."""
    if sources == ("-",):
        show(describe("-"), as_json)
        return
    found = plan.find(sources, recursive, {".lat"})
    single = len(sources) == 1 and len(found.files) + len(found.failed) == 1 and not recursive
    if single and found.failed:
        raise LatError(found.failed[0].error)
    if single:
        show(describe(str(next(iter(found.files)))), as_json)
        return
    rows, failed = [], [each.error or "" for each in found.failed]
    for path in found.files:
        try:
            rows.append(describe(str(path)))
        except LatError as error:
            failed.append(about(error, str(path)))
    for row in rows if as_json else ():
        show(row, True)
    if not as_json and rows:
        show_table(rows)
    if line := kinds.passed_over_line(found.passed_over):
        say(line, err=True)
    for line in failed:
        say(f"lat: {line}", err=True, colour="red")
    sys.exit(FAILED if failed else 0 if rows else NOTHING_TO_DO)


def describe(source: str) -> dict[str, Any]:
    """The fields of a .lat file. Raises: LatError."""
    data = job.read_lat(source).data
    try:
        parsed = container.parse(data)
    except LatError as error:
        raise type(error)(f"{shown(source)}: {error}") from None
    header, first = parsed.header, parsed.tiles[0] if parsed.tiles else b""
    made = record.find(data[: record.READ])
    found = previews.of_container(parsed)
    if found.note:
        say(f"lat: {shown(source)}: {found.note}", err=True)
    model, row = weights.name_of(header.model), first[0] % 64 if len(first) else None
    return {
        "file": source,
        "width": header.width,
        "height": header.height,
        "mode": header.mode,
        "bytes": len(data),
        "bpp": round(8 * len(data) / (header.width * header.height), 4),
        "quality": quality(made, model, row, header.lossless),
        "rate_row": row,
        "tiles": list(header.grid),
        "tile_pixels": header.tile * LATENT,
        "kinds": tile_kinds(parsed),
        "model": model,
        "fingerprint": header.model.hex(),
        "made_with": made.settings if made else "unknown settings",
        "made_of": (made.format if made else "") or "unknown format",
        "preview": list(found.size) if found.preview else None,
        "metadata": {key: len(value) for key, value in parsed.metadata.items()},
        "format": f"{container.VERSION[0]}.{parsed.minor}",
    }


def quality(made: record.Record | None, model: str | None, row: int | None, lossless: bool) -> float | str | None:
    """What was asked for with -q, by the record of a file; else the -q that its rate stands for; "lossless".

    None where neither is known.
    """
    asked = re.match(r"-q ([\d.]+)", made.settings) if made else None
    if asked:
        return float(asked[1])
    if lossless:
        return "lossless"
    rates = weights.cards().get(model or "", {}).get("config", {}).get("rates")
    return round(100 * row / (rates - 1), 1) if rates and row is not None else None


def show(fields: dict[str, Any], as_json: bool) -> None:
    """One line of JSON, or a line for each field."""
    if as_json:
        say(json_text(fields))
        return
    shown_fields = {key: value for key, value in fields.items() if key != "rate_row"}
    shown_fields["quality"] = words(fields["quality"])
    shown_fields["model"] = model_name(fields)
    shown_fields["tiles"] = " × ".join(map(str, fields["tiles"]))
    shown_fields["preview"] = " × ".join(map(str, fields["preview"] or ["none"]))
    shown_fields["kinds"] = ", ".join(f"{n} {kind}" for kind, n in fields["kinds"].items() if n)
    shown_fields["metadata"] = ", ".join(f"{k} {n} bytes" for k, n in fields["metadata"].items()) or "none"
    for key, value in shown_fields.items():
        say(f"{key.replace('_', ' '):12} {value}")


def words(value: object) -> str:
    """A number as short as it is; "unknown" for none."""
    return "unknown" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def model_name(fields: dict[str, Any]) -> str:
    """The name of the weights of a file, or why there is none."""
    needs_none = bytes.fromhex(fields["fingerprint"]) == weights.NO_WEIGHTS
    return fields["model"] or ("none needed" if needs_none else "not installed")


def show_table(rows: list[dict[str, Any]]) -> None:
    """A line for each file, numbers aligned."""
    lines = [COLUMNS] + [
        (
            str(row["file"]),
            f"{row['width']} × {row['height']}",
            f"{row['bytes']:,}",
            f"{row['bpp']:.3f}",
            words(row["quality"]),
            model_name(row),
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for name, *numbers, model in lines:
        aligned = "  ".join(text.rjust(width) for text, width in zip(numbers, widths[1:]))
        say(f"{name.ljust(widths[0])}  {aligned}  {model}")
