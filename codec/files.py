"""Reading inputs and writing outputs so that nothing is lost: a file appears whole or not at all.

An output takes the times and, on POSIX, the permissions and owner of the file that it was made from, as with gzip and
xz. So a private photograph stays private, and a later run can tell by the time what an output was made from.
"""

from __future__ import annotations

import os
import platform
import re
import stat
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from codec.errors import LatError, reason

STALE_SECONDS = 3600  # a temporary file this old was left by a killed process of another machine
COARSEST_TIME = 2 * 10**9  # ns; FAT keeps the modification time in steps of it
STREAM = re.compile(r"/dev/(stdin|stdout|stderr|fd/\d+)|/proc/(self|\d+)/fd/\d+")

HOST = f"{zlib.crc32(platform.node().encode()):08x}"

_unfinished: set[str] = set()  # temporary files of this process


def read_bytes(path: str) -> bytes:
    """A whole file, or standard input for "-".

    Raises: LatError.
    """
    try:
        if path == "-":
            if sys.stdin is None:
                raise LatError("standard input: is closed")
            return sys.stdin.buffer.read()
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in a name
        raise LatError(f"{shown(path)}: cannot be read: {said(error)}") from None


def shown(path: str) -> str:
    """A file's name in messages."""
    return "standard input" if path == "-" else path


def is_stream(path: str) -> bool:
    """Whether an output is written as it comes instead of appearing whole: standard output, a pipe, a terminal."""
    if path == "-" or STREAM.fullmatch(path):
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def refuse_existing(path: str, overwrite: bool) -> None:
    """Raises: LatError where the output exists and must not be replaced."""
    if not overwrite and not is_stream(path) and os.path.lexists(path):
        raise LatError(f"{path}: exists; --overwrite replaces it, -o writes elsewhere")


def made_from(target: str, source: str) -> bool:
    """Whether an output bears the time of this input, as exactly as its file system keeps times."""
    try:
        made, own = os.stat(target).st_mtime_ns, os.stat(source).st_mtime_ns
    except OSError:
        return False
    return made == own or (abs(made - own) < COARSEST_TIME and made == kept_time(str(Path(target).parent), own))


def kept_time(folder: str, time: int) -> int | None:
    """What a time (ns) becomes in a folder: exact on ext4, 100 ns on NTFS, a second on HFS+, two on FAT. Tried."""
    probe = Path(folder, temporary_name())
    try:
        probe.touch(exist_ok=False)
        os.utime(probe, ns=(time, time))
        return probe.stat().st_mtime_ns
    except OSError:
        return None
    finally:
        with suppress(OSError):
            probe.unlink()


@contextmanager
def writing(path: str, overwrite: bool, source: str | None = None) -> Iterator[BinaryIO]:
    """A file to write to: a temporary in the same folder that is flushed to disk and renamed at the end.

    It takes time and permissions of `source`. Standard output ("-"), pipes and terminals are written to directly.
    Raises: LatError where the target exists (unless `overwrite`) or cannot be written; nothing is left behind.
    """
    try:
        if is_stream(path):
            with _stream(path) as file:
                yield file
                file.flush()
            return
        refuse_existing(path, overwrite)
        target = Path(path)
        temporary = str(target.parent / temporary_name())
        model = regular(source)
        descriptor = os.open(temporary, _CREATE, 0o600 if model else 0o666)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from None
    _unfinished.add(temporary)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if model:
            take_after(temporary, model)
        refuse_existing(path, overwrite)
        os.replace(temporary, target)
        remove_stale(str(target.parent))
    except OSError as error:
        raise unwritable(path, error) from None
    finally:
        with suppress(OSError):
            os.unlink(temporary)
        _unfinished.discard(temporary)


_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


@contextmanager
def _stream(path: str) -> Iterator[BinaryIO]:
    """What is no regular file, opened for writing; the disk behind a block device is not ours to write over.

    Raises: LatError, OSError.
    """
    if path == "-":
        if sys.stdout is None:
            raise LatError("standard output: is closed")
        yield sys.stdout.buffer
        return
    with suppress(OSError):
        if stat.S_ISBLK(os.stat(path).st_mode):
            raise LatError(f"{path}: is a disk, not a file; -o writes elsewhere")
    with open(path, "wb") as file:
        yield file


def regular(path: str | None) -> os.stat_result | None:
    """What the system knows about a file; None for a pipe or no file at all."""
    with suppress(OSError, ValueError):
        if path is not None and stat.S_ISREG((found := os.stat(path)).st_mode):
            return found
    return None


def take_after(path: str, model: os.stat_result) -> None:
    """Give a file the time and, on POSIX, the permissions and owner of another one, as far as the system allows."""
    if os.name == "posix":
        with suppress(OSError):
            os.chown(path, model.st_uid, model.st_gid)
        with suppress(OSError):
            os.chmod(path, model.st_mode & 0o777)
    with suppress(OSError):
        os.utime(path, ns=(model.st_atime_ns, model.st_mtime_ns))


def temporary_name() -> str:
    """Short, because the target's name may be of 255 bytes already; it tells who writes."""
    return f".lat-{HOST}-{os.getpid()}-{token_hex(4)}.part"


@lru_cache(maxsize=1024)
def remove_stale(folder: str) -> None:
    """Delete what killed processes left in a folder: once a process, for folders may be large."""
    for left in Path(folder).glob(".lat-*.part"):
        host, _, writer = left.name.removeprefix(".lat-").partition("-")
        with suppress(OSError):
            if (
                host == HOST and is_gone(writer.partition("-")[0])
            ) or time.time() - left.stat().st_ctime > STALE_SECONDS:
                left.unlink()


def is_gone(pid: str) -> bool:
    """Whether a process of this machine has ended, where that can be asked."""
    if os.name != "posix" or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def abandon() -> None:
    """Delete the temporary files of this process, which is about to end."""
    for path in list(_unfinished):
        with suppress(OSError):
            os.unlink(path)


def unwritable(path: str, error: Exception) -> LatError:
    if isinstance(error, LatError):
        return error
    return LatError(f"{'standard output' if path == '-' else path}: cannot be written: {said(error)}")


def said(error: Exception) -> str:
    """What an error of the system says, without the file's name, which goes before it."""
    return getattr(error, "strerror", None) or reason(error)


def write_bytes(path: str, data: bytes, overwrite: bool, source: str | None = None) -> None:
    """All of `data`, by way of `writing`."""
    with writing(path, overwrite, source) as file:
        file.write(data)
