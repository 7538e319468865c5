"""Archives too large for one machine: every picture below SRC becomes a .lat file below DST, or in tar shards there.

SRC and DST are fsspec paths (a folder, s3://…, gs://…). One driver; many workers, each a process of one thread:

    list SRC, less what DST has ──► batches of names ──► Worker: read ahead, encode, write, log ──► Row a picture

Only names and rows travel between driver and workers. Where workers run is the engine's business: processes of this
machine (`LocalEngine`) or actors of a Ray cluster (`RayEngine`). A worker that dies costs the batch it had, which is
tried again in halves, down to the picture that takes its worker along: a failed row like any other.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import tarfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import PurePosixPath

from codec import batch, files, weights
from codec.batch import Job, Options, Row
from codec.errors import LatError

LOG = "log.jsonl"  # below DST, one row a picture
PARTS = "log.parts"  # the same of the batches of a run that has not ended
READ_AHEAD = 2  # pictures
MAX_DEATHS = 20  # of workers with no batch done between: then it is not the pictures
OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"}  # an object appears whole or not at all


class WorkerDied(Exception):
    """The process of a worker ended: killed, or out of memory."""


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


class Store:
    """A place where files are read and written by name: a folder, a bucket."""

    def __init__(self, url: str):
        """Raises: LatError where no package for this kind of place is installed."""
        import fsspec

        self.url = url
        try:
            self.fs, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise LatError(f"{url}: {error}; pip install 'lat-codec[cloud]' has S3 and Google Cloud") from None
        self.root = root.rstrip("/")
        protocols = {self.fs.protocol} if isinstance(self.fs.protocol, str) else set(self.fs.protocol)
        self.local, self.whole = bool(protocols & {"file", "local"}), bool(protocols & OBJECT_STORES)

    def names(self, folder: str = "") -> list[str]:
        """Everything below, or below a folder in it, as sorted relative names; nothing where there is no such place.

        Raises: LatError.
        """
        try:
            root = f"{self.root}/{folder}".rstrip("/")
            found = self.fs.find(root)
        except FileNotFoundError:
            return []
        except Exception as error:  # no credentials, no network: each store has exceptions of its own
            raise LatError(f"{self.url}: cannot be listed: {reason(error)}") from None
        return sorted(str(PurePosixPath(path).relative_to(root)) for path in found)

    def read(self, name: str) -> bytes:
        return self.fs.cat_file(f"{self.root}/{name}")

    def read_there(self, names: list[str]) -> dict[str, bytes]:
        """Contents of those of these files that exist, fetched together."""
        paths = {f"{self.root}/{name}": name for name in names}
        return {paths[path]: data for path, data in self.fs.cat(list(paths), on_error="omit").items()}

    def write(self, name: str, data: bytes) -> None:
        """All of a file or nothing, replacing an older one."""
        path = f"{self.root}/{name}"
        if self.local:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            files.write_bytes(path, data, overwrite=True)
        elif self.whole:
            self.fs.pipe_file(path, data)
        else:
            self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self.fs.pipe_file(f"{path}.part", data)
            self.fs.mv(f"{path}.part", path)

    def remove(self, folder: str, names: list[str]) -> None:
        """These files in a folder, and the folder if it is empty then."""
        for name in names:
            self.fs.rm_file(f"{self.root}/{folder}/{name}")
        with suppress(OSError):  # another run may be writing there
            self.fs.rmdir(f"{self.root}/{folder}")


def reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


class Worker:
    """Encodes batches, in a process of its own. Weights come as bytes: a node needs the package, not the file."""

    def __init__(self, plan: Plan, data: bytes, fingerprint: bytes):
        import torch

        from codec.coder import Codec

        torch.set_num_threads(1)
        self.plan = plan
        self.codec = Codec(data, fingerprint).to("cuda" if torch.cuda.is_available() else "cpu")
        self.source, self.target = Store(plan.source), Store(plan.target)
        self.stopped = False

    def run(self, work: Batch) -> list[Row]:
        """Encode, write, and log; the batch's log is written last."""
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
        start, row = time.perf_counter(), Row(job.source, job.target)
        encoded = b""
        try:
            data = reading.result()
            picture = batch.opened(data, job.source, self.plan.options)
            encoded = batch.encode(self.codec, picture, job.source, self.plan.options)
            if not self.plan.shards:
                self.target.write(job.target, encoded)
            row.bytes_in, row.bytes_out, row.notes = len(data), len(encoded), picture.notes
            row.height, row.width = picture.pixels.shape[:2]
        except Exception as error:  # whatever a store or a picture raises: it is this picture's row
            row.status, row.error = "failed", f"{job.source}: {reason(error).removeprefix(f'{job.source}: ')}"
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
    lines = (json.dumps(asdict(row), ensure_ascii=False) for row in rows)
    target.write(f"{PARTS}/{name}.jsonl", "".join(f"{line}\n" for line in lines).encode())


