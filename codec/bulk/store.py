"""A place where archives lie, by fsspec: a folder, a bucket; files appear there whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import PurePosixPath

from codec import files
from codec.errors import LatError, reason

OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"}  # an object appears whole or not at all


class Store:
    """A place where files are read and written by name: a folder, a bucket."""

    def __init__(self, url: str):
        """Raises: LatError where no package for this kind of place is installed."""
        import fsspec

        self.url = url
        try:
            self.fs, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise LatError(f"{url}: {error}; pip install 'lat-codec[cloud]' has S3 and Google Cloud") from None
        self.root = root.rstrip("/")
        protocols = {self.fs.protocol} if isinstance(self.fs.protocol, str) else set(self.fs.protocol)
        self.local, self.whole = bool(protocols & {"file", "local"}), bool(protocols & OBJECT_STORES)

    def names(self, folder: str = "") -> list[str]:
        """Everything below, or below a folder in it, as sorted relative names; nothing where there is no such place.

        Raises: LatError.
        """
        try:
            root = f"{self.root}/{folder}".rstrip("/")
            found = self.fs.find(root)
        except FileNotFoundError:
            return []
        except Exception as error:  # no credentials, no network: each store has exceptions of its own
            raise LatError(f"{self.url}: cannot be listed: {reason(error)}") from None
        return sorted(str(PurePosixPath(path).relative_to(root)) for path in found)

    def read(self, name: str) -> bytes:
        return self.fs.cat_file(f"{self.root}/{name}")

    def read_there(self, names: list[str]) -> dict[str, bytes]:
        """Contents of those of these files that exist, fetched together."""
        paths = {f"{self.root}/{name}": name for name in names}
        return {paths[path]: data for path, data in self.fs.cat(list(paths), on_error="omit").items()}

    def write(self, name: str, data: bytes) -> None:
        """All of a file or nothing, replacing an older one."""
        path = f"{self.root}/{name}"
        if self.local:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            files.write_bytes(path, data, overwrite=True)
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
