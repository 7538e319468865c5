"""Entropy parameters in whole numbers: everything between ẑ and the symbols, the same on every machine.

h_s and the context model predict μ and σ of every latent. Were they float, another CPU, thread count or GPU
would round differently, one table index would change and everything after it would be noise. Here every weight
and activation is a whole number (times a fixed power of two), small enough that each sum a layer can form stays
below 2²⁴: float32 holds all of them exactly, so any order of summation gives the same result.

    layer:  clamp(floor(W·a + b)),  |a| ≤ LIMIT,  Σ|W|·LIMIT + |b| < 2²⁴ for every output, checked at loading

The weights are stored as integers with one right shift per output channel; here W and b are held already
divided by 2^shift, which is exact too. `train/export.py` makes them, `tests/reference.py` is an independent
evaluation in numpy int64.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from codec.errors import FormatError
from codec.model import GROUP_OF_PASS, PASSES, POSITIONS, SIGMA_LEVELS, SIGMA_MAX, SIGMA_MIN, SLOPE, Config

LIMIT = 2**12 - 1  # of activations that enter a layer: finer costs weights their bits, coarser the low rates theirs
ACC_LIMIT = 2**24  # whole numbers below it are exact in float32
WIDE_LIMIT = 2**20  # of μ and σ before they are narrowed
MU_BITS = 6  # μ and ŷ are multiples of 2^-6
LEVEL_BITS = 5  # σ leaves as its position on the log-spaced table, in 1/32 of a step
LEVEL_STEP = math.log(SIGMA_MAX / SIGMA_MIN) / (SIGMA_LEVELS - 1)  # of log σ
SIGMAS = torch.linspace(math.log(SIGMA_MIN), math.log(SIGMA_MAX), SIGMA_LEVELS, dtype=torch.float64).exp().float()
GAIN_BITS = 8  # of the gain that undoes the scaling of ẑ
Z_LIMIT = 2**10  # |ẑ|
Y_LIMIT = 2**14  # |symbol| of y: ŷ in units of 2^-MU_BITS stays exact

LAYOUT = torch.channels_last  # what oneDNN is fastest with; any other gives the same numbers

Visit = Callable[[int, Tensor, Tensor], Tensor]


def slices(tensor: Tensor, t: int, channels: int) -> list[Tensor]:
    """The four views (channels/4, ⌈H/2⌉, ⌈W/2⌉) of (1, channels, H, W) that pass t codes, in coding order."""
    n = channels // PASSES
    return [tensor[0, g * n : (g + 1) * n, i::2, j::2] for (i, j), g in zip(POSITIONS, GROUP_OF_PASS[t])]


def gather(tensor: Tensor, t: int) -> Tensor:
    """Values of pass t in coding order, flat."""
    return torch.cat([s.reshape(-1) for s in slices(tensor, t, tensor.shape[1])])


def scatter(tensor: Tensor, t: int, values: Tensor) -> None:
    """Inverse of `gather`, in place."""
    at = 0
    for s in slices(tensor, t, tensor.shape[1]):
        s.copy_(values[at : at + s.numel()].view(s.shape))
        at += s.numel()


def _sums_are_exact(dtype: torch.dtype) -> bool:
    """Whether this machine's convolution really sums whole numbers below 2²⁴ exactly (fast-math settings may not)."""
    generator = torch.Generator().manual_seed(1)
    w = torch.randint(-63, 64, (64, 128, 1, 1), generator=generator)
    a = torch.randint(-LIMIT, LIMIT + 1, (1, 128, 16, 16), generator=generator) | 1
    exact = torch.einsum("oi,bihw->bohw", w[:, :, 0, 0], a)
    x = a.to(dtype).contiguous(memory_format=LAYOUT)
    depthwise = torch.ones(128, 1, 3, 3, dtype=dtype)
    nine = F.conv2d(x, depthwise, padding=1, groups=128)
    same = torch.equal(F.conv2d(x, w.to(dtype)).long(), exact)
    return same and int(nine[0, 0, 1, 1]) == int(a[0, 0, :3, :3].sum())


