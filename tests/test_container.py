"""The .lat container: what FORMAT.md says is read, everything else is refused with the right error."""

import struct
import zlib

import pytest

from codec import ChecksumError, DesyncError, FormatError, LatError, TruncatedError
from codec.container import MAGIC, Container, Header, build, chunk, parse, read_varint, varint
from tests.conftest import run

HEADER = Header(40, 30, "RGB", 64, b"12345678")
ONE = build(Container(HEADER, [b"bytes of a tile"]))
MANY = build(Container(Header(300, 140, "L", 8, b"12345678"), [bytes([i]) * (i + 13) for i in range(6)]))


def pack(*chunks: bytes) -> bytes:
    return MAGIC + b"".join(chunks)


HEAD, DATA = chunk(b"HEAD", HEADER.pack()), chunk(b"DATA", b"bytes of a tile")


def test_what_was_built_is_parsed():
    extras = {"icc": b"i" * 300, "exif": b"e", "xmp": b"x", "text": b"t"}
    container = Container(HEADER, [b"bytes of a tile"], extras, [(b"priv", b"?")])
    parsed = parse(build(container))
    assert (parsed.header, parsed.metadata, parsed.ancillary) == (HEADER, extras, [(b"priv", b"?")])
    assert [bytes(t) for t in parsed.tiles] == [b"bytes of a tile"]
    assert [bytes(t) for t in parse(MANY).tiles] == [bytes([i]) * (i + 13) for i in range(6)]
    assert build(parse(MANY)) == MANY


def test_fixed_overhead_is_small():
    assert len(ONE) - len(b"bytes of a tile") <= 60


@pytest.mark.parametrize("value", [0, 1, 127, 128, 16383, 16384, 2**31 - 1, 2**32])
def test_varints(value):
    assert read_varint(varint(value) + b"rest", 0) == (value, len(varint(value)))


@pytest.mark.parametrize("data", [ONE, MANY], ids=["one tile", "six tiles"])
def test_every_truncation_is_noticed(data):
    for length in range(len(data)):
        with pytest.raises(FormatError):
            parse(data[:length]).verify()


@pytest.mark.parametrize("data", [ONE, MANY], ids=["one tile", "six tiles"])
def test_every_flipped_byte_is_noticed(data):
    for at in range(len(data)):
        for flip in (1, 0x20, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[at] ^= flip
            with pytest.raises(FormatError):
                parse(bytes(damaged)).verify()


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", FormatError, "not a .lat file"),
        (b"\x89PNG\r\n\x1a\n", FormatError, "not a .lat file"),
        (MAGIC[:5], TruncatedError, "after 5 bytes"),
        (MAGIC.replace(b"\r\n", b"\n"), FormatError, "not a .lat file"),
        (pack(), TruncatedError, "before its DATA"),
        (pack(DATA), FormatError, "HEAD must come first"),
        (pack(HEAD, HEAD, DATA), FormatError, "HEAD must come first"),
        (pack(HEAD, DATA, DATA), FormatError, f"{len(DATA)} bytes after DATA"),
        (pack(HEAD), TruncatedError, "before its DATA"),
        (pack(HEAD, DATA, b"more"), FormatError, "4 bytes after DATA"),
        (pack(HEAD, chunk(b"iccp", b"i"), chunk(b"iccp", b"i"), DATA), FormatError, "second iccp"),
        (pack(HEAD, chunk(b"NEWX", b""), DATA), FormatError, "unknown critical chunk NEWX"),
        (pack(HEAD, b"N!WX", DATA), FormatError, "is no chunk type"),
        (pack(HEAD, chunk(b"INDX", b""), DATA), FormatError, "INDX in a file of one tile"),
        (pack(HEAD, b"DATA", varint(2**31), b"x" * 20), TruncatedError, "past the end"),
        (pack(HEAD, b"DATA", b"\xff" * 9), FormatError, "too many bytes"),
    ],
)
def test_broken_rules_are_named(data, error, words):
    with pytest.raises(error, match=words):
        parse(data)


def test_unknown_ancillary_chunks_are_skipped():
    assert parse(pack(HEAD, chunk(b"newx", b"?"), DATA)).ancillary == [(b"newx", b"?")]


