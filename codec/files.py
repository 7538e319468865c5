"""Reading inputs and writing outputs so that nothing is lost: a file appears whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from codec.errors import LatError

STALE_SECONDS = 3600  # a temporary sibling this old was left by a killed process


def read_bytes(path: str) -> bytes:
    """A whole file, or standard input for "-".

    Raises: LatError.
    """
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise LatError(f"{path}: cannot be read: {error.strerror}") from None


def refuse_existing(path: str, overwrite: bool) -> None:
    """Raises: LatError where the output exists and must not be replaced."""
    if path != "-" and not overwrite and os.path.lexists(path):
        raise LatError(f"{path}: exists; --overwrite replaces it, -o writes elsewhere")


@contextmanager
def writing(path: str, overwrite: bool) -> Iterator[BinaryIO]:
    """A file to write to: a sibling that is flushed to disk and renamed at the end; standard output for "-".

    Raises: LatError where the target exists (unless `overwrite`) or cannot be written; nothing is left behind.
    """
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    refuse_existing(path, overwrite)
    target = Path(path)
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        refuse_existing(path, overwrite)
        os.replace(temporary, target)
        temporary = None
        for left in target.parent.glob(f".{target.name}.*.part"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > STALE_SECONDS:
                    left.unlink()
    except OSError as error:
        raise LatError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def write_bytes(path: str, data: bytes, overwrite: bool) -> None:
    """All of `data`, by way of `writing`."""
    with writing(path, overwrite) as file:
        file.write(data)
