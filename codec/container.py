"""The .lat file: bytes on disk <-> header, tiles and metadata. FORMAT.md is the specification.

Standard library only, so that opening, describing and checking a file costs no torch.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from codec.config import LATENT, TILE, ceil_div
from codec.errors import ChecksumError, FormatError, TruncatedError

MAGIC = b"\x8eLAT\r\n\x1a\n"
VERSION = (1, 1)  # minor 0 is written where nothing is coded losslessly
MODES = ("L", "LA", "RGB", "RGBA")
MAX_SIDE = 2**31 - 1
MIN_TILE_BYTES = 13  # rate row, CRC and the shortest stream
MAX_PATCH = 4096  # pixels a side of what is coded losslessly: what a reader must be able to hold
FINGERPRINT_BYTES = 8
NO_WEIGHTS = b"lossless"  # in place of a fingerprint: a file that is lossless everywhere needs none
METADATA = {"icc": b"iccp", "exif": b"exif", "xmp": b"xmp_", "text": b"text"}
METADATA_LIMIT = 64 * 2**20


@dataclass(frozen=True)
class Header:
    """What HEAD carries: picture size in pixels, Pillow mode, tile side in latents, fingerprint of the weights."""

    width: int
    height: int
    mode: str
    tile: int
    model: bytes

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles across and down."""
        side = self.tile * LATENT
        return ceil_div(self.width, side), ceil_div(self.height, side)

    @property
    def has_alpha(self) -> bool:
        return self.mode in ("LA", "RGBA")

    @property
    def lossless(self) -> bool:
        """Nothing but patches, which cover the picture: no tiles, no weights."""
        return self.model == NO_WEIGHTS

    def pack(self, minor: int = 0) -> bytes:
        flags = 0
        numbers = varint(self.width) + varint(self.height) + bytes([MODES.index(self.mode)]) + varint(self.tile)
        return struct.pack("<BBH", VERSION[0], minor, flags) + numbers + self.model

    @classmethod
    def unpack(cls, payload: bytes) -> Header:
        """Later minor versions may append fields; these bytes are ignored here."""
        if len(payload) < 4:
            raise TruncatedError("HEAD: payload too short")
        major, _, flags = struct.unpack_from("<BBH", payload)
        if major != VERSION[0]:
            raise FormatError(f"HEAD: format version {major}, this reader knows {VERSION[0]}; install a newer release")
        if flags >> 8:
            raise FormatError(f"HEAD: unknown required flags 0x{flags >> 8:02x}; install a newer release")
        width, at = read_varint(payload, 4)
        height, at = read_varint(payload, at)
        mode, at = read_varint(payload, at)
        tile, at = read_varint(payload, at)
        model = bytes(payload[at : at + FINGERPRINT_BYTES])
        if len(model) < FINGERPRINT_BYTES:
            raise TruncatedError("HEAD: payload too short")
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise FormatError(f"HEAD: impossible picture size {width} × {height}")
        if mode >= len(MODES):
            raise FormatError(f"HEAD: unknown pixel mode {mode}; install a newer release")
        if not 4 <= tile <= TILE or tile % 4:
            raise FormatError(f"HEAD: tile side of {tile} latents, must be a multiple of 4 from 4 to {TILE}")
        return cls(width, height, MODES[mode], tile, model)


