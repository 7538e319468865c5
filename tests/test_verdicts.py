"""All readers take the same files and refuse the same: a part of what `python -m tests.fuzz` does."""

import random
import shutil
import struct

import numpy as np
import pytest

from codec import Codec, DesyncError, FormatError, LatError, container, plain_rans, rans, weights
from codec.arguments import as_picture
from codec.settings import Settings
from codec.tile import unpack_alpha
from codec.tiles import Box
from codec.weights import Weights
from tests import fuzz, reference, tiny


@pytest.fixture(scope="module")
def small() -> Codec:
    return Codec(tiny.weights(), "onnxruntime", 1)


def test_both_coders_and_the_independent_reader_agree():
    outcomes, differ = fuzz.disagreements(180, 7, node=False)
    assert not differ
    assert {"picture", "DesyncError", "FormatError", "ChecksumError", "TruncatedError"} <= set(outcomes)


@pytest.mark.skipif(not shutil.which("node"), reason="no Node on this machine")
def test_the_reader_in_javascript_agrees(small):
    files = list(fuzz.corpus(small, 60, 8))
    try:
        found = fuzz.in_node(small, files)
    except LatError as error:
        pytest.skip(str(error))
    for data, verdict in zip(files, found):
        assert verdict == fuzz.verdict(small, data) or (verdict == "picture" and b"LOSS" in data), data.hex()


# -- escapes ---------------------------------------------------------------------------------------------------------

TABLE = [0, 30000, 60000, 65536]


