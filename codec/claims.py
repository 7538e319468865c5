"""Temporary files that stand for outputs while they are made: one process has each at a time.

Its name tells which output it stands for, so another process that wants to make the same one finds it, and waits for
its lock. One that nobody has locked was left by a process that was killed. Locks hold among containers, whose process
numbers and host names say nothing about each other.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from secrets import token_hex

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be deleted: that says the same as a lock
    fcntl = None  # type: ignore[assignment]

STALE_SECONDS = 3600  # where there are no locks, a temporary file this old was left by a killed process
TEMPORARY = re.compile(r"\.lat-[0-9a-f]{16}(-[0-9a-f]{8})?\.part")

_own: dict[str, int] = {}  # those of this process, and their descriptors

_OPEN = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)


def reserve(target: Path) -> tuple[str, int]:
    """(Name, descriptor) of a new temporary file for an output, locked where the file system has locks.

    Its name says whose it is. It is short, because the target's own may be of 255 bytes already.
    """
    stem = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    name = str(target.parent / f".lat-{stem}.part")
    while True:
        try:
            descriptor = os.open(name, _OPEN | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            if not _wait_until_free(name):
                name = str(target.parent / f".lat-{stem}-{token_hex(4)}.part")
            continue
        if not _lock(descriptor) or _is_at(name, descriptor):
            _own[name] = descriptor
            return name, descriptor
        os.close(descriptor)  # somebody took it for a stale one before it was locked


def _wait_until_free(name: str) -> bool:
    """Wait until no process holds a temporary file, and delete it if it is still there; False where nobody can tell."""
    if fcntl is None:
        with suppress(OSError):
            os.unlink(name)
            return True
        time.sleep(0.1)
        return True
    try:
        descriptor = os.open(name, _OPEN)
    except FileNotFoundError:
        return True
    except OSError:  # another user's
        return False
    try:
        if not _lock(descriptor):
            return False
        if _is_at(name, descriptor):
            os.unlink(name)
        return True
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock an open file, waiting for whoever has it; False where there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except (OSError, AttributeError):
        return False
    return True


def _is_at(name: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(name, follow_symlinks=False), os.fstat(descriptor))
    except OSError:
        return False


def release(name: str, descriptor: int) -> None:
    """Delete a temporary file, unless it has become the output, and let go of it."""
    is_ours = _is_at(name, descriptor)
    if fcntl is None:  # an open file cannot be deleted there; elsewhere the lock goes last
        os.close(descriptor)
    if is_ours:
        with suppress(OSError):
            os.unlink(name)
    if fcntl is not None:
        os.close(descriptor)
    _own.pop(name, None)


@lru_cache(maxsize=1024)
def remove_stale(folder: str) -> None:
    """Delete what killed processes left in a folder: once a process, for folders may be large."""
    for left in Path(folder).glob(".lat-*.part"):
        if TEMPORARY.fullmatch(left.name) and str(left) not in _own:
            with suppress(OSError):
                _remove_if_stale(str(left))


def _remove_if_stale(name: str) -> None:
    if fcntl is None:
        os.unlink(name)
        return
    descriptor = os.open(name, _OPEN)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError as error:
            no_locks = error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
            if not no_locks or time.time() - os.fstat(descriptor).st_ctime < STALE_SECONDS:
                return
        if _is_at(name, descriptor):
            os.unlink(name)
    finally:
        os.close(descriptor)


def abandon() -> None:
    """Delete the temporary files of this process, which is about to end."""
    for name, descriptor in list(_own.items()):
        if _is_at(name, descriptor):
            with suppress(OSError):
                os.unlink(name)
