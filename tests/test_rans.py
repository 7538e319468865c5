"""Symbols survive the coder, and its guard turns bad streams into errors."""

import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest

from codec import FormatError, LatError, plain_rans, rans
from codec.rans import SymbolReader, SymbolWriter, Tables, quantise_pmf
from tests.conftest import run

TABLES = Tables([quantise_pmf(np.array([0.25, 0.5, 0.2])), quantise_pmf(np.full(9, 0.1))], [-1, -4])


def write(symbols, indices):
    writer = SymbolWriter()
    writer.put(np.asarray(symbols), np.asarray(indices), TABLES)
    return writer.finish()


def test_symbols_come_back_in_parts_and_beyond_the_tables():
    generator = np.random.default_rng(1)
    symbols = np.round(generator.standard_cauchy(5000) * 3).clip(-16000, 16000).astype(np.int64)
    indices = generator.integers(0, 2, 5000)
    reader = SymbolReader(write(symbols, indices), 5000)
    got = np.concatenate([reader.get(indices[a:b], TABLES) for a, b in ((0, 1), (1, 1), (1, 3000), (3000, 5000))])
    assert (got == symbols).all()


def test_costs_are_what_symbols_take():
    generator = np.random.default_rng(2)
    symbols, indices = generator.integers(-1, 2, 20000), generator.integers(0, 2, 20000)
    assert TABLES.bits(symbols, indices) == pytest.approx(8 * len(write(symbols, indices)), rel=0.005)


def test_tables_continued_with_others():
    more = Tables([quantise_pmf(np.full(3, 0.3))], [7]).continued(TABLES)
    assert (more.cdfs[1], more.offsets) == (TABLES.cdfs[1], [7, -4])


@pytest.mark.parametrize("count", range(6))
def test_few_symbols_make_a_stream_too(count):
    """CompressAI's own flush overruns its buffer below four."""
    symbols = np.arange(count) - 2
    stream = write(symbols, np.ones(count, int))
    assert (SymbolReader(stream, count).get(np.ones(count, int), TABLES) == symbols).all()


@pytest.mark.parametrize("stream", [b"", b"1234", b"123456789"])
def test_impossible_streams_are_refused(stream):
    with pytest.raises(FormatError, match="impossible"):
        SymbolReader(stream, 10)


def test_asking_for_too_many_symbols_is_an_error():
    with pytest.raises(FormatError, match="more symbols"):
        SymbolReader(write([0], [0]), 1).get(np.zeros(2, int), TABLES)


def test_damaged_tables_are_refused():
    with pytest.raises(FormatError, match="table 0"):
        Tables([np.array([0, 5, 5, 65536])], [0])


def test_only_the_coder_of_compressai_is_loaded():
    code = (
        "import sys, codec.rans as e; e._extension('ans'); e._extension('_CXX')\n"
        "heavy = {'compressai', 'torchvision', 'torch_geometric'}\n"
        "print([m for m in sys.modules if m.split('.')[0] in heavy])"
    )
    result = run("-c", code, text=True)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_the_coder_can_be_imported_by_others_as_well():
    """pybind11 types cannot be registered twice: a later ordinary import must find the same module."""
    code = (
        "import sys, types, importlib.util, codec.rans as e\n"
        "e._extension('ans')\n"
        "spec = importlib.util.find_spec('compressai')\n"
        "package = types.ModuleType('compressai'); package.__path__ = spec.submodule_search_locations\n"
        "sys.modules['compressai'] = package\n"
        "import compressai.ans; compressai.ans.RansEncoder()\n"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_coder_in_python_writes_and_reads_the_same_bytes(monkeypatch):
    generator = np.random.default_rng(3)
    symbols = np.round(generator.standard_cauchy(3000) * 3).clip(-16000, 16000).astype(np.int64)
    indices = generator.integers(0, 2, 3000)
    streams = [write(symbols[:n], indices[:n]) for n in (0, 1, 5, 3000)]
    monkeypatch.setattr(rans, "_coder", lambda: plain_rans)
    assert [write(symbols[:n], indices[:n]) for n in (0, 1, 5, 3000)] == streams
    reader = SymbolReader(streams[-1], 3000)
    assert (np.concatenate([reader.get(indices[:9], TABLES), reader.get(indices[9:], TABLES)]) == symbols).all()


def test_the_coder_in_python_survives_forged_streams(monkeypatch):
    monkeypatch.setattr(rans, "_coder", lambda: plain_rans)
    generator = np.random.default_rng(4)
    for size in (8, 400, 40_000):
        for stream in (bytes(size), b"\xff" * size, generator.bytes(size)):
            with suppress(LatError):
                SymbolReader(stream, 500).get(np.zeros(500, int), TABLES)
