"""What `lat compress`, `decompress` and `verify` do with one file, and what they say of it: a Row.

`attempt` is the wall that nothing gets over: whatever Pillow, the file system or a damaged file raises is a failed row.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codec import container, kinds, loaded, previews, weights
from codec.errors import LatError, LimitError, MissingModelError, about
from codec.runs import check, files, record
from codec.runs.files import Source, shown
from codec.runs.output import make_output
from codec.runs.plan import Job
from codec.runs.rows import Row
from codec.settings import EFFORT, MAX_HOLLOW, MAX_PIXELS, PER_BYTE, Settings

if TYPE_CHECKING:
    from PIL import Image

    from codec.coder import Codec
    from codec.picture.image import Picture


SMALLER = 0.95  # of a compressed source, that an output takes at the most to be made


@dataclass(frozen=True)
class Options:
    """What the command line says about every file of a run."""

    settings: Settings = Settings()
    target: tuple[str, float] | None = None  # "size", "bpp", "psnr" or "ssimulacra2"; bytes, dB …
    model: str = weights.DEFAULT
    overwrite: bool = False
    max_pixels: int = MAX_PIXELS
    max_hollow: int = MAX_HOLLOW  # of a .lat file with less than a byte for PER_BYTE pixels
    first_frame: bool = False  # of several is all that is wanted
    strip: tuple[str, ...] = ()
    exact: bool = False  # keep colours under full transparency
    region: tuple[int, int, int, int] | None = None
    ignore_errors: bool = False
    threads: int | None = None
    engine: str | None = None
    float32: bool = False
    picture_quality: float | None = None  # of JPEG, WebP and AVIF that are written; None: `pictures.QUALITY`
    resume: bool = False  # an output that is there may be what would be made now
    even_if_larger: bool = False  # than its JPEG, say
    preview: previews.Side = "auto"
    check: float | None = None  # SSIMULACRA 2 that every output has, decoded from disk
    remove_source: bool = False  # once its output has passed that check
    decode: bool = False  # what is verified
    picture_suffix: str = ""  # what is decompressed to, where no file name says it

    @property
    def keeps_small(self) -> bool:
        """Whether an output that is not worth it is not made: what was asked for is a quality, not this output."""
        return not (self.even_if_larger or self.target or self.settings.lossless)

    def describe_encoding(self) -> str:
        """What an encoded file depends on beside its input, as options of the command."""
        settings = self.settings
        rate = f"--target-{self.target[0]} {self.target[1]:g}" if self.target else f"-q {settings.quality:g}"
        parts = ["--lossless" if settings.lossless else f"{rate} -m {weights.identify(self.model)}"]
        if settings.effort != EFFORT:
            parts.append(f"-e {settings.effort}")
        if settings.tune and settings.steps:
            parts.append(f"--tune {settings.tune}")
        if self.strip:
            parts.append(f"--strip {','.join(sorted(self.strip))}")
        if self.exact and not settings.lossless:
            parts.append("--exact")
        if self.preview != "auto":
            parts.append(f"--preview {self.preview}")
        return " ".join(parts)

    def describe_decoding(self) -> str:
        """What a decoded picture depends on beside its input, as options of the command."""
        parts = []
        if self.region:
            left, top, right, bottom = self.region
            parts.append(f"--region {left},{top},{right - left},{bottom - top}")
        if self.picture_quality is not None:
            parts.append(f"-q {self.picture_quality:g}")
        if self.ignore_errors:
            parts.append("--ignore-errors")
        return " ".join(parts)


Work = Callable[[Job, Options, Callable | None], Row]


def attempt(work: Work, job: Job, options: Options, progress: Callable | None = None) -> Row:
    """Do `work` on one file; every failure becomes a row."""
    start = time.perf_counter()
    try:
        if job.error:
            raise LatError(job.error)
        row = work(job, options, progress)
    except BaseException as error:  # what plugins written in Rust raise is no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
            raise
        row = Row(job.source, job.target, "failed", error=about(error, shown(job.source), job.target))
    row.seconds = round(time.perf_counter() - start, 4)
    return row


def compress(job: Job, options: Options, progress: Callable | None = None) -> Row:
    """Encode a photograph to a .lat file.

    Raises: LatError.
    """
    name, settings = shown(job.source), options.describe_encoding()
    if job.page:
        settings += f" --all-frames {job.page[0]}/{job.page[1]}"
    checked = check.Check(job, options) if options.check is not None or options.remove_source else None

    def load() -> Codec:
        return loaded.codec(options.model, options.threads, options.engine, options.float32)

    may_keep = not os.path.lexists(job.target) and not files.is_stream(job.target)  # nothing stale, no empty pipe

    def make(source: Source) -> tuple[Row, bytes]:
        return encode_source(source, job, options, settings, load, progress, may_keep)

    def check_head(head: bytes) -> None:
        if len(head) == files.HEAD and not kinds.may_be_picture(head):
            raise LatError(f"{name}: {kinds.unknown(name)}")

    row = make_output(job, options, settings, lambda: files.read(job.source, check_head), make, checked)
    if checked and checked.data:
        row.notes.append(checked.note)
        if options.remove_source:
            row.notes.append(check.remove_source(checked))
    return row


def encode_source(
    source: Source,
    job: Job,
    options: Options,
    settings: str,
    load: Callable[[], Codec],
    progress: Callable | None = None,
    may_keep: bool = False,
) -> tuple[Row, bytes]:
    """(What becomes of a photograph, the bytes of its .lat file.) A target of bytes leaves place for a record.

    With `may_keep` there are no bytes where they are not worth it: those of a JPEG, say, that would hardly be smaller.

    Raises: LatError.
    """
    name = shown(job.source)
    picture = opened(source.data, name, options, job.page)  # before the second it takes to load torch
    codec = None if options.settings.lossless else load()
    encoded = encode(codec, picture, name, options, record.most_bytes(settings), progress)
    encoded = previews.with_preview(encoded, picture, options.preview)
    height, width = picture.pixels.shape[:2]
    size = len(encoded) + record.most_bytes(settings)
    if may_keep and options.keeps_small and kinds.is_compressed(source.data) and size > SMALLER * len(source.data):
        note = f"kept as it is: its {len(source.data):,} bytes would become {size:,}; --even-if-larger makes the file"
        return Row(job.source, "", "kept", len(source.data), 0, width, height, notes=[note]), b""
    row = Row(job.source, job.target, "done", len(source.data), len(encoded), width, height, notes=picture.notes)
    return row, encoded


def opened(data: bytes, name: str, options: Options, page: tuple[int, int] | None = None) -> Picture:
    """The picture in a file's bytes, or a page of several, as it is to be coded. `name` is for messages.

    Raises: LatError, also where there are several and nobody said what is to become of them.
    """
    from codec.picture import frames
    from codec.picture import image as images

    exact = options.exact or options.settings.lossless
    if page:
        return frames.read_page(data, name, page[0], options.max_pixels, exact).without(options.strip)
    image = images.open_image(io.BytesIO(data), name, options.max_pixels)
    if not options.first_frame and (count := frames.count(image, data, name)) > 1:
        raise LatError(
            f"{name}: has {count} frames, and a .lat file holds one: --all-frames writes each to a file of its own, "
            "--first-frame leaves out the others"
        )
    return images.from_pillow(image, name, exact).without(options.strip)


def count_pages(source: str, max_pixels: int) -> int:
    """How many pages a source has; 1 where it cannot be read, which its job will say."""
    from codec.picture import frames

    try:
        return frames.count_in(files.read_bytes(source), source, max_pixels)
    except LatError:
        return 1


def encode(
    codec: Codec | None,
    picture: Picture,
    name: str,
    options: Options,
    reserved: int = 0,
    progress: Callable | None = None,
) -> bytes:
    """The bytes of its .lat file; a lossless one needs no codec. Targets leave room for `reserved` bytes.

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
        return aimed(codec, picture, options, name, reserved)
    return codec.encode_picture(picture, options.settings, progress)


