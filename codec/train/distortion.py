"""What training weighs bits against: squared error, or a mixture of measures for the eye.

Squared error alone smears texture, which eyes look for; SSIMULACRA 2 alone lets colours and flat skies drift, to which
it is nearly blind, and takes bits from what all other measures see, the more the higher the rate. The mixture changes
with λ: SSIMULACRA 2 gives way to the structure of the three finest scales.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from codec.distortion import as_squared_error, weigh_colours
from codec.ssimulacra2 import PRUNED, weighted_sum

FLAT, FLAT_PART = 4.0, 2.0  # variance (0..255 scale) that halves what an error counts; how much where there is none
LOW_LAMBDA, HIGH_LAMBDA = 0.004, 0.5  # between them the parts change, straight over log λ
SEEN_PART = (0.5, 0.25)  # of SSIMULACRA 2, at either end
STRUCTURE_PART = (0.25, 0.35)  # of structure at the three finest scales; coloured squared error has the rest
STRUCTURE_AS_SQUARED_ERROR = 1300.0  # of photographs, at all rates within 30 %
STRUCTURE_WINDOW, STRUCTURE_FLOOR = 7, 0.0009  # as in SSIM, without its luminance
LIGHTNESS = (0.299, 0.587, 0.114)
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # x, x̂ (N, 3, H, W) in 0 … 1, λ (N,) -> D (N,)


def squared_error(x: Tensor, x_hat: Tensor, lambdas: Tensor | None = None) -> Tensor:
    """Mean squared errors (N,) on the 0..255 scale, whatever λ."""
    return ((x_hat.float() - x) ** 2).mean((1, 2, 3)) * 255**2


def coloured_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """`squared_error`, colours counting more than lightness."""
    return (weigh_colours(x_hat.float() - x) ** 2).mean((1, 2, 3)) * 255**2


def error_where_flat(x: Tensor, x_hat: Tensor) -> Tensor:
    """`squared_error`, less where there is texture: by the variance of lightness around."""
    grey = x.mean(1, keepdim=True) * 255
    mean = F.avg_pool2d(grey, 9, 1, 4, count_include_pad=False)
    variance = F.avg_pool2d((grey - mean) ** 2, 9, 1, 4, count_include_pad=False)
    flat = 1 / (1 + variance / FLAT)
    return (flat * (x_hat.float() - x) ** 2).mean((1, 2, 3)) * 255**2


def structure_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """1 − SSIM without its luminance (Wang et al. 2004) of lightness, mean of the three finest scales: (N,), 0 … 2."""
    weights = x.new_tensor(LIGHTNESS).view(1, 3, 1, 1)
    a, b = (x * weights).sum(1, keepdim=True), (x_hat * weights).sum(1, keepdim=True)
    total = x.new_zeros(len(x))
    for scale in range(3):
        if scale:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        means = F.avg_pool2d(torch.cat([a, b, a * a, b * b, a * b], 1), STRUCTURE_WINDOW, 2)
        mean_a, mean_b, square_a, square_b, product = means.chunk(5, 1)
        covariance = 2 * (product - mean_a * mean_b) + STRUCTURE_FLOOR
        variances = (square_a - mean_a**2) + (square_b - mean_b**2) + STRUCTURE_FLOOR
        total = total + (1 - covariance / variances).mean((1, 2, 3)) / 3
    return total


def ramp(lambdas: Tensor, ends: tuple[float, float]) -> Tensor:
    """`ends[0]` up to LOW_LAMBDA, `ends[1]` from HIGH_LAMBDA on, straight over log λ between."""
    along = ((lambdas / LOW_LAMBDA).log() / math.log(HIGH_LAMBDA / LOW_LAMBDA)).clamp(0, 1)
    return ends[0] + (ends[1] - ends[0]) * along


def visible_error(x: Tensor, x_hat: Tensor, lambdas: Tensor) -> Tensor:
    """Parts of SSIMULACRA 2, structure and coloured squared error, all in units of squared error, that change with λ.

    Errors where the picture is flat come on top: else white skies get a faint grid.
    """
    with torch.autocast(x.device.type, enabled=False):
        clamped = x_hat.float().clamp(0, 1)
        seen, structure = ramp(lambdas, SEEN_PART), ramp(lambdas, STRUCTURE_PART)
        mixed = seen * as_squared_error(lambdas) * weighted_sum(x, clamped, PRUNED)
        mixed = mixed + structure * STRUCTURE_AS_SQUARED_ERROR * structure_error(x, clamped)
        mixed = mixed + (1 - seen - structure) * coloured_error(x, x_hat)
        return mixed + FLAT_PART * error_where_flat(x, x_hat)


LOSSES: dict[str, Loss] = {"psnr": squared_error, "eye": visible_error}
