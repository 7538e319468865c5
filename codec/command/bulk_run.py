"""A bulk run of the command: what is said meanwhile and at the end."""

from __future__ import annotations

import time

from codec import kinds, process
from codec.bulk import driver
from codec.bulk.worker import Plan
from codec.command.parts import NOTHING_TO_DO, say
from codec.command.runs import closing, progress_bar, report


def run_bulk(plan: Plan, where: str, workers: int | None, size: int | None, quiet: bool) -> int:
    """Do what is missing, in batches of `size` pictures; the exit code.

    Raises: LatError.
    """
    process.own()
    if where == "local" and workers != 1 and not process.can_share():
        say(f"lat: {process.ALONE}", err=True)
        workers = 1
    start = time.perf_counter()
    todo = driver.missing(plan, kinds.picture_suffixes())
    jobs, rows, interrupted = todo.jobs, list(todo.failed), False
    planned = len(jobs) + len(rows)
    for warning in todo.warnings:
        say(f"lat: {warning}", err=True)
    if todo.done and not quiet:
        say(f"{todo.done} done already, {len(jobs)} to do", err=True)
    for row in rows:
        report(row, False, quiet=True)
    if not jobs and not rows:
        if not quiet and (line := kinds.passed_over_line(todo.passed_over)):
            say(line, err=True)
        return NOTHING_TO_DO
    with progress_bar("pictures", quiet) as progress:
        try:
            for finished in driver.run(plan, jobs, where, workers, size or (1000 if plan.shards else 32)):
                rows += finished
                for row in finished:
                    report(row, False, quiet=True)
                if progress:
                    pixels = sum(row.width * row.height for row in rows)
                    progress(len(rows), planned, f"{pixels / 1e6 / (time.perf_counter() - start):.1f} MP/s")
        except KeyboardInterrupt:
            interrupted = True
    return closing(rows, planned, time.perf_counter() - start, interrupted, quiet, todo.passed_over)
