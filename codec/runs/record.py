"""What an output was made from and how: a few bytes in it, by which a later run knows whether it is done.

A `.lat` file has them in a chunk `made` behind HEAD (FORMAT.md), a PNG in a private chunk `maDE` behind IHDR, which
programs that alter a picture are to drop. They depend on the input's bytes and the settings alone. Other formats have
no place for them: an output without a record is made again, and compared.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from codec import container
from codec.errors import LatError

READ = 1024  # bytes from the beginning of a file in which a record is found
KIND = b"made"
PNG, PNG_KIND, PNG_AT = b"\x89PNG\r\n\x1a\n", b"maDE", 33
DIGEST = 8  # bytes
LONGEST = 10  # bytes of a format and what divides it from the settings


@dataclass(frozen=True)
class Record:
    """Size and digest (`files.digest`) of an input, settings as options of the command, the format of a picture."""

    size: int
    digest: bytes
    settings: str
    format: str = ""  # as `declared.format_of` tells it

    def pack(self) -> bytes:
        format = f"\0{self.format}" if self.format else ""
        return container.varint(self.size) + self.digest + (self.settings + format).encode()

    @classmethod
    def unpack(cls, payload: bytes) -> Record | None:
        """None where these are not the bytes of a record."""
        try:
            size, at = container.read_varint(payload, 0)
            settings, _, format = payload[at + DIGEST :].decode().partition("\0")
        except (LatError, UnicodeDecodeError):
            return None
        return cls(size, payload[at : at + DIGEST], settings, format) if len(payload) >= at + DIGEST else None


def most_bytes(settings: str) -> int:
    """How much larger a `.lat` file is with a record of these settings, at the most."""
    return 4 + 2 + 5 + DIGEST + len(settings.encode()) + LONGEST + 4


def add(data: bytes, record: Record) -> bytes:
    """The bytes of an output with a record; unchanged where its format has no place for one."""
    at = _place(data)
    if not at:
        return data
    payload = record.pack()
    if data.startswith(PNG):
        crc = zlib.crc32(payload, zlib.crc32(PNG_KIND))
        chunk = struct.pack(">I", len(payload)) + PNG_KIND + payload + struct.pack(">I", crc)
    else:
        chunk = container.chunk(KIND, payload)
    return data[:at] + chunk + data[at:]


def find(head: bytes) -> Record | None:
    """The record in the first `READ` bytes of an output, if it has one."""
    at = _place(head)
    if not at:
        return None
    if head.startswith(PNG):
        length, kind, start, order = *struct.unpack_from(">I4s", head.ljust(at + 8, b"\0"), at), at + 8, ">I"
        if kind != PNG_KIND:
            return None
    else:
        kind, order = head[at : at + 4], "<I"
        try:
            length, start = container.read_varint(head, at + 4)
        except LatError:
            return None
        if kind != KIND:
            return None
    payload, stored = head[start : start + length], head[start + length : start + length + 4]
    return Record.unpack(payload) if stored == struct.pack(order, zlib.crc32(payload, zlib.crc32(kind))) else None


def remove(data: bytes) -> bytes:
    """The bytes of an output without its record."""
    found = find(data[:READ])
    if found is None:
        return data
    at = _place(data)
    return data[:at] + data[at + len(add(data, found)) - len(data) :]


def _place(data: bytes) -> int:
    """Where a record begins, or would; 0 where the format has no place for one."""
    if data.startswith(PNG):
        return PNG_AT if len(data) >= PNG_AT else 0
    if not data.startswith(container.MAGIC):
        return 0
    try:
        length, start = container.read_varint(data, len(container.MAGIC) + 4)
    except LatError:
        return 0
    return start + length + 4
