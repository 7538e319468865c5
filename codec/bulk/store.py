"""A place where archives lie, by fsspec: a folder, a bucket; files appear there whole or not at all."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from codec.errors import ExistsError, LatError, install, reason
from codec.runs import files
from codec.runs.files import Source

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
            raise LatError(f"{url}: {reason(error)}; {install('cloud')} has S3 and Google Cloud") from None
        except Exception as error:  # some connect here: each has exceptions of its own
            raise LatError(f"{url}: cannot be reached: {reason(error)}") from None
        self.root = root.rstrip("/")
        protocols = {self.fs.protocol} if isinstance(self.fs.protocol, str) else set(self.fs.protocol)
        self.local, self.whole = bool(protocols & {"file", "local"}), bool(protocols & OBJECT_STORES)

    def refuse_missing(self) -> None:
        """Raise LatError where there is no folder of this name. A bucket's folders are there when files are in them."""
        try:
            what = None if self.whole or self.fs.isdir(self.root or "/") else "no such folder"
            if what and self.fs.isfile(self.root):
                what = "is a file; lat compress takes files"
        except Exception as error:  # as in `files`
            what = f"cannot be reached: {reason(error)}"
        if what:
            raise LatError(f"{self.url}: {what}")

    def names(self, folder: str = "") -> list[str]:
        """Everything below, or below a folder in it, as sorted relative names; nothing where there is no such place.

        Raises: LatError.
        """
        return sorted(self.files(folder))

    def files(
        self,
        folder: str = "",
        unreadable: Callable[[OSError], None] | None = None,
        unsafe: Callable[[str], None] = lambda path: None,
    ) -> dict[str, str]:
        """Relative name -> stamp of everything below, "" for what is no file.

        `unreadable` gets folders that are not; `unsafe` gets names that could mean a place outside.
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
        names = {}
        for path, about in found.items():
            name = path.removeprefix(root.rstrip("/") + "/") if root else path
            if is_safe(name):
                names[name] = stamp(about)
            else:
                unsafe(path)
        return names

    def path(self, name: str) -> str | None:
        """Where a file lies on this machine, if it does."""
        return f"{self.root}/{name}" if self.local else None

    def read(self, name: str) -> Source:
        """Read a file, which may be in the middle of a change if it is of this machine: see `Source.refuse_changed`."""
        path = self.path(name)
        return files.read(path) if path else Source(name, self.fs.cat_file(f"{self.root}/{name}"))

    def read_head(self, name: str, size: int) -> bytes:
        """The first bytes of a file; none where it cannot be read."""
        if path := self.path(name):
            return files.read_head(path, size)
        try:
            return self.fs.cat_file(f"{self.root}/{name}", 0, size)
        except Exception:
            return b""

    def read_there(self, names: list[str]) -> dict[str, bytes]:
        """Contents of those of these files that exist, fetched together."""
        found = self.fs.cat_ranges([f"{self.root}/{name}" for name in names], None, None, on_error="return")
        for name, data in zip(names, found):
            if isinstance(data, Exception) and not isinstance(data, FileNotFoundError):
                raise LatError(f"{self.url}/{name}: cannot be read: {reason(data)}")
        return {name: data for name, data in zip(names, found) if isinstance(data, bytes)}

    def write(self, name: str, data: bytes, overwrite: bool = True) -> None:
        """Write all of a file or nothing.

        Raises: ExistsError where it is there already (unless `overwrite`), as far as the store can tell.
        """
        path = f"{self.root}/{name}"
        try:
            if self.local:
                files.make_folder(Path(path).parent)
                files.write_bytes(path, data, overwrite)
            elif self.whole:
                self._put(path, data, overwrite)
            else:
                self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
                if not overwrite and self.fs.exists(path):
                    raise FileExistsError(path)
                self.fs.pipe_file(f"{path}.part", data)
                self.fs.mv(f"{path}.part", path)
        except FileExistsError:
            raise ExistsError(f"{self.url}/{name}: exists; --overwrite replaces it") from None

    def _put(self, path: str, data: bytes, overwrite: bool) -> None:
        if not overwrite:
            try:
                self.fs.pipe_file(path, data, mode="create")
                return
            except (TypeError, NotImplementedError):  # stores that know no such thing
                if self.fs.exists(path):
                    raise FileExistsError(path) from None
        self.fs.pipe_file(path, data)

    def remove(self, folder: str, names: list[str]) -> None:
        """These files in a folder, and the folder if it is empty then. Another run may be doing the same."""
        for name in names:
            with suppress(FileNotFoundError):
                self.fs.rm_file(f"{self.root}/{folder}/{name}")
        with suppress(OSError):
            self.fs.rmdir(f"{self.root}/{folder}")


def is_safe(name: str) -> bool:
    """Whether a name from a listing stays below its root wherever it is written, and has no second spelling there.

    An archive can hold any text.
    """
    parts = name.split("/")
    return not re.search(r"^[A-Za-z]:|\\|\0", name) and not {"", ".", ".."} & set(parts)


def walked(root: str, unreadable: Callable[[OSError], None] | None) -> Iterator[tuple[str, str]]:
    """`Store.files` of a folder; fsspec passes over folders below that cannot be read."""
    for where, folders, names in os.walk(root, onerror=unreadable):
        for name in names + [f for f in folders if os.path.islink(os.path.join(where, f))]:
            path = os.path.join(where, name)
            yield str(PurePosixPath(os.path.relpath(path, root).replace(os.sep, "/"))), local_stamp(path)


def local_stamp(path: str) -> str:
    """The state of a file, "" for what is none; a link to nowhere has one, so that it becomes a failure.

    Content cannot change without it: nobody can set the time at which an inode was changed.
    """
    try:
        about = os.stat(path)
    except OSError:
        return "nothing there"
    if not stat.S_ISREG(about.st_mode):
        return ""
    return f"{about.st_size} bytes, {about.st_mtime_ns} ns, {about.st_ctime_ns} ns, inode {about.st_ino}"


def stamp(about: dict) -> str:
    """Size, time and tag of an object as its store tells them; "" for what is none."""
    if about.get("type", "file") != "file":
        return ""
    times = (about.get(key) for key in ("LastModified", "updated", "last_modified", "mtime", "created"))
    tag = next((about[key] for key in ("ETag", "etag", "md5Hash") if about.get(key)), "")
    return f"{about.get('size')} bytes, {next((t for t in times if t is not None), 'no time')} {tag}".rstrip()
