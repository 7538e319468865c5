"""Distortion of 8-bit pictures and Bjøntegaard's delta rate."""

from __future__ import annotations

import numpy as np
import torch
from pytorch_msssim import ms_ssim as _ms_ssim
from scipy.interpolate import PchipInterpolator


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """dB between uint8 arrays, all samples pooled; 100 where they are equal."""
    mse = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / mse)) if mse else 100.0


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float | None:
    """Of uint8 (H, W, 3) arrays, mean over RGB; None where the picture is too small for five scales."""
    if min(a.shape[:2]) <= 160:
        return None
    x, y = (torch.tensor(v, dtype=torch.float32).permute(2, 0, 1)[None] for v in (a, b))
    return float(_ms_ssim(x, y, data_range=255))


def bd_rate(rate_a: list, quality_a: list, rate_b: list, quality_b: list) -> tuple[float, float, float]:
    """Average rate difference of b against a in %, and the quality range it was taken over.

    Piecewise cubic (pchip) interpolation of log rate over quality, integrated over the common range
    (G. Bjøntegaard, VCEG-M33, with the interpolation of JCTVC practice). Negative: b needs fewer bytes.
    """
    curves = []
    for rate, quality in ((rate_a, quality_a), (rate_b, quality_b)):
        order = np.argsort(quality)
        curves.append((np.asarray(quality)[order], np.log(np.asarray(rate)[order])))
    low = max(q[0] for q, _ in curves)
    high = min(q[-1] for q, _ in curves)
    if high <= low:
        return float("nan"), low, high
    a, b = (PchipInterpolator(q, r).integrate(low, high) for q, r in curves)
    return float((np.exp((b - a) / (high - low)) - 1) * 100), float(low), float(high)
