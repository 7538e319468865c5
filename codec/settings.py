"""How a picture is to be coded, and the limits of what is accepted. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from codec.config import TILE, is_within
from codec.errors import LatError

QUALITY, EFFORT, TUNE = 50, 3, "eye"  # defaults; TUNE: of the weights that a size stands for
STEPS = {1: 0, 2: 0, 3: 0, 4: 3, 5: 6, 6: 12, 7: 30, 8: 60, 9: 130}  # of refinement, by effort
TUNES = ("psnr", "ms-ssim", "eye")
ENGINES = ("openvino", "onnxruntime", "torch")  # what may evaluate the networks, best first (codec/engine)
MAX_PIXELS = 2**28  # what the command takes without being asked: a gigabyte of RGB
MAX_HOLLOW = 2**26  # what it decompresses so of a file with less than a byte for PER_BYTE pixels: a gigabyte of memory
PER_BYTE = 1024
MAX_DECODED = 2**27  # the same of decoding in Python, which servers do: a gigabyte of memory


@dataclass(frozen=True)
class Settings:
    """What an encoder is told.

    `quality` 0 … 100: higher is better and larger. `effort` 1 … 9: from 4 on, gradient steps make the file smaller
    and encoding slower (`effort.py`), for the sake of the metric `tune`, default the one
    that the weights are trained for. `threshold` 0.5 … 1: residuals move towards 0 by
    `threshold` − 0.5 before they are rounded; larger means smaller files (`target.py` uses it between two rate rows).
    `tile`: side of a tile in latents. `lossless`: every pixel comes back as it was; only effort counts.
    Raises: LatError for what is out of these ranges, or no number.
    """

    quality: float = QUALITY
    effort: int = EFFORT
    tune: str | None = None
    threshold: float = 0.5
    tile: int = TILE
    lossless: bool = False

    def __post_init__(self) -> None:
        if not is_within(self.quality, 0, 100):
            raise LatError(f"quality must be 0 … 100, got {self.quality!r}")
        if not is_within(self.effort, 1, max(STEPS)) or self.effort not in STEPS:
            raise LatError(f"effort must be 1 … {max(STEPS)}, got {self.effort!r}")
        if self.tune not in (None, *TUNES):
            raise LatError(f"tune must be one of {', '.join(TUNES)}, got {self.tune!r}")
        if not is_within(self.threshold, 0.5, 1):
            raise LatError(f"threshold must be 0.5 … 1, got {self.threshold!r}")
        if not is_within(self.tile, 4, TILE) or self.tile % 4:
            raise LatError(f"tile must be a multiple of 4 from 4 to {TILE} latents, got {self.tile!r}")

    @property
    def steps(self) -> int:
        """Number of gradient steps of this effort; 0 up to effort 3."""
        return STEPS[self.effort]