def head(**changes) -> bytes:
    fields = {"version": (1, 0), "flags": 0, "width": 40, "height": 30, "mode": 2, "tile": 64, "model": b"12345678"}
    fields |= changes
    packed = struct.pack("<BBH", *fields["version"], fields["flags"])
    packed += b"".join(varint(fields[k]) for k in ("width", "height", "mode", "tile")) + fields["model"]
    return pack(chunk(b"HEAD", packed + fields.get("more", b"")), DATA)


def test_later_minor_versions_are_read():
    assert parse(head(version=(1, 7), more=b"new field", flags=0x00FF)).header == HEADER


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": (2, 0)}, "version 2"),
        ({"flags": 0x0100}, "flags"),
        ({"width": 0}, "size 0 × 30"),
        ({"height": 2**31}, "size"),
        ({"mode": 9}, "mode 9"),
        ({"tile": 0}, "tile side"),
        ({"tile": 6}, "tile side"),
        ({"tile": 68}, "tile side"),
        ({"model": b"short"}, "too short"),
        ({"width": 2**31 - 1, "height": 2**31 - 1}, "cannot hold"),
    ],
)
def test_hostile_headers_are_refused_before_anything_is_allocated(changes, words):
    with pytest.raises(FormatError, match=words):
        parse(head(**changes))


def test_an_index_that_lies_is_refused():
    header = chunk(b"HEAD", Header(300, 140, "L", 8, b"12345678").pack())

    def indexed(index: bytes, data: bytes) -> bytes:
        return pack(header, chunk(b"INDX", index), chunk(b"DATA", data))

    def entry(size: int) -> bytes:
        return varint(size) + struct.pack("<I", zlib.crc32(bytes(size)))

    for index, data, words in [
        (entry(13) * 2, bytes(78), "cannot list"),
        (entry(13) * 6, bytes(77), "cannot hold"),
        (entry(14) * 6, bytes(80), "more bytes than DATA has"),
        (entry(13) * 5 + entry(12), bytes(78), "tile 5 of 12 bytes"),
        (entry(13) * 6, bytes(79), "disagree"),
        (entry(13) * 7, bytes(78), "disagree"),
        ((varint(2**32) + bytes(4)) * 6, bytes(100), "more bytes"),
    ]:
        with pytest.raises(FormatError, match=words):
            parse(indexed(index, data))


def test_a_damaged_tile_costs_that_tile():
    damaged = bytearray(MANY)
    at = MANY.index(b"\4" * 17)
    damaged[at] ^= 1
    parsed = parse(bytes(damaged))
    assert parsed.tile(3) == b"\3" * 16
    with pytest.raises(ChecksumError, match="tile 4"):
        parsed.tile(4)


DAMAGE = """
import sys
from codec import Codec, LatError
from codec.container import Container, build, parse
codec = Codec.load()
data = open(sys.argv[1], "rb").read()
tile = bytes(parse(data).tiles[0])
good = codec.decode(data).tobytes()
tried = 0
def attempt(data, forged=False):
    global tried
    tried += 1
    try:
        picture = codec.decode(data).tobytes()
    except LatError:
        return
    if not forged or picture != good:
        raise SystemExit(f"damage went unnoticed in attempt {tried}")
for n in range(len(data)):
    attempt(data[:n])
    attempt(data[:n] + bytes([data[n] ^ 0x55]) + data[n + 1:])
for n in range(len(tile)):  # behind freshly computed CRCs, so that the decoder itself meets the damage
    for tile_ in (tile[:n], tile[:n] + bytes([tile[n] ^ 0x55]) + tile[n + 1:], tile + bytes(n + 1)):
        attempt(build(Container(parse(data).header, [tile_])), forged=True)
print(tried)
"""


def test_a_changed_rate_row_is_noticed(codec, crop):
    parsed = parse(codec.encode(crop, quality=20))
    tile = bytes(parsed.tiles[0])
    with pytest.raises(DesyncError):
        codec.decode(build(Container(parsed.header, [bytes([tile[0] + 1]) + tile[1:]])))


def test_no_damage_crashes_the_decoder(codec, crop, tmp_path):
    """In a child process, because CompressAI's decoder answers bad streams with a signal when left alone."""
    path = tmp_path / "small.lat"
    path.write_bytes(codec.encode(crop, quality=40))
    result = run("-c", DAMAGE, str(path), text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(result.stdout) > 500


def test_errors_form_the_promised_tree():
    assert issubclass(LatError, ValueError)
    assert issubclass(TruncatedError, FormatError)
    assert issubclass(FormatError, LatError)
