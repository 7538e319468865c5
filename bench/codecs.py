"""Codecs under test: one short class each, `encode(image, setting) -> bytes` and `decode(bytes) -> image`."""

from __future__ import annotations

import io

import PIL
import torch
from PIL import Image, features

import codec


class Lat:
    """This package. Setting: -q."""

    settings = (0, 5, 12, 20, 28, 35, 43, 50, 58, 65, 73, 80, 88, 95, 100)

    def __init__(self, model: str):
        self.codec = codec.Codec.load(model)
        self.version = f"codec {codec.__version__}, {self.codec.name}, torch {torch.__version__}"

    def encode(self, image: Image.Image, setting: int) -> bytes:
        return self.codec.encode(image, quality=setting)

    def decode(self, data: bytes) -> Image.Image:
        return self.codec.decode(data)


class Jpeg:
    """libjpeg through Pillow, 4:4:4, optimised Huffman tables. Setting: quality."""

    settings = (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 88, 94)
    subsampling = "4:4:4"

    def __init__(self, model: str):
        library = "libjpeg-turbo" if features.check("libjpeg_turbo") else "libjpeg"
        self.version = f"Pillow {PIL.__version__}, {library} {features.version('jpg')}, {self.subsampling}"

    def encode(self, image: Image.Image, setting: int) -> bytes:
        out = io.BytesIO()
        image.save(out, "JPEG", quality=setting, subsampling=self.subsampling, optimize=True)
        return out.getvalue()

    def decode(self, data: bytes) -> Image.Image:
        return Image.open(io.BytesIO(data)).convert("RGB")


class Jpeg420(Jpeg):
    """The same with 4:2:0 chroma, as cameras and the web use it."""

    subsampling = "4:2:0"


CODECS = {"lat": Lat, "jpeg": Jpeg, "jpeg420": Jpeg420}
