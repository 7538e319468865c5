"""A tile's record <-> its latents and alpha: the section "Tile" of FORMAT.md."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from itertools import islice

import numpy as np

from codec import container, entropy_model
from codec.config import DEAD_ZONE, DEAD_ZONE_MAX, LATENT, PASSES, ceil_div
from codec.container import Container
from codec.engine.protocols import EntropyNetworks
from codec.entropy_model import EntropyModel, Passes
from codec.errors import DesyncError, FormatError
from codec.rans import SYMBOL_LIMIT, SymbolReader, SymbolWriter, Tables
from codec.tiles import Box, hyper_box, picture_box, tile_box
from codec.weights import Weights

DEAD_ZONES = np.minimum(0.5 + DEAD_ZONE / entropy_model.SIGMAS**2, DEAD_ZONE_MAX)  # by table; `layers.dead_zone`
Coded = tuple[np.ndarray, np.ndarray]  # the symbols of a pass (int32) and their table indices (uint8), in coding order


@dataclass(frozen=True)
class TileLatents:
    """One decoded tile: rate row, ẑ (1, Z, h, w), ŷ (1, M, H, W), and alpha (16H, 16W, 1) where there is one."""

    row: int
    z_hat: np.ndarray
    y_hat: np.ndarray
    alpha: np.ndarray | None = None


@dataclass(frozen=True)
class Quantised:
    """What becomes of y or z (1, N, h, w): the values that a file restores, their CRC-32, the symbols of each pass."""

    values: np.ndarray
    crc: int
    coded: list[Coded]


@dataclass(frozen=True)
class CodingTables:
    """Frequency tables of z, and two sets of y: a tile takes the cheaper one, after effort the second."""

    z: Tables
    y: tuple[Tables, ...]

    @classmethod
    def unpack(cls, weights: Weights) -> CodingTables:
        counted, gaussian, z = (
            Tables.unpack(*(weights.tables[f"{label}.{part}"] for part in ("cdf", "length", "offset")))
            for label in ("y", "y_gaussian", "z")
        )
        return cls(z, (counted, gaussian.continued(counted)))


class TileCoder:
    """The entropy model and the frequency tables of one set of weights."""

    def __init__(self, weights: Weights, networks: EntropyNetworks, tables: CodingTables | None = None):
        """tables: those of the weights, if they are unpacked already."""
        self.config, self.entropy = weights.config, EntropyModel(weights, networks)
        self.tables = tables or CodingTables.unpack(weights)

    def encode(
        self, y: np.ndarray, z: np.ndarray, row: int, alpha: np.ndarray | None = None, threshold: float = 0.5
    ) -> bytes:
        """The record of a tile's y (1, M, h, w) and z: rate row and set of tables, CRC of ŷ, alpha (H, W), stream."""
        hyper = self.quantise_z(z, row)
        latents = self.quantise(y, hyper.values, row, threshold)
        costs = [sum(tables.bits(*coded) for coded in latents.coded) for tables in self.tables.y]
        kind = costs.index(min(costs))
        writer = SymbolWriter()
        for symbols, index in hyper.coded:
            writer.put(symbols, index, self.tables.z)
        for symbols, index in latents.coded:
            writer.put(symbols, index, self.tables.y[kind])
        packed = b""
        if alpha is not None:
            packed = pack_alpha(alpha)
            packed = container.varint(len(packed)) + packed
        return struct.pack("<BI", row + kind * self.config.rates, latents.crc) + packed + writer.finish()

    def quantise_z(self, z: np.ndarray, row: int) -> Quantised:
        """z (1, Z, h, w) -> ẑ and its symbols, without dead zones: ẑ is too few bits to save any.

        ẑ comes back unchanged.
        """
        return quantise(self.entropy.z(row, *z.shape[2:]), z)

    def quantise(self, y: np.ndarray, z_hat: np.ndarray, row: int, threshold: float = 0.5) -> Quantised:
        """y (1, M, h, w) -> the ŷ that a file restores, and its symbols; `threshold` as in `Settings`.

        ŷ given with its own ẑ comes back unchanged.
        """
        return quantise(self.entropy.y(z_hat, row, *y.shape[2:]), y, threshold)

    def decode(self, parsed: Container, index: int, passes: int = PASSES) -> TileLatents:
        """Latents and alpha of one tile of a file; after fewer passes, ŷ is 0 where it is not known yet, not verified.

        Those of an empty tile are `flat`.
        Raises: FormatError, ChecksumError, DesyncError.
        """
        header, data, box = parsed.header, parsed.tile(index), tile_box(parsed.header, index)
        if not data:
            return self.flat(parsed, index)
        first, crc = struct.unpack_from("<BI", data)
        kind, row = divmod(first, self.config.rates)
        if kind >= len(self.tables.y):
            raise FormatError(f"tile with rate row {first}, the weights have {self.config.rates} in two kinds")
        at, alpha = 5, None
        if header.has_alpha:
            size, at = container.read_varint(data, at)
            alpha = unpack_alpha(data[at : at + size], box * LATENT & picture_box(header))
            at += size
        hyper = hyper_box(box)
        count = self.config.latents * box.height * box.width + self.config.hyper * hyper.height * hyper.width
        reader = SymbolReader(data[at:], count)
        z_hat, _ = restore(self.entropy.z(row, hyper.height, hyper.width), reader, self.tables.z)
        latents = self.entropy.y(z_hat, row, box.height, box.width)
        y_hat, restored = restore(latents, reader, self.tables.y[kind], passes)
        if restored != crc and passes == PASSES:
            raise DesyncError("decoded latents do not match their checksum: the stream was forged or damaged")
        return TileLatents(row, z_hat, y_hat, alpha)

    def flat(self, parsed: Container, index: int) -> TileLatents:
        """What stands for a damaged tile, and for an empty one: latents of zero, opaque."""
        box, alpha = tile_box(parsed.header, index), None
        if parsed.header.has_alpha:
            alpha = np.full((box.height * LATENT, box.width * LATENT, 1), 255, np.uint8)
        hyper = hyper_box(box)
        z = np.zeros((1, self.config.hyper, hyper.height, hyper.width), np.float32)
        return TileLatents(0, z, np.zeros((1, self.config.latents, box.height, box.width), np.float32), alpha)


