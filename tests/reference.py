"""A second reader, written from FORMAT.md alone: container, rANS and entropy model in numpy int64 and shifts.

Slow and plain on purpose. Shares nothing with the codec but the numbers in the weights file.
"""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

LIMIT, WIDE = 4095, 2**20
MAGIC = b"\x8eLAT\r\n\x1a\n"
CELL = 4096
ORDER = {(0, 0): (0, 3, 2, 1), (0, 1): (1, 2, 3, 0), (1, 0): (2, 1, 0, 3), (1, 1): (3, 0, 1, 2)}  # group by pass


class Refused(Exception):
    """The file breaks a rule of FORMAT.md."""


def rule(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Refused(otherwise)


class Reference:
    def __init__(self, tensors: dict[str, np.ndarray]):
        self.t = {k.removeprefix("exact."): v.astype(np.int64) for k, v in tensors.items() if k.startswith("exact.")}

    def acc(self, x: np.ndarray, name: str) -> np.ndarray:
        w, b = self.t[f"{name}.weight"], self.t[f"{name}.bias"][:, None, None]
        if w.ndim == 2:
            return np.einsum("oi,ihw->ohw", w, x) + b
        c, height, width = x.shape
        padded = np.zeros((c, height + 2, width + 2), np.int64)
        padded[:, 1:-1, 1:-1] = x
        taps = [
            padded[:, i : i + height, j : j + width] * w[:, 0, i, j][:, None, None] for i in range(3) for j in range(3)
        ]
        return sum(taps) + b

    def layer(self, x: np.ndarray, name: str, leaky: bool = False) -> np.ndarray:
        """Shift right, rounding down; negative sums lose three bits more where the activation is leaky."""
        acc, shift = self.acc(x, name), self.t[f"{name}.shift"][:, None, None]
        return np.where((acc < 0) & leaky, acc >> (shift + 3), acc >> shift)

    def narrow(self, x: np.ndarray) -> np.ndarray:
        return np.clip(x, -LIMIT, LIMIT)

    def block(self, x: np.ndarray, name: str) -> np.ndarray:
        t = self.narrow(self.layer(x, f"{name}.mix_in", leaky=True))
        t = self.narrow(self.layer(t, f"{name}.spatial"))
        x = self.narrow(x + self.layer(t, f"{name}.mix_out"))
        t = self.narrow(self.layer(x, f"{name}.expand", leaky=True))
        return self.narrow(x + self.layer(t, f"{name}.contract"))

    def up(self, x: np.ndarray, name: str) -> np.ndarray:
        x = self.narrow(self.layer(x, f"{name}.expand"))
        c, h, w = x.shape
        return x.reshape(c // 4, 2, 2, h, w).transpose(0, 3, 1, 4, 2).reshape(c // 4, 2 * h, 2 * w)

    def z(self, row: int, height: int, width: int, symbol: Callable) -> np.ndarray:
        """ẑ (Z, height, width) in 1/64; `symbol` as for `passes`."""
        h = np.tile(self.t["z_prior"][row][:, None, None], (1, height, width))
        return self.passes("z_context", h, symbol)[0]

    def y(self, z: np.ndarray, row: int, height: int, width: int, symbol: Callable) -> tuple[np.ndarray, np.ndarray]:
        """ẑ (Z, h, w) in 1/64 -> ŷ in 1/64 and table indices, both (M, height, width)."""
        x = self.narrow((z * self.t["z_gain"][row][:, None, None] + 2**13) >> 14)
        x = self.block(self.up(x, "h_s.up1"), "h_s.block1")
        x = self.block(self.up(x, "h_s.up2"), "h_s.block2")
        h = np.clip(self.layer(x, "h_s.out"), -WIDE, WIDE)[:, :height, :width]
        return self.passes("context", h, symbol)

    def passes(self, name: str, h: np.ndarray, symbol: Callable) -> tuple[np.ndarray, np.ndarray]:
        """First guess h (2N, H, W) -> values in 1/64 and table indices, both (N, H, W).

        symbol(at, μ in 1/64, index) gives the symbols at the positions `at`, in coding order.
        """
        n = len(h) // 2
        narrowed = self.narrow(h >> self.t[f"{name}.h_shift"][:, None, None])
        reduced = self.narrow(self.layer(narrowed, f"{name}.reduce"))
        values, index = np.zeros_like(h[:n]), np.zeros_like(h[:n])
        for t in range(4):
            params = h
            if t:
                known = self.narrow(values >> self.t[f"{name}.known_shift"][:, None, None])
                x = self.narrow(self.layer(np.concatenate([reduced, known]), f"{name}.adapt.{t - 1}"))
                blocks = sum(k.startswith(f"{name}.body.") and k.endswith("mix_in.shift") for k in self.t)
                for b in range(blocks):
                    x = self.block(x, f"{name}.body.{b}")
                params = h + np.clip(self.layer(x, f"{name}.out"), -WIDE, WIDE)
            for (i, j), groups in ORDER.items():
                at = np.s_[groups[t] * n // 4 : (groups[t] + 1) * n // 4, i::2, j::2]
                mu, level = params[:n][at], params[n:][at]
                index[at] = np.clip((level + 16) >> 5, 0, 63)
                values[at] = np.where(index[at] > 0, symbol(at, mu, index[at]), 0) * 64 + mu
        return values, index


class Rans:
    """Decoder of one stream."""

    def __init__(self, stream: bytes):
        rule(len(stream) % 4 == 0 and len(stream) >= 8, "size of a stream")
        self.words = list(struct.unpack(f"<{len(stream) // 4}I", stream))[::-1]
        self.state = self.words.pop() | self.words.pop() << 32

    def refill(self) -> None:
        if self.state < 2**31:
            self.state = self.state << 32 | (self.words.pop() if self.words else 0)

    def nibble(self) -> int:
        value, self.state = self.state % 16, self.state >> 4
        self.refill()
        return value

    def symbol(self, table: np.ndarray, offset: int) -> int:
        low = self.state % 2**16
        i = int(np.searchsorted(table, low, side="right")) - 1
        self.state = int(table[i + 1] - table[i]) * (self.state >> 16) + low - int(table[i])
        self.refill()
        n = len(table) - 2
        if i < n:
            return i + offset
        count = nibble = self.nibble()
        while nibble == 15:
            nibble = self.nibble()
            count += nibble
        u = 0
        for k in range(count):
            u |= self.nibble() << 4 * (k % 8)
        half = (u - 2**32 if u >= 2**31 else u) >> 1
        s = offset - half - 1 if u % 2 else offset + n + half
        rule(abs(s) <= 2**14, "a symbol is out of range")
        return s


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        rule(at < len(data) and shift < 35, "a number has no end")
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            rule(byte > 0 or shift == 7, "a number has needless bytes")
            return value, at


def read_chunks(data: bytes) -> tuple[dict[bytes, bytes], list[bytes]]:
    """Payloads by type, and those of LOSS."""
    chunks: dict[bytes, bytes] = {}
    patches, at = [], 8
    known = (b"HEAD", b"INDX", b"LOSS", b"DATA", b"iccp", b"exif", b"xmp_", b"text")
    rule(data[:8] == MAGIC, "magic")
    while b"DATA" not in chunks:
        kind = data[at : at + 4]
        rule(len(kind) == 4 and kind.replace(b"_", b"a").isalpha(), "type of a chunk")
        length, at = varint(data, at + 4)
        payload, end = data[at : at + length], at + length + 4
        rule(end <= len(data), "a chunk runs past the end")
        right = zlib.crc32(kind + payload) == struct.unpack_from("<I", data, end - 4)[0]
        rule(right or (kind == b"DATA" and b"INDX" in chunks), "CRC of a chunk")
        rule((kind == b"HEAD") == (not chunks and not patches), "HEAD comes first")
        rule(kind in known or kind[:1] > b"Z", "an unknown critical chunk")
        rule(kind not in chunks or kind not in known, "a chunk occurs twice")
        rule(length <= 64 * 2**20 or kind in known[:4] or kind not in known, "size of metadata")
        if kind == b"LOSS":
            patches.append(payload)
        else:
            chunks[kind] = payload
        at = end
    rule(at == len(data), "something follows DATA")
    return chunks, patches


def patched(data: bytes, below: np.ndarray) -> np.ndarray:
    """The pixels (H, W, C) of a .lat file, from what its tiles show; from anything, where it is lossless everywhere."""
    chunks, patches = read_chunks(data)
    assert chunks[b"HEAD"][1] == (1 if patches else 0)
    out, colours = below.copy(), 1 if below.shape[2] < 3 else 3
    for payload in patches:
        left, at = varint(payload, 1)
        top, at = varint(payload, at)
        stream = payload[at:]
        padded = stream + bytes(len(stream) % 2)
        webp = b"RIFF" + struct.pack("<I", 12 + len(padded)) + b"WEBPVP8L" + struct.pack("<I", len(stream)) + padded
        rgba = np.asarray(Image.open(io.BytesIO(webp)).convert("RGBA"))
        part = out[top : top + rgba.shape[0], left : left + rgba.shape[1]]
        shown = rgba[..., 3] > 0 if payload[0] else np.ones(rgba.shape[:2], bool)
        part[..., :colours][shown] = rgba[..., :colours][shown]
        if not payload[0] and below.shape[2] in (2, 4):
            part[..., -1] = rgba[..., 3]
    return out


def read_file(data: bytes, tensors: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
    """ẑ and ŷ in 1/64 and rate row of a .lat file of one tile, mode L or RGB."""
    chunks, _ = read_chunks(data)
    head, tile = chunks[b"HEAD"], chunks[b"DATA"]
    width, at = varint(head, 4)
    height, at = varint(head, at)
    height, width = -(-height // 16), -(-width // 16)
    first, crc = struct.unpack_from("<BI", tile)
    kind, row = divmod(first, 64)
    z, y_hat, found = latents(tensors, tile[5:], kind, row, height, width)
    assert found == crc
    return z, y_hat, row


def latents(
    tensors: dict[str, np.ndarray], stream: bytes, kind: int, row: int, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """ẑ and ŷ in 1/64 of a tile of so many latents, and the CRC of ŷ. Raises: Refused."""
    reference, hyper = Reference(tensors), (-(-height // 4), -(-width // 4))
    values = (
        reference.t["context.known_shift"].size * height * width + reference.t["z_gain"].shape[1] * hyper[0] * hyper[1]
    )
    rule(len(stream) <= 5 * values + 64, "size of a stream")
    rans = Rans(stream)
    tables = {}
    for label in ("y", "y_gaussian", "z"):
        lengths = tensors[f"tables.{label}.length"]
        cdfs = np.split(tensors[f"tables.{label}.cdf"], np.cumsum(lengths)[:-1])
        tables[label] = list(zip(cdfs, map(int, tensors[f"tables.{label}.offset"])))
    if kind == 1:
        tables["y"][: len(tables["y_gaussian"])] = tables["y_gaussian"]
    found = zlib.crc32(bytes([row]))

    def read(label: str, index: np.ndarray) -> np.ndarray:
        symbols = [rans.symbol(*tables[label][i]) if i else 0 for i in index.flat]
        return np.array(symbols, np.int64).reshape(index.shape)

    def symbol(at, mu: np.ndarray, index: np.ndarray) -> np.ndarray:
        nonlocal found
        symbols = read("y", index)
        found = zlib.crc32((symbols * 64 + mu).astype("<i4").tobytes(), found)
        return symbols

    z = reference.z(row, *hyper, lambda at, mu, index: read("z", index))
    y_hat, _ = reference.y(z, row, height, width, symbol)
    return z, y_hat, found


# -- any file: accepted or refused -----------------------------------------------------------------------------------


class File:
    """HEAD and the tiles of a file, with a set of weights to read them."""

    def __init__(self, data: bytes, tensors: dict[str, np.ndarray], model: bytes, rates: int):
        """Raises: Refused."""
        self.tensors, self.rates = tensors, rates
        self.chunks, self.payloads = read_chunks(data)
        self._read_head(self.chunks[b"HEAD"], model)
        self.patches = [self._patch(payload) for payload in self.payloads]
        cells = [(top // CELL, left // CELL) for left, top, _, _ in self.patches]
        rule(cells == sorted(set(cells)), "order of patches")
        self.tiles = [] if self.lossless else self._split()

    def _read_head(self, head: bytes, model: bytes) -> None:
        rule(len(head) > 4 and head[0] == 1 and head[3] == 0, "version or flags")
        self.width, at = varint(head, 4)
        self.height, at = varint(head, at)
        mode, at = varint(head, at)
        self.side, at = varint(head, at)
        rule(0 < self.width < 2**31 and 0 < self.height < 2**31, "size of the picture")
        rule(mode < 4 and self.side in range(4, 65, 4), "mode or side of a tile")
        self.alpha, name = mode in (1, 3), head[at : at + 8]
        self.lossless = name == b"lossless"
        rule(len(name) == 8 and (self.lossless or name == model), "weights that are not here")

    def _patch(self, payload: bytes) -> tuple[int, int, int, int]:
        rule(payload[:1] in (b"\0", b"\1"), "kind of a patch")
        left, at = varint(payload, 1)
        top, at = varint(payload, at)
        stream = payload[at : at + 5]
        rule(len(stream) == 5 and stream[0] == 0x2F and stream[4] < 32, "no VP8L stream")
        bits = int.from_bytes(stream[1:], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        rule(left + width <= self.width and top + height <= self.height, "a patch leaves the picture")
        rule(left % CELL + width <= CELL and top % CELL + height <= CELL, "a patch leaves its cell")
        return left, top, width, height

    def _split(self) -> list[bytes]:
        data, index, patched = self.chunks[b"DATA"], self.chunks.get(b"INDX"), bool(self.payloads)
        self.across, self.down = (-(-n // (16 * self.side)) for n in (self.width, self.height))
        if self.across * self.down == 1:
            rule(index is None and (len(data) >= 13 or (patched and not data)), "size of the tile")
            return [data]
        rule(index is not None and len(index) >= 5 * self.across * self.down, "INDX")
        tiles, at, start = [], 0, 0
        for _ in range(self.across * self.down):
            size, at = varint(index, at)
            tile = data[start : start + size]
            rule(index[at : at + 4] == struct.pack("<I", zlib.crc32(tile)), "CRC of a tile")
            rule(size >= 13 or (patched and not size), "size of a tile")
            tiles.append(tile)
            at, start = at + 4, start + size
        rule(at == len(index) and start == len(data), "INDX and DATA disagree")
        return tiles

    def check(self) -> None:
        """Read all of it. Raises: Refused."""
        if self.lossless:
            rule(b"INDX" not in self.chunks and not self.chunks[b"DATA"], "tiles without weights")
            cells = -(-self.width // CELL) * -(-self.height // CELL)
            shown = sum(w * h for (_, _, w, h), p in zip(self.patches, self.payloads) if not p[0])
            rule(len(self.patches) == cells and shown == self.width * self.height, "the picture is not covered")
        for index, tile in enumerate(self.tiles):
            if tile:
                rule(self.crc(index) == struct.unpack_from("<I", tile, 1)[0], "CRC of the latents")

    def crc(self, index: int) -> int:
        """Of the latents that a tile has. Raises: Refused."""
        tile = self.tiles[index]
        row, column = divmod(index, self.across) if len(self.tiles) > 1 else (0, 0)
        height, width = (
            min(16 * self.side, size - 16 * self.side * place)
            for size, place in ((self.height, row), (self.width, column))
        )
        kind, rate = divmod(tile[0], self.rates)
        rule(kind < 2, "set of tables")
        at = 5
        if self.alpha:
            size, at = varint(tile, at)
            packed, at = tile[at : at + size], at + size
            if len(packed) > 1:
                inflate = zlib.decompressobj()
                try:
                    samples = inflate.decompress(packed, height * width + 1)
                except zlib.error:
                    raise Refused("alpha") from None
                rule(inflate.eof and not inflate.unused_data and len(samples) == height * width, "alpha")
        return latents(self.tensors, tile[at:], kind, rate, -(-height // 16), -(-width // 16))[2]


def accepts(data: bytes, tensors: dict[str, np.ndarray], model: bytes, rates: int) -> bool:
    """Whether a file of these weights is one of FORMAT.md; what is inside its VP8L streams is not looked at."""
    try:
        File(data, tensors, model, rates).check()
    except Refused:
        return False
    return True
