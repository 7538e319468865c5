"""`lat open`: a .lat picture in the viewer that the desktop has for PNG."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import click

from codec.command.parts import LatCommand
from codec.errors import LatError
from codec.runs import job, process
from codec.runs.plan import Job
from codec.settings import MAX_PIXELS

PREFIX = "lat-open-"
KEPT_SECONDS = 24 * 3600  # a viewer may read its file again; nobody says when it is done with it


@click.command("open", cls=LatCommand)
@click.argument("source", metavar="FILE", type=click.Path(exists=True, dir_okay=False))
@click.option("--max-pixels", type=click.IntRange(1), default=MAX_PIXELS, show_default=True, help="Decode no more.")
def open_(source: str, max_pixels: int) -> None:
    """Show a .lat file in the picture viewer.

    It is decoded to a PNG that only you can read, in the folder for temporary files. The first call of another day
    deletes it.
    """
    if sys.platform not in ("win32", "darwin") and not shutil.which("xdg-open"):
        raise LatError("xdg-open is not installed (package xdg-utils): lat decompress writes a PNG for any viewer")
    remove_old()
    process.own(max_pixels)
    picture = Path(tempfile.mkdtemp(prefix=PREFIX), Path(source).with_suffix(".png").name)  # others may not enter it
    row = job.attempt(job.decompress, Job(source, str(picture)), job.Options(max_pixels=max_pixels))
    if row.error:
        shutil.rmtree(picture.parent, ignore_errors=True)
        raise LatError(row.error)
    if code := click.launch(str(picture), wait=True):
        raise LatError(f"{picture}: no viewer could be started for it (code {code})")


def remove_old() -> None:
    """Delete what earlier calls of this user left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            about = folder.lstat()
            own = not hasattr(os, "getuid") or about.st_uid == os.getuid()
            if own and time.time() - about.st_mtime > KEPT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
