"""What an effort weighs the bits of a tile against: squared error, or what MS-SSIM or SSIMULACRA 2 see.

Each is a sum of squares, whose slopes are steady from step to step and whose curvature a random projection estimates.
The slopes of SSIMULACRA 2 itself are not: its 4-norms pull at the few places that are worst at the moment.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from codec import ssimulacra2 as metric

SCALES, WINDOW, C2 = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333), 11, (0.03 * 255) ** 2  # of MS-SSIM
TUNED = 1000.0  # files become about a quarter smaller than by `SquaredError`, at about the same MS-SSIM
FOURTH = 2.0  # 4-norms of structure maps, in 1-norms
# Part of SSIMULACRA 2 in a distortion that follows eyes, in efforts as in training (train/distortion.py); the rest,
# squared error by `weigh_colours`, keeps colours and flat skies in place.
EYE_PART = 0.7
# Squared errors of Y, Cb and Cr (ITU-R BT.601) in parts of what they are in those of R, G and B: SSIMULACRA 2 sees
# lightness well and lets small things turn pale.
LIGHTNESS_PART, COLOUR_PART = 0.6, 3.0
YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
SQUARES = (3.0, 0.344136**2 + 1.772**2, 1.402**2 + 0.714136**2)  # sum over R, G and B of an error of 1 in one of them


class Distortion(ABC):
    """D of a tile, in bits: λ · pixels · (squared error on the 0..255 scale, or what stands for it).

    Decoded pixels x̂ are (1, 3, H, W) in 0 … 255; what lies beyond the original's right and lower border is ignored.
    """

    pace = 0.25  # part of a Newton step in each coordinate of y alone: its neighbours move at the same time

    def __init__(self, pixels: Tensor, lambda_: float):
        """pixels (1, 3, h, w): of the original, 0 … 255."""
        self.pixels, self.weight = pixels, lambda_ / 3  # of one sample of one channel

    @abstractmethod
    def residuals(self, x_hat: Tensor) -> list[Tensor]:
        """What, squared and summed, curves as D does."""

    def bits(self, x_hat: Tensor) -> Tensor:
        """D."""
        return reduce(torch.add, (r.square().sum() for r in self.residuals(x_hat)))

    def error(self, x_hat: Tensor) -> Tensor:
        return x_hat[..., : self.pixels.shape[2], : self.pixels.shape[3]] - self.pixels


class SquaredError(Distortion):
    def residuals(self, x_hat: Tensor) -> list[Tensor]:
        return [self.error(x_hat) * self.weight**0.5]


class StructuralError(Distortion):
    """A quadratic form that follows 1 − MS-SSIM where errors are small.

    At each of its five scales, squared errors count in inverse proportion to the local variance (1 − SSIM ≈ var(e) /
    (2 var(x) + C₂)) and by the exponents of Wang et al. (2003).
    """

    def __init__(self, pixels: Tensor, lambda_: float):
        super().__init__(pixels, lambda_)
        self.scales = []
        for k, exponent in enumerate(SCALES):
            x = F.avg_pool2d(pixels, 2**k) if k else pixels
            if k and min(x.shape[2:]) < WINDOW:
                break
            mean = F.avg_pool2d(x, WINDOW, 1, WINDOW // 2, count_include_pad=False)
            square = F.avg_pool2d(x * x, WINDOW, 1, WINDOW // 2, count_include_pad=False)
            variance = (square - mean * mean).clamp_min(0)
            self.scales.append((TUNED * self.weight * exponent * 4**k / (2 * variance + C2)).sqrt())

    def residuals(self, x_hat: Tensor) -> list[Tensor]:
        error = self.error(x_hat)
        return [(F.avg_pool2d(error, 2**k) if k else error) * scale for k, scale in enumerate(self.scales)]


class VisibleError(Distortion):
    """A quadratic form that follows SSIMULACRA 2's weighted sum where errors are small, and some squared error.

    The form has the sum's colours and scales. The 1-norm of a structure map is about the mean of var(e) / (2 var(x) +
    C₂), its 4-norm FOURTH times that; the maps of edges go with it. For the square root of var(e) stands e less what is
    left of it after two blurs, which passes about the same frequencies.
    """

    pace = 0.1  # flat and textured parts curve differently: where a channel's mean is too low, 0.25 overshoots

    def __init__(self, pixels: Tensor, lambda_: float):
        super().__init__(pixels, lambda_)
        height, width = pixels.shape[2:]
        self.weights = metric.PRUNED[:, : metric.scales_of(height, width)]
        self.plain = (1 - EYE_PART) * self.weight
        self.of_metric = EYE_PART * lambda_ * height * width * as_squared_error(lambda_)
        srgb = pixels / 255
        self.slope = torch.where(srgb <= 0.04045, 1 / 12.92, 2.4 / 1.055 * ((srgb + 0.055) / 1.055) ** 1.4) / 255
        light = metric.linear(srgb)
        self.scales: list[tuple[Tensor, Tensor]] = []
        for of_means, of_fourths in self.weights.permute(1, 2, 3, 0)[:, :, 0].to(pixels):
            if self.scales:
                light = metric.halved(light)
            x = metric.opsin(light)
            mean, square = metric.blur(torch.stack([x, x * x])).unbind()
            near = metric.blur(1 / (2 * (square - mean * mean).clamp_min(0) + metric.C2))
            each = self.of_metric * (of_means + FOURTH * of_fourths) / light.shape[2:].numel()
            cones = (metric.per_pixel(metric.OPSIN, light) + metric.OPSIN_BIAS) ** (-2 / 3) / 3
            self.scales.append((cones, (each[:, None, None] * near).sqrt()))

    def residuals(self, x_hat: Tensor) -> list[Tensor]:
        error = self.error(x_hat)
        found, light = [weigh_colours(error) * self.plain**0.5], self.slope * error
        for k, (cones, scale) in enumerate(self.scales):
            if k:
                light = metric.halved(light)
            colour = metric.per_pixel(metric.MIX, cones * metric.per_pixel(metric.OPSIN, light))
            found.append((colour - metric.blur(metric.blur(colour))) * scale)
        return found

    def bits(self, x_hat: Tensor) -> Tensor:
        """By the metric itself."""
        error = self.error(x_hat)
        decoded = ((self.pixels + error) / 255).clamp(0, 1)
        seen = metric.weighted_sum(self.pixels / 255, decoded, self.weights).sum()
        return self.of_metric * seen + self.plain * weigh_colours(error).square().sum()


def as_squared_error(lambdas):
    """The factor that makes `ssimulacra2.weighted_sum` as large as the squared error (0..255 scale) that λ stands for.

    That is of photographs, on average; from low to high rates squared errors fall a little faster.
    """
    return 4.1 * (lambdas / 0.0007) ** 0.118


def weigh_colours(error: Tensor) -> Tensor:
    """Errors of R, G and B (N, 3, H, W) -> numbers whose squares count lightness and colours as the parts above say."""
    parts = zip(YCBCR, SQUARES, (LIGHTNESS_PART, COLOUR_PART, COLOUR_PART))
    return metric.per_pixel(tuple(tuple(c * (square * part) ** 0.5 for c in row) for row, square, part in parts), error)


DISTORTIONS: dict[str, type[Distortion]] = {
    "psnr": SquaredError,
    "ms-ssim": StructuralError,
    "eye": VisibleError,
}  # by `Settings.tune`