@dataclass(frozen=True)
class Patch:
    """A rectangle of pixels coded losslessly, and its VP8L stream (WebP's); `masked`: only where its alpha is not 0."""

    left: int
    top: int
    width: int
    height: int
    masked: bool
    stream: memoryview | bytes

    def pack(self) -> bytes:
        return bytes([self.masked]) + varint(self.left) + varint(self.top) + bytes(self.stream)

    @classmethod
    def unpack(cls, payload: memoryview, header: Header) -> Patch:
        """Raises: FormatError, TruncatedError."""
        if not len(payload) or payload[0] > 1:
            raise FormatError("LOSS: unknown kind of patch; install a newer release")
        left, at = read_varint(payload, 1)
        top, at = read_varint(payload, at)
        stream = payload[at:]
        if len(stream) < 5 or stream[0] != 0x2F or stream[4] >> 5:
            raise FormatError("LOSS: no VP8L stream of version 0")
        size = int.from_bytes(stream[1:5], "little")
        width, height = (size & 0x3FFF) + 1, (size >> 14 & 0x3FFF) + 1
        if left + width > header.width or top + height > header.height:
            raise FormatError("LOSS: a patch leaves the picture")
        if left % MAX_PATCH + width > MAX_PATCH or top % MAX_PATCH + height > MAX_PATCH:
            raise FormatError(f"LOSS: a patch crosses a border between cells of {MAX_PATCH} pixels")
        return cls(left, top, width, height, bool(payload[0]), stream)

    @property
    def sides(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    @property
    def cell(self) -> tuple[int, int]:
        """Row and column in a grid of squares of MAX_PATCH pixels, of which each has one patch at most."""
        return self.top // MAX_PATCH, self.left // MAX_PATCH


class Tiles(Sequence[memoryview]):
    """The tiles of DATA, one behind the other, as views: 8 bytes of memory each, because a file may list millions."""

    def __init__(self, data: memoryview, ends: array[int]):
        self.data, self.ends = data, ends

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        return self.data[self.ends[index - 1] if index else 0 : self.ends[index]]


@dataclass(frozen=True)
class Container:
    """A parsed file. `tiles` are views in raster order; `crcs` their CRC-32 (none with one tile: DATA has it).

    A tile is empty where a patch covers it; a file without weights has none. `damaged`: what is wrong with patches
    that were altered after writing.
    """

    header: Header
    tiles: Sequence[memoryview | bytes]
    metadata: dict[str, bytes] = field(default_factory=dict)
    ancillary: list[tuple[bytes, bytes]] = field(default_factory=list)
    crcs: Sequence[int] | None = None
    data_crc: tuple[int, int] = (0, 0)  # of the whole DATA chunk: stored, and that of its type
    patches: list[Patch] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    @property
    def minor(self) -> int:
        """Version of the format that a reader must know."""
        return 1 if self.patches or self.damaged else 0

    def tile(self, index: int) -> bytes:
        """Bytes of one tile, checked.

        Raises: ChecksumError.
        """
        data = bytes(self.tiles[index])
        if self.crcs is not None and zlib.crc32(data) != self.crcs[index]:
            raise ChecksumError(f"tile {index}: checksum mismatch, its {len(data)} bytes were altered after writing")
        return data

    def verify(self) -> None:
        """Check every tile and patch (the other chunks were checked by `parse`).

        Raises: ChecksumError.
        """
        if self.damaged:
            raise ChecksumError(self.damaged[0])
        stored, crc = self.data_crc
        for index in range(len(self.tiles)):
            crc = zlib.crc32(self.tile(index), crc)
        if self.crcs is not None and crc != stored:
            raise ChecksumError("chunk DATA: checksum mismatch, although every tile is good")


def varint(value: int) -> bytes:
    """LEB128: seven bits a byte, least significant first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """(value, position after it); at most five bytes, no needless ones."""
    value = 0
    for count in range(5):
        if at + count >= len(data):
            raise TruncatedError("a number runs past the end of its chunk")
        byte = data[at + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            if byte == 0 and count:
                break
            return value, at + count + 1
    raise FormatError("a number is written with too many bytes")


def chunk(kind: bytes, payload: bytes) -> bytes:
    return kind + varint(len(payload)) + payload + struct.pack("<I", zlib.crc32(payload, zlib.crc32(kind)))


def build(container: Container) -> bytes:
    """The whole file. `tiles` must fill the header's grid, but for a file without weights."""
    tiles, header = [bytes(t) for t in container.tiles], container.header
    across, down = header.grid
    if len(tiles) != (0 if header.lossless else across * down):
        raise ValueError(f"{len(tiles)} tiles for a grid of {across} × {down}")
    parts = [MAGIC, chunk(b"HEAD", header.pack(container.minor))]
    if len(tiles) > 1:
        entries = [varint(len(t)) + struct.pack("<I", zlib.crc32(t)) for t in tiles]
        parts.append(chunk(b"INDX", b"".join(entries)))
    parts += [chunk(METADATA[key], value) for key, value in container.metadata.items()]
    parts += [chunk(kind, payload) for kind, payload in container.ancillary]
    parts += [chunk(b"LOSS", patch.pack()) for patch in container.patches]
    parts.append(chunk(b"DATA", b"".join(tiles)))
    return b"".join(parts)


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview, int, int]]:
    """(type, payload, stored CRC, offset) of every chunk up to DATA, which must end the file."""
    at = len(MAGIC)
    while True:
        if at + 4 > len(data):
            raise TruncatedError(f"file ends at byte {len(data)}, before its DATA: it was cut short")
        kind = bytes(data[at : at + 4])
        if not all(65 <= c <= 90 or 97 <= c <= 122 or c == 95 for c in kind):
            raise FormatError(f"byte {at}: {kind!r} is no chunk type; the file is damaged from here on")
        length, start = read_varint(data, at + 4)
        end = start + length + 4
        if end > len(data):
            raise TruncatedError(f"chunk {kind.decode()} at byte {at} runs {end - len(data)} bytes past the end")
        yield kind, data[start : end - 4], struct.unpack_from("<I", data, end - 4)[0], at
        at = end
        if kind == b"DATA":
            if at != len(data):
                raise FormatError(f"{len(data) - at} bytes after DATA, which ends a file")
            return


