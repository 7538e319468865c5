"""The one driver of a bulk run: what is still to do, handed to workers batch by batch, and the log of it all."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from codec import files, kinds
from codec.bulk.engines import ENGINES, WorkerDied
from codec.bulk.store import Store
from codec.bulk.worker import PARTS, Batch, Plan, Worker, log
from codec.errors import LatError
from codec.job import Row, json_text
from codec.plan import Job, distinct, folds_case, named
from codec.weights import Weights

LOG = "log.jsonl"  # below DST, one row a picture
MAX_DEATHS = 20  # of workers with no batch done between: then it is not the pictures


@dataclass
class Todo:
    """What a run has before it: jobs; how many pictures are done; failures already; kinds of what is passed over."""

    jobs: list[Job] = field(default_factory=list)
    done: int = 0
    failed: list[Row] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


def missing(plan: Plan, suffixes: set[str]) -> Todo:
    """What is still to do, each picture with an output of its own.

    Done is what the log has with the size and time that the picture still has, and whose output or shard is there; in
    a folder also an output of the picture's time. Outputs made from anything else are failures.
    Raises: LatError.
    """
    source, target, todo = Store(plan.source), Store(plan.target), Todo()
    planned = jobs_of(plan, source, target, suffixes, todo)
    if not planned and not todo.failed:
        line = kinds.passed_over_line(todo.passed_over)
        raise LatError(f"{plan.source}: no pictures here{line and f'; {line}'}")
    there, rows = set(target.names()), logged(target)
    found = []
    for job in planned:
        row = rows.get(job.source)
        if job.error is None and not plan.options.overwrite:
            job = replace(job, error=clash(job, row, there, source, target, plan.shards))
        if job.error:
            todo.failed.append(failed(job, job.error))
        elif plan.options.overwrite or not is_there(job, row, there, plan.shards) or row and row["status"] == "failed":
            todo.jobs.append(job)
        else:
            todo.done += 1
            if row is None or row["status"] == "begun":  # its batch was lost after it was written
                found.append(Row(job.source, job.target, "skipped", stamp=job.stamp))
    if unlogged := found + [row for row in todo.failed if row.source not in rows]:
        log(target, f"{run_name()}-found", unlogged)
    return todo


def jobs_of(plan: Plan, source: Store, target: Store, suffixes: set[str], todo: Todo) -> list[Job]:
    """A job for each picture below SRC, by the rules of `kinds` and `plan`."""

    def unreadable(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            todo.failed.append(Row(str(error.filename), "", "failed", error=f"{error.filename}: {error.strerror}"))

    stamps = source.files(unreadable=unreadable)
    names = []
    for place in map(PurePosixPath, sorted(stamps)):
        if place.suffix.lower() not in suffixes or kinds.is_hidden(place):
            todo.passed_over.append(kinds.passed_over(place))
        elif not stamps[str(place)]:
            todo.passed_over.append("no regular file")
        else:
            names.append(place)

    def folds(place: PurePosixPath) -> bool:
        path = target.path(str(place))
        return path is not None and not plan.shards and folds_case(PurePosixPath(path))

    planned = distinct([str(name) for name in names], named(names, ".lat", folds), folds)
    return [replace(job, stamp=stamps[job.source]) for job in planned]


def failed(job: Job, error: str) -> Row:
    return Row(job.source, job.target, "failed", error=error, stamp=job.stamp)


def is_there(job: Job, row: dict | None, there: set[str], shards: bool) -> bool:
    """Whether the output of a picture is there, or the shard that it went into."""
    if shards:
        return row is not None and row["target"].partition("/")[0] in there
    return job.target in there


def clash(job: Job, row: dict | None, there: set[str], source: Store, target: Store, shards: bool) -> str | None:
    """What is wrong where the output is there, but was made from something else."""
    if not is_there(job, row, there, shards):
        return None
    if row and (shards or row["target"] == job.target):
        size = int(job.stamp.partition(" ")[0]) if job.stamp[:1].isdigit() else 0
        same = row["stamp"] == job.stamp if row.get("stamp") else row["bytes_in"] in (0, size)  # older logs: no stamp
        if same:
            return None
    own, made = source.path(job.source), target.path(job.target)
    if own and made and not shards and files.made_from(made, own):
        return None
    what = "made from another file, or from another state of this one"
    return f"{job.source}: its output {job.target} is there already, {what}; --overwrite replaces it"


def run(plan: Plan, jobs: list[Job], engine: str, workers: int | None, size: int) -> Iterator[list[Row]]:
    """Rows of batches of `size` pictures as they are finished; at the end the log of them all is in DST.

    Raises: LatError.
    """
    make_worker = partial(Worker, plan, Weights.open(plan.options.model))
    target, run = Store(plan.target), run_name()
    cuts = range(0, len(jobs), size)
    queue = deque(Batch(f"{run}-{i:06}", tuple(jobs[at : at + size])) for i, at in enumerate(cuts))
    pool = ENGINES[engine](make_worker, workers)
    running: dict[Any, tuple[int, Batch]] = {}
    idle, deaths = list(range(min(pool.count, len(queue)))), 0
    try:
        while queue or running:
            while idle and queue:
                worker, work = idle.pop(), queue.popleft()
                running[pool.submit(worker, work)] = worker, work
            done = pool.ready(list(running))
            worker, work = running.pop(done)
            idle.append(worker)
            try:
                rows = pool.result(done)
            except WorkerDied as error:
                if (deaths := deaths + 1) > MAX_DEATHS:
                    raise LatError(f"{deaths} workers died one after another, the last one so: {error}") from None
                pool.replace(worker)
                if len(work.jobs) > 1:
                    middle = len(work.jobs) // 2
                    queue.extend(
                        [Batch(f"{work.name}a", work.jobs[:middle]), Batch(f"{work.name}b", work.jobs[middle:])]
                    )
                    continue
                rows = [failed(job, f"{job.source}: {error}") for job in work.jobs]
                log(target, work.name, rows)
            else:
                deaths = 0
            yield rows
    finally:
        pool.stop()
        close_log(target)


def run_name() -> str:
    return time.strftime("lat-%Y%m%dT%H%M%S", time.gmtime()) + f"-{os.getpid()}"


def logged(target: Store) -> dict[str, dict]:
    """The last row of every picture, by source."""
    names = [LOG] + [f"{PARTS}/{part}" for part in target.names(PARTS)]
    contents = target.read_there(names)
    lines = (line for name in names if name in contents for line in contents[name].decode().splitlines())
    return {row["source"]: row for row in map(json.loads, lines)}


def close_log(target: Store) -> None:
    """One log of all runs instead of a part for each batch."""
    parts, rows = target.names(PARTS), logged(target)
    target.write(LOG, "".join(f"{json_text(rows[source])}\n" for source in sorted(rows)).encode())
    target.remove(PARTS, parts)