def aimed(codec: Codec, picture: Picture, options: Options, name: str, reserved: int) -> bytes:
    """The file that meets a target; what was chosen becomes a note of the picture.

    Raises: LatError.
    """
    from codec.target import to_psnr, to_size, to_ssimulacra2

    assert options.target is not None
    (kind, value), settings = options.target, options.settings
    height, width = picture.pixels.shape[:2]
    try:
        if kind == "psnr":
            found = to_psnr(codec, picture, value, settings)
            reached = f"{found.value:.2f} dB"
        elif kind == "ssimulacra2":
            found = to_ssimulacra2(codec, picture, value, settings)
            reached = f"SSIMULACRA 2 of {found.value:.1f}"
        else:
            size = int(value if kind == "size" else value * height * width / 8) - reserved
            if made := previews.make(picture, options.preview, size):
                size -= len(previews.chunk(made))
                if size < 1:
                    raise LatError(f"the preview alone takes {len(made):,} bytes: --no-preview leaves it out")
            found = to_size(codec, picture, size, settings)
            reached = f"{len(found.data):,} bytes"
    except LatError as error:
        raise LatError(f"{name}: {error}") from None
    chosen = f"quality chosen: -q {found.quality:g} gives {reached}, found with {found.encodes} encodes"
    exact = f"kept without loss, which meets the target: {len(found.data):,} bytes"
    picture.notes.append(exact if found.is_lossless else chosen)
    return found.data


