"""`lat compare`: how far a file is from the picture that it was made of."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from codec.command.parts import FAILED, NOTHING_TO_DO, LatCommand, complete_files, say
from codec.command.runs import report
from codec.errors import LatError
from codec.runs import batch, process
from codec.runs.job import Options
from codec.runs.plan import Job
from codec.runs.rows import Row
from codec.settings import MAX_PIXELS


@click.command(cls=LatCommand)
@click.argument("original", shell_complete=complete_files)
@click.argument("file", shell_complete=complete_files)
@click.option("--check", type=click.FloatRange(1, 100), metavar="N", help="Fail below so many points of SSIMULACRA 2.")
@click.option("-j", "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Files at a time.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file on standard output.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option(
    "--max-pixels", type=click.IntRange(1), default=MAX_PIXELS, show_default=True, help="Refuse larger pictures."
)
@click.option("--threads", type=click.IntRange(1), help="Threads of each process. Default: all cores.")
def compare(original, file, check, jobs, as_json, quiet, max_pixels, threads) -> None:
    """Compare pictures, or folders of them, with what was made of them.

    FILE is a .lat file or a picture. In folders the files of a name at the same place are compared. Tells SSIMULACRA 2
    (needs PyTorch; 100 is equal, 90 cannot be told apart, 70 is high quality), PSNR, and whether metadata are the same.
    """
    from codec.runs.compare import compare_files, pairs

    process.own(max_pixels)
    both = [Path(original), Path(file)]
    for path in both:
        if not os.path.lexists(path):
            raise LatError(f"{path}: no such file")
    if both[0].is_dir() != both[1].is_dir():
        raise click.UsageError("compare two files, or two folders")
    folders = both[0].is_dir()
    planned, passed_over = pairs(both[0], both[1], max_pixels) if folders else ([Job(original, file)], [])
    rows: list[Row] = []
    options = Options(check=check, max_pixels=max_pixels, threads=threads, exact=True, first_frame=True)
    for row in batch.run(compare_files, planned, options, jobs if process.can_share() else 1):
        rows.append(row)
        report(row, as_json, quiet)
    if folders and not as_json and not quiet:
        say(summarise(rows, passed_over), err=True)
    sys.exit(FAILED if any(row.error for row in rows) else 0 if rows else NOTHING_TO_DO)


def summarise(rows: list[Row], passed_over: list[str]) -> str:
    """One closing line: how many, and the worst."""
    done = [row for row in rows if not row.error]
    scored = [(score, row.source) for row in done if (score := getattr(row, "ssimulacra2", None)) is not None]
    line = f"{len(done)} compared, {len(rows) - len(done)} failed"
    if scored:
        worst, name = min(scored)
        line += f"; SSIMULACRA 2 {worst:.1f} ({name}) … {max(scored)[0]:.1f}"
    changed = sum(getattr(row, "metadata", "kept") != "kept" for row in done)
    line += f"; metadata differ in {changed}" if changed else ""
    return line + (f"; {len(passed_over)} without an original" if passed_over else "")
