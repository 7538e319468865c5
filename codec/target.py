"""Files of a wanted size, or of a wanted PSNR or SSIMULACRA 2: which rate row, and how much of the way to the next.

One row changes the bytes by 4 to 9 %, the PSNR by some 0.2 dB. Between rows lies the rounding threshold of the
encoder: above 0.5 more symbols become 0, which costs about as much quality as it saves. So a search has one
number, the *level* = row − (threshold − 0.5) / SPAN, and both what is wanted and what is measured are close to
linear in it: a secant finds it in two or three encodes. Size is never exceeded, a quality never undershot.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from codec.arguments import PictureLike, as_picture
from codec.coder import Codec
from codec.config import Config
from codec.errors import LatError
from codec.picture.image import Picture
from codec.settings import Settings

SPAN = 0.035  # of the threshold, that saves about what one row less does (2 to 8 % of the bytes)
SIZE_TOLERANCE = 0.03  # below the wanted size
PSNR_TOLERANCE = 0.1  # dB above the wanted one
LOWEST = -6.0  # level: row 0 with a threshold of 0.71
ENCODES = 8  # at most; nearly all need no more than 4
SIZE_BEND, SIZE_SLOPE = 0.75, 0.074  # ln(bpp) + 0.75 bpp rises by 0.074 a row (photographs held out of training)
PSNR_SLOPE = 0.22  # dB a row
SCORE_TOLERANCE = 0.7  # above the wanted SSIMULACRA 2
SCORE_SLOPE = 0.035  # −ln(100 − score) rises by so much a row


@dataclass(frozen=True)
class Found:
    """The file, what of it was asked for (bytes, dB or a score), its quality 0 … 100, and how many encodes it took."""

    data: bytes
    value: float
    quality: float
    encodes: int


def to_size(codec: Codec, image: PictureLike, size: int, settings: Settings = Settings()) -> Found:
    """The best file of at most `size` bytes. What `settings` say of quality and threshold does not count.

    Raises: LatError where even the lowest quality is larger; it says what is possible.
    """
    picture = as_picture(image)
    pixels = picture.pixels.shape[0] * picture.pixels.shape[1]
    overhead = sum(map(len, picture.metadata.values()))

    def measure(size: float) -> float:
        bpp = 8 * max(size - overhead, 1) / pixels
        return math.log(bpp) + SIZE_BEND * bpp

    goal = measure(size)
    tolerance = measure(size * (1 - SIZE_TOLERANCE)) - goal
    start = 32 + (goal - math.log(0.5) - SIZE_BEND * 0.5) / SIZE_SLOPE  # photographs take about 0.5 bits in the middle
    encode = encoder(codec, picture, settings)
    found = search(encode, codec.cfg, lambda data: measure(len(data)), goal, tolerance, start, SIZE_SLOPE)
    if len(found.data) > size:
        raise LatError(f"{size} bytes are not enough: at the lowest quality it takes {len(found.data)}")
    return Found(found.data, len(found.data), found.quality, found.encodes)


def to_psnr(codec: Codec, image: PictureLike, psnr: float, settings: Settings = Settings()) -> Found:
    """The smallest file of at least `psnr` dB (RGB or grey, alpha aside).

    Raises: LatError where even the highest quality is worse; it says what is possible.
    """
    picture = as_picture(image)
    original = colours(picture.pixels).astype(np.float32)

    def measure(data: bytes) -> float:
        mse = float(np.mean((original - decoded(codec, data, picture)) ** 2, dtype=np.float64))
        return 10 * math.log10(255**2 / max(mse, 1e-3))

    encode, start = encoder(codec, picture, settings), 32 + (psnr - 34) / PSNR_SLOPE
    found = search(encode, codec.cfg, measure, psnr, PSNR_TOLERANCE, start, PSNR_SLOPE)
    if found.value < psnr:
        raise LatError(f"{psnr} dB cannot be reached: the highest quality has {found.value:.2f} dB")
    return found


def to_ssimulacra2(codec: Codec, image: PictureLike, score: float, settings: Settings = Settings()) -> Found:
    """The smallest file of at least that SSIMULACRA 2, alpha aside: 70 is high, 80 very high, 90 lossless to eyes.

    Raises: LatError where even the highest quality is worse (it says what is possible), the picture is smaller than
    the metric takes, or torch is missing.
    """
    try:
        import torch

        from codec import ssimulacra2
    except ModuleNotFoundError as error:
        raise LatError(f"SSIMULACRA 2 needs {error.name}: pip install torch") from None

    def tensor(pixels: np.ndarray) -> torch.Tensor:
        return torch.tensor(pixels, dtype=torch.float32, device="cpu").permute(2, 0, 1)[None].expand(1, 3, -1, -1) / 255

    picture = as_picture(image)
    if min(picture.pixels.shape[:2]) < ssimulacra2.SMALLEST:
        raise LatError(f"SSIMULACRA 2 needs {ssimulacra2.SMALLEST} pixels a side")
    original = tensor(colours(picture.pixels))

    def measure(data: bytes) -> float:
        return along(float(ssimulacra2.score(original, tensor(decoded(codec, data, picture)))))

    def along(score: float) -> float:
        return -math.log(100.1 - min(score, 100.0))

    goal = along(score)
    encode, start = encoder(codec, picture, settings), 44 + (goal - along(75)) / SCORE_SLOPE
    found = search(encode, codec.cfg, measure, goal, along(score + SCORE_TOLERANCE) - goal, start, SCORE_SLOPE)
    reached = 100.1 - math.exp(-found.value)
    if found.value < goal:
        raise LatError(f"SSIMULACRA 2 of {score} cannot be reached: the highest quality has {reached:.2f}")
    return replace(found, value=reached)


def colours(pixels: np.ndarray) -> np.ndarray:
    """uint8 (H, W, C) -> the same without alpha."""
    return pixels[:, :, :1] if pixels.shape[2] < 3 else pixels[:, :, :3]


def decoded(codec: Codec, data: bytes, picture: Picture) -> np.ndarray:
    """What a file shows, as `colours` has the picture that it was made of."""
    height, width = picture.pixels.shape[:2]
    pixels = np.asarray(codec.decode(data, max_pixels=height * width))
    return colours(pixels.reshape(height, width, -1))


def encoder(codec: Codec, picture: Picture, settings: Settings) -> Callable[[float], bytes]:
    """What makes the file of a level."""

    def encode(level: float) -> bytes:
        row = max(0, math.ceil(level))
        threshold = 0.5 + SPAN * (row - level)
        return codec.encode_picture(picture, replace(settings, quality=codec.cfg.quality(row), threshold=threshold))

    return encode


def search(
    encode: Callable[[float], bytes],
    config: Config,
    measure: Callable[[bytes], float],
    goal: float,
    tolerance: float,
    level: float,
    slope: float,
) -> Found:
    """The file whose measure lies between `goal` and `goal + tolerance`, or the nearest on that side of the goal.

    The measure rises with the level. Where no file lies on that side, the one at the end of the scale.
    """
    top, side = config.rates - 1, 1 if tolerance > 0 else -1
    points: dict[float, float] = {}  # level -> measure
    best: Found | None = None
    end = float(top) if side > 0 else LOWEST  # of the scale, on the goal's right side
    for count in range(1, ENCODES + 1):
        level = min(max(level, LOWEST), float(top))
        if level in points:
            break
        if count == ENCODES and best and rank(best, goal, side)[0]:
            level = end
        data = encode(level)
        value = points[level] = measure(data)
        candidate = Found(data, value, round(config.quality(level), 1), count)
        if best is None or rank(candidate, goal, side) < rank(best, goal, side):
            best = candidate
        if 0 <= side * (value - goal) <= side * tolerance:
            break
        level = next_level(points, goal + tolerance * 0.4, slope)
    assert best is not None  # the first level is always tried
    return Found(best.data, best.value, best.quality, len(points))


def rank(found: Found, goal: float, side: int) -> tuple[bool, float]:
    """Right side of the goal first, then near to it."""
    return side * (found.value - goal) < 0, abs(found.value - goal)


def next_level(points: dict[float, float], aim: float, slope: float) -> float:
    """Where the measure should be `aim`: between the nearest points around it, or on from the nearest one."""
    below = max((p for p in points.items() if p[1] < aim), key=lambda p: p[1], default=None)
    above = min((p for p in points.items() if p[1] >= aim), key=lambda p: p[1], default=None)
    if below and above and above[1] > below[1]:
        return below[0] + (aim - below[1]) * (above[0] - below[0]) / (above[1] - below[1])
    ordered = sorted(points.items())
    if len(ordered) > 1 and ordered[-1][1] > ordered[0][1]:
        slope = (ordered[-1][1] - ordered[0][1]) / (ordered[-1][0] - ordered[0][0])
    nearest = min(ordered, key=lambda p: abs(p[1] - aim))
    return nearest[0] + (aim - nearest[1]) / slope
