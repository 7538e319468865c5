"""The one driver of a bulk run: what is still to do, handed to workers batch by batch, and the log of it all."""

from __future__ import annotations

import json
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from secrets import token_hex
from typing import Any

from codec import kinds
from codec.bulk.pools import POOLS, WorkerDied
from codec.bulk.store import Store
from codec.bulk.worker import PARTS, Batch, Plan, Worker, log
from codec.errors import LatError, reason
from codec.runs import claims, files, record
from codec.runs.output import refuse_other
from codec.runs.plan import Job, distinct, folds_case, named
from codec.runs.record import Record
from codec.runs.rows import Row, json_text
from codec.weights import Weights

LOG, REJECTED = "log.jsonl", "log.rejected"  # below DST: one row a picture; lines of the former that are none
CLOSINGS = 5  # tries to write the log, while other runs write theirs
MAX_DEATHS = 20  # of workers with no batch done between: then it is not the pictures


@dataclass
class Todo:
    """What a run has before it: jobs; how many pictures are done; failures already; kinds of what is passed over."""

    jobs: list[Job] = field(default_factory=list)
    done: int = 0
    failed: list[Row] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def missing(plan: Plan, suffixes: set[str]) -> Todo:
    """What is still to do, each picture with an output of its own.

    Done is a picture whose output or shard is there, and is of its content and of the plan's settings, as the log or
    the output's own record has them. Outputs made from anything else are failures.
    Raises: LatError.
    """
    source, target, todo = Store(plan.source), Store(plan.target), Todo()
    planned = jobs_of(plan, source, target, suffixes, todo)
    if not planned and not todo.failed:
        if not todo.passed_over:
            source.refuse_missing()
        line = kinds.passed_over_line(todo.passed_over)
        raise LatError(f"{plan.source}: no pictures here{line and f'; {line}'}")
    there, (rows, rejected) = set(target.names()), logged(target)
    if target.local:  # also where nothing is to do
        for folder in {str(PurePosixPath(name).parent) for name in there if name.endswith(".part")}:
            claims.remove_stale(f"{target.root}/{folder}")
    if rejected:
        todo.warnings = [
            f"{plan.target}/{name}: lines that are no rows of lat's ({len(n)}) are moved to {REJECTED}"
            for name, n in rejected.items()
        ]
        close_log(target)
    found = []
    for job in planned:
        row = rows.get(job.source)
        is_made = not plan.options.overwrite and is_there(job, row, there, plan.shards)
        if job.error is None and is_made:
            job = replace(job, error=clash(job, row, source, target, plan))
        if job.error:
            todo.failed.append(failed(job, job.error))
        elif is_kept(job, row, plan) and not is_made:
            todo.done += 1
        elif not is_made:
            todo.jobs.append(job)
        else:
            todo.done += 1
            if row is None or row["status"] == "failed" or row.get("stamp") != job.stamp:
                found.append(described(job, row, target, plan.shards))
    if unlogged := found + [row for row in todo.failed if row.source not in rows]:
        log(target, f"{run_name()}-found", unlogged)
    return todo


def is_kept(job: Job, row: dict | None, plan: Plan) -> bool:
    """Whether a picture is known to stay as it is with these settings, because its output would not be smaller."""
    if row is None or row["status"] != "kept" or plan.options.overwrite or plan.options.even_if_larger:
        return False
    return bool(job.stamp) and (row.get("stamp"), row.get("settings")) == (job.stamp, plan.settings)


def described(job: Job, row: dict | None, target: Store, shards: bool) -> Row:
    """A row for an output that is there already, so that the next run need not read its picture."""
    new = Row(job.source, row["target"] if row else job.target, "skipped", stamp=job.stamp)
    if known := known_of(job, row, target, shards):
        new.digest, new.settings, new.bytes_in = known.digest.hex(), known.settings, known.size
    return new


