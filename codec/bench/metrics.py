"""Distortion of 8-bit pictures and Bjøntegaard's delta rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pytorch_msssim import ms_ssim as _ms_ssim
from scipy.interpolate import PchipInterpolator

from codec.ssimulacra2 import SMALLEST, score

LUMA = np.array([0.299, 0.587, 0.114])  # BT.601, as in JPEG's Y


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """dB between arrays on the 0..255 scale, all samples pooled; 100 where they are equal."""
    mse = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / mse)) if mse else 100.0


def psnr_y(a: np.ndarray, b: np.ndarray) -> float:
    """dB between the luma of uint8 (H, W, 3) arrays; 100 where they are equal."""
    return psnr(a @ LUMA, b @ LUMA)


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float | None:
    """MS-SSIM of uint8 (H, W, 3) arrays, mean over RGB; None where the picture is too small for five scales."""
    if min(a.shape[:2]) <= 160:
        return None
    x, y = (torch.tensor(v, dtype=torch.float32).permute(2, 0, 1)[None] for v in (a, b))
    return float(_ms_ssim(x, y, data_range=255))


def ssimulacra2(a: np.ndarray, b: np.ndarray) -> float | None:
    """SSIMULACRA 2 (Cloudinary) of uint8 (H, W, 3) arrays: 100 is equal, 70 high quality, 30 low.

    None where the picture is too small for its first scale.
    """
    if min(a.shape[:2]) < SMALLEST:
        return None
    x, y = (torch.tensor(v, dtype=torch.float32).permute(2, 0, 1)[None] / 255 for v in (a, b))
    return float(score(x, y))  # float64 says the same to 0.001 and takes three times as long


def decibels(similarity: float) -> float:
    """−10·log10(1 − similarity): differences near 1 show."""
    return -10 * float(np.log10(max(1e-10, 1 - similarity)))


@dataclass(frozen=True)
class Metric:
    """A measure of quality and all that tables, charts and pages say about it."""

    measure: Callable[[np.ndarray, np.ndarray], float | None]  # of uint8 (H, W, 3) arrays; None: picture too small
    label: str  # in tables
    axis: str  # with its unit
    range: tuple[float, float]  # of that axis
    scale: Callable[[float], float] = float  # from what rows hold to what curves are drawn and integrated over
    in_tables: bool = True  # part of the pages' tables and of what the command prints


METRICS = {  # the first is the report's headline: people compress for people
    "ssimulacra2": Metric(ssimulacra2, "SSIMULACRA 2", "SSIMULACRA 2", (-20, 92)),
    "ms_ssim": Metric(ms_ssim, "MS-SSIM", "MS-SSIM, dB", (7, 24), decibels),
    "psnr": Metric(psnr, "PSNR", "PSNR of RGB, dB", (25, 42)),
    "psnr_y": Metric(psnr_y, "PSNR of Y", "PSNR of Y, dB", (26, 46), in_tables=False),
}
IN_TABLES = {name: metric for name, metric in METRICS.items() if metric.in_tables}


def scaled(metric: str, values: Sequence[float | None]) -> list[float]:
    """Values as curves are drawn and integrated; NaN where nothing was measured."""
    return [float("nan") if value is None else METRICS[metric].scale(value) for value in values]


def bd_rate(
    rate_a: Sequence,
    quality_a: Sequence,
    rate_b: Sequence,
    quality_b: Sequence,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> tuple[float, float, float]:
    """Average rate difference of b against a in %, and the quality range it was taken over.

    Piecewise cubic (pchip) interpolation of log rate over quality, integrated over what the curves have in common
    `within` a range (G. Bjøntegaard, VCEG-M33, interpolated as is JCTVC practice). Negative: b needs fewer bytes.
    Points that a higher rate does not improve are left out: quality must rise along a curve.
    NaN where the curves have no range in common.
    """
    curves = []
    for rate, quality in ((rate_a, quality_a), (rate_b, quality_b)):
        points: list[tuple[float, float]] = []
        for r, q in sorted(zip(rate, quality)):
            if not points or q > points[-1][0]:
                points.append((q, np.log(r)))
        curves.append(np.array(points).T)
    low = float(max(within[0], *(q[0] for q, _ in curves)))
    high = float(min(within[1], *(q[-1] for q, _ in curves)))
    if high <= low or min(q.size for q, _ in curves) < 2:
        return float("nan"), low, high
    a, b = (PchipInterpolator(q, r).integrate(low, high) for q, r in curves)
    return float((np.exp((b - a) / (high - low)) - 1) * 100), low, high
