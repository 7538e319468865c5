"""A run of the command: which files, how many at a time, and what is said meanwhile and at the end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import click

from codec import kinds
from codec.command.parts import FAILED, NOTHING_TO_DO, say
from codec.errors import LatError
from codec.runs import batch, files, job, plan, process
from codec.runs.files import shown
from codec.runs.job import Options
from codec.runs.output import MEANWHILE
from codec.runs.plan import Found, Job
from codec.runs.rows import Row, json_text, summary


@contextmanager
def progress_bar(label: str, quiet: bool):
    """A callback (done, all, remark) that draws a bar with ETA on a terminal, where there is more than one to do."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    bars: list = []  # one, once its length is known

    def update(done: int, count: int, remark: str = "") -> None:
        if not bars and count > 1:
            bars.append(
                click.progressbar(length=count, label=label, file=sys.stderr, show_pos=True, item_show_func=lambda r: r)
            )
        if bars:
            bars[0].update(done - bars[0].pos, remark)
            bars[0].render_progress()  # which `update` leaves out where only the remark is new

    try:
        yield update
    finally:
        for bar in bars:
            bar.render_finish()


def report(row: Row, as_json: bool, quiet: bool) -> None:
    """One file's line: errors always, the rest unless quiet."""
    if as_json:
        say(json_text(asdict(row)))
    if row.error:
        say(f"lat: {row.error}", err=True, colour="red")
    if quiet or as_json:
        return
    for note in row.notes:
        say(f"{shown(row.source)}: {note}", err=True, colour="yellow")
    if row.status in ("done", "damaged") and row.target != "-":
        arrow = f" → {row.target}" if row.target else ""
        if row.remark:
            text = row.remark
        elif not row.target:
            text = f"{'whole' if row.notes else 'good'}, {row.width} × {row.height}, {row.bytes_in:,} bytes"
        elif row.target.endswith(".lat"):
            bpp = 8 * row.bytes_out / (row.width * row.height)
            text = f"{row.bytes_in:,} → {row.bytes_out:,} bytes, {bpp:.3f} bits per pixel"
        else:
            text = f"{row.width} × {row.height}, {row.bytes_in:,} → {row.bytes_out:,} bytes"
        say(f"{row.source}{arrow}: {text}", err=bool(row.target))  # what was written is no output of the command


@dataclass(frozen=True)
class Run:
    """What to do with which files, and what to say meanwhile."""

    work: job.Work
    suffix: str | Callable[[Path], str]  # of outputs, or of that of each source; empty where nothing is written
    sources: tuple[str, ...]
    recursive: bool
    jobs: int
    as_json: bool
    quiet: bool
    output: str | None = None
    out_dir: str | None = None
    dry_run: bool = False
    all_frames: bool = False  # of a source have an output each


def process_all(run: Run, options: Options, suffixes: Callable[[], set[str]]) -> None:
    """One file by name, or a batch: several names, folders (taking files with `suffixes`), patterns.

    Raises: LatError, where the only input is not there.
    """
    process.own(options.max_pixels)
    source = run.sources[0]
    single = len(run.sources) == 1 and not run.out_dir and not Path(source).is_dir()
    if "-" in run.sources and not single:
        raise click.UsageError("standard input can only be the only input, and needs no --out-dir")
    if run.output is not None and not single:
        raise click.UsageError("-o names one output of one input; use --out-dir for several")
    found = plan.find(run.sources, run.recursive, suffixes()) if source != "-" else Found({Path("-"): Path()})
    if len(run.sources) == 1 and found.failed and not found.files:
        raise LatError(found.failed[0].error)
    if run.output is not None and not found.files:
        raise LatError(f"{source}: no regular file is meant by it")
    if run.output is not None and len(found.files) > 1:
        raise click.UsageError(f"-o names one output, but {source} is {len(found.files)} files; use --out-dir")
    one = single and (run.output is not None or not plan.is_pattern(source))
    several = partial(job.count_pages, max_pixels=options.max_pixels) if run.all_frames else lambda source: 1
    if run.all_frames and one and (source == "-" or run.output is not None):
        refuse_several(source, several)
    elif run.all_frames:
        one = one and several(source) == 1
    planned = (
        [Job(*only(run, str(next(iter(found.files)))))] if one else plan.plan(found, run.out_dir, run.suffix, several)
    )
    if run.dry_run:
        sys.exit(show_plan(planned, found))
    if code := one_file(run, planned[0], options) if one else many_files(run, planned, options, found.passed_over):
        sys.exit(code)


def refuse_several(source: str, pages_of: Callable[[str], int]) -> None:
    """Raises: click.UsageError where one output cannot hold all frames."""
    if source == "-" or files.STREAM.fullmatch(source):
        raise click.UsageError("--all-frames needs a file: standard input has no name for several outputs")
    if (count := pages_of(source)) > 1:
        raise click.UsageError(f"-o names one output, but {source} has {count} frames; use --out-dir")


