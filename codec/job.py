"""What `lat compress`, `decompress` and `verify` do with one file, and what they say of it: a Row.

`attempt` is the wall that nothing gets over: whatever Pillow, the file system or a damaged file raises is a failed row.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from codec import container, files, kinds, loaded, weights
from codec.errors import LatError, LimitError, about
from codec.files import shown
from codec.plan import Job
from codec.settings import MAX_PIXELS, Settings

if TYPE_CHECKING:
    from PIL import Image

    from codec.coder import Codec
    from codec.picture.image import Picture


@dataclass(frozen=True)
class Options:
    """What the command line says about every file of a run."""

    settings: Settings = Settings()
    target: tuple[str, float] | None = None  # "size", "bpp", "psnr" or "ssimulacra2"; bytes, dB …
    model: str = weights.DEFAULT
    overwrite: bool = False
    max_pixels: int = MAX_PIXELS
    strict: bool = False
    strip: tuple[str, ...] = ()
    exact: bool = False  # keep colours under full transparency
    region: tuple[int, int, int, int] | None = None
    ignore_errors: bool = False
    threads: int | None = None
    engine: str | None = None
    float32: bool = False
    picture_quality: float | None = None  # of JPEG, WebP and AVIF that are written; None: `pictures.QUALITY`


@dataclass
class Row:
    """What became of one file.

    `status`: "done", "skipped", "failed", "damaged" (written, with tiles missing), or in the log of a bulk run "begun".
    """

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
    stamp: str = ""  # of a bulk run: size and time of the source


def json_text(fields: dict) -> str:
    """One line of JSON; names that are not UTF-8 (POSIX has such) are escaped, so that all of it can be written."""
    text = json.dumps(fields, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(fields)
    return text


Work = Callable[[Job, Options, Callable | None], Row]


def attempt(work: Work, job: Job, options: Options, progress: Callable | None = None, resume: bool = True) -> Row:
    """`work` on one file: every failure becomes a row. With `resume`, an output that was made from it is left alone."""
    start = time.perf_counter()
    try:
        if job.error:
            raise LatError(job.error)
        if resume and job.target and is_done(job, options):
            return Row(job.source, job.target, "skipped")
        row = work(job, options, progress)
    except BaseException as error:  # what plugins written in Rust raise is no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
            raise
        if isinstance(error, MemoryError):
            error = LatError("not enough memory for this picture")
        row = Row(job.source, job.target, "failed", error=about(error, shown(job.source), job.target))
    row.seconds = round(time.perf_counter() - start, 4)
    return row


def is_done(job: Job, options: Options) -> bool:
    """Whether the output is there and was made from this input; its folder is made if it is not.

    Raises: LatError where the output is there and was made from something else.
    """
    if options.overwrite or not os.path.lexists(job.target) or files.is_stream(job.target):
        Path(job.target).parent.mkdir(parents=True, exist_ok=True)
        return False
    if files.made_from(job.target, job.source):
        return True
    what = "made from another file, or from another state of this one (their times differ)"
    raise LatError(f"{job.source}: its output {job.target} exists, {what}; --overwrite replaces it")


def compress(job: Job, options: Options, progress: Callable | None = None) -> Row:
    """A photograph -> a .lat file.

    Raises: LatError.
    """
    admit(job, options)
    data = files.read_bytes(job.source)
    picture = opened(data, shown(job.source), options)  # before the second it takes to load torch
    codec = None
    if not options.settings.lossless:
        codec = loaded.codec(options.model, options.threads, options.engine, options.float32)
    encoded = encode(codec, picture, shown(job.source), options, progress)
    files.write_bytes(job.target, encoded, options.overwrite, job.source)
    height, width = picture.pixels.shape[:2]
    return Row(job.source, job.target, "done", len(data), len(encoded), width, height, notes=picture.notes)


def opened(data: bytes, name: str, options: Options) -> Picture:
    """The picture in a file's bytes, as it is to be coded. `name` is for messages.

    Raises: LatError.
    """
    from codec.picture import image as images

    image = images.open_image(io.BytesIO(data), name, options.max_pixels)
    frames = images.frames(image, name)
    if options.strict and frames > 1:
        raise LatError(f"{name}: has {frames} frames; without --strict the first is kept")
    return images.from_pillow(image, name, options.exact or options.settings.lossless).without(options.strip)


def encode(
    codec: Codec | None, picture: Picture, name: str, options: Options, progress: Callable | None = None
) -> bytes:
    """The bytes of its .lat file; a lossless one needs no codec.

    Raises: LatError.
    """
    if options.settings.lossless:
        from codec import lossless

        try:
            return lossless.exact(picture, options.settings.effort)
        except LatError as error:
            raise LatError(f"{name}: {error}") from None
    assert codec is not None
    if options.target:
        return aimed(codec, picture, options.target, options.settings, name)
    return codec.encode_picture(picture, options.settings, progress)


def aimed(codec: Codec, picture: Picture, target: tuple[str, float], settings: Settings, name: str) -> bytes:
    """The file that meets a target; what was chosen becomes a note of the picture.

    Raises: LatError.
    """
    from codec.target import to_psnr, to_size, to_ssimulacra2

    kind, value = target
    height, width = picture.pixels.shape[:2]
    try:
        if kind == "psnr":
            found = to_psnr(codec, picture, value, settings)
            reached = f"{found.value:.2f} dB"
        elif kind == "ssimulacra2":
            found = to_ssimulacra2(codec, picture, value, settings)
            reached = f"SSIMULACRA 2 of {found.value:.1f}"
        else:
            size = int(value if kind == "size" else value * height * width / 8)
            found = to_size(codec, picture, size, settings)
            reached = f"{len(found.data):,} bytes"
    except LatError as error:
        raise LatError(f"{name}: {error}") from None
    picture.notes.append(f"quality chosen: -q {found.quality:g} gives {reached}, found with {found.encodes} encodes")
    return found.data


def decompress(job: Job, options: Options, progress: Callable | None = None) -> Row:
    """A .lat file -> a picture.

    Raises: LatError.
    """
    admit(job, options)
    data = files.read_bytes(job.source)
    from codec.picture import pictures

    format = pictures.output_format(job.target)
    try:
        file = container.parse(data)  # refuse what is no .lat before the second it takes to load torch
        header = file.header
        if header.width * header.height > options.max_pixels:
            size = f"{header.width} × {header.height}"
            raise LimitError(
                f"{size} is more than {options.max_pixels} pixels; raise --max-pixels if you trust the file"
            )
        found: list[tuple[int, str]] = []
        image = decoded(file, options, found, progress)
        damaged = [note for _, note in sorted(found)]  # tiles are decoded in any order
        encoded, notes = pictures.encode(image, format, options.picture_quality)
    except LatError as error:
        raise type(error)(f"{shown(job.source)}: {error}") from None
    files.write_bytes(job.target, encoded, options.overwrite, job.source)
    status = "damaged" if damaged else "done"
    return Row(job.source, job.target, status, len(data), len(encoded), *image.size, notes=damaged + notes)


def decoded(
    file: container.Container, options: Options, damaged: list[tuple[int, str]], progress: Callable | None
) -> Image.Image:
    """The picture in a file; what is damaged of it goes to the list, with its tile, where that is to be ignored.

    Raises: LatError.
    """

    def report(tile: int | None, error: LatError) -> None:
        damaged.append((-1, str(error)) if tile is None else (tile, f"tile {tile}: {error}"))

    on_error = report if options.ignore_errors and not options.region else None
    if file.header.lossless:
        from codec import lossless

        return lossless.decode(file, options.region, on_error)
    name = weights.name_for(file.header.model)
    codec = loaded.codec(name, options.threads, options.engine, options.float32)
    if options.region:
        return codec.decode_region(file, options.region)
    return codec.decode(file, options.max_pixels, progress, on_error)


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
    if job.target and not files.is_stream(job.target) and not Path(job.target).parent.is_dir():
        raise LatError(f"{job.target}: cannot be written: {Path(job.target).parent} is no folder that is there")
    if "-" not in (job.source, job.target) and not files.is_stream(job.target):
        with suppress(OSError):
            if os.path.samefile(job.source, job.target):
                raise LatError(f"{job.target}: is the input itself; -o writes elsewhere")


def summary(rows: Iterable[Row]) -> list[str]:
    """What was lost or changed in the files of a run, by kind: "3 files: only the first of several frames is kept"."""
    counts = Counter(kind for row in rows for kind in dict.fromkeys(map(kinds.kind_of_note, row.notes)))
    return [f"{count} {'file' if count == 1 else 'files'}: {kind}" for kind, count in counts.most_common()]
