"""The one driver of a bulk run: what is still to do, handed to workers batch by batch, and the log of it all."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath

from codec.bulk.engines import ENGINES, WorkerDied
from codec.bulk.store import Store
from codec.bulk.worker import PARTS, Batch, Plan, Worker, log
from codec.command import batch
from codec.command.batch import Job, Row
from codec.errors import LatError
from codec.weights import Weights

LOG = "log.jsonl"  # below DST, one row a picture
MAX_DEATHS = 20  # of workers with no batch done between: then it is not the pictures


def missing(plan: Plan, suffixes: set[str]) -> tuple[list[Job], int]:
    """What is still to do, and how many pictures are done already.

    Done is what has its .lat file, or in a run with shards a row in the log whose shard is there.
    Raises: LatError.
    """
    source, target = Store(plan.source), Store(plan.target)
    names = [PurePosixPath(name) for name in source.names() if PurePosixPath(name).suffix.lower() in suffixes]
    jobs = [Job(str(n), str(t)) for n, t in zip(names, batch.with_suffix(names, ".lat"))]
    if not jobs:
        raise LatError(f"{plan.source}: no pictures here")
    there, rows = set(target.names()), logged(target)

    def is_done(job: Job) -> bool:
        if plan.options.overwrite:
            return False
        if not plan.shards:
            return job.target in there
        return job.source in rows and rows[job.source]["target"].partition("/")[0] in there

    todo = [job for job in jobs if not is_done(job)]
    unlogged = [job for job in jobs if job.source not in rows and is_done(job)]
    if unlogged:  # their batch was lost after they were written
        log(target, f"{run_name()}-found", [Row(job.source, job.target, "skipped") for job in unlogged])
    return todo, len(jobs) - len(todo)


def run(plan: Plan, jobs: list[Job], engine: str, workers: int | None, size: int) -> Iterator[list[Row]]:
    """Rows of batches of `size` pictures as they are finished; at the end the log of them all is in DST.

    Raises: LatError.
    """
    make_worker = partial(Worker, plan, Weights.open(plan.options.model))
    target, run = Store(plan.target), run_name()
    cuts = range(0, len(jobs), size)
    queue = deque(Batch(f"{run}-{i:06}", tuple(jobs[at : at + size])) for i, at in enumerate(cuts))
    pool = ENGINES[engine](make_worker, workers)
    idle, running, deaths = list(range(min(pool.count, len(queue)))), {}, 0
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
                rows = [Row(job.source, job.target, "failed", error=f"{job.source}: {error}") for job in work.jobs]
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
    target.write(LOG, "".join(f"{json.dumps(rows[source], ensure_ascii=False)}\n" for source in sorted(rows)).encode())
    target.remove(PARTS, parts)
