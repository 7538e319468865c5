"""What one process of a bulk run does: read ahead, encode, write, log."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath

from codec import loaded
from codec.bulk.store import Store
from codec.errors import ExistsError, about
from codec.picture import declared
from codec.runs import files, process, record
from codec.runs import job as jobs
from codec.runs.files import Source
from codec.runs.job import Options
from codec.runs.output import MEANWHILE, make_output, refuse_other
from codec.runs.plan import Job
from codec.runs.record import Record
from codec.runs.rows import Row, json_text
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
    settings: str = ""  # Options.describe_encoding, where the weights are


class Worker:
    """Encodes batches, in a process of its own. Weights are brought along: a node needs the package, not the file."""

    def __init__(self, plan: Plan, weights: Weights):
        process.own(plan.options.max_pixels)
        self.plan, self.codec = plan, loaded.codec_of(weights)
        self.source, self.target = Store(plan.source), Store(plan.target)
        self.stopped = False

    def run(self, work: Batch) -> list[Row]:
        """Encode, write, and log."""
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
        if self.target.local:
            files.flush_folders(self.target.path(job.target) or "" for job in work.jobs if not self.plan.shards)
        log(self.target, work.name, rows)
        return rows

    def _encode(self, job: Job, reading: Future[Source]) -> tuple[Row, bytes]:
        start, encoded = time.perf_counter(), b""
        try:
            row, encoded = self._make_output(job, reading.result)
            if row.status == "skipped":
                row.notes = [MEANWHILE]
            source = reading.result()
            row.bytes_in, row.digest, row.settings = len(source.data), source.digest.hex(), self.plan.settings
        except BaseException as error:  # whatever a store, a picture or a plugin raises: it is this picture's row
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            row = Row(
                job.source, job.target, "failed", error=about(error, job.source, self.source.path(job.source) or "")
            )
        row.source, row.stamp = job.source, job.stamp
        row.target = "" if row.status == "kept" else job.target
        row.seconds = round(time.perf_counter() - start, 4)
        return row, encoded

    def _make_output(self, job: Job, read: Callable[[], Source]) -> tuple[Row, bytes]:
        """(What became of one picture, its bytes for a shard.)

        Raises: LatError, and what stores and plugins raise.
        """
        plan, path = self.plan, self.target.path(job.target)
        may_keep = not (os.path.lexists(path) if path and not plan.shards else plan.options.overwrite)  # nothing stale

        def make(source: Source) -> tuple[Row, bytes]:
            return jobs.encode_source(source, job, plan.options, plan.settings, lambda: self.codec, may_keep=may_keep)

        if path and not plan.shards:
            own = Job(self.source.path(job.source) or job.source, path)
            return make_output(own, replace(plan.options, resume=True), plan.settings, read, make), b""
        source = read()
        row, encoded = make(source)
        if not encoded:
            return row, b""
        encoded = record.add(
            encoded, Record(len(source.data), source.digest, plan.settings, declared.format_of(source.data))
        )
        row.bytes_out = len(encoded)
        source.refuse_changed()
        if plan.shards:
            return row, encoded
        try:
            self.target.write(job.target, encoded, plan.options.overwrite)
        except ExistsError:
            known = record.find(self.target.read_head(job.target, record.READ))
            refuse_other(job, known, plan.settings, source)
            row.status = "skipped"
        return row, b""


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
