"""What training weighs bits against: squared error, or a mixture of it and SSIMULACRA 2.

Squared error alone smears what eyes look for, texture; SSIMULACRA 2 alone lets colours and flat skies drift, to which
it is nearly blind. Mixed, both are kept.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from codec.distortion import EYE_PART, as_squared_error, weigh_colours
from codec.ssimulacra2 import PRUNED, weighted_sum

FLAT, FLAT_PART = 4.0, 2.0  # variance (0..255 scale) that halves what an error counts; how much where there is none
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


def visible_error(x: Tensor, x_hat: Tensor, lambdas: Tensor) -> Tensor:
    """EYE_PART of what SSIMULACRA 2 sees, its weighted sum s0 in units of squared error; the rest squared error,
    of colours more than of lightness. Errors where the picture is flat come on top: else white skies get a faint grid.
    """
    with torch.autocast(x.device.type, enabled=False):
        seen = EYE_PART * as_squared_error(lambdas) * weighted_sum(x, x_hat.float().clamp(0, 1), PRUNED)
        return seen + (1 - EYE_PART) * coloured_error(x, x_hat) + FLAT_PART * error_where_flat(x, x_hat)


LOSSES: dict[str, Loss] = {"psnr": squared_error, "eye": visible_error}
