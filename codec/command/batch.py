"""One file, or thousands: what `lat compress`, `decompress` and `verify` do with each, and how many at a time.

A batch never dies of one file. Outputs that exist are left alone, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from codec import container, files, weights
from codec.errors import LatError, LimitError
from codec.settings import MAX_PIXELS, Settings

if TYPE_CHECKING:
    from codec.coder import Codec
    from codec.image import Picture


@dataclass(frozen=True)
class Options:
    """What the command line says about every file of a run."""

    settings: Settings = Settings()
    target: tuple[str, float] | None = None  # "size" in bytes, "bpp", or "psnr" in dB: chooses the quality
    model: str = weights.DEFAULT
    overwrite: bool = False
    max_pixels: int = MAX_PIXELS
    strict: bool = False
    strip: tuple[str, ...] = ()
    region: tuple[int, int, int, int] | None = None
    ignore_errors: bool = False
    threads: int | None = None


@dataclass(frozen=True)
class Job:
    source: str
    target: str


@dataclass
class Row:
    """What became of one file. `status`: "done", "skipped", "failed" or "damaged" (written, with tiles missing)."""

    source: str
    target: str
    status: str = "done"
    bytes_in: int = 0
    bytes_out: int = 0
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    error: str | None = None


Work = Callable[[Job, Options, Callable | None], Row]


def compress(job: Job, options: Options, progress: Callable | None = None) -> Row:
    """A photograph -> a .lat file.

    Raises: LatError.
    """
    admit(job, options)
    data = files.read_bytes(job.source)
    picture = opened(data, shown(job.source), options)  # before the second it takes to load torch
    codec = load_codec(options.model, options.threads)
    encoded = encode(codec, picture, shown(job.source), options, progress)
    files.write_bytes(job.target, encoded, options.overwrite)
    height, width = picture.pixels.shape[:2]
    return Row(job.source, job.target, "done", len(data), len(encoded), width, height, notes=picture.notes)


def opened(data: bytes, name: str, options: Options) -> Picture:
    """The picture in a file's bytes, as it is to be coded. `name` is for messages.

    Raises: LatError.
    """
    from codec import image as images

    image = images.open_image(io.BytesIO(data), name, options.max_pixels)
    if options.strict and getattr(image, "n_frames", 1) > 1:
        raise LatError(f"{name}: has {image.n_frames} frames; without --strict the first is kept")
    picture = images.from_pillow(image, name)
    picture.metadata = {k: v for k, v in picture.metadata.items() if k not in options.strip}
    return picture


def encode(codec: Codec, picture: Picture, name: str, options: Options, progress: Callable | None = None) -> bytes:
    """The bytes of its .lat file.

    Raises: LatError.
    """
    if options.target:
        return aimed(codec, picture, options, name)
    return codec.encode_picture(picture, options.settings, progress)


def aimed(codec: Codec, picture: Picture, options: Options, name: str) -> bytes:
    """The file that meets a target; what was chosen becomes a note of the picture.

    Raises: LatError.
    """
    from codec.target import to_psnr, to_size

    kind, value = options.target
    height, width = picture.pixels.shape[:2]
    try:
        if kind == "psnr":
            found = to_psnr(codec, picture, value, options.settings)
            reached = f"{found.value:.2f} dB"
        else:
            size = int(value if kind == "size" else value * height * width / 8)
            found = to_size(codec, picture, size, options.settings)
            reached = f"{len(found.data):,} bytes"
    except LatError as error:
        raise LatError(f"{name}: {error}") from None
    picture.notes.append(f"-q {found.quality:g} gives {reached}, found with {found.encodes} encodes")
    return found.data


def decompress(job: Job, options: Options, progress: Callable | None = None) -> Row:
    """A .lat file -> a picture.

    Raises: LatError.
    """
    admit(job, options)
    data = files.read_bytes(job.source)
    try:
        file = container.parse(data)  # refuse what is no .lat before the second it takes to load torch
        header = file.header
        if header.width * header.height > options.max_pixels:
            size = f"{header.width} × {header.height}"
            raise LimitError(
                f"{size} is more than {options.max_pixels} pixels; raise --max-pixels if you trust the file"
            )
        codec = load_codec(weights.name_for(header.model), options.threads)
        damaged: list[str] = []
        if options.region:
            image = codec.decode_region(file, options.region)
        else:
            report = (lambda tile, error: damaged.append(f"tile {tile}: {error}")) if options.ignore_errors else None
            image = codec.decode(file, options.max_pixels, progress, report)
    except LatError as error:
        raise type(error)(f"{shown(job.source)}: {error}") from None
    from codec import image as images

    with files.writing(job.target, options.overwrite) as file:
        images.save(image, file, output_format(job.target))
    size = 0 if job.target == "-" else os.path.getsize(job.target)
    status = "damaged" if damaged else "done"
    return Row(job.source, job.target, status, len(data), size, image.width, image.height, notes=damaged)


def verify(job: Job, options: Options, progress: Callable | None = None) -> Row:
    """Structure, sizes and every checksum of a .lat file, without decoding.

    Raises: LatError.
    """
    data = files.read_bytes(job.source)
    try:
        parsed = container.parse(data)
        parsed.verify()
    except LatError as error:
        raise type(error)(f"{shown(job.source)}: {error}") from None
    return Row(job.source, "", "done", len(data), 0, parsed.header.width, parsed.header.height)


def admit(job: Job, options: Options) -> None:
    """Raises: LatError where the output exists already (unless it may be replaced), or is the input."""
    files.refuse_existing(job.target, options.overwrite)
    if "-" not in (job.source, job.target) and os.path.exists(job.target) and os.path.samefile(job.source, job.target):
        raise LatError(f"{job.target}: is the input itself; -o writes elsewhere")


def shown(path: str) -> str:
    return "standard input" if path == "-" else path


def output_format(target: str) -> str:
    """Pillow's name for the format of an output file.

    Raises: LatError.
    """
    from PIL import Image

    format = "PNG" if target == "-" else Image.registered_extensions().get(Path(target).suffix.lower())
    if format is None or format not in Image.SAVE:
        raise LatError(f"{target}: no picture format that can be written has this suffix; use .png")
    return format


@lru_cache(maxsize=2)
def load_codec(name: str, threads: int | None):
    import torch

    from codec.coder import Codec

    if threads:
        torch.set_num_threads(threads)
    return Codec.load(name)


def attempt(work: Work, job: Job, options: Options, progress: Callable | None = None) -> Row:
    """`work` on one file of a batch: every failure becomes a row."""
    start = time.perf_counter()
    try:
        if job.target and not options.overwrite and os.path.lexists(job.target):
            return Row(job.source, job.target, "skipped")
        if job.target:
            Path(job.target).parent.mkdir(parents=True, exist_ok=True)
        row = work(job, options, progress)
    except (LatError, OSError, MemoryError, RuntimeError) as error:  # torch reports lack of memory as RuntimeError
        row = Row(job.source, job.target, "failed", error=str(error) or type(error).__name__)
    row.seconds = round(time.perf_counter() - start, 4)
    return row


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the parent stops handing out files, begun ones finish


def run(work: Work, jobs: list[Job], options: Options, workers: int) -> Iterator[Row]:
    """Rows as files are finished; with several workers each is a process, and their order is not that of `jobs`."""
    if workers == 1:
        for job in jobs:
            yield attempt(work, job, options)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker) as pool:
        waiting = {pool.submit(attempt, work, job, options): job for job in jobs}
        try:
            for done in as_completed(waiting):
                job = waiting.pop(done)
                error = done.exception()
                if error is None:
                    yield done.result()
                else:  # a worker died, by lack of memory for one; the pool is lost, the rest is named
                    yield Row(job.source, job.target, "failed", error=f"worker process died: {error}")
        finally:
            for future in waiting:
                future.cancel()


def find(sources: Iterable[str], recursive: bool, suffixes: set[str]) -> list[tuple[Path, Path]]:
    """Files with one of `suffixes` among files, folders and glob patterns, each with the folder it was found from.

    Raises: LatError.
    """
    found: dict[Path, Path] = {}
    for source in sources:
        path = Path(source)
        if path.is_dir():
            if not recursive:
                raise LatError(f"{source}: is a folder; -r takes everything in it")
            for inside in sorted(path.rglob("*")):
                if inside.suffix.lower() in suffixes and inside.is_file() and not inside.name.startswith("."):
                    found.setdefault(inside, path)
        elif os.path.lexists(path):
            found.setdefault(path, path.parent)
        else:
            anchor = Path(path.anchor or ".")
            matches = sorted(anchor.glob(str(path.relative_to(path.anchor)))) if set(source) & set("*?[") else []
            if not matches:
                raise LatError(f"{source}: no such file")
            found.update({m: m.parent for m in matches if m.is_file() and m not in found})
    return list(found.items())


def plan(found: list[tuple[Path, Path]], out_dir: str | None, suffix: str) -> list[Job]:
    """Where each output goes: beside its source, or at the same place below `out_dir`; nowhere without a suffix.

    Sources that differ in suffix alone keep it, so that a.jpg and a.png become a.jpg.lat and a.png.lat.
    """
    if not suffix:
        return [Job(str(source), "") for source, _ in found]
    places = [Path(out_dir) / f.relative_to(base) if out_dir else f for f, base in found]
    return [Job(str(source), str(target)) for (source, _), target in zip(found, with_suffix(places, suffix))]


def with_suffix(places: list[PurePath], suffix: str) -> list[PurePath]:
    """Paths with another suffix; those that differ in suffix alone keep it: a.jpg, a.png -> a.jpg.lat, a.png.lat."""
    stems = Counter(place.with_suffix("") for place in places)
    return [
        place.with_name(place.name + suffix) if stems[place.with_suffix("")] > 1 else place.with_suffix(suffix)
        for place in places
    ]