def escaped(nibbles: list[int], count: int | None = None) -> bytes:
    """A stream whose first symbol is an escape of these nibbles; four common symbols follow."""
    writer = plain_rans.BufferedRansEncoder()
    count = len(nibbles) if count is None else count
    told = [15] * (count // 15) + [count % 15]
    writer._coded = [(60000, 5536), *((n, 0) for n in [*told, *nibbles]), *[(0, 30000)] * 4]
    return writer.flush()


def decoded(coder, stream: bytes) -> list[int]:
    reader = coder.RansDecoder()
    reader.set_stream(stream + bytes(2**14))
    return reader.decode_stream([0] * 5, [TABLE], [4], [-1])


@pytest.mark.parametrize("size", [0, 1, 4, 5, 7, 8, 9, 12, 15, 16, 17, 30, 31, 45, 200])
def test_escapes_of_any_length_are_the_same_number_to_all(size):
    generator = random.Random(size)
    tables = [(np.array(TABLE), -1)] * 5
    for top in (0, 1, 7, 8, 15):
        nibbles = [generator.randrange(16) for _ in range(size)]
        if nibbles:
            nibbles[-1] = top
        stream = escaped(nibbles)
        found = decoded(plain_rans, stream)
        assert found[1:] == [-1] * 4
        assert found == decoded(rans._extension("ans"), stream)
        reader = reference.Rans(stream)
        try:
            assert [reader.symbol(*table) for table in tables] == found
        except reference.Refused:
            assert abs(found[0]) > rans.SYMBOL_LIMIT


def test_a_coder_that_reads_long_escapes_otherwise_is_passed_over():
    class Other(plain_rans.RansDecoder):
        def _beyond(self) -> int:
            return super()._beyond() & 0x7FFFFFFF

    module = type("module", (), {"RansDecoder": Other})
    assert not rans._wraps_escapes(module)
    assert rans._wraps_escapes(plain_rans)


@pytest.mark.parametrize("symbol", [2**14 + 1, -(2**14) - 1, 2**20])
def test_symbols_out_of_range_are_neither_written_nor_read(symbol):
    tables = rans.Tables([TABLE], [-1])
    with pytest.raises(LatError, match="no number or too large"):
        rans.SymbolWriter().put(np.array([symbol]), np.array([0]), tables)
    writer = plain_rans.BufferedRansEncoder()
    writer.encode_with_indexes([symbol, 0, 0, 0], [0] * 4, [TABLE], [4], [-1])
    with pytest.raises(DesyncError):
        rans.SymbolReader(writer.flush(), 4).get(np.zeros(4, int), tables)


def test_alpha_is_a_whole_zlib_stream_with_nothing_behind():
    import zlib

    box, packed = Box(0, 0, 16, 16), zlib.compress(bytes(range(256)))
    assert unpack_alpha(packed, box).shape == (16, 16, 1)
    for wrong in (packed[:-4], packed[:-1], packed + b"x", packed + packed, packed[2:-4], packed[:-4] + bytes(4)):
        with pytest.raises(FormatError, match="alpha"):
            unpack_alpha(wrong, box)


# -- flips and weights -----------------------------------------------------------------------------------------------


def test_single_bits_are_noticed():
    assert sum(fuzz.flips(1500, 3).values()) == 1500


def test_forged_weights_are_refused_or_work():
    outcomes = fuzz.read_weights(30, 1)
    assert set(outcomes) <= {"FormatError", "picture"} and outcomes["FormatError"] > 15


@pytest.mark.parametrize("name", weights.cards())
def test_installed_weights_are_sound(name):
    Weights.open(name)


CHANGES = {
    "NaN in a network": ("gain_y", lambda a: a * np.float16(np.nan)),
    "infinity": ("g_s.head.weight", lambda a: a + np.float16(np.inf)),
    "a gain beyond all numbers": ("gain_z", lambda a: a * 0 + np.float16(60000)),
    "few tables": ("tables.z.length", lambda a: a[:3]),
    "few offsets": ("tables.y.offset", lambda a: a[:3]),
    "huge offsets": ("tables.y.offset", lambda a: np.full_like(a, 2**31 - 1)),
    "a length below zero": ("tables.y.length", lambda a: np.concatenate([[-5], a[1:]]).astype(a.dtype)),
    "a huge length": ("tables.y.length", lambda a: np.concatenate([[2**31 - 1], a[1:]]).astype(a.dtype)),
    "falling frequencies": ("tables.y.cdf", lambda a: a[::-1].copy()),
    "frequencies of another kind": ("tables.z.cdf", lambda a: a.astype(np.float32)),
    "a huge prior": ("exact.z_prior", lambda a: np.full_like(a, 2**31 - 1)),
    "a gain below zero": ("exact.z_gain", lambda a: -a),
    "a shift below zero": ("exact.context.known_shift", lambda a: a - 1),
    "a shift beyond a word": ("exact.h_s.out.shift", lambda a: a * 0 + 127),
    "floats for whole numbers": ("exact.context.out.weight", lambda a: a * np.float32(1.5)),
    "another shape": ("exact.z_prior", lambda a: a[:2]),
    "one dimension less": ("exact.z_prior", lambda a: a.reshape(-1)),
    "unknown": ("exact.h_s.out.more", lambda a: np.zeros(3, np.int8)),
}


@pytest.mark.parametrize("what", CHANGES)
def test_weights_with_something_wrong_are_refused(what):
    name, change = CHANGES[what]
    own = tiny.tensors().get(name)
    with pytest.raises(FormatError):
        Weights.parse(tiny.data(changed={name: np.ascontiguousarray(change(own))}))


@pytest.mark.parametrize(
    "texts",
    [
        {"name": ""},
        {"name": "\x1b[31m"},
        {"name": "x" * 999},
        {"tune": "ears"},
        {"config": "[" * 10**5},
        {"config": "{}"},
    ],
)
def test_weights_with_a_wrong_description_are_refused(texts):
    with pytest.raises(FormatError):
        Weights.parse(tiny.data(**texts))


def test_a_file_of_a_forged_stream_with_the_right_checksum_is_a_picture_to_all(small):
    """What random streams decode to is odd, but the same for everybody."""
    file = small.learned.encode(as_picture(np.zeros((16, 16, 3), np.uint8)), Settings(tile=4))
    head, taken = bytes(file.tiles[0])[:1], 0
    for seed in range(40):
        stream = random.Random(seed).randbytes(60)
        crc = None
        data = container.build(container.Container(file.header, [head + bytes(4) + stream]))
        try:
            crc = reference.File(data, tiny.tensors(), tiny.FINGERPRINT, tiny.CONFIG.rates).crc(0)
        except reference.Refused:
            continue
        tile = head + struct.pack("<I", crc) + stream
        assert small.decode(container.build(container.Container(file.header, [tile]))).size == (16, 16)
        taken += 1
    assert taken
