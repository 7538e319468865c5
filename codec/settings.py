"""How a picture is to be coded, and the limits of what is accepted. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

QUALITY, EFFORT, TUNE = 50, 3, "eye"  # defaults; TUNE: of the weights that a size stands for
STEPS = {1: 0, 2: 0, 3: 0, 4: 3, 5: 6, 6: 12, 7: 30, 8: 60, 9: 130}  # of refinement, by effort
TUNES = ("psnr", "ms-ssim", "eye")
ENGINES = ("openvino", "onnxruntime", "torch")  # what may evaluate the networks, best first (codec/engine)
MAX_PIXELS = 2**28  # what the command takes without being asked: a gigabyte of RGB
MAX_DECODED = 2**27  # the same of decoding in Python, which servers do: a gigabyte of memory
TILE = 64  # latents a side: 1024 pixels


@dataclass(frozen=True)
class Settings:
    """What an encoder is told.

    `quality` 0 … 100: higher is better and larger. `effort` 1 … 9: from 4 on, gradient steps make the file smaller
    and encoding slower (`effort.py`), for the sake of the metric `tune`, default the one
    that the weights are trained for. `threshold` 0.5 … 1: residuals shrink by what
    it exceeds 0.5 by before they are rounded; a larger one makes the file smaller by less than a step of quality does.
    `tile`: side of a tile in latents. `lossless`: every pixel comes back as it was; only effort counts.
    Raises: ValueError for an effort, a metric or a tile that there is not.
    """

    quality: float = QUALITY
    effort: int = EFFORT
    tune: str | None = None
    threshold: float = 0.5
    tile: int = TILE
    lossless: bool = False

    def __post_init__(self) -> None:
        if self.effort not in STEPS:
            raise ValueError(f"effort must be 1 … {max(STEPS)}, got {self.effort}")
        if self.tune not in (None, *TUNES):
            raise ValueError(f"tune must be one of {', '.join(TUNES)}, got {self.tune}")
        if not 4 <= self.tile <= TILE or self.tile % 4:
            raise ValueError(f"tile must be a multiple of 4 from 4 to {TILE} latents, got {self.tile}")

    @property
    def steps(self) -> int:
        """Of refinement."""
        return STEPS[self.effort]
