"""The classics, by name: each is refused with the right error, quickly and in little memory."""

import ast
import json
import struct
import zlib

import pytest

from codec.container import MAGIC, METADATA_LIMIT, NO_WEIGHTS, Container, Header, Patch, build, chunk, parse, varint
from tests.conftest import run


def forge(header: bytes, data: bytes, *, index: bytes | None = None, more: bytes = b"") -> bytes:
    chunks = chunk(b"HEAD", header) + (chunk(b"INDX", index) if index is not None else b"")
    return MAGIC + chunks + more + chunk(b"DATA", data)


def entry(data: bytes) -> bytes:
    return varint(len(data)) + struct.pack("<I", zlib.crc32(data))


def huge(width: int, height: int, tile: int = 64, mode: str = "RGB"):
    return lambda real: forge(
        Header(width, height, mode, tile, parse(real).header.model).pack(), bytes(parse(real).tiles[0])
    )


def many_tiles(count: int, size: int):
    def make(real: bytes) -> bytes:
        header = Header(64 * count, 64, "RGB", 4, parse(real).header.model).pack()
        return forge(header, bytes(size * count), index=entry(bytes(size)) * count)

    return make


def overlapping(real: bytes) -> bytes:
    """Two tiles that both claim the same bytes."""
    tile = bytes(parse(real).tiles[0])
    header = Header(128, 64, "RGB", 4, parse(real).header.model).pack()
    return forge(header, tile + bytes(13), index=entry(tile) * 2)


def with_tile(change):
    def make(real: bytes) -> bytes:
        parsed = parse(real)
        return build(Container(parsed.header, [change(bytes(parsed.tiles[0]))]))

    return make


def alpha_bomb(real: bytes) -> bytes:
    header, tile = parse(real).header, bytes(parse(real).tiles[0])
    bomb = zlib.compress(bytes(2**27), 9)
    header = Header(header.width, header.height, "RGBA", header.tile, header.model)
    return build(Container(header, [tile[:5] + varint(len(bomb)) + bomb + tile[5:]]))


def patches_of_nothing(real: bytes) -> bytes:
    """Four times 4096 × 4096 pixels, of which no stream has any."""
    size = (4095 | 4095 << 14).to_bytes(4, "little")
    places = [(0, 0), (4096, 0), (0, 4096), (4096, 4096)]
    patches = [Patch(*place, 4096, 4096, False, b"\x2f" + size + bytes(30)) for place in places]
    return build(Container(Header(8192, 8192, "RGB", 64, NO_WEIGHTS), [], patches=patches))


ATTACKS = {
    "2^31 × 2^31 pixels": (huge(2**31 - 1, 2**31 - 1), "FormatError"),
    "one tile claims 2^31 × 1": (huge(2**31 - 1, 1), "FormatError"),
    "largest tile from a few bytes": (huge(1024, 1024), "DesyncError"),
    "row of pixels beyond the data": (huge(10**6, 16), "FormatError"),
    "a million empty tiles": (many_tiles(10**6, 0), "FormatError"),
    "a hundred thousand tiles of nothing": (many_tiles(10**5, 13), "LimitError"),
    "overlapping tiles": (overlapping, "FormatError"),
    "forged escape codes": (with_tile(lambda t: t[:5] + b"\xff" * 4000), "DesyncError"),
    "endless zeros": (with_tile(lambda t: t[:5] + bytes(4000)), "DesyncError"),
    "empty stream": (with_tile(lambda t: t[:13]), "DesyncError"),
    "rate row 255": (with_tile(lambda t: b"\xff" + t[1:]), "FormatError"),
    "another checksum": (with_tile(lambda t: t[:1] + bytes(4) + t[5:]), "DesyncError"),
    "wrong fingerprint": (lambda real: real.replace(parse(real).header.model, b"unknown!"), "ChecksumError"),
    "wrong fingerprint, right checksum": (
        lambda real: build(Container(Header(64, 64, "RGB", 64, b"unknown!"), parse(real).tiles)), "MissingModelError"
    ),
    "giant ICC profile": (
        lambda real: forge(parse(real).header.pack(), bytes(parse(real).tiles[0]),
                           more=chunk(b"iccp", bytes(METADATA_LIMIT + 1))), "FormatError"
    ),
    "ICC profile that is not there": (
        lambda real: real[:-12] + struct.pack("<I4s", 2**32 - 1, b"iccp"), "TruncatedError"
    ),
    "alpha bomb": (alpha_bomb, "FormatError"),
    "patches of nothing": (patches_of_nothing, "FormatError"),
    "lossless without patches": (
        lambda real: forge(Header(2**31 - 1, 2**31 - 1, "RGB", 64, NO_WEIGHTS).pack(1), b""), "FormatError"
    ),
    "endless number": (lambda real: forge(b"\1\0\0\0" + b"\x80" * 20, b""), "FormatError"),
}  # fmt: skip

CHILD = """
import json, sys
from codec import Codec, LatError
try:
    import resource
    unit = 1 if sys.platform == "darwin" else 1024
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
except ImportError:
    peak = lambda: 0
codec = Codec.load()
codec.decode(open(sys.argv[1], "rb").read())
before = peak()
for name in sys.argv[2:]:
    data = open(name, "rb").read()
    try:
        codec.decode(data, max_pixels=2**26)
        error = "none"
    except LatError as e:
        error = type(e).__name__
    print(json.dumps([error, peak() - before]), flush=True)
"""


@pytest.fixture(scope="module")
def refusals(codec, crop, tmp_path_factory) -> dict[str, tuple[str, float, int]]:
    """Of each attack the error, the MB of memory that it and those before it took at most, and its bytes.

    All in one process of their own, which knows its peak (Windows has no `resource`).
    """
    folder, real = tmp_path_factory.mktemp("attacks"), codec.encode(crop[:64, :64], quality=20)
    attacks = [make(real) for make, _ in ATTACKS.values()]
    paths = [folder / f"{i}.lat" for i in range(len(attacks) + 1)]
    for path, data in zip(paths, [real, *attacks]):
        path.write_bytes(data)
    result = run("-c", CHILD, *map(str, paths), text=True)
    answers = map(json.loads, result.stdout.splitlines())
    found = {name: (*answer, len(data)) for name, answer, data in zip(ATTACKS, answers, attacks)}
    assert result.returncode == 0, f"after {list(found)}: {result.stderr}"
    return found


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused_in_little_memory(refusals, name):
    error, megabytes, size = refusals[name]
    assert error == ATTACKS[name][1]
    assert megabytes < 64 + size / 2**20


def test_a_short_fuzzing_run_finds_nothing():
    result = run("-m", "tests.fuzz", "--count", "1500", "--seed", "11", text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    outcomes = ast.literal_eval(result.stdout)
    assert {"DesyncError", "ChecksumError", "FormatError", "TruncatedError", "picture"} <= set(outcomes)
