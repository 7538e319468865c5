"""SSIMULACRA 2, the measure of visible differences by J. Sneyers (Cloudinary, 2022, version 2.1), in torch.

One implementation for measuring (float64), for searching a quality and for training (gradients). It follows the
reference, github.com/cloudinary/ssimulacra2 (also libjxl's tools/ssimulacra2.cc; BSD licence), where other
implementations do not: blurs see zeros beyond the sides and have the reference's kernel, and small pictures get the
weights that it gives them. `tests/test_ssimulacra2.py` holds it to scores of the reference. What is left, up to 0.2
above 90 and 1.5 on pictures without any texture, is rounding in the reference, whose blur is recursive in float32.

At six scales, halved in linear light, both pictures are seen as the cone responses X, Y, B − Y. Three maps compare
them: structure (SSIM without its luminance), edges that only the decoded picture has (artefacts) and edges that only
the original has (lost detail). The 1- and the 4-norm of each map enter a weighted sum; the score is a polynomial of it
that was fitted to people's judgements.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST = 8  # pixels a side: smaller pictures have no score
C2 = 0.0009
OPSIN = ((0.30, 0.622, 0.078), (0.23, 0.692, 0.078), (0.24342268924547819, 0.20476744424496821, 0.5518098665095536))
OPSIN_BIAS = 0.0037930732552754493
MIX = ((7.0, -7.0, 0.0), (0.5, 0.5, 0.0), (-0.5, -0.5, 1.0))  # cube roots of the cones -> X, Y, B − Y
OFFSET = (0.42, 0.01, 0.55)  # makes them positive
RADIUS = 4
# Of the blur, from the middle outwards: what libjxl's recursive filter does to an impulse, namely the sum of three
# cosines that has the sum and the variance of a Gaussian of σ = 1.5 (D. Charalampidis, Recursive implementation of the
# Gaussian filter using truncated cosine functions, 2016; N = 5).
TAPS = (0.2646211054881985, 0.2129285920104222, 0.1093353727774603, 0.0360111146583644, 0.0094143678096537)
BLOCK = 256  # outputs that one multiplication with the band matrix gives
PRUNE = 0.1  # weights below are left out where gradients are needed: less than 1 % of the sum, and most of the time
TINY = 1e-28  # keeps the slope of a 4-norm finite where a map is 0

# fmt: off
WEIGHTS = torch.tensor([  # of the 1-norms of the three maps and their 4-norms, a line per scale: of X, of Y, of B − Y
    0, 0.0007376606707406586, 0, 0, 0.0007793481682867309, 0,
    0, 0.0004371155730107379, 0, 1.1041726426657346, 0.00066284834129271, 0.00015231632783718752,
    0, 0.0016406437456599754, 0, 1.8422455520539298, 11.441172603757666, 0,
    0.0007989109436015163, 0.000176816438078653, 0, 1.8787594979546387, 10.94906990605142, 0,
    0.0007289346991508072, 0.9677937080626833, 0, 0.00014003424285435884, 0.9981766977854967, 0.00031949755934435053,
    0.0004550992113792063, 0, 0, 0.0013648766163243398, 0, 0,
    0, 0, 0, 7.466890328078848, 0, 17.445833984131262,
    0.0006235601634041466, 0, 0, 6.683678146179332, 0.00037724407979611296, 1.027889937768264,
    225.20515300849274, 0, 0, 19.213238186143016, 0.0011401524586618361, 0.001237755635509985,
    176.39317598450694, 0, 0, 24.43300999870476, 0.28520802612117757, 0.0004485436923833408,
    0, 0, 0, 34.77906344483772, 44.835625328877896, 0,
    0, 0, 0, 0, 0, 0,
    0, 0.0008680556573291698, 0, 0, 0, 0,
    0, 0.0005313191874358747, 0, 0.00016533814161379112, 0, 0,
    0, 0, 0, 0.0004179171803251336, 0.0017290828234722833, 0,
    0.0020827005846636437, 0, 0, 8.826982764996862, 23.19243343998926, 0,
    95.1080498811086, 0.9863978034400682, 0.9834382792465353, 0.0012286405048278493, 171.2667255897307,
    0.9807858872435379,
    0, 0, 0, 0.0005130064588990679, 0, 0.00010854057858411537,
], dtype=torch.float64, device="cpu").view(3, 6, 2, 3)
# fmt: on
PRUNED = WEIGHTS * (WEIGHTS > PRUNE)


def linear(srgb: Tensor) -> Tensor:
    """sRGB 0 … 1 -> linear light."""
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def per_pixel(matrix: tuple, x: Tensor) -> Tensor:
    """A 3 × 3 matrix times each pixel of (N, 3, H, W)."""
    return torch.einsum("ij,njhw->nihw", torch.tensor(matrix, dtype=x.dtype, device=x.device), x)


def opsin(light: Tensor) -> Tensor:
    """Linear RGB (N, 3, H, W) -> X, Y and B − Y, shifted and scaled as the reference does before comparing."""
    roots = (per_pixel(OPSIN, light) + OPSIN_BIAS) ** (1 / 3) - OPSIN_BIAS ** (1 / 3)
    return per_pixel(MIX, roots) + torch.tensor(OFFSET, dtype=light.dtype, device=light.device).view(3, 1, 1)


def halved(light: Tensor) -> Tensor:
    """Means of 2 × 2 pixels; an odd last row or column counts twice."""
    height, width = light.shape[2:]
    return F.avg_pool2d(F.pad(light, (0, width % 2, 0, height % 2), mode="replicate"), 2)


def blur(x: Tensor) -> Tensor:
    """(…, H, W), zeros beyond the sides, TAPS in both directions."""
    return _blur_rows(_blur_rows(x).mT).mT


def _blur_rows(x: Tensor) -> Tensor:
    width, band = x.shape[-1], _band(x.dtype, x.device)
    if width <= BLOCK:
        return x @ band[RADIUS : RADIUS + width, :width]
    padded = F.pad(x, (RADIUS, RADIUS + -width % BLOCK))
    return (padded.unfold(-1, BLOCK + 2 * RADIUS, BLOCK) @ band).flatten(-2)[..., :width]


@functools.cache
@torch.inference_mode(False)  # a first caller's must not forbid gradients to later ones
def _band(dtype: torch.dtype, device: torch.device) -> Tensor:
    """(BLOCK + 2 RADIUS, BLOCK): a row of pixels times this is its blur, without RADIUS at either end."""
    taps = torch.tensor(TAPS[:0:-1] + TAPS, dtype=torch.float64, device="cpu")
    band = torch.zeros(BLOCK + 2 * RADIUS, BLOCK, dtype=torch.float64, device="cpu")
    for column in range(BLOCK):
        band[column : column + len(taps), column] = taps
    return band.to(device, dtype)


def maps(x: Tensor, x_hat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Structure, artefacts and lost detail of channels of `opsin`: each of the shape of x, ≥ 0, 0 where both agree."""
    mean, mean_hat, square, square_hat, product = blur(
        torch.stack([x, x_hat, x * x, x_hat * x_hat, x * x_hat])
    ).unbind()  # fmt: skip
    covariance = 2 * (product - mean * mean_hat) + C2
    variances = (square - mean * mean) + (square_hat - mean_hat * mean_hat) + C2
    structure = 1 - (1 - (mean - mean_hat) ** 2) * covariance / variances
    edges = (1 + (x_hat - mean_hat).abs()) / (1 + (x - mean).abs()) - 1
    return structure.clamp_min(0), edges.clamp_min(0), (-edges).clamp_min(0)


