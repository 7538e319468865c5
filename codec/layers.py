"""What the networks of `model.py` are built of: rounding, likelihood, layers. Needs torch alone (and config.py)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.config import DEAD_ZONE, DEAD_ZONE_MAX, SIGMA_MAX, SIGMA_MIN, SLOPE


def round_ste(x: Tensor) -> Tensor:
    """Round; the gradient passes straight through."""
    return x + (x.round() - x).detach()


def dead_zone(sigma: Tensor) -> Tensor:
    """Half the width of the bin of 0: half a step, and more the smaller σ is.

    There ± 1 takes many bits: for 0.6 it costs more than it mends, and what is predicted from it is worse.
    """
    return (0.5 + DEAD_ZONE / sigma**2).clamp_max(DEAD_ZONE_MAX)


def quantise(residual: Tensor, log_sigma: Tensor) -> Tensor:
    """Residuals as files hold them; the gradient passes straight through."""
    sigma = log_sigma.detach().exp().clamp_min(SIGMA_MIN)
    return residual + (residual.round() * (residual.abs() > dead_zone(sigma)) - residual).detach()


class _LowerBound(torch.autograd.Function):
    """max(x, bound) whose gradient still lets x grow from below the bound."""

    @staticmethod
    def forward(ctx, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp_min(bound)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (x,) = ctx.saved_tensors
        return grad * ((x >= ctx.bound) | (grad < 0)), None


def lower_bound(x: Tensor, bound: float) -> Tensor:
    return _LowerBound.apply(x, bound)


class Pointwise(nn.Module):
    """1×1 convolution. The weight is kept as the matrix it is: Muon takes matrices only."""

    def __init__(self, inputs: int, outputs: int, gain: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * gain / math.sqrt(inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight[:, :, None, None], self.bias)


class PrecisePointwise(Pointwise):
    """A 1×1 convolution in float32, under autocast too.

    bfloat16 has 8 bits: too few for y and μ, and it rounds k/255 up more often than down, a shift of half a grey level.
    """

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class Down(nn.Module):
    """3×3 convolution, stride 2; the weight is kept as a matrix (outputs, inputs · 9)."""

    def __init__(self, inputs: int, outputs: int, gain: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs * 9) * gain / math.sqrt(inputs * 9))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.view(len(self.weight), -1, 3, 3), self.bias, stride=2, padding=1)


class Depthwise(nn.Module):
    """3×3 depthwise convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, 1, 3, 3) / 3)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=1, groups=len(self.weight))


class Block(nn.Module):
    """x + 1×1(depthwise(lrelu(1×1 x))), then x + 1×1(lrelu(1×1 x)) with twice the width inside."""

    def __init__(self, channels: int):
        super().__init__()
        self.mix_in = Pointwise(channels, channels)
        self.spatial = Depthwise(channels)
        self.mix_out = Pointwise(channels, channels, gain=0.3)
        self.expand = Pointwise(channels, 2 * channels)
        self.contract = Pointwise(2 * channels, channels, gain=0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix_out(self.spatial(F.leaky_relu(self.mix_in(x), SLOPE)))
        return x + self.contract(F.leaky_relu(self.expand(x), SLOPE))


def blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*[Block(channels) for _ in range(count)])


class Upsample(nn.Module):
    """1×1 convolution to 4× the channels, then pixel-shuffle to twice the size."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.expand = Pointwise(inputs, 4 * outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.expand(x), 2)


def gaussian_likelihood(r: Tensor, log_sigma: Tensor) -> Tensor:
    """Probability of the unit interval around r under a zero-mean Gaussian, σ ≥ SIGMA_MIN."""
    sigma = lower_bound(log_sigma, math.log(SIGMA_MIN)).clamp_max(math.log(SIGMA_MAX)).exp()
    r = r.abs()
    c = -(2**-0.5)
    return 0.5 * (torch.erfc(c * (0.5 - r) / sigma) - torch.erfc(c * (-0.5 - r) / sigma))


def row_gain(logs: Tensor, q: Tensor) -> Tensor:
    """Gains (B, channels, 1, 1) of rate rows q (B,), from their logarithms (rates, channels)."""
    return logs[q].exp()[:, :, None, None]
