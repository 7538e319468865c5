"""What one process of a bulk run does: read ahead, encode, write, log."""

from __future__ import annotations

import io
import tarfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

from codec import job as jobs
from codec import loaded, process
from codec.bulk.store import Store
from codec.errors import about
from codec.job import Options, Row, json_text
from codec.plan import Job
from codec.weights import Weights

PARTS = "log.parts"  # below DST: one row a picture, a file for each batch of a run that has not ended
READ_AHEAD = 2  # pictures


@dataclass(frozen=True)
class Batch:
    name: str
    jobs: tuple[Job, ...]  # names below SRC and DST


@dataclass(frozen=True)
class Plan:
    """What every worker knows."""

    source: str
    target: str
    options: Options
    shards: bool = False


class Worker:
    """Encodes batches, in a process of its own. Weights are brought along: a node needs the package, not the file."""

    def __init__(self, plan: Plan, weights: Weights):
        process.own(plan.options.max_pixels)
        self.plan, self.codec = plan, loaded.codec_of(weights)
        self.source, self.target = Store(plan.source), Store(plan.target)
        self.stopped = False

    def run(self, work: Batch) -> list[Row]:
        """Encode, write, and log: first what is begun, so that what is written has an owner whatever happens."""
        log(self.target, work.name, [Row(j.source, j.target, "begun", stamp=j.stamp) for j in work.jobs])
        rows, members = [], []
        for job, reading in zip(work.jobs, ahead(self.source.read, (job.source for job in work.jobs))):
            row, encoded = self._encode(job, reading)
            if encoded and self.plan.shards:
                members.append((job.target, encoded))
                row.target = f"{work.name}.tar/{member_name(job.target)}"
            rows.append(row)
            if self.stopped:
                break
        if members:
            self.target.write(f"{work.name}.tar", pack(members))
        log(self.target, work.name, rows)
        return rows

    def _encode(self, job: Job, reading: Future[bytes]) -> tuple[Row, bytes]:
        start, row = time.perf_counter(), Row(job.source, job.target, stamp=job.stamp)
        encoded = b""
        try:
            data = reading.result()
            picture = jobs.opened(data, job.source, self.plan.options)
            encoded = jobs.encode(self.codec, picture, job.source, self.plan.options)
            if not self.plan.shards:
                self.target.write(job.target, encoded, self.source.path(job.source))
            row.bytes_in, row.bytes_out, row.notes = len(data), len(encoded), picture.notes
            row.height, row.width = picture.pixels.shape[:2]
        except BaseException as error:  # whatever a store, a picture or a plugin raises: it is this picture's row
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            row.status, row.error = "failed", about(error, job.source)
            encoded = b""
        row.seconds = round(time.perf_counter() - start, 4)
        return row, encoded


def ahead(function: Callable, items: Iterable, count: int = READ_AHEAD) -> Iterator[Future]:
    """Futures of function(item) in order, `count` of them begun before they are asked for."""
    with ThreadPoolExecutor(count) as pool:
        begun: deque[Future] = deque()
        for item in items:
            begun.append(pool.submit(function, item))
            if len(begun) > count:
                yield begun.popleft()
        yield from begun


def member_name(target: str) -> str:
    """WebDataset takes what follows the first dot of a name for its kind: other dots are percent-encoded."""
    path = PurePosixPath(target)
    return str(path.with_name(path.stem.replace("%", "%25").replace(".", "%2E") + path.suffix))


def pack(members: list[tuple[str, bytes]]) -> bytes:
    """A tar shard of (name, bytes) in the order given."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members:
            entry = tarfile.TarInfo(member_name(name))
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def log(target: Store, name: str, rows: list[Row]) -> None:
    lines = (json_text(asdict(row)) for row in rows)
    target.write(f"{PARTS}/{name}.jsonl", "".join(f"{line}\n" for line in lines).encode())
