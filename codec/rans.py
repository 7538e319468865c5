"""Symbols <-> bytes: the one place that calls CompressAI's range coder (rANS), and the guard around it.

Where it is not installed, `plain_rans` stands in for it.
Only CompressAI's two extension modules are loaded. Importing the package itself takes seconds, pulls in
torchvision, and fails where a CPU build of torch meets the registry's torchvision.

Its decoder trusts its input: short or forged streams read past their end. So a stream is checked for size and
decoded from a copy with ample zeros behind it; a CRC-32 of the latents follows in tile.py. Its encoder never returns
from numbers that are too large, so symbols are checked first. C++ leaves it to the processor what an escape of more
than eight nibbles is; a coder that does not do as FORMAT.md says is passed over. Such escapes are read, not refused:
with the sign bit set they are symbols within their table, so no symbol shows them, and encoding every tile again for
comparison would take a tenth of the time of decoding.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

from codec import plain_rans
from codec.errors import DesyncError, FormatError, LatError

INSTALL = "pip install --no-deps compressai==1.2.8"  # the coder alone: the rest would bring torch and torchvision
PRECISION = 16  # bits of the frequency tables
SYMBOL_LIMIT = 2**14  # largest |symbol| in a valid file: values in units of 1/64 stay exact in float32
LARGEST = 5  # bytes of a symbol: 16 bits for the escape, 4 for a count, and five nibbles
STREAM_ENDS = 64  # bytes of a stream beside its symbols: the state, and what rounding costs
SHIFT = 128  # makes most symbols bytes, which Python turns into arrays several times as fast as other numbers
NEAR = 16  # |symbol| up to which `Tables.bits` knows the cost


@cache
def _extension(name: str) -> ModuleType:
    """A compiled module of the installed compressai, without importing the package."""
    full = f"compressai.{name}"
    if full in sys.modules:
        return sys.modules[full]
    package = importlib.util.find_spec("compressai")
    folders = (package and package.submodule_search_locations) or []
    files = [f for folder in folders for f in Path(folder).glob(f"{name}.*") if f.suffix in (".so", ".pyd")]
    if not files:
        raise ModuleNotFoundError(f"CompressAI's entropy coder is not installed: {INSTALL}")
    spec = importlib.util.spec_from_file_location(full, files[0])
    assert spec is not None and spec.loader is not None  # the suffix is that of compiled modules
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules.pop(full, None)  # without its package there it would confuse a later `import compressai.ans`
    return module


@cache
def _coder():
    """The module with the coder: CompressAI's, or the same in Python."""
    try:
        compiled = _extension("ans")
    except ModuleNotFoundError:
        return plain_rans
    return compiled if _wraps_escapes(compiled) else plain_rans


def _wraps_escapes(coder: ModuleType) -> bool:
    """Whether a coder reads escapes of eight nibbles and more as `plain_rans` does."""
    tables = [[0, 1, 2, 1 << PRECISION]], [4], [0]  # nearly everything is an escape
    for seed in range(4):
        stream = np.random.default_rng(seed).bytes(64) + bytes(4096)
        decoders = coder.RansDecoder(), plain_rans.RansDecoder()
        for decoder in decoders:
            decoder.set_stream(b"\xf9\xff\xff\xff" + stream)
        one, other = (decoder.decode_stream([0] * 9, *tables) for decoder in decoders)
        if one != other:
            return False
    return True


def description() -> str:
    """What codes symbols here, in words."""
    if _coder() is plain_rans:
        return f"rANS in Python (CompressAI's is four times as fast: {INSTALL})"
    return "CompressAI's rANS"