def weighted_sum(x: Tensor, x_hat: Tensor, weights: Tensor = WEIGHTS) -> Tensor:
    """(N,) differences between sRGB pictures (N, 3, H, W) in 0 … 1: 0 where they are equal. Differentiable.

    weights (3, scales, 2, 3), on the CPU: WEIGHTS or a part of them; channels and norms of weight 0 cost nothing.
    """
    light, light_hat = linear(x), linear(x_hat)
    total = x.new_zeros(len(x))
    for scale in range(weights.shape[1]):
        if scale:
            light, light_hat = halved(light), halved(light_hat)
        used = [c for c in range(3) if weights[c, scale].any()]
        if not used:
            continue
        found = maps(opsin(light)[:, used], opsin(light_hat)[:, used])
        for of_map, (of_mean, of_fourth) in zip(found, weights[used, scale].permute(2, 1, 0)):
            if of_mean.any():
                total = total + of_map.mean((2, 3)) @ of_mean.to(x)
            if of_fourth.any():
                fourth = (of_map.pow(4).mean((2, 3)) + TINY).pow(0.25) - TINY**0.25
                total = total + fourth @ of_fourth.to(x)
    return total


def scales_of(height: int, width: int) -> int:
    """At how many scales a picture is seen: it is halved until a side is below SMALLEST."""
    scales, side = 1, min(height, width)
    while scales < WEIGHTS.shape[1] and side >= SMALLEST:
        scales, side = scales + 1, -(-side // 2)
    return scales


def weights_for(height: int, width: int) -> Tensor:
    """(3, scales, 2, 3): those of WEIGHTS that the reference uses for a picture.

    Where there are fewer than six scales, which is below 113 pixels, it reads its list of 108 weights from the start
    without a gap: channels then have weights that were meant for others.
    """
    scales = scales_of(height, width)
    return WEIGHTS.flatten()[: 18 * scales].view(3, scales, 2, 3)


def score(x: Tensor, x_hat: Tensor) -> Tensor:
    """(N,) scores of sRGB pictures (N, 3, H, W) in 0 … 1: 100 is equal, 90 visually lossless, 70 high, 30 low quality.

    Raises: ValueError where a side is below SMALLEST.
    """
    if min(x.shape[2:]) < SMALLEST:
        raise ValueError(f"SSIMULACRA 2 needs {SMALLEST} pixels a side, got {x.shape[3]} × {x.shape[2]}")
    s = 0.9562382616834844 * weighted_sum(x, x_hat, weights_for(*x.shape[2:]))
    s = 2.326765642916932 * s - 0.020884521182843837 * s**2 + 6.248496625763138e-05 * s**3
    return 100 - 10 * s.clamp_min(0) ** 0.6276336467831387
