"""Make an output once: not if it is there, not twice at the same time, and not from an input that changes meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from codec import previews
from codec.container import MAGIC
from codec.errors import ExistsError, LatError
from codec.runs import files, record
from codec.runs.files import Source
from codec.runs.plan import Job
from codec.runs.record import Record
from codec.runs.rows import Row

if TYPE_CHECKING:
    from codec.runs.job import Options

MEANWHILE = "its output was made meanwhile, by another run or a worker that died"
OTHER = "made from another file, or from another state of this one; --overwrite replaces it"


def make_output(
    job: Job,
    options: Options,
    settings: str,
    read: Callable[[], Source],
    make: Callable[[Source], tuple[Row, bytes]],
    check: Callable[[bytes, Source], None] | None = None,
) -> Row:
    """Read an input and write what `make` makes of it, with a record of both, where the output is not there already.

    One that was made from this input with these settings counts as done: in a run that goes on (`options.resume`), or
    where another process made it meanwhile, which is waited for. Where `make` makes no bytes nothing is written.
    `check` sees what the disk has of an output before that appears or counts as done; it may raise LatError.
    Raises: ExistsError where the output is something else; LatError.
    """
    from codec.picture import declared  # Pillow is not needed to look at a file

    was_there = os.path.lexists(job.target)
    if options.resume and not was_there:
        files.make_folder(Path(job.target).parent)
    else:
        files.refuse_missing_folder(job.target)
    refuse_input(job)
    with files.claim(job.target) as claimed:
        done = Row(job.source, job.target, "skipped", notes=[] if was_there else [MEANWHILE])
        may_be_done = options.resume or not was_there
        if not may_be_done:
            files.refuse_existing(job.target, options.overwrite)
        if not options.overwrite and (known := record.find(files.read_head(job.target, record.READ))):
            source = read()
            refuse_other(job, known, settings, source)
            if check:
                check(files.read_bytes(job.target), source)
            return done
        source = read()
        row, made = make(source)
        if not made:
            return row
        made = record.add(made, Record(len(source.data), source.digest, settings, declared.format_of(source.data)))
        row.bytes_in, row.bytes_out = len(source.data), len(made)
        row.digest, row.settings = source.digest.hex(), settings
        try:
            claimed.write(made, options.overwrite, source, (lambda stored: check(stored, source)) if check else None)
        except ExistsError:  # has no record, or was made by a program that claims nothing
            if may_be_done and bare(files.read_bytes(job.target)) == bare(made):
                return done
            raise ExistsError(f"{job.source}: its output {job.target} exists, {OTHER}") from None
    return row


def bare(data: bytes) -> bytes:
    """An output without its record and its preview, which may be added later."""
    data = record.remove(data)
    return previews.remove(data) if data.startswith(MAGIC) else data


def refuse_other(job: Job, known: Record | None, settings: str, source: Source | None) -> None:
    """Raise ExistsError where an output with this record (None: without) is not of this input and these settings.

    `source`: None where the input is known to be what the record is of.
    """
    which = f"{job.source}: its output {job.target} exists, "
    if known is None or source and (len(source.data), source.digest) != (known.size, known.digest):
        raise ExistsError(which + OTHER)
    if known.settings != settings:
        old, new = known.settings or "the default settings", settings or "the default settings"
        raise ExistsError(f"{which}made from it with {old}, not {new}; --overwrite replaces it")


def refuse_input(job: Job) -> None:
    """Raise LatError where the output is the input itself."""
    if "-" not in (job.source, job.target) and not files.is_stream(job.target):
        with suppress(OSError):
            if os.path.samefile(job.source, job.target):
                raise LatError(f"{job.target}: is the input itself; -o writes elsewhere")
