"""What a file from a stranger can cost: the table of FILES.md, in operations and under a limit of memory."""

import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from codec import Codec, FormatError, LimitError, container
from codec.arguments import as_picture
from codec.container import Container, Header, Patch, chunk, parse, varint
from codec.learned import Learned
from codec.lossless import webp
from codec.settings import MAX_DECODED, Settings
from codec.tile import TileLatents
from codec.tiles import Box, tile_kinds
from tests import tiny
from tests.conftest import run

ONE = webp(np.zeros((1, 1, 3), np.uint8), 1)
MAGIC = container.MAGIC


@pytest.fixture(scope="module")
def small() -> Codec:
    return Codec(tiny.weights(), "onnxruntime", 1)


def entry(data: bytes) -> bytes:
    return varint(len(data)) + struct.pack("<I", zlib.crc32(data))


def row(count: int, filled: bytes = b"", side: int = 4, patched: int = 1) -> bytes:
    """A picture one pixel high: so many tiles, and a patch of one pixel in each of the first cells."""
    header = Header(16 * side * count, 1, "RGB", side, tiny.FINGERPRINT)
    parts = [MAGIC, chunk(b"HEAD", header.pack(1)), chunk(b"INDX", entry(filled) * count)]
    parts += [chunk(b"LOSS", Patch(4096 * i, 0, 1, 1, False, ONE).pack()) for i in range(patched)]
    return b"".join([*parts, chunk(b"DATA", filled * count)])


def square(side: int) -> bytes:
    """So many pixels a side, of empty tiles and a patch of one pixel."""
    header = Header(side, side, "RGB", 64, tiny.FINGERPRINT)
    count = header.grid[0] * header.grid[1]
    loss = chunk(b"LOSS", Patch(0, 0, 1, 1, False, ONE).pack())
    return MAGIC + chunk(b"HEAD", header.pack(1)) + chunk(b"INDX", entry(b"") * count) + loss + chunk(b"DATA", b"")


def many(kind: bytes, payload: bytes, count: int) -> bytes:
    """A file of one tile with so many further chunks."""
    header = Header(16, 16, "RGB", 64, tiny.FINGERPRINT)
    return MAGIC + chunk(b"HEAD", header.pack()) + chunk(kind, payload) * count + chunk(b"DATA", bytes(13))


# -- time: operations ------------------------------------------------------------------------------------------------


def counted(monkeypatch, name: str, work: Callable[[], object]) -> int:
    """Calls of a method of Box while `work` runs."""
    calls = 0
    real = getattr(Box, name)

    def counting(*args):
        nonlocal calls
        calls += 1
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(Box, name, counting)
        work()
    return calls


