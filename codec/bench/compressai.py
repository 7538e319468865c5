"""Models of CompressAI's zoo, with weights from files."""

from __future__ import annotations

import functools
import itertools
import struct
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from .base import Codec


@functools.cache
def complete_torchvision() -> torch.library.Library:
    """Declare what the registry's torchvision lacks beside a CPU build of torch, or CompressAI's import fails.

    The declarations live as long as the library object does: the cache keeps it.
    """
    operators = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return operators


class CompressAI(Codec):
    """A model of CompressAI's zoo with weights from files. Setting: its quality, 1 to 8.

    CompressAI defines no file, so this one is ours: 9 bytes of sizes, then each string behind its length.
    """

    tuned = "what its weights were trained for"
    header = struct.Struct("<B4H")

    def __init__(self, name: str, files: dict[int, Path]):
        complete_torchvision()
        try:
            from compressai.zoo import image_models
        except RuntimeError as error:
            raise ImportError(str(error)) from error
        self.settings = tuple(sorted(files))
        self.models = {}
        for quality in self.settings:
            model = image_models[name](quality, pretrained=False).eval()
            model.load_state_dict(torch.load(files[quality], map_location="cpu", weights_only=True))
            model.update(force=True)
            self.models[quality] = model
        self.version = f"compressai {version('compressai')}, {', '.join(p.name for p in files.values())}"

    @torch.inference_mode()
    def encode(self, image: Image.Image, setting: int) -> bytes:
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
        x = F.pad(x, (0, -image.width % 64, 0, -image.height % 64), mode="replicate")
        packed = self.models[setting].compress(x)
        strings = [s[0] for s in packed["strings"]]
        lengths = struct.pack(f"<{len(strings)}I", *map(len, strings))
        return self.header.pack(setting, *packed["shape"], *image.size) + lengths + b"".join(strings)

    @torch.inference_mode()
    def decode(self, data: bytes) -> Image.Image:
        setting, *shape, width, height = self.header.unpack_from(data)
        model, at = self.models[setting], self.header.size
        count = 1 + hasattr(model, "h_s")
        lengths = struct.unpack_from(f"<{count}I", data, at)
        ends = list(itertools.accumulate(lengths, initial=at + 4 * count))
        strings = [[data[start:end]] for start, end in itertools.pairwise(ends)]
        x = model.decompress(strings, shape)["x_hat"][0, :, :height, :width]
        return Image.fromarray((x * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy())


def weights_files(specs: tuple[str, ...]) -> dict[str, dict[int, Path]]:
    """`mbt2018-mean:4=FILE` and so on -> files by model and quality.

    Raises: click.UsageError.
    """
    found: dict[str, dict[int, Path]] = {}
    for spec in specs:
        model, _, path = spec.partition("=")
        name, _, quality = model.partition(":")
        if not quality.isdigit() or not Path(path).is_file():
            raise click.UsageError(f"--compressai {spec}: expected MODEL:QUALITY=FILE, as in mbt2018-mean:4=q4.pth")
        found.setdefault(name, {})[int(quality)] = Path(path)
    return found
