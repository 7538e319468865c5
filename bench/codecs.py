"""Codecs under test: one short class each, `encode(image, setting) -> bytes` and `decode(bytes) -> image`.

Settings are in order of rising quality. Where a format offers it, chroma is 4:4:4: subsampling would flatter
this codec in RGB PSNR. A rival whose package is missing raises ImportError from its constructor.
"""

from __future__ import annotations

import io
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

import PIL
import torch
from PIL import Image, features

import codec


class Lat:
    """This package. Setting: -q."""

    settings: tuple = (0, 5, 12, 20, 28, 35, 43, 50, 58, 65, 73, 80, 88, 95, 100)

    def __init__(self, model: str):
        self.codec = codec.Codec.load(model)
        self.version = f"codec {codec.__version__}, {self.codec.name}, torch {torch.__version__}"

    def encode(self, image: Image.Image, setting: int) -> bytes:
        return self.codec.encode(image, quality=setting)

    def decode(self, data: bytes) -> Image.Image:
        return self.codec.decode(data)


class PillowCodec:
    """A format that Pillow writes, its own or a plugin's. Setting: `quality`."""

    format = ""
    feature = ""  # Pillow's name of the library behind it
    options: dict = {}
    settings: tuple = (5, 15, 25, 35, 45, 55, 65, 75, 85, 92)

    def __init__(self, model: str):
        if not features.check(self.feature):
            raise ImportError(f"this Pillow was built without {self.format}")
        self.version = f"Pillow {PIL.__version__}, {self.feature} {features.version(self.feature)}, {self.options}"

    def encode(self, image: Image.Image, setting: int) -> bytes:
        out = io.BytesIO()
        image.save(out, self.format, quality=setting, **self.options)
        return out.getvalue()

    def decode(self, data: bytes) -> Image.Image:
        return Image.open(io.BytesIO(data)).convert("RGB")


class Jpeg(PillowCodec):
    """4:4:4, optimised Huffman tables."""

    format, feature, options = "JPEG", "libjpeg_turbo", {"subsampling": "4:4:4", "optimize": True}
    settings = (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 88, 94)


class Jpeg420(Jpeg):
    """As cameras and the web use it."""

    options = {"subsampling": "4:2:0", "optimize": True}


class WebP(PillowCodec):
    """Lossy WebP is 4:2:0 always."""

    format, feature, options = "WEBP", "webp", {"method": 6}
    settings = (1, 5, 15, 30, 50, 70, 80, 90, 95)


class Avif4(PillowCodec):
    format, feature, options = "AVIF", "avif", {"speed": 4, "subsampling": "4:4:4"}


class Avif6(PillowCodec):
    format, feature, options = "AVIF", "avif", {"speed": 6, "subsampling": "4:4:4"}


class JpegXL(PillowCodec):
    format, options = "JXL", {"effort": 7}
    settings = (5, 15, 30, 45, 60, 70, 80, 88, 94)

    def __init__(self, model: str):
        import pillow_jxl  # noqa: F401  registers the format

        self.version = f"pillow-jxl-plugin {version('pillow-jxl-plugin')}, {self.options}"


class Heic(PillowCodec):
    """HEVC intra by x265: the stand-in for BPG."""

    format, options = "HEIF", {"chroma": "444"}

    def __init__(self, model: str):
        import pillow_heif

        pillow_heif.register_heif_opener()
        info = pillow_heif.libheif_info()
        self.version = (
            f"pillow-heif {version('pillow-heif')}, libheif {info['libheif']}, {info['HEIF']}, {self.options}"
        )


class Jpeg2000(PillowCodec):
    """Irreversible wavelet. Setting: compression ratio."""

    format, feature = "JPEG2000", "jpg_2000"
    options = {"quality_mode": "rates", "irreversible": True, "mct": 1}
    settings = (200, 120, 80, 50, 32, 20, 13, 8)

    def encode(self, image: Image.Image, setting: int) -> bytes:
        out = io.BytesIO()
        image.save(out, self.format, quality_layers=[setting], **self.options)
        return out.getvalue()


class Vvc:
    """VVC intra by vvenc, preset medium, through ffmpeg: 4:2:0 and 10 bits, all that this build offers. Setting: QP."""

    settings = (47, 42, 37, 32, 27, 22, 17, 12)

    def __init__(self, model: str):
        import imageio_ffmpeg

        self.ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
        self.version = f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}, libvvenc, medium, 4:2:0, 10 bits"

    def _run(self, data: bytes, before: list[str], after: list[str]) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out"
            command = [self.ffmpeg, "-loglevel", "error", *before, "-i", "pipe:0", *after, str(out)]
            subprocess.run(command, input=data, check=True, capture_output=True)
            return out.read_bytes()

    def encode(self, image: Image.Image, setting: int) -> bytes:
        size = f"{image.width}x{image.height}"
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size]
        how = ["-c:v", "libvvenc", "-preset", "medium", "-qp", str(setting), "-pix_fmt", "yuv420p10le"]
        return self._run(image.tobytes(), raw, ["-vf", "scale=out_color_matrix=bt709", *how, "-f", "vvc"])

    def decode(self, data: bytes) -> Image.Image:
        png = ["-vf", "scale=in_color_matrix=bt709", "-pix_fmt", "rgb24", "-f", "image2pipe", "-c:v", "png"]
        return Image.open(io.BytesIO(self._run(data, ["-f", "vvc"], png))).convert("RGB")


CODECS = {
    "lat": Lat,
    "jpeg": Jpeg,
    "jpeg420": Jpeg420,
    "webp": WebP,
    "avif-s4": Avif4,
    "avif-s6": Avif6,
    "jxl": JpegXL,
    "heic": Heic,
    "jpeg2000": Jpeg2000,
    "vvc420": Vvc,
}