def test_describing_a_file_takes_as_many_operations_as_it_has_tiles(monkeypatch):
    for count in (200, 400):
        file = parse(row(count, bytes(13), 64, count // 4))
        assert counted(monkeypatch, "__and__", lambda file=file: tile_kinds(file)) <= 4 * count


def test_kinds_of_tiles_whose_sides_do_not_divide_a_cell():
    header = Header(9000, 100, "RGB", 20, bytes(8))  # tiles of 320 pixels: some lie in two cells
    for left in (0, 4090, 4096, 8000):
        over = Patch(left, 0, 1, 1, False, ONE)
        file = Container(header, [bytes(13)] * 29, patches=[over])
        assert tile_kinds(file) == {"learned": 28, "mixed": 1, "lossless": 0}


@pytest.mark.parametrize("filled", [False, True])
def test_decoding_a_row_of_tiles_takes_as_many_operations_as_there_are(small, monkeypatch, filled):
    found = []
    for count in (20, 40):
        pixels = np.zeros((1, 64 * count, 3), np.uint8)
        file = small.learned.encode(as_picture(pixels), Settings(tile=4)) if filled else parse(row(count))
        work = partial(small.learned.decode, file, Box(0, 0, 64 * count, 1))
        found.append(counted(monkeypatch, "__and__", work))
    assert found[1] <= 2.1 * found[0]


def test_latents_are_kept_no_longer_than_they_are_needed(small, monkeypatch):
    """Of a row of 30 tiles those of a few, not of all."""
    kept, most = 0, 0

    class Counted(TileLatents):
        def __del__(self) -> None:
            nonlocal kept
            kept -= 1

    real = Learned.decode_tile

    def decode(*args, **kwargs):
        nonlocal kept, most
        kept += 1
        most = max(most, kept)
        return Counted(**vars(real(*args, **kwargs)))

    monkeypatch.setattr(Learned, "decode_tile", decode)
    file = small.learned.encode(as_picture(np.zeros((1, 64 * 30, 3), np.uint8)), Settings(tile=4))
    small.learned.decode(file, Box(0, 0, 64 * 30, 1))
    assert most <= 12


# -- limits ----------------------------------------------------------------------------------------------------------


def test_a_stream_longer_than_its_values_can_be_is_refused(small):
    file = small.learned.encode(as_picture(np.zeros((16, 16, 3), np.uint8)), Settings())
    tile = bytes(file.tiles[0])
    with pytest.raises(FormatError, match="stream of .* bytes is impossible"):
        small.decode(container.build(replace(file, tiles=[tile + bytes(4000)])))


def test_a_server_is_asked_for_before_a_gigabyte_is_taken(small):
    side = 12 * 1024
    assert side * side > MAX_DECODED
    with pytest.raises(LimitError):
        small.decode(square(side))


def test_tiles_of_no_bytes_have_no_checksum():
    header = Header(128, 1, "RGB", 4, bytes(8))
    loss = chunk(b"LOSS", Patch(0, 0, 1, 1, False, ONE).pack())
    index = entry(b"") + b"\0" + bytes([1, 0, 0, 0])
    data = MAGIC + chunk(b"HEAD", header.pack(1)) + chunk(b"INDX", index) + loss + chunk(b"DATA", b"")
    with pytest.raises(FormatError, match="tile 1 of 0 bytes"):
        parse(data)


def test_tiles_can_be_indexed_as_a_list():
    file = parse(row(5, b"0123456789abc"))
    assert file.tiles[-1] == b"0123456789abc" and len(file.tiles[1:3]) == 2
    with pytest.raises(IndexError):
        file.tiles[5]


# -- memory: the table of FILES.md -----------------------------------------------------------------------------------

READING = 30  # bytes of memory a byte of the file, once it is read
DECODING = 20  # more of them, and
A_PIXEL = 9
SLACK = 12 * 2**20

CASES = {  # file, pixels that are decoded (0: it is refused, or only described)
    "empty tiles": lambda: (row(300_000), 0),
    "unknown chunks": lambda: (many(b"prIv", b"", 100_000), 0),
    "patches": lambda: (row(12_000, bytes(13), 64, 3000), 0),
    "text of lists": lambda: (many(b"text", b"[" + b"[]," * 10**6 + b"0]", 1), 0),
    "a stream behind a small picture": lambda: (many(b"prIv", bytes(9), 1)[:-21] + chunk(b"DATA", bytes(5 + 2**22)), 0),
    "grey": lambda: (square(3072), 9 * 2**20),
    "a row of empty tiles": lambda: (row(2000), 2000 * 64),
}

CHILD = """
import io, resource, sys
from codec import Codec, LatError, plugin
from codec.container import parse
from codec.tiles import tile_kinds
from PIL import Image
from tests import test_costs as costs, tiny
codec = Codec(tiny.weights(), "onnxruntime", 1)
codec.decode(codec.encode_picture(costs.np.zeros((70, 70, 3), "uint8"), costs.Settings(tile=4)))
for name, make in costs.CASES.items():
    data, pixels = make()
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    allowed = len(data) * (costs.READING + costs.DECODING * bool(pixels)) + pixels * costs.A_PIXEL + costs.SLACK
    resource.setrlimit(resource.RLIMIT_AS, (used + allowed, resource.RLIM_INFINITY))
    try:
        tile_kinds(parse(data))
        parse(data).verify()
        try:
            Image.open(io.BytesIO(data)).close()
        except (OSError, Image.DecompressionBombError):
            pass
        decoded = codec.decode(data).size if pixels else None
        if not pixels and name.startswith("a stream"):
            codec.decode(data)
    except LatError as error:
        assert not pixels, error
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
    print(name, flush=True)
    decoded = data = None
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not enforce RLIMIT_AS")
def test_files_cost_no_more_memory_than_the_table_says():
    done = run("-W", "ignore", "-c", CHILD, text=True, env={"MALLOC_ARENA_MAX": "1"})
    assert done.returncode == 0 and done.stdout.splitlines() == list(CASES), done.stdout + done.stderr[-1500:]
