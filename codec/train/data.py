"""Training photographs, resident on the device as one uint8 buffer; random crops are one gather."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}


def read_files(sources: list[Path]) -> Iterator[bytes]:
    """Contents of the image files in folders (recursively) and tar files, in name order."""
    for source in sources:
        if source.is_dir():
            for path in sorted(source.rglob("*")):
                if path.suffix.lower() in SUFFIXES:
                    yield path.read_bytes()
        else:
            with tarfile.open(source) as tar:
                for member in tar:
                    content = tar.extractfile(member) if Path(member.name).suffix.lower() in SUFFIXES else None
                    if content:  # no folder
                        yield content.read()


def decode_rgb(data: bytes) -> np.ndarray | None:
    """(H, W, 3) uint8, or None where the bytes are no image."""
    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except (UnidentifiedImageError, OSError):
        return None


class Photos:
    """All photographs in one flat buffer on `device`; every `holdout`-th is kept back for validation."""

    def __init__(self, sources: list[Path], device: torch.device, holdout: int = 40):
        with ThreadPoolExecutor() as pool:
            arrays = [a for a in pool.map(decode_rgb, read_files(sources)) if a is not None]
        if not arrays:
            raise SystemExit(f"no photographs found in {', '.join(map(str, sources))}")
        self.heldout = [torch.from_numpy(a.copy()) for a in arrays[::holdout]]
        kept = [a for i, a in enumerate(arrays) if i % holdout]
        shapes = torch.tensor([a.shape[:2] for a in kept])
        sizes = shapes.prod(1) * 3
        self.count, self.megapixels = len(kept), int(sizes.sum()) / 3e6
        self.height, self.width = shapes.to(device).unbind(1)
        self.offset = (sizes.cumsum(0) - sizes).to(device)
        self.buffer = torch.from_numpy(np.concatenate([a.reshape(-1) for a in kept])).to(device)
        self.device = device
        self._eligible: dict[int, Tensor] = {}

    def crops(
        self, count: int, size: int, generator: torch.Generator | None = None, rank: int = 0, world: int = 1
    ) -> Tensor:
        """(count, 3, size, size) float in 0..1, each flipped and transposed at random.

        The share of process `rank` in what `world` of them draw together from equal generators.
        """
        if size not in self._eligible:
            self._eligible[size] = torch.nonzero(torch.minimum(self.height, self.width) >= size)[:, 0]
        eligible = self._eligible[size]

        def uniform() -> Tensor:
            return torch.rand(count * world, device=self.device, generator=generator)[rank::world]

        photo = eligible[(uniform() * len(eligible)).long()]
        height, width = self.height[photo], self.width[photo]
        top = (uniform() * (height - size + 1)).long()
        left = (uniform() * (width - size + 1)).long()
        along = torch.arange(size, device=self.device)
        flipped = torch.where(uniform()[:, None] < 0.5, along, size - 1 - along)  # (count, size)
        transposed = (uniform() < 0.5)[:, None, None]
        rows = torch.where(transposed, flipped[:, None, :], along[None, :, None]) + top[:, None, None]
        columns = torch.where(transposed, along[None, :, None], flipped[:, None, :]) + left[:, None, None]
        pixel = self.offset[photo][:, None, None] + (rows * width[:, None, None] + columns) * 3
        channels = torch.arange(3, device=self.device)
        return self.buffer[pixel[..., None] + channels].permute(0, 3, 1, 2).float() / 255

    def validation(self, size: int) -> Tensor:
        """(N, 3, size, size) centre crops of the photographs kept back, in 0..1."""
        crops = []
        for photo in self.heldout:
            height, width = photo.shape[:2]
            if min(height, width) >= size:
                top, left = (height - size) // 2, (width - size) // 2
                crops.append(photo[top : top + size, left : left + size])
        return torch.stack(crops).permute(0, 3, 1, 2).to(self.device).float() / 255
