"""What training weighs bits against: squared error, or a mixture of it and SSIMULACRA 2.

Squared error alone smears what eyes look for, texture; SSIMULACRA 2 alone lets colours and flat skies drift, to which
it is nearly blind. Mixed, both are kept.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from codec.ssimulacra2 import EYE_PART, PRUNED, as_squared_error, coloured, weighted_sum

Distortion = Callable[[Tensor, Tensor, Tensor], Tensor]  # x, x̂ (N, 3, H, W) in 0 … 1, λ (N,) -> D (N,)


def squared_error(x: Tensor, x_hat: Tensor, lambdas: Tensor | None = None) -> Tensor:
    """Mean squared errors (N,) on the 0..255 scale, whatever λ."""
    return ((x_hat.float() - x) ** 2).mean((1, 2, 3)) * 255**2


def coloured_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """`squared_error`, colours counting more than lightness."""
    return (coloured(x_hat.float() - x) ** 2).mean((1, 2, 3)) * 255**2


def visible_error(x: Tensor, x_hat: Tensor, lambdas: Tensor) -> Tensor:
    """EYE_PART of what SSIMULACRA 2 sees, its weighted sum s0 in units of squared error; the rest squared error,
    of colours more than of lightness."""
    with torch.autocast(x.device.type, enabled=False):
        seen = weighted_sum(x, x_hat.float().clamp(0, 1), PRUNED)
        return EYE_PART * as_squared_error(lambdas) * seen + (1 - EYE_PART) * coloured_error(x, x_hat)


DISTORTIONS: dict[str, Distortion] = {"psnr": squared_error, "eye": visible_error}
