"""Reading inputs and writing outputs so that nothing is lost: a file appears whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from codec.errors import LatError


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


def write_bytes(path: str, data: bytes, overwrite: bool) -> None:
    """A whole file by way of a sibling that is flushed to disk and renamed, or standard output for "-".

    Raises: LatError where the target exists (unless `overwrite`) or cannot be written; nothing is left behind.
    """
    if path == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    if target.exists() and not overwrite:
        raise LatError(f"{path}: exists; --overwrite replaces it, -o writes elsewhere")
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
    except OSError as error:
        raise LatError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