def jobs_of(plan: Plan, source: Store, target: Store, suffixes: set[str], todo: Todo) -> list[Job]:
    """A job for each picture below SRC, by the rules of `kinds` and `plan`."""

    def unreadable(error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            todo.failed.append(Row(str(error.filename), "", "failed", error=f"{error.filename}: {error.strerror}"))

    def unsafe(path: str) -> None:
        error = f"{path}: is no name below {plan.source} that is safe to write; rename it"
        todo.failed.append(Row(path, "", "failed", error=error))

    stamps = source.files(unreadable=unreadable, unsafe=unsafe)
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
    return [replace(job, stamp=stamps[job.source], error=job.error or log_in_the_way(job, plan)) for job in planned]


def log_in_the_way(job: Job, plan: Plan) -> str | None:
    """What is wrong with an output that would lie where the log does."""
    first = job.target.partition("/")[0].casefold()
    if plan.shards or first not in (LOG, PARTS, REJECTED):
        return None
    return f"{job.source}: its output would be among {plan.target}/{first}, which is for the log; rename the folder"


def failed(job: Job, error: str) -> Row:
    return Row(job.source, job.target, "failed", error=error, stamp=job.stamp)


def is_there(job: Job, row: dict | None, there: set[str], shards: bool) -> bool:
    """Whether the output of a picture is there, or the shard that it went into."""
    if shards:
        return row is not None and row["status"] not in ("failed", "kept") and row["target"].partition("/")[0] in there
    return job.target in there


def known_of(job: Job, row: dict | None, target: Store, shards: bool) -> Record | None:
    """What an output was made from: as the log has it, or else as it says itself."""
    if row and row.get("digest") and row["status"] != "failed" and (shards or row["target"] == job.target):
        return Record(row["bytes_in"], bytes.fromhex(row["digest"]), row.get("settings", ""))
    return None if shards else record.find(target.read_head(job.target, record.READ))


def clash(job: Job, row: dict | None, source: Store, target: Store, plan: Plan) -> str | None:
    """What is wrong with an output that is there. The picture is read only where its state is not that of the log."""
    known = known_of(job, row, target, plan.shards)
    try:
        is_same = known is not None and row is not None and row.get("stamp") == job.stamp and row.get("digest")
        refuse_other(job, known, plan.settings, None if is_same or known is None else source.read(job.source))
    except LatError as error:
        return str(error)
    except Exception as error:  # a store's own
        return f"{job.source}: cannot be read: {reason(error)}"
    return None


def run(plan: Plan, jobs: list[Job], where: str, workers: int | None, size: int) -> Iterator[list[Row]]:
    """Rows of batches of `size` pictures as they are finished; at the end the log of them all is in DST.

    Raises: LatError.
    """
    make_worker = partial(Worker, plan, Weights.open(plan.options.model))
    target, run = Store(plan.target), run_name()
    cuts = range(0, len(jobs), size)
    queue = deque(Batch(f"{run}-{i:06}", tuple(jobs[at : at + size])) for i, at in enumerate(cuts))
    pool = POOLS[where](make_worker, workers)
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
    return time.strftime("lat-%Y%m%dT%H%M%S", time.gmtime()) + f"-{os.getpid()}-{token_hex(3)}"


def logged(target: Store) -> tuple[dict[str, dict], dict[str, list[bytes]]]:
    """(The last row of every picture, by source; by file, lines that are no rows: torn, or another program's.)

    Parts are read before the log: one that another run has merged and removed meanwhile is in the log by then.
    """
    parts = [f"{PARTS}/{name}" for name in target.names(PARTS) if name.endswith(".jsonl")]
    contents = target.read_there(parts)
    contents = target.read_there([LOG]) | contents
    rows: dict[str, dict] = {}
    rejected: dict[str, list[bytes]] = {}
    for name, data in contents.items():
        for line in filter(bytes.strip, data.splitlines()):
            row = parsed_row(line)
            if row is None:
                rejected.setdefault(name, []).append(line)
                continue
            earlier = rows.get(row["source"])
            if earlier and earlier["status"] == "done" and row["status"] == "skipped":  # another run knows it as done
                row = earlier | {key: row[key] for key in ("stamp", "digest", "settings") if row.get(key)}
            rows[row["source"]] = row
    return rows, rejected


def parsed_row(line: bytes) -> dict | None:
    """A row of the log; None where a line is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    texts = {"source": "", "target": "", "status": "", "stamp": "", "digest": "", "settings": ""}
    if not isinstance(row, dict) or not {"source", "target", "status"} <= row.keys():
        return None
    is_hex = re.fullmatch(r"([0-9a-f]{16})?", str(row.get("digest", "")))
    is_row = is_hex and all(isinstance(row.get(key, text), str) for key, text in texts.items())
    return row if is_row and isinstance(row.get("bytes_in", 0), int) else None


def close_log(target: Store) -> None:
    """Merge all parts of the log into it. In a folder runs take turns; elsewhere a log written meanwhile is read again.

    Lines that are no rows are kept in REJECTED.
    """
    path = target.path(LOG)
    if path is None:
        for _ in range(CLOSINGS):
            if _merge(target, lambda data: target.write(LOG, data)):
                break
        return
    files.make_folder(Path(path).parent)
    with files.claim(path) as claimed:
        _merge(target, lambda data: claimed.write(data, overwrite=True))
    files.flush_folders([path])


def _merge(target: Store, write: Callable[[bytes], None]) -> bool:
    """Write the log and remove its parts; False, with all parts in place, where another run wrote it meanwhile."""
    parts = [name for name in target.names(PARTS) if name.endswith(".jsonl")]
    rows, rejected = logged(target)
    if rejected:
        lines = [line for found in rejected.values() for line in found]
        before = target.read_there([REJECTED]).get(REJECTED, b"")
        target.write(REJECTED, before + b"".join(line + b"\n" for line in lines))
    data = "".join(f"{json_text(rows[source])}\n" for source in sorted(rows)).encode()
    write(data)
    if target.read_there([LOG]).get(LOG) != data:
        return False
    target.remove(PARTS, parts)
    return True