# -- engines -----------------------------------------------------------------------------------------------------


class LocalEngine:
    """Workers as processes of this machine; a single one is a thread of this process."""

    def __init__(self, make_worker: Callable[[], Worker], workers: int | None):
        self.make_worker, self.count = make_worker, workers or os.cpu_count() or 1
        self.pools: list[Executor] = [self._pool() for _ in range(self.count)]

    def _pool(self) -> Executor:
        if self.count == 1:
            return ThreadPoolExecutor(1, initializer=_start, initargs=(self.make_worker,))
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, spawn, initializer=_start, initargs=(self.make_worker, True))

    def submit(self, worker: int, work: Batch) -> Future:
        return self.pools[worker].submit(_run, work)

    def ready(self, futures: list[Future]) -> Future:
        return next(iter(wait(futures, return_when=FIRST_COMPLETED).done))

    def result(self, future: Future) -> list[Row]:
        """Raises: WorkerDied."""
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise WorkerDied(reason(error)) from None

    def replace(self, worker: int) -> None:
        self.pools[worker].shutdown(wait=False)
        self.pools[worker] = self._pool()

    def stop(self) -> None:
        if _worker:  # the thread's: it ends after its picture
            _worker.stopped = True
        for pool in self.pools:
            pool.shutdown(wait=True, cancel_futures=True)


_worker: Worker | None = None  # of this process


def _start(make_worker: Callable[[], Worker], alone: bool = False) -> None:
    global _worker
    if alone:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once: files appear whole or not at all
    _worker = make_worker()


def _run(work: Batch) -> list[Row]:
    return _worker.run(work)


class RayEngine:
    """Workers as actors of the Ray cluster that RAY_ADDRESS names, or this machine is part of, or of a new local one.

    Where the cluster has GPUs, they are shared out among the actors.
    """

    def __init__(self, make_worker: Callable[[], Worker], workers: int | None):
        """Raises: LatError where Ray is not installed."""
        try:
            import ray
        except ImportError:
            raise LatError("--engine ray needs Ray: pip install 'lat-codec[ray]'") from None
        self.ray = ray
        if not ray.is_initialized():
            ray.init(logging_level="WARNING", log_to_driver=False, include_dashboard=False)
        resources = ray.cluster_resources()
        self.count = workers or max(1, int(resources.get("CPU", 1)))
        self.make_worker = ray.put(make_worker)  # it holds the weights, which so go once to each node
        self.actor = ray.remote(num_cpus=1, num_gpus=min(1.0, resources.get("GPU", 0) / self.count))(RayWorker)
        self.actors = [self.actor.remote(self.make_worker) for _ in range(self.count)]

    def submit(self, worker: int, work: Batch):
        return self.actors[worker].run.remote(work)

    def ready(self, futures: list):
        return self.ray.wait(futures, num_returns=1)[0][0]

    def result(self, future) -> list[Row]:
        """Raises: WorkerDied."""
        try:
            return self.ray.get(future)
        except self.ray.exceptions.RayActorError as error:
            raise WorkerDied(reason(error).splitlines()[0]) from None

    def replace(self, worker: int) -> None:
        self.actors[worker] = self.actor.remote(self.make_worker)

    def stop(self) -> None:
        for actor in self.actors:
            self.ray.kill(actor)


class RayWorker:
    """A `Worker` made on the node where it works."""

    def __init__(self, make_worker: Callable[[], Worker]):
        self.worker = make_worker()

    def run(self, work: Batch) -> list[Row]:
        return self.worker.run(work)


ENGINES = {"local": LocalEngine, "ray": RayEngine}


# -- driver ------------------------------------------------------------------------------------------------------


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
    make_worker = partial(Worker, plan, *weights.read(weights.locate(plan.options.model)))
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
