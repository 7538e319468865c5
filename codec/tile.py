"""A tile's record <-> its latents and alpha: the section "Tile" of FORMAT.md."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import partial

import numpy as np

from codec import container, entropy_model
from codec.config import DEAD_ZONE, DEAD_ZONE_MAX, PASSES
from codec.container import LATENT, Container
from codec.engine import Engine
from codec.entropy_model import SYMBOL_LIMIT, EntropyModel
from codec.errors import DesyncError, FormatError
from codec.rans import SymbolReader, SymbolWriter, Tables
from codec.tiles import Box, hyper_box, picture_box, tile_box
from codec.weights import Weights

DEAD_ZONES = np.minimum(0.5 + DEAD_ZONE / entropy_model.SIGMAS**2, DEAD_ZONE_MAX)  # by table; `model.dead_zone`
Write = Callable[[np.ndarray, np.ndarray], None]  # coded symbols of a pass, in order, and their tables


@dataclass(frozen=True)
class TileLatents:
    """One decoded tile: rate row, ẑ (1, Z, h, w), ŷ (1, M, H, W), and alpha (16H, 16W, 1) where there is one."""

    row: int
    z_hat: np.ndarray
    y_hat: np.ndarray
    alpha: np.ndarray | None = None


class TileCoder:
    """The entropy model and the frequency tables of one set of weights."""

    def __init__(self, weights: Weights, engine: Engine):
        """Raises: FormatError."""
        self.config = weights.config
        try:
            self.entropy = EntropyModel(weights, engine)
            counted, gaussian, self.z_tables = (
                Tables.unpack(*(weights.tables[f"{label}.{part}"] for part in ("cdf", "length", "offset")))
                for label in ("y", "y_gaussian", "z")
            )
        except KeyError as error:
            raise FormatError(f"no weights of this codec: {error} is missing") from None
        # a tile takes what is cheaper: after effort, the second
        self.y_tables = counted, gaussian.continued(counted)

    def by(self, engine: Engine) -> TileCoder:
        """The same, with its networks evaluated by another engine."""
        twin = copy(self)
        twin.entropy = self.entropy.by(engine)
        return twin

    def encode(
        self, y: np.ndarray, z: np.ndarray, row: int, alpha: np.ndarray | None = None, threshold: float = 0.5
    ) -> bytes:
        """A tile's record: rate row and set of tables, CRC of its latents, alpha uint8 (H, W), stream."""
        writer = SymbolWriter()
        z_hat = self.quantise_z(z, row, lambda symbols, index: writer.put(symbols, index, self.z_tables))
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        _, crc = self.quantise(y, z_hat, row, lambda symbols, index: parts.append((symbols, index)), threshold)
        costs = [sum(tables.bits(*part) for part in parts) for tables in self.y_tables]
        kind = costs.index(min(costs))
        for part in parts:
            writer.put(*part, self.y_tables[kind])
        packed = b""
        if alpha is not None:
            packed = pack_alpha(alpha)
            packed = container.varint(len(packed)) + packed
        return struct.pack("<BI", row + kind * self.config.rates, crc) + packed + writer.finish()

    def quantise(
        self, y: np.ndarray, z_hat: np.ndarray, row: int, write: Write | None = None, threshold: float = 0.5
    ) -> tuple[np.ndarray, int]:
        """y (1, M, h, w) -> the ŷ that a file restores, and its CRC; `write` gets the coded symbols and their tables.

        ŷ given with its own ẑ comes back unchanged.
        """

        def visit(t: int, mu: np.ndarray, index: np.ndarray) -> np.ndarray:
            def whole(residuals: np.ndarray, index: np.ndarray) -> np.ndarray:
                size = np.abs(residuals)
                if threshold > 0.5:  # towards zero first, but not beyond it
                    size = np.maximum(size - np.float32(threshold - 0.5), 0)
                    residuals = np.copysign(size, residuals)
                return np.rint(residuals) * (size > DEAD_ZONES.take(index))

            return coded(entropy_model.gather(y, t) - mu, index, whole, write)

        return self.entropy.run(z_hat, row, y.shape[2], y.shape[3], visit)

    def quantise_z(self, z: np.ndarray, row: int, write: Write | None = None) -> np.ndarray:
        """z (1, Z, h, w) -> ẑ, as `quantise` does it to y but for dead zones: ẑ is too few bits to save any.

        ẑ comes back unchanged.
        """

        def visit(t: int, mu: np.ndarray, index: np.ndarray) -> np.ndarray:
            return coded(entropy_model.gather(z, t) - mu, index, lambda residuals, _: np.rint(residuals), write)

        return self.entropy.hyper(row, z.shape[2], z.shape[3], visit)

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
        if kind >= len(self.y_tables):
            raise FormatError(f"tile with rate row {first}, the weights have {self.config.rates} in two kinds")
        at, alpha = 5, None
        if header.has_alpha:
            size, at = container.read_varint(data, at)
            alpha = unpack_alpha(data[at : at + size], box * LATENT & picture_box(header))
            at += size
        hyper = hyper_box(box)
        count = self.config.latents * box.height * box.width + self.config.hyper * hyper.height * hyper.width
        reader = SymbolReader(data[at:], count)

        def read(tables: Tables, t: int, mu: np.ndarray, index: np.ndarray) -> np.ndarray:
            used = np.flatnonzero(index > 0)  # four times as fast as that of numbers
            symbols = np.zeros_like(mu)
            symbols[used] = reader.get(index[used], tables)
            return symbols

        z_hat = self.entropy.hyper(row, hyper.height, hyper.width, partial(read, self.z_tables))
        of_y = partial(read, self.y_tables[kind])
        y_hat, found = self.entropy.run(z_hat, row, box.height, box.width, of_y, passes)
        if found != crc and passes == PASSES:
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


def coded(
    residuals: np.ndarray,
    index: np.ndarray,
    whole: Callable[[np.ndarray, np.ndarray], np.ndarray],
    write: Write | None,
) -> np.ndarray:
    """Residuals of a pass -> symbols, by `whole`; at the smallest σ, where they are other than 0 once in 50,000, 0."""
    symbols, used = np.zeros_like(residuals), np.flatnonzero(index > 0)
    index = index[used]
    symbols[used] = found = whole(residuals[used], index).clip(1 - SYMBOL_LIMIT, SYMBOL_LIMIT - 1)
    if write:
        write(found.astype(np.int32), index)
    return symbols


def pack_alpha(alpha: np.ndarray) -> bytes:
    """uint8 (h, w) -> nothing where it is opaque, one byte where it is constant, else zlib of row differences."""
    if alpha.min() == alpha.max():
        return b"" if alpha.flat[0] == 255 else bytes([alpha.flat[0]])
    return zlib.compress(np.diff(alpha, axis=0, prepend=np.zeros_like(alpha[:1])).tobytes(), 9)


def unpack_alpha(data: bytes, box: Box) -> np.ndarray:
    """Inverse of `pack_alpha`: uint8 (16h, 16w, 1), what lies beyond the picture's border is 0.

    Raises: FormatError.
    """
    out = np.zeros((-(-box.height // LATENT) * LATENT, -(-box.width // LATENT) * LATENT, 1), np.uint8)
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