def quantise(passes: Passes, values: np.ndarray, threshold: float | None = None) -> Quantised:
    """The encoder's passes over values (1, N, h, w); `threshold` as for `round_residuals`."""
    coded = []
    for _ in passes:
        mu, index = passes.predict()
        symbols = round_residuals(passes.gather(values) - mu, index, threshold)
        passes.put(symbols)
        coded.append((symbols, index))
    return Quantised(passes.values(), passes.crc, coded)


def restore(passes: Passes, reader: SymbolReader, tables: Tables, count: int = PASSES) -> tuple[np.ndarray, int]:
    """The decoder's passes, all or the first few: values (1, N, h, w), and the CRC-32 of what is known of them."""
    for _ in islice(passes, count):
        _, index = passes.predict()
        passes.put(reader.get(index, tables))
    return passes.values(), passes.crc


def round_residuals(residuals: np.ndarray, index: np.ndarray, threshold: float | None) -> np.ndarray:
    """Residuals -> symbols (int32): the nearest whole numbers.

    With a threshold (`Settings`), those in the dead zone of their table become 0.
    """
    symbols = np.rint(residuals)
    if threshold is not None:
        size = np.abs(residuals)
        if threshold > 0.5:  # towards zero first, but not beyond it
            size = np.maximum(size - np.float32(threshold - 0.5), 0)
            symbols = np.rint(np.copysign(size, residuals))
        symbols *= size > DEAD_ZONES.take(index)
    return symbols.clip(1 - SYMBOL_LIMIT, SYMBOL_LIMIT - 1).astype(np.int32)


def pack_alpha(alpha: np.ndarray) -> bytes:
    """uint8 (h, w) -> nothing where it is opaque, one byte where it is constant, else zlib of row differences."""
    if alpha.min() == alpha.max():
        return b"" if alpha.flat[0] == 255 else bytes([alpha.flat[0]])
    return zlib.compress(np.diff(alpha, axis=0, prepend=np.zeros_like(alpha[:1])).tobytes(), 9)


def unpack_alpha(data: bytes, box: Box) -> np.ndarray:
    """Inverse of `pack_alpha`: uint8 (16h, 16w, 1), what lies beyond the picture's border is 0.

    Raises: FormatError.
    """
    out = np.zeros((ceil_div(box.height, LATENT) * LATENT, ceil_div(box.width, LATENT) * LATENT, 1), np.uint8)
    inside, count = out[: box.height, : box.width, 0], box.height * box.width
    if len(data) < 2:
        inside[:] = data[0] if data else 255
        return out
    try:
        decoder = zlib.decompressobj()
        rows = decoder.decompress(data, count + 1)
    except zlib.error as error:
        raise FormatError(f"alpha of a tile is damaged: {error}") from None
    if not decoder.eof or decoder.unused_data:
        raise FormatError(f"alpha of a tile is no zlib stream of {count} samples, whole and with nothing behind it")
    if len(rows) != count:
        raise FormatError(f"alpha of a tile does not have {count} samples")
    inside[:] = np.cumsum(np.frombuffer(rows, np.uint8).reshape(inside.shape), axis=0, dtype=np.uint8)
    return out
