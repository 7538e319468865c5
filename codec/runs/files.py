"""Read inputs whole and write outputs so that nothing is lost: a file appears whole or not at all.

An output is made under the name of a temporary file in its folder, which is claimed (claims.py) from before the input
is read until the output has its own name. It takes the times and, on POSIX, the permissions and owner of its input, as
with gzip and xz.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from codec.errors import ExistsError, LatError, reason
from codec.runs import claims
from codec.runs.permissions import access_list, take_after

HEAD = 2**16  # bytes of an input that tell whether the rest is worth reading
STREAM = re.compile(r"/dev/(stdin|stdout|stderr|fd/\d+)|/proc/(self|\d+)/fd/\d+")

# -- inputs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """The bytes of an input, and the state of its file when they were read (None: it came through a pipe)."""

    path: str
    data: bytes
    state: os.stat_result | None = None
    acl: bytes | None = None

    @cached_property
    def digest(self) -> bytes:
        """The first 8 bytes of its SHA-256."""
        return digest(self.data)

    def refuse_changed(self) -> None:
        """Raise LatError where the file has other content now. One that is gone is no reason to lose its picture."""
        if self.state is None:
            return
        try:
            if is_same_state(self.state, os.stat(self.path)):
                return
            if digest(Path(self.path).read_bytes()) == self.digest:  # touched, or replaced by a copy
                return
        except FileNotFoundError:
            return
        except OSError as error:
            raise LatError(f"{self.path}: cannot be read again: {describe(error)}") from None
        raise LatError(f"{self.path}: changed while it was being coded, so nothing is written; run the command again")


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:8]


def is_same_state(a: os.stat_result, b: os.stat_result) -> bool:
    """Whether a file is the same and unchanged. The time of the last change of its inode cannot be set by anybody."""
    return all(
        getattr(a, field) == getattr(b, field)
        for field in ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
    )


def read(path: str, check_head: Callable[[bytes], None] = lambda head: None) -> Source:
    """Read a whole file, or standard input for "-". `check_head` raises LatError where its beginning is hopeless.

    Raises: LatError.
    """
    try:
        if path == "-":
            if sys.stdin is None:
                raise LatError("standard input: is closed")
            return Source(path, _read_pipe(sys.stdin.buffer, check_head))
        with open(path, "rb") as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                return Source(path, _read_pipe(file, check_head))
            check_head(file.read(HEAD))
            file.seek(0)
            data = file.read()
            if not is_same_state(before, os.fstat(file.fileno())):
                raise LatError(f"{path}: changed while it was being read; run the command again")
            return Source(path, data, before, access_list(file.fileno()))
    except (OSError, ValueError) as error:  # ValueError: a zero byte in a name
        if isinstance(error, LatError):
            raise
        raise LatError(f"{shown(path)}: cannot be read: {describe(error)}") from None


def _read_pipe(file: BinaryIO, check_head: Callable[[bytes], None]) -> bytes:
    head = file.read(HEAD)
    check_head(head)
    return head + file.read()


def read_bytes(path: str, check_head: Callable[[bytes], None] = lambda head: None) -> bytes:
    """Read the bytes of an input. Raises: LatError."""
    return read(path, check_head).data


def read_from_disk(file: BinaryIO) -> bytes:
    """All bytes of a flushed file, from the disk rather than from memory, where the system can be told so."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return file.read()


def read_head(path: str, size: int) -> bytes:
    """The first bytes of a regular file; none where there is no such, or it cannot be read."""
    with suppress(OSError, ValueError):
        if os.path.isfile(path):
            with open(path, "rb") as file:
                return file.read(size)
    return b""


def shown(path: str) -> str:
    """A file's name in messages."""
    return "standard input" if path == "-" else path


# -- outputs ---------------------------------------------------------------------------------------------------------


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
    """Raise ExistsError where the output exists and must not be replaced."""
    if not overwrite and not is_stream(path) and os.path.lexists(path):
        raise ExistsError(f"{path}: exists; --overwrite replaces it, -o writes elsewhere")


