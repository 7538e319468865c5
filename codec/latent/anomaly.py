"""Where a picture is not what the model, or a set of normal pictures, leads one to expect.

Measures for every latent position (16 × 16 pixels), the first two from one analysis at high quality:

surprise   bits beyond expectation, no reference needed. The context model says N(μ, σ) before it sees a latent;
           −log₂ p minus the entropy of that Gaussian is ½·log₂e·(r²/σ² − 1), with r = y − μ and the quantiser's 1/12
           added to σ². Its mean over channels is high where the picture breaks its own pattern: cuts, scratches.
distance   of the latents from those of normal pictures. Pictures of the same size are taken as shots of a fixed
           camera (`Scene`: mean and variance of every position), others as ones of a kind of surface (`surface.py`,
           every 8 pixels).
error      of the pixels after coding at low quality: what the codec could not keep.

The score of a picture is the mean of its TOP highest positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image

from codec import entropy_model
from codec.arguments import PictureLike, as_picture
from codec.coder import Codec
from codec.config import LATENT
from codec.errors import LatError
from codec.latent.latents import Latents, step
from codec.picture.image import to_pillow

QUALITY = 80
ERROR_QUALITY = 20  # where detail that is hard to predict is already lost
TOP = 4  # positions
PRIOR = 2  # pictures that the variance pooled over positions counts for, beside a position's own
BITS = math.log2(math.e) / 2


@dataclass(frozen=True)
class Features:
    """What one analysis gives: y (M, H, W) in natural units, surprise (H, W) in bits a latent."""

    y: np.ndarray
    surprise: np.ndarray


def features(codec: Codec, image: PictureLike) -> Features:
    """Measure a picture.

    Raises: LatError.
    """
    latents = Latents.from_image(codec, image, QUALITY, coded=False)
    surprise = np.empty(latents.y_hat.shape[1:], np.float32)
    for box in latents.tiles():
        y = latents.y_hat[(None, ..., *box.slices)]
        excess = np.zeros_like(y)
        z_hat = codec.learned.hyper_latents(y, latents.row).values
        passes = codec.tile_coder.entropy.y(z_hat, latents.row, box.height, box.width)
        for t in passes:
            mu, _ = passes.predict()
            residual = entropy_model.gather(y, t) - passes.mu  # of every latent, also of those without a symbol
            variance = entropy_model.SIGMAS[passes.index] ** 2 + 1 / 12
            entropy_model.scatter(excess, t, BITS * (residual**2 / variance - 1))
            passes.put(np.rint(passes.gather(y) - mu))
        surprise[box.slices] = excess[0].mean(0)
    return Features(latents.y_hat * step(codec, latents.row), surprise)


class Reference(Protocol):
    """What is normal, from what `measure` makes of normal pictures."""

    cell: int  # pixels a side that a value of the map stands for

    def __init__(self, normal: Sequence[Any]): ...

    @staticmethod
    def measure(codec: Codec, image: PictureLike) -> Any: ...

    def distance(self, found: Any) -> np.ndarray: ...


class Scene:
    """What a fixed camera usually sees: mean and variance of every position, over shots of the same size."""

    cell = LATENT  # pixels a side that a value of the map stands for

    def __init__(self, normal: Sequence[Features]):
        """Raises: LatError for fewer than two pictures, or pictures of several sizes."""
        if len(normal) < 2:
            raise LatError(f"{len(normal)} normal pictures: at least two are needed")
        if len({f.y.shape for f in normal}) > 1:
            raise LatError("normal pictures of several sizes are no shots of one scene: see Surface")
        stack = np.stack([f.y for f in normal])
        own = stack.var(0, ddof=1)
        pooled = own.mean((1, 2), keepdims=True)
        self.mean = stack.mean(0)
        self.variance = (len(stack) * own + PRIOR * pooled) / (len(stack) + PRIOR) + 1e-6

    @staticmethod
    def measure(codec: Codec, image: PictureLike) -> Features:
        """Raises: LatError."""
        return features(codec, image)

    def distance(self, found: Features) -> np.ndarray:
        """(H, W), squared and divided by the number of channels: 1 on the average of normal pictures.

        Raises: LatError where the picture is of another size.
        """
        if found.y.shape != self.mean.shape:
            (_, height, width), (_, h, w) = found.y.shape, self.mean.shape
            raise LatError(
                f"picture of {width} × {height} latents, but all normal pictures have {w} × {h}: they count as shots "
                "of one scene; crop it to their size"
            )
        return ((found.y - self.mean) ** 2 / self.variance).mean(0)


def score(values: np.ndarray) -> float:
    """Of a whole picture, from its map (H, W)."""
    return float(np.sort(values, axis=None)[-TOP:].mean())


def threshold(kind: type[Reference], normal: Sequence, false_alarms: float) -> float:
    """Score that this part of normal pictures exceeds; each is scored by a reference of the others (four folds).

    `normal`: what `kind.measure` made of them.
    Raises: LatError for fewer than four pictures.
    """
    if len(normal) < 4:
        raise LatError(f"{len(normal)} normal pictures: a threshold needs at least four")
    folds = min(4, len(normal) // 2)
    scores = []
    for fold in range(folds):
        reference = kind([f for i, f in enumerate(normal) if i % folds != fold])
        scores += [score(reference.distance(f)) for f in normal[fold::folds]]
    return float(np.quantile(scores, 1 - false_alarms))


def reconstruction_error(codec: Codec, image: PictureLike) -> np.ndarray:
    """Squared error (H, W) of the pixels of each latent, after coding at ERROR_QUALITY, mean over channels.

    Raises: LatError.
    """
    picture = as_picture(image)
    original = picture.pixels[:, :, : 1 if picture.mode in ("L", "LA") else 3]
    decoded = np.asarray(Latents.from_image(codec, original, ERROR_QUALITY).to_image(codec), np.float32)
    error = ((original - decoded.reshape(original.shape)) ** 2).mean(2)
    error = np.pad(error, [(0, -n % LATENT) for n in error.shape], mode="edge")
    return error.reshape(error.shape[0] // LATENT, LATENT, -1, LATENT).mean((1, 3))


def overlay(image: PictureLike, values: np.ndarray, low: float, high: float, cell: int = LATENT) -> Image.Image:
    """The picture in grey, with a red veil from `low` (none) to `high` (full) of a map (H, W) of squares of `cell`.

    Metadata stay, but for a profile that describes other colours.
    """
    picture = as_picture(image)
    shown = to_pillow(picture.pixels, {})
    veil = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    width, height = (-(-n // cell) * cell for n in shown.size)
    smooth = Image.fromarray((veil * 255).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    alpha = np.asarray(smooth.crop((0, 0, *shown.size)), np.float32)[:, :, None] / 255 * 0.8
    grey = np.asarray(shown.convert("L").convert("RGB"), np.float32)
    pixels = (grey * (1 - alpha) + np.array([235.0, 40, 30]) * alpha).astype(np.uint8)
    return to_pillow(pixels, {key: value for key, value in picture.metadata.items() if key != "icc"})