class Tables:
    """Cumulative frequency tables in the coder's own form.

    A table for symbols offset … offset + n − 1 is the list 0 = c₀ < c₁ < … < cₙ < cₙ₊₁ = 2¹⁶ whose last
    interval is the escape: any other symbol, written after it in groups of four bits.
    """

    def __init__(self, cdfs: Sequence[np.ndarray | list[int]], offsets: Sequence[int]):
        self.cdfs = [[int(v) for v in cdf] for cdf in cdfs]
        self.lengths = [len(cdf) for cdf in self.cdfs]
        self.offsets = [int(o) for o in offsets]
        self.shifted = [o + SHIFT for o in self.offsets]
        for i, cdf in enumerate(self.cdfs):
            rising = all(a < b for a, b in zip(cdf, cdf[1:]))
            if len(cdf) < 3 or cdf[0] != 0 or cdf[-1] != 1 << PRECISION or not rising:
                raise FormatError(f"frequency table {i} of the weights is damaged")
        self._costs = np.full((len(self.cdfs), 2 * NEAR + 1), PRECISION + 8, np.float32)  # of an escape, about
        for row, cdf, offset in zip(self._costs, self.cdfs, self.offsets):
            column = np.arange(len(cdf) - 2) + offset + NEAR
            near = (column >= 0) & (column <= 2 * NEAR)
            row[column[near]] = PRECISION - np.log2(np.diff(cdf))[:-1][near]

    @classmethod
    def unpack(cls, flat: np.ndarray, lengths: np.ndarray, offsets: np.ndarray) -> Tables:
        ends = np.cumsum(lengths)
        return cls([flat[end - n : end] for end, n in zip(ends, lengths)], list(offsets))

    def continued(self, other: Tables) -> Tables:
        """These tables, then those of `other` from there on."""
        n = len(self.cdfs)
        return Tables(self.cdfs + other.cdfs[n:], self.offsets + other.offsets[n:])

    def probabilities(self, i: int) -> np.ndarray:
        """Of table i's symbols, offset … offset + n − 1, without the escape: they sum to a little less than 1."""
        return np.diff(self.cdfs[i])[:-1] / (1 << PRECISION)

    def bits(self, symbols: np.ndarray, indices: np.ndarray) -> float:
        """About what symbols cost: those beyond NEAR as if they were NEAR."""
        at = indices.astype(np.int32) * self._costs.shape[1] + symbols.clip(-NEAR, NEAR) + NEAR
        return float(self._costs.take(at).sum(dtype=np.float64))

    def draw(self, indices: np.ndarray, random: np.random.Generator, temperature: float = 1.0) -> np.ndarray:
        """A symbol from each table in `indices`. Temperature 0 takes the likeliest, 1 the model's own distribution."""
        out = np.empty(len(indices), np.int64)
        for i in np.unique(indices):
            at, p = indices == i, self.probabilities(int(i))
            if temperature == 0:
                out[at] = self.offsets[i] + p.argmax()
                continue
            cumulative = np.cumsum(p ** (1 / temperature))
            uniform = random.random(int(at.sum())) * cumulative[-1]
            out[at] = self.offsets[i] + np.searchsorted(cumulative, uniform, side="right").clip(max=len(p) - 1)
        return out


def quantise_pmf(pmf: np.ndarray) -> np.ndarray:
    """Probabilities (the rest of 1 goes to the escape) -> cumulative frequencies, none of them zero."""
    tail = max(1.0 - float(pmf.sum()), 1e-9)
    return np.asarray(_extension("_CXX").pmf_to_quantized_cdf([*map(float, pmf), tail], PRECISION), dtype=np.int32)


def beyond(symbols: np.ndarray) -> bool:
    """Whether any is out of a valid file's range."""
    return bool(symbols.max() > SYMBOL_LIMIT or symbols.min() < -SYMBOL_LIMIT)


def listed(indices: np.ndarray) -> list[int]:
    """Numbers of tables, all below 256."""
    return list(indices.astype(np.uint8).tobytes())


class SymbolWriter:
    """Collects symbols; `finish` gives the stream."""

    def __init__(self) -> None:
        self._coder = _coder().BufferedRansEncoder()
        self._count = 0

    def put(self, symbols: np.ndarray, indices: np.ndarray, tables: Tables) -> None:
        """Raises: LatError for symbols beyond SYMBOL_LIMIT, which is what NaN becomes as a whole number."""
        if len(symbols) and beyond(symbols):
            raise LatError("a latent is no number or too large: the weights are damaged")
        self._count += len(symbols)
        self._coder.encode_with_indexes(symbols.tolist(), listed(indices), tables.cdfs, tables.lengths, tables.offsets)

    def finish(self) -> bytes:
        if self._count < 4:  # flush overruns its buffer of one word a symbol: pad with four that no reader asks for
            self._coder.encode_with_indexes([0] * 4, [0] * 4, [[0, 1 << PRECISION - 1, 1 << PRECISION]], [3], [0])
        return self._coder.flush()


class SymbolReader:
    """Reads back what a SymbolWriter wrote, asked for in the same order.

    `count` bounds the number of symbols that will be asked for. Raises FormatError, DesyncError.
    """

    def __init__(self, stream: bytes, count: int):
        if len(stream) % 4 or len(stream) < 8:
            raise FormatError(f"a stream of {len(stream)} bytes is impossible: must be a multiple of 4, at least 8")
        if len(stream) > LARGEST * count + STREAM_ENDS:
            raise FormatError(f"a stream of {len(stream)} bytes is impossible: it has {count} values")
        self._coder = _coder().RansDecoder()
        trusting = _coder() is not plain_rans
        self._coder.set_stream(stream.ljust(17 * len(stream) + 8 * count + 4096, b"\0") if trusting else stream)
        self._left = count

    def get(self, indices: np.ndarray, tables: Tables) -> np.ndarray:
        self._left -= len(indices)
        if self._left < 0:
            raise FormatError("more symbols asked for than the tile can hold")
        values = self._coder.decode_stream(listed(indices), tables.cdfs, tables.lengths, tables.shifted)
        try:
            symbols = np.frombuffer(bytes(values), np.uint8).astype(np.int64)
        except ValueError:  # some are larger than a byte
            symbols = np.array(values, np.int64)
        symbols -= SHIFT
        if len(symbols) and beyond(symbols):
            raise DesyncError("a decoded symbol is out of range: the stream was forged or damaged")
        return symbols