def only(run: Run, source: str) -> tuple[str, str]:
    """(source, target) of the only input: what comes through a pipe goes through one."""
    if not run.suffix:
        return source, ""
    piped = source == "-" or files.STREAM.fullmatch(source)
    if run.output or piped:
        return source, run.output or "-"
    suffix = run.suffix(Path(source)) if callable(run.suffix) else run.suffix
    return source, str(Path(source).with_suffix(suffix))


def show_plan(planned: list[Job], found: Found) -> int:
    """What a run would do, for --dry-run; its exit code."""
    for each in planned:
        if each.error:
            say(f"lat: {each.error}", err=True)
        else:
            say(f"{each.source} → {each.target}")
    if line := kinds.passed_over_line(found.passed_over):
        say(line, err=True)
    return FAILED if any(each.error for each in planned) else 0 if planned else NOTHING_TO_DO


def one_file(run: Run, only: Job, options: Options) -> int:
    """Exit code."""
    binary = only.target == "-" or bool(only.target and files.STREAM.fullmatch(only.target))
    output = process.standard_output()
    if binary and output is not None and output.isatty():
        raise click.UsageError("not writing binary data to a terminal: give -o FILE or redirect standard output")
    with progress_bar("tiles", run.quiet or run.as_json) as progress:
        row = job.attempt(run.work, only, options, progress)
    files.flush_folders([row.target])
    report(row, run.as_json and not binary, run.quiet)
    return FAILED if row.status in ("failed", "damaged") else 0


def many_files(run: Run, planned: list[Job], options: Options, passed_over: list[str]) -> int:
    """Exit code."""
    options, workers = replace(options, resume=True), run.jobs
    if workers > 1 and not process.can_share():
        say(f"lat: {process.ALONE}", err=True)
        workers = 1
    if workers > 1 and options.threads is None:
        options = replace(options, threads=max(1, (os.cpu_count() or 1) // workers))
    rows: list[Row] = []
    pixels, start, interrupted = 0, time.perf_counter(), False
    with progress_bar("files", run.quiet or run.as_json) as progress:
        try:

            def within(done: int, count: int) -> None:  # the tiles, or steps of tiles, of one picture
                if progress and count > 1:
                    progress(len(rows), len(planned), f"{done / count:.0%} of one")

            for row in batch.run(run.work, planned, options, workers, within):
                rows.append(row)
                pixels += row.width * row.height
                report(row, run.as_json, run.quiet or progress is not None)
                if progress:
                    rate = pixels / 1e6 / (time.perf_counter() - start)
                    progress(len(rows), len(planned), f"{rate:.1f} MP/s")
        except KeyboardInterrupt:
            interrupted = True
    files.flush_folders(row.target for row in rows)
    quiet = run.quiet or run.as_json
    return closing(rows, len(planned), time.perf_counter() - start, interrupted, quiet, passed_over)


def closing(
    rows: list[Row], planned: int, seconds: float, interrupted: bool, quiet: bool, passed_over: list[str]
) -> int:
    """Sums a batch up; its exit code."""
    if not quiet:
        summarise(rows, planned, seconds)
        for line in (*summary(rows), kinds.passed_over_line(passed_over)):
            if line:
                say(line, err=True)
    if interrupted:
        say("lat: interrupted; run the same command again to go on", err=True)
    if interrupted or any(r.status in ("failed", "damaged") for r in rows):
        return FAILED
    return 0 if any(r.status in ("done", "kept") or MEANWHILE in r.notes for r in rows) else NOTHING_TO_DO


def summarise(rows: list[Row], planned: int, seconds: float) -> None:
    """Closing lines: how many files, MB to MB, MP/s, and the failures by name."""
    by = {s: [r for r in rows if r.status == s] for s in ("done", "skipped", "kept", "damaged", "failed")}
    written = by["done"] + by["damaged"]
    megapixels = sum(r.width * r.height for r in written) / 1e6
    words = {"kept": "kept as it was" if len(by["kept"]) == 1 else "kept as they were"}
    parts = [f"{len(by[s])} {words.get(s, s)}" for s in by if by[s]] or ["no files"]
    if len(rows) < planned:
        parts.append(f"{planned - len(rows)} not begun")
    line = ", ".join(parts)
    if written:
        sizes = f"{sum(r.bytes_in for r in written) / 1e6:.2f} MB"
        if any(r.bytes_out for r in written):
            sizes += f" → {sum(r.bytes_out for r in written) / 1e6:.2f} MB"
        line += f"; {sizes}, {megapixels:.1f} MP in {seconds:.1f} s ({megapixels / seconds:.2f} MP/s)"
    say(line, err=True)
    for row in by["failed"] + by["damaged"]:
        say(f"  {row.status}: {row.source}", err=True, colour="red")
