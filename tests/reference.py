"""Independent evaluation of the entropy path: numpy int64 and shifts, written from FORMAT.md.

Slow and plain on purpose. Shares nothing with codec/exact.py but the numbers in the weights file.
"""

import numpy as np

LIMIT, WIDE = 1023, 2**20
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

    def run(self, z: np.ndarray, row: int, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """ẑ (Z, h, w), float32 y (M, H, W) -> ŷ in 1/64 and table indices, both (M, H, W)."""
        m, (_, height, width) = self.m, y.shape
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
                symbol = np.round(y[at] - (mu / 64).astype(np.float32)).astype(np.int64)
                y_hat[at] = np.where(index[at] > 0, symbol, 0) * 64 + mu
        return y_hat, index