class EntropyModel:
    """h_s and the context model in whole numbers. `tensors`: the "exact." part of a weights file."""

    def __init__(self, tensors: dict[str, Tensor], cfg: Config):
        self.cfg = cfg
        self.dtype = torch.float32 if _sums_are_exact(torch.float32) else torch.float64
        self.layers: dict[str, tuple[Tensor, Tensor]] = {}
        for name in sorted({k.rpartition(".")[0] for k in tensors if k.endswith(".weight")}):
            self.layers[name] = self._layer(name, *(tensors[f"{name}.{part}"] for part in ("weight", "bias", "shift")))
        self.z_gain = tensors["z_gain"].double()  # (rates, Z); times ẑ below 2⁴², exact in float64
        self.h_scale = torch.exp2(-tensors["h_shift"].to(self.dtype))[:, None, None]
        self.y_scale = torch.exp2(-tensors["y_shift"].to(self.dtype))[:, None, None]
        n = cfg.latents // PASSES  # the last layer, cut into the rows of each channel group: (μ, σ) of group g
        w, b = self.layers.pop("context.out")
        rows = [torch.cat([torch.arange(g * n, (g + 1) * n) + s for s in (0, cfg.latents)]) for g in range(PASSES)]
        self.outs = [(w[r], b[r]) for r in rows]

    def _layer(self, name: str, weight: Tensor, bias: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        reach = int((weight.long().abs().flatten(1).sum(1) * LIMIT + bias.long().abs()).max())
        if reach >= ACC_LIMIT or shift.min() < 0:
            raise FormatError(f"weights: layer {name} is not exact (sums may reach {reach}); damaged file?")
        scale = torch.exp2(-shift.to(torch.float64))
        if weight.ndim == 2:
            weight = weight[:, :, None, None]
        return (weight * scale[:, None, None, None]).to(self.dtype), (bias * scale).to(self.dtype)

    def _conv(self, x: Tensor, name: str) -> Tensor:
        w, b = self.layers[name]
        if w.shape[-1] == 3:
            return F.conv2d(x, w, b, padding=1, groups=len(w))
        return F.conv2d(x, w, b)

    def _narrow(self, x: Tensor) -> Tensor:
        return x.floor_().clamp_(-LIMIT, LIMIT)

    def _block(self, x: Tensor, name: str) -> Tensor:
        t = self._narrow(F.leaky_relu_(self._conv(x, f"{name}.mix_in"), SLOPE))
        t = self._narrow(self._conv(t, f"{name}.spatial"))
        x = self._conv(t, f"{name}.mix_out").floor_().add_(x).clamp_(-LIMIT, LIMIT)
        t = self._narrow(F.leaky_relu_(self._conv(x, f"{name}.expand"), SLOPE))
        return self._conv(t, f"{name}.contract").floor_().add_(x).clamp_(-LIMIT, LIMIT)

    def _upsample(self, x: Tensor, name: str) -> Tensor:
        return F.pixel_shuffle(self._narrow(self._conv(x, f"{name}.expand")), 2)

    def hyper(self, z_hat: Tensor, row: int) -> Tensor:
        """ẑ (1, Z, h, w) -> first guess (1, 2M, 4h, 4w): μ in 2^-MU_BITS, σ level in 2^-LEVEL_BITS."""
        gain = self.z_gain[row][:, None, None]
        x = self._narrow(z_hat.double().mul(gain).add_(2 ** (GAIN_BITS - 1)).mul_(2.0**-GAIN_BITS)).to(self.dtype)
        x = self._block(self._upsample(x, "h_s.up1"), "h_s.block1")
        x = self._block(self._upsample(x, "h_s.up2"), "h_s.block2")
        return self._conv(x, "h_s.out").floor_().clamp_(-WIDE_LIMIT, WIDE_LIMIT)

    @torch.inference_mode()
    @torch.autocast("cpu", enabled=False)  # a caller's bfloat16 region must not reach in here
    def run(
        self, z_hat: Tensor, row: int, height: int, width: int, visit: Visit, passes: int = PASSES
    ) -> tuple[Tensor, int]:
        """The four passes over ŷ (1, M, height, width), or the first few, for encoder and decoder alike.

        `visit(t, mu, index)` gets the flat μ (float, in units of y) and table indices (uint8) of pass t in coding
        order and returns the symbols: the encoder rounds y − μ and writes, the decoder reads.
        Returns ŷ as float32, each a multiple of 2^-MU_BITS, and a CRC-32 of the row and all of ŷ.
        """
        m = self.cfg.latents
        h = self.hyper(z_hat, row)[..., :height, :width].contiguous(memory_format=LAYOUT)
        reduced = self._narrow(self._conv(self._narrow(h * self.h_scale), "context.reduce"))
        y_hat = torch.zeros(1, m, height, width, dtype=self.dtype).contiguous(memory_format=LAYOUT)
        known = torch.cat([reduced, y_hat], 1)
        known = known.contiguous(memory_format=LAYOUT)
        crc = zlib.crc32(bytes([row]))
        for t in range(passes):
            mu, level = gather(h[:, :m], t), gather(h[:, m:], t)
            if t:
                known[:, -m:] = self._narrow(y_hat * self.y_scale)
                x = self._narrow(self._conv(known, f"context.adapt.{t - 1}"))
                for b in range(self.cfg.context_blocks):
                    x = self._block(x, f"context.body.{b}")
                delta_mu, delta_level = self._refine(x, t)
                mu, level = mu.add_(delta_mu), level.add_(delta_level)
            index = level.add_(2 ** (LEVEL_BITS - 1)).mul_(2.0**-LEVEL_BITS).floor_().clamp_(0, SIGMA_LEVELS - 1)
            symbols = visit(t, (mu * 2.0**-MU_BITS).float(), index.to(torch.uint8))
            values = symbols.to(self.dtype).mul_(2**MU_BITS).add_(mu)
            crc = zlib.crc32(values.int().numpy().astype("<i4", copy=False).data, crc)
            scatter(y_hat, t, values)
        return y_hat.mul_(2.0**-MU_BITS).float(), crc

    def _refine(self, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Last layer of pass t, only where and for the channels that the pass codes; flat, in coding order."""
        mus, levels = [], []
        for (i, j), g in zip(POSITIONS, GROUP_OF_PASS[t]):
            part = x[:, :, i::2, j::2]
            if part.numel():
                w, b = self.outs[g]
                out = F.conv2d(part.contiguous(memory_format=LAYOUT), w, b)
                mu, level = out.floor_().clamp_(-WIDE_LIMIT, WIDE_LIMIT)[0].chunk(2)
                mus.append(mu.reshape(-1))
                levels.append(level.reshape(-1))
        return torch.cat(mus), torch.cat(levels)
