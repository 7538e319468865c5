"""A place where archives lie, by fsspec: a folder, a bucket; files appear there whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import PurePosixPath

from codec import files
from codec.errors import LatError, install, reason

OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"}  # an object appears whole or not at all


class Store:
    """A place where files are read and written by name: a folder, a bucket."""

    def __init__(self, url: str):
        """Raises: LatError where no package for this kind of place is installed."""
        import fsspec

        self.url = url
        try:
            if "://" in url:
                self.fs, root = fsspec.core.url_to_fs(url)
            else:  # a folder of any name
                self.fs = fsspec.filesystem("file")
                root = self.fs._strip_protocol(url)
        except (ImportError, ValueError) as error:
            raise LatError(f"{url}: {error}; {install('cloud')} has S3 and Google Cloud") from None
        self.root = root.rstrip("/")
        protocols = {self.fs.protocol} if isinstance(self.fs.protocol, str) else set(self.fs.protocol)
        self.local, self.whole = bool(protocols & {"file", "local"}), bool(protocols & OBJECT_STORES)

    def names(self, folder: str = "") -> list[str]:
        """Everything below, or below a folder in it, as sorted relative names; nothing where there is no such place.

        Raises: LatError.
        """
        return sorted(self.files(folder))

    def files(self, folder: str = "", unreadable: Callable[[OSError], None] | None = None) -> dict[str, str]:
        """Relative name -> stamp of everything below, "" for what is no file; `unreadable` gets folders that are not.

        Raises: LatError.
        """
        try:
            root = f"{self.root}/{folder}".rstrip("/")
            if self.local:
                return dict(walked(root, unreadable))
            found = self.fs.find(root, detail=True)
        except FileNotFoundError:
            return {}
        except Exception as error:  # no credentials, no network: each store has exceptions of its own
            raise LatError(f"{self.url}: cannot be listed: {reason(error)}") from None
        return {str(PurePosixPath(path).relative_to(root)): stamp(about) for path, about in found.items()}

    def path(self, name: str) -> str | None:
        """Where a file lies on this machine, if it does."""
        return f"{self.root}/{name}" if self.local else None

    def read(self, name: str) -> bytes:
        return self.fs.cat_file(f"{self.root}/{name}")

    def read_there(self, names: list[str]) -> dict[str, bytes]:
        """Contents of those of these files that exist, fetched together."""
        found = self.fs.cat_ranges([f"{self.root}/{name}" for name in names], None, None, on_error="return")
        for name, data in zip(names, found):
            if isinstance(data, Exception) and not isinstance(data, FileNotFoundError):
                raise LatError(f"{self.url}/{name}: cannot be read: {reason(data)}")
        return {name: data for name, data in zip(names, found) if isinstance(data, bytes)}

    def write(self, name: str, data: bytes, source: str | None = None) -> None:
        """All of a file or nothing, replacing an older one; in a folder with the time and mode of `source`."""
        path = f"{self.root}/{name}"
        if self.local:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            files.write_bytes(path, data, overwrite=True, source=source)
        elif self.whole:
            self.fs.pipe_file(path, data)
        else:
            self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self.fs.pipe_file(f"{path}.part", data)
            self.fs.mv(f"{path}.part", path)

    def remove(self, folder: str, names: list[str]) -> None:
        """These files in a folder, and the folder if it is empty then."""
        for name in names:
            self.fs.rm_file(f"{self.root}/{folder}/{name}")
        with suppress(OSError):  # another run may be writing there
            self.fs.rmdir(f"{self.root}/{folder}")


def walked(root: str, unreadable: Callable[[OSError], None] | None) -> Iterator[tuple[str, str]]:
    """`Store.files` of a folder; fsspec passes over folders below that cannot be read."""
    for where, folders, names in os.walk(root, onerror=unreadable):
        for name in names + [f for f in folders if os.path.islink(os.path.join(where, f))]:
            path = os.path.join(where, name)
            yield str(PurePosixPath(os.path.relpath(path, root).replace(os.sep, "/"))), local_stamp(path)


def local_stamp(path: str) -> str:
    """Size and time of a file, "" for what is none; a link to nowhere has a stamp, so that it becomes a failure."""
    try:
        about = os.stat(path)
    except OSError:
        return "nothing there"
    return f"{about.st_size} bytes, {about.st_mtime_ns} ns" if stat.S_ISREG(about.st_mode) else ""


def stamp(about: dict) -> str:
    """Size and time of an object as its store tells them; "" for what is none."""
    if about.get("type", "file") != "file":
        return ""
    times = (about.get(key) for key in ("LastModified", "updated", "last_modified", "mtime", "created"))
    return f"{about.get('size')} bytes, {next((t for t in times if t is not None), 'no time')}"
