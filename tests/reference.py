"""A second reader, written from FORMAT.md alone: container, rANS and entropy model in numpy int64 and shifts.

Slow and plain on purpose. Shares nothing with the codec but the numbers in the weights file.
"""

import struct
import zlib
from collections.abc import Callable

import numpy as np

LIMIT, WIDE = 4095, 2**20
ORDER = {(0, 0): (0, 3, 2, 1), (0, 1): (1, 2, 3, 0), (1, 0): (2, 1, 0, 3), (1, 1): (3, 0, 1, 2)}  # group by pass


class Reference:
    def __init__(self, tensors: dict[str, np.ndarray], latents: int, context_blocks: int):
        self.t = {k.removeprefix("exact."): v.astype(np.int64) for k, v in tensors.items() if k.startswith("exact.")}
        self.m, self.context_blocks = latents, context_blocks

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

    def run(self, z: np.ndarray, row: int, height: int, width: int, symbol: Callable) -> tuple[np.ndarray, np.ndarray]:
        """ẑ (Z, h, w) -> ŷ in 1/64 and table indices, both (M, height, width).

        symbol(at, μ in 1/64, index) gives the symbols at the positions `at`, in coding order.
        """
        m = self.m
        x = self.narrow((z.astype(np.int64) * self.t["z_gain"][row][:, None, None] + 128) >> 8)
        x = self.block(self.up(x, "h_s.up1"), "h_s.block1")
        x = self.block(self.up(x, "h_s.up2"), "h_s.block2")
        h = np.clip(self.layer(x, "h_s.out"), -WIDE, WIDE)[:, :height, :width]
        reduced = self.narrow(self.layer(self.narrow(h >> self.t["h_shift"][:, None, None]), "context.reduce"))
        y_hat, index = np.zeros((m, height, width), np.int64), np.zeros((m, height, width), np.int64)
        for t in range(4):
            params = h
            if t:
                known = np.concatenate([reduced, self.narrow(y_hat >> self.t["y_shift"][:, None, None])])
                x = self.narrow(self.layer(known, f"context.adapt.{t - 1}"))
                for b in range(self.context_blocks):
                    x = self.block(x, f"context.body.{b}")
                params = h + np.clip(self.layer(x, "context.out"), -WIDE, WIDE)
            for (i, j), groups in ORDER.items():
                at = np.s_[groups[t] * m // 4 : (groups[t] + 1) * m // 4, i::2, j::2]
                mu, level = params[:m][at], params[m:][at]
                index[at] = np.clip((level + 16) >> 5, 0, 63)
                y_hat[at] = np.where(index[at] > 0, symbol(at, mu, index[at]), 0) * 64 + mu
        return y_hat, index


class Rans:
    """Decoder of one stream."""

    def __init__(self, stream: bytes):
        self.words = list(struct.unpack(f"<{len(stream) // 4}I", stream))
        self.state = self.words.pop(0) | self.words.pop(0) << 32

    def refill(self) -> None:
        if self.state < 2**31:
            self.state = self.state << 32 | self.words.pop(0)

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
        u = sum(self.nibble() << 4 * k for k in range(count))
        return offset - (u + 1) // 2 if u % 2 else offset + n + u // 2


def read_file(data: bytes, tensors: dict[str, np.ndarray], config: dict) -> tuple[np.ndarray, np.ndarray, int]:
    """ẑ, ŷ in 1/64 and rate row of a .lat file of one tile, mode L or RGB."""

    def varint(at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = head[at]
            value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
            if byte < 128:
                return value, at

    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        chunks[data[at + 4 : at + 8]] = data[at + 8 : at + 8 + length]
        assert zlib.crc32(data[at + 4 : at + 8 + length]) == struct.unpack_from("<I", data, at + 8 + length)[0]
        at += 12 + length
    head, tile = chunks[b"HEAD"], chunks[b"DATA"]
    width, at = varint(4)
    height, at = varint(at)
    height, width = -(-height // 16), -(-width // 16)
    first, crc = struct.unpack_from("<BI", tile)
    kind, row = divmod(first, 64)
    rans = Rans(tile[5:])
    tables = {}
    for label in ("y", "y_gaussian", "z"):
        lengths = tensors[f"tables.{label}.length"]
        cdfs = np.split(tensors[f"tables.{label}.cdf"], np.cumsum(lengths)[:-1])
        tables[label] = list(zip(cdfs, map(int, tensors[f"tables.{label}.offset"])))
    if kind == 1:
        tables["y"][: len(tables["y_gaussian"])] = tables["y_gaussian"]
    z = np.array([[rans.symbol(*t) for _ in range(-(-height // 4) * -(-width // 4))] for t in tables["z"]])
    z = z.reshape(-1, -(-height // 4), -(-width // 4))
    found = zlib.crc32(bytes([row]))

    def symbol(at, mu: np.ndarray, index: np.ndarray) -> np.ndarray:
        nonlocal found
        symbols = np.array([rans.symbol(*tables["y"][i]) if i else 0 for i in index.flat], np.int64).reshape(
            index.shape
        )
        found = zlib.crc32((symbols * 64 + mu).astype("<i4").tobytes(), found)
        return symbols

    y_hat, _ = Reference(tensors, config["latents"], config["context_blocks"]).run(z, row, height, width, symbol)
    assert found == crc
    return z, y_hat, row