def decompress(job: Job, options: Options, progress: Callable | None = None) -> Row:
    """Decode a .lat file to a picture.

    Raises: LatError.
    """
    from codec.picture import pictures

    name = shown(job.source)
    nameless = files.is_stream(job.target) and options.picture_suffix
    format = pictures.output_format(f"picture{options.picture_suffix}" if nameless else job.target)

    def make(source: Source) -> tuple[Row, bytes]:
        try:
            file = parse_limited(source.data, options)
            found: list[tuple[int, str]] = []
            image = decoded(file, options, found, progress)
            damaged = [note for _, note in sorted(found)]  # tiles are decoded in any order
            encoded, notes = pictures.encode(image, format, options.picture_quality)
        except LatError as error:
            raise type(error)(f"{name}: {error}") from None
        width, height = image.size
        status = "damaged" if damaged else "done"
        return Row(job.source, job.target, status, width=width, height=height, notes=damaged + notes), encoded

    return make_output(job, options, options.describe_decoding(), lambda: read_lat(job.source), make)


def read_lat(path: str) -> Source:
    """Read a .lat file; what is none is refused by its first bytes.

    Raises: LatError.
    """

    def check_head(head: bytes) -> None:
        try:
            container.check_signature(head)
        except LatError as error:
            raise type(error)(f"{shown(path)}: {error}") from None

    return files.read(path, check_head)


def refuse_large(header: container.Header, size: int, options: Options) -> None:
    """Raise LimitError for a picture of too many pixels, in all or for a file of so many bytes."""
    limit = min(options.max_pixels, max(options.max_hollow, PER_BYTE * size))
    if header.width * header.height > limit:
        what = f"{header.width} × {header.height}, in {size} bytes,"
        raise LimitError(f"{what} is more than {limit} pixels; raise --max-pixels if you trust the file")


def parse_limited(data: bytes, options: Options) -> container.Container:
    """Parse a .lat file that is not too large: others are refused before the second it takes to load torch.

    Raises: FormatError and its kinds, LimitError.
    """
    file = container.parse(data)
    refuse_large(file.header, len(data), options)
    return file


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
    """Structure, sizes and every checksum of a .lat file; with `options.decode` all of its pixels too.

    Raises: LatError.
    """
    data, notes = read_lat(job.source).data, []
    try:
        parsed = container.parse(data)
        parsed.verify()
        if options.decode:
            refuse_large(parsed.header, len(data), options)
            decoded(parsed, options, [], progress)
    except LatError as error:
        raise type(error)(f"{shown(job.source)}: {error}") from None
    try:
        weights.name_for(parsed.header.model)
    except MissingModelError as error:
        notes = [f"cannot be decoded here: {error}"]
    return Row(job.source, "", "done", len(data), 0, parsed.header.width, parsed.header.height, notes=notes)