@dataclass
class Claim:
    """The right to make an output, which one process has at a time: a locked temporary file beside it."""

    path: str
    temporary: str = ""  # none for a stream
    descriptor: int = -1

    @contextmanager
    def writing(
        self, overwrite: bool, source: Source | None = None, check: Callable[[bytes], None] | None = None
    ) -> Iterator[BinaryIO]:
        """A file to write to, which becomes the output, flushed to disk, when the block ends.

        It takes time and permissions of `source`. Standard output ("-"), pipes and terminals are written to directly.
        `check` sees what the disk has before it becomes the output, and raises LatError where it must not.
        Raises: ExistsError where the output exists (unless `overwrite`), LatError where it cannot be written, or the
        source has changed since it was read.
        """
        try:
            if not self.temporary:
                with _stream(self.path) as file:
                    yield file
                    file.flush()
                return
            model = source.state if source else None
            if model and os.name == "posix":
                os.fchmod(self.descriptor, 0o600)
            with os.fdopen(self.descriptor, "wb", closefd=False) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if check:
                with open(self.temporary, "rb") as file:
                    check(read_from_disk(file))
            if source and model:
                take_after(self.temporary, model, source.acl)
                source.refuse_changed()
            publish(self.temporary, self.path, overwrite)
        except OSError as error:
            raise unwritable(self.path, error) from None

    def write(
        self,
        data: bytes,
        overwrite: bool,
        source: Source | None = None,
        check: Callable[[bytes], None] | None = None,
    ) -> None:
        """Write all of `data`, by way of `writing`."""
        if check and not self.temporary:  # a stream gives nothing back
            check(data)
        with self.writing(overwrite, source, check) as file:
            file.write(data)


@contextmanager
def claim(path: str) -> Iterator[Claim]:
    """Claim an output; waits while another process makes it.

    Raises: LatError where nothing can be written there.
    """
    if is_stream(path):
        yield Claim(path)
        return
    try:
        claimed = Claim(path, *claims.reserve(Path(path)))
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from None
    try:
        yield claimed
        claims.remove_stale(str(Path(path).parent))
    finally:
        claims.release(claimed.temporary, claimed.descriptor)


@contextmanager
def writing(path: str, overwrite: bool) -> Iterator[BinaryIO]:
    """`Claim.writing` of an output that no other file is the source of. Raises: LatError."""
    with claim(path) as claimed:
        refuse_existing(path, overwrite)
        with claimed.writing(overwrite) as file:
            yield file


def write_bytes(path: str, data: bytes, overwrite: bool) -> None:
    """Write all of `data`, by way of `writing`."""
    with writing(path, overwrite) as file:
        file.write(data)


def publish(temporary: str, target: str, overwrite: bool) -> None:
    """Give a finished file its own name. Without `overwrite`, link(2) sees to it that nothing is replaced.

    Raises: ExistsError, OSError.
    """
    if overwrite:
        os.replace(temporary, target)
        return
    try:
        os.link(temporary, target)
    except FileExistsError:
        if not os.path.samefile(temporary, target):  # NFS may answer so when it was asked twice
            refuse_existing(target, overwrite)
            raise
    except (OSError, NotImplementedError):  # FAT and some network file systems have no links
        refuse_existing(target, overwrite)
        os.rename(temporary, target)


def refuse_missing_folder(path: str) -> None:
    """Raise LatError where the folder of a file to write is not there, before work is done for it."""
    if not is_stream(path) and not Path(path).parent.is_dir():
        raise LatError(f"{path}: cannot be written: {Path(path).parent} is no folder that is there")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each flushed to disk."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    flush_folders([str(folder)])


def flush_folders(paths: Iterable[str]) -> None:
    """Flush the folders of these files to disk, so that names outlive a power failure, as far as a system can."""
    for folder in sorted({os.path.dirname(path) or "." for path in paths if path and not STREAM.fullmatch(path)}):
        with suppress(OSError):
            flush_folder(os.path.join(folder, ""))


def flush_folder(path: str) -> None:
    """Flush the folder of a file to disk. Raises: OSError."""
    if os.name != "posix":  # Windows opens no folders
        return
    descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _stream(path: str) -> Iterator[BinaryIO]:
    """What is no regular file, opened for writing; the disk behind a block device is not ours to write over.

    Raises: LatError, OSError.
    """
    if path == "-":
        from codec.runs import process

        stream = process.standard_output()
        if stream is None:
            raise LatError("standard output: is closed")
        yield stream.buffer
        return
    with suppress(OSError):
        if stat.S_ISBLK(os.stat(path).st_mode):
            raise LatError(f"{path}: is a disk, not a file; -o writes elsewhere")
    with open(path, "wb") as file:
        yield file


def unwritable(path: str, error: Exception) -> LatError:
    if isinstance(error, LatError):
        return error
    return LatError(f"{'standard output' if path == '-' else path}: cannot be written: {describe(error)}")


def describe(error: Exception) -> str:
    """What an error of the system says, without the file's name, which goes before it."""
    return getattr(error, "strerror", None) or reason(error)
