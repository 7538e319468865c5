"""Previews by the command: options of what compresses, and `lat preview`, which adds them to files without one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from codec import previews
from codec.command.parts import LatCommand, together
from codec.command.runs import Run, process_all
from codec.errors import LatError
from codec.runs import files, job
from codec.runs.job import Options
from codec.runs.plan import Job
from codec.runs.rows import Row
from codec.settings import MAX_PIXELS

SIDE = click.IntRange(0, previews.MAX_SIDE)
TOO_SMALL = (
    f"gets no preview: it would take more than {previews.SHARE:.1%} of the file; --side 256 adds it all the same"
)
preview_options = together(
    click.option(
        "--preview",
        type=SIDE,
        metavar="PIXELS",
        help=f"Longest side of the preview in the file, up to {previews.MAX_SIDE}; 0: none.  "
        f"[default: up to {max(previews.SIDES)}, where it takes at most {previews.SHARE:.1%} of the file]",
    ),
    click.option("--no-preview", is_flag=True, help="The same as --preview 0."),
)


def with_side(preview: int | None, no_preview: bool, **others) -> dict[str, Any]:
    """Options with the `preview` that `preview_options` ask for. Raises: click.UsageError."""
    if no_preview and preview:
        raise click.UsageError("--preview and --no-preview say different things: leave one out")
    return {"preview": 0 if no_preview else "auto" if preview is None else preview, **others}


@click.command(cls=LatCommand)
@click.argument("sources", metavar="IN...", nargs=-1, required=True)
@click.option(
    "-s", "--side", type=SIDE, help="Longest side; 0 takes previews out.  [default: as `lat compress` chooses]"
)
@click.option("--overwrite", is_flag=True, help="Make previews anew where there are some.")
@click.option("--max-pixels", type=click.IntRange(1), default=MAX_PIXELS, show_default=True, help="Decode no more.")
@click.option("-r", "--recursive", is_flag=True, help="Take folders with everything in them.")
@click.option("-j", "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Files at a time.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file on standard output.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
def preview(sources, side, overwrite, max_pixels, recursive, jobs, as_json, quiet) -> None:
    """Put previews into .lat files that have none.

    Pixels stay as they are, to the last bit, and so do the times of the files. Each is replaced at once or not at all.
    """
    options = Options(preview="auto" if side is None else side, overwrite=overwrite, max_pixels=max_pixels)
    run = Run(add_preview, "", sources, recursive, jobs, as_json, quiet)
    process_all(run, options, lambda: {".lat"})


def add_preview(job_: Job, options: Options, progress: Callable | None = None) -> Row:
    """Replace one file by the same with a preview, or with none for a side of 0.

    Raises: LatError.
    """
    if files.is_stream(job_.source):
        raise LatError(
            f"{files.shown(job_.source)}: is no file that can be replaced; compress --preview makes new ones"
        )
    path = os.path.realpath(job_.source)  # what a link points to, not the link
    with files.claim(path) as claimed:
        source = job.read_lat(path)
        try:
            file = job.parse_limited(source.data, options)
            file.verify()
            row = Row(job_.source, job_.source, "done", len(source.data), 0, file.header.width, file.header.height)
            made = changed(source.data, file, options, row, progress)
        except LatError as error:
            raise type(error)(f"{job_.source}: {error}") from None
        if made == source.data:
            return replace(row, status="kept" if row.notes else "skipped", target="")
        claimed.write(made, True, source)
        return replace(row, bytes_out=len(made))


def changed(data: bytes, file, options: Options, row: Row, progress: Callable | None) -> bytes:
    """The bytes of a file as they are to be; what is worth a word becomes a note of the row. Raises: LatError."""
    if options.preview == 0:
        return previews.remove(data)
    found = previews.of_container(file)
    if previews.decode(found) is not None and not options.overwrite:
        return data
    row.notes += [found.note] if found.note else []
    bare = previews.remove(data)
    if options.preview == "auto" and not previews.is_worth_trying(len(bare)):
        row.notes.append(TOO_SMALL)
        return bare
    import numpy as np

    from codec.picture.image import Picture

    pixels = np.asarray(job.decoded(file, options, [], progress))
    picture = Picture(np.atleast_3d(pixels), file.header.mode, file.metadata)
    made = previews.with_preview(bare, picture, options.preview)
    if made == bare:
        row.notes.append(TOO_SMALL)
    return made