def parse(data: bytes | memoryview) -> Container:
    """Read a file held in memory (or memory-mapped) without copying its tiles.

    Every CRC is checked except those of indexed tiles, which `Container.tile` checks one by one.
    Raises: FormatError, TruncatedError, ChecksumError.
    """
    data = memoryview(data)
    if bytes(data[: len(MAGIC)]) != MAGIC[: len(data)] or not len(data):
        raise FormatError("not a .lat file (its first bytes are not the signature)")
    if len(data) < len(MAGIC):
        raise TruncatedError(f"file ends after {len(data)} bytes")
    found: dict[bytes, memoryview] = {}
    ancillary: list[tuple[bytes, bytes]] = []
    lossless: list[memoryview] = []
    damaged: list[str] = []
    known = {b"HEAD", b"INDX", b"DATA", *METADATA.values()}
    for kind, payload, crc, at in _chunks(data):
        if (kind == b"HEAD") != (not found):
            raise FormatError(f"byte {at}: HEAD must come first and once, found {kind.decode()}")
        if kind in found:
            raise FormatError(f"byte {at}: second {kind.decode()} chunk")
        if kind == b"LOSS":
            if zlib.crc32(payload, zlib.crc32(kind)) == crc:
                lossless.append(payload)
            else:
                damaged.append(f"chunk LOSS at byte {at}: checksum mismatch, altered after writing")
            continue
        if kind not in known and kind[:1].isupper():
            raise FormatError(f"byte {at}: unknown critical chunk {kind.decode()}; install a newer release")
        if not (kind == b"DATA" and b"INDX" in found) and zlib.crc32(payload, zlib.crc32(kind)) != crc:
            raise ChecksumError(f"chunk {kind.decode()} at byte {at}: checksum mismatch, altered after writing")
        if kind not in known:
            ancillary.append((kind, bytes(payload)))
            continue
        if kind in METADATA.values() and len(payload) > METADATA_LIMIT:
            raise FormatError(f"byte {at}: {kind.decode()} of {len(payload)} bytes, at most {METADATA_LIMIT} allowed")
        if kind == b"DATA":
            data_crc = (crc, zlib.crc32(kind))
        found[kind] = payload
    header = Header.unpack(bytes(found[b"HEAD"]))
    patches = _patches(header, lossless, len(damaged))
    tiles, crcs = _split(header, found.get(b"INDX"), found[b"DATA"], bool(patches or damaged))
    metadata = {key: bytes(found[kind]) for key, kind in METADATA.items() if kind in found}
    return Container(header, tiles, metadata, ancillary, crcs, data_crc, patches, damaged)


def _patches(header: Header, payloads: list[memoryview], damaged: int) -> list[Patch]:
    """Patches in raster order of their cells; without weights, all of the picture is in them."""
    patches = [Patch.unpack(payload, header) for payload in payloads]
    if any(a.cell >= b.cell for a, b in zip(patches, patches[1:])):
        raise FormatError("LOSS: patches out of order, or two in one cell")
    if header.lossless:
        cells = ceil_div(header.width, MAX_PATCH) * ceil_div(header.height, MAX_PATCH)
        covered = sum(p.width * p.height for p in patches if not p.masked)
        if len(patches) + damaged != cells or (not damaged and covered != header.width * header.height):
            raise FormatError("HEAD names no weights, but LOSS does not cover the picture")
    return patches


def _split(
    header: Header, index: memoryview | None, data: memoryview, patched: bool
) -> tuple[Sequence[memoryview], Sequence[int] | None]:
    """Cut DATA into tiles; everything must agree before anything the size of the picture is allocated."""
    across, down = header.grid
    if header.lossless:
        if index is not None or len(data):
            raise FormatError("HEAD names no weights, but there are tiles")
        return [], None
    if not patched and len(data) < MIN_TILE_BYTES * across * down:
        raise FormatError(f"DATA of {len(data)} bytes cannot hold {across} × {down} tiles")
    if across * down == 1:
        if index is not None:
            raise FormatError("INDX in a file of one tile")
        if len(data) < MIN_TILE_BYTES and len(data):
            raise FormatError(f"tile 0 of {len(data)} bytes is impossible")
        return [data], None
    if index is None:
        raise FormatError(f"no INDX although the picture has {across} × {down} tiles")
    if len(index) < 5 * across * down:
        raise FormatError(f"INDX of {len(index)} bytes cannot list {across} × {down} tiles")
    ends, crcs = array("Q"), array("I")
    at = end = 0
    for number in range(across * down):
        size, at = read_varint(index, at)
        if at + 4 > len(index):
            raise TruncatedError("INDX ends inside an entry")
        crcs.append(struct.unpack_from("<I", index, at)[0])
        at += 4
        if size < MIN_TILE_BYTES and (size or crcs[-1] or not patched):
            raise FormatError(f"tile {number} of {size} bytes is impossible")
        end += size
        if end > len(data):
            raise FormatError("INDX lists more bytes than DATA has")
        ends.append(end)
    if at != len(index) or end != len(data):
        raise FormatError("INDX and DATA disagree in size")
    return Tiles(data, ends), crcs
