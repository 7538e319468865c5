"""Entropy parameters in whole numbers: everything between the prior of ẑ and the symbols, the same on every machine.

h_s and the context models predict μ and σ of every latent. Were they float, another CPU, thread count or GPU
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

from codec.config import GROUP_OF_PASS, PASSES, POSITIONS, SIGMA_LEVELS, SIGMA_MAX, SIGMA_MIN, SLOPE, Config
from codec.errors import FormatError

LIMIT = 2**12 - 1  # of activations that enter a layer: finer costs weights their bits, coarser the low rates theirs
ACC_LIMIT = 2**24  # whole numbers below it are exact in float32
WIDE_LIMIT = 2**20  # of μ and σ before they are narrowed
MU_BITS = 6  # μ, ŷ and ẑ are multiples of 2^-6
LEVEL_BITS = 5  # σ leaves as its position on the log-spaced table, in 1/32 of a step
LEVEL_STEP = math.log(SIGMA_MAX / SIGMA_MIN) / (SIGMA_LEVELS - 1)  # of log σ
SIGMAS = torch.linspace(math.log(SIGMA_MIN), math.log(SIGMA_MAX), SIGMA_LEVELS, dtype=torch.float64).exp().float()
GAIN_BITS = 8  # of the gain that undoes the scaling of ẑ
SYMBOL_LIMIT = 2**14  # |symbol|: ŷ and ẑ in units of 2^-MU_BITS stay exact

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
    """h_s and the context models of ŷ and ẑ in whole numbers. `tensors`: the "exact." part of a weights file."""

    def __init__(self, tensors: dict[str, Tensor], cfg: Config):
        self.cfg = cfg
        self.dtype = torch.float32 if _sums_are_exact(torch.float32) else torch.float64
        self.layers: dict[str, tuple[Tensor, Tensor]] = {}
        for name in sorted({k.rpartition(".")[0] for k in tensors if k.endswith(".weight")}):
            self.layers[name] = self._layer(name, *(tensors[f"{name}.{part}"] for part in ("weight", "bias", "shift")))
        self.z_gain = tensors["z_gain"].double()  # (rates, Z); times ẑ · 2^MU_BITS below 2⁵³, exact in float64
        self.z_prior = tensors["z_prior"].to(self.dtype)  # (rates, 2Z)
        shifts = {k.removesuffix("_shift"): v for k, v in tensors.items() if k.endswith("_shift")}
        self.scales = {k: torch.exp2(-v.to(self.dtype))[:, None, None] for k, v in shifts.items()}
        self.outs = {"context": self._by_group("context.out"), "z_context": self._by_group("z_context.out")}

    def _by_group(self, name: str) -> list[tuple[Tensor, Tensor]]:
        """A last layer cut into the rows of each channel group: (μ, σ) of group g."""
        w, b = self.layers.pop(name)
        rows = torch.arange(len(b)).view(2, PASSES, -1)
        return [(w[r], b[r]) for r in rows.transpose(0, 1).flatten(1)]

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

    @torch.inference_mode()
    @torch.autocast("cpu", enabled=False)  # a caller's bfloat16 region must not reach in here
    def hyper(self, row: int, height: int, width: int, visit: Visit) -> Tensor:
        """The four passes over ẑ: (1, Z, height, width) float32, multiples of 2^-MU_BITS. `visit` as for `run`."""
        h = self.z_prior[row][None, :, None, None].repeat(1, 1, height, width)
        return self._passes("z_context", h, self.cfg.z_blocks, visit, PASSES)[0]

    @torch.inference_mode()
    @torch.autocast("cpu", enabled=False)
    def run(
        self, z_hat: Tensor, row: int, height: int, width: int, visit: Visit, passes: int = PASSES
    ) -> tuple[Tensor, int]:
        """The four passes over ŷ (1, M, height, width), or the first few, for encoder and decoder alike.

        `visit(t, mu, index)` gets the flat μ (float, in units of y) and table indices (uint8) of pass t in coding
        order and returns the symbols: the encoder rounds y − μ and writes, the decoder reads.
        Returns ŷ as float32, each a multiple of 2^-MU_BITS, and a CRC-32 of the row and all of ŷ.
        """
        h = self._first_guess(z_hat, row)[..., :height, :width]
        return self._passes("context", h, self.cfg.context_blocks, visit, passes, zlib.crc32(bytes([row])))

    def _first_guess(self, z_hat: Tensor, row: int) -> Tensor:
        """ẑ (1, Z, h, w) -> (1, 2M, 4h, 4w): μ in 2^-MU_BITS, σ level in 2^-LEVEL_BITS."""
        gain = self.z_gain[row][:, None, None]
        x = z_hat.double().mul(2**MU_BITS).mul_(gain).add_(2 ** (MU_BITS + GAIN_BITS - 1))
        x = self._narrow(x.mul_(2.0 ** -(MU_BITS + GAIN_BITS))).to(self.dtype)
        x = self._block(self._upsample(x, "h_s.up1"), "h_s.block1")
        x = self._block(self._upsample(x, "h_s.up2"), "h_s.block2")
        return self._conv(x, "h_s.out").floor_().clamp_(-WIDE_LIMIT, WIDE_LIMIT)

    def _passes(self, name: str, h: Tensor, blocks: int, visit: Visit, passes: int, crc: int = 0) -> tuple[Tensor, int]:
        """First guess h (1, 2N, H, W) -> values (1, N, H, W) and the CRC-32 of them all in coding order."""
        h = h.contiguous(memory_format=LAYOUT)
        n = h.shape[1] // 2
        reduced = self._narrow(self._conv(self._narrow(h * self.scales[f"{name}.h"]), f"{name}.reduce"))
        values = torch.zeros_like(h[:, :n]).contiguous(memory_format=LAYOUT)
        known = torch.cat([reduced, values], 1)
        known = known.contiguous(memory_format=LAYOUT)
        for t in range(passes):
            mu, level = gather(h[:, :n], t), gather(h[:, n:], t)
            if t:
                known[:, -n:] = self._narrow(values * self.scales[f"{name}.known"])
                x = self._narrow(self._conv(known, f"{name}.adapt.{t - 1}"))
                for b in range(blocks):
                    x = self._block(x, f"{name}.body.{b}")
                delta_mu, delta_level = self._refine(x, t, self.outs[name])
                mu, level = mu.add_(delta_mu), level.add_(delta_level)
            index = level.add_(2 ** (LEVEL_BITS - 1)).mul_(2.0**-LEVEL_BITS).floor_().clamp_(0, SIGMA_LEVELS - 1)
            symbols = visit(t, (mu * 2.0**-MU_BITS).float(), index.to(torch.uint8))
            new = symbols.to(self.dtype).mul_(2**MU_BITS).add_(mu)
            crc = zlib.crc32(new.int().numpy().astype("<i4", copy=False).data, crc)
            scatter(values, t, new)
        return values.mul_(2.0**-MU_BITS).float(), crc

    def _refine(self, x: Tensor, t: int, outs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Last layer of pass t, only where and for the channels that the pass codes; flat, in coding order."""
        mus, levels = [], []
        for (i, j), g in zip(POSITIONS, GROUP_OF_PASS[t]):
            part = x[:, :, i::2, j::2]
            if part.numel():
                w, b = outs[g]
                out = F.conv2d(part.contiguous(memory_format=LAYOUT), w, b)
                mu, level = out.floor_().clamp_(-WIDE_LIMIT, WIDE_LIMIT)[0].chunk(2)
                mus.append(mu.reshape(-1))
                levels.append(level.reshape(-1))
        return torch.cat(mus), torch.cat(levels)
