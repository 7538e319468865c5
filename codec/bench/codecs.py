"""Codecs under test: one short class each, `encode(image, setting) -> bytes` and `decode(bytes) -> image`.

`base.Codec` tells what each of them says about itself. Where a format offers it, chroma is 4:4:4: subsampling would
flatter this codec in RGB PSNR.
"""

from __future__ import annotations

import io
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

import PIL
from PIL import Image, features

import codec
from codec.weights import BEST

from .base import GREY, Codec
from .compressai import CompressAI


class Lat(Codec):
    """This package, as it is by default. Setting: -q."""

    name, label = "lat", "lat"
    colour = "#e4572e"
    quick = compared = True
    tune: str | None = None
    settings = (0, 5, 12, 20, 28, 35, 43, 50, 58, 65, 73, 80, 88, 95, 100)

    def __init__(self, model: str):
        self.codec, self.threads = codec.Codec.load(model, tune=self.tune), 0  # as many as the engine likes
        self.tuned = {"psnr": "PSNR", "eye": "the eye: SSIMULACRA 2 and some PSNR"}[self.codec.weights.tune]
        self.version = f"codec {codec.__version__}, {self.codec.name}, {self.codec.engine.description}"

    def use_threads(self, count: int) -> None:
        if self.threads != count:
            self.codec, self.threads = codec.Codec.load(self.codec.name, threads=count), count

    def encode(self, image: Image.Image, setting: int) -> bytes:
        return self.codec.encode(image, quality=setting)

    def decode(self, data: bytes) -> Image.Image:
        return self.codec.decode(data)


class LatBest(Lat):
    """The larger network, whatever weights `lat` has."""

    name, label = "lat-best", "lat -m best"
    colour = "#8f2410"
    quick = compared = False

    def __init__(self, model: str):
        super().__init__(BEST)


class LatPsnr(Lat):
    name, label = "lat-psnr", "lat --tune psnr"
    colour = GREY
    quick = compared = False
    tune = "psnr"


class LatBestPsnr(LatBest):
    name, label = "lat-best-psnr", "lat -m best --tune psnr"
    colour = GREY
    tune = "psnr"


class PillowCodec(Codec):
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

    name, label = "jpeg", "JPEG 4:4:4"
    colour = "#2e86ab"
    quick = True
    tuned = "the eye: the quantisation tables of the standard's Annex K"
    format, feature, options = "JPEG", "libjpeg_turbo", {"subsampling": "4:4:4", "optimize": True}
    suffix = "jpeg"
    settings = (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 88, 94)


class Jpeg420(Jpeg):
    """As cameras and the web use it."""

    name, label = "jpeg420", "JPEG 4:2:0"
    colour = "#6bb3cf"
    compared = True
    options = {"subsampling": "4:2:0", "optimize": True}


class Jpegli(Codec):
    """Google's JPEG encoder as its wheel sets it up; any JPEG decoder reads the files."""

    name, label = "jpegli", "JPEG by jpegli"
    colour = "#1f5f8b"
    compared = True
    tuned = "the eye: adaptive quantisation by Butteraugli"
    settings = (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 88, 94)
    suffix = "jpeg"

    def __init__(self, model: str):
        import pyjpegli

        self.jpegli = pyjpegli
        self.version = f"pyjpegli {version('pyjpegli')}, its default settings"

    def encode(self, image: Image.Image, setting: int) -> bytes:
        return self.jpegli.encode(image.tobytes(), image.width, image.height, setting)

    def decode(self, data: bytes) -> Image.Image:
        return Image.open(io.BytesIO(data)).convert("RGB")


class WebP(PillowCodec):
    """Lossy WebP is 4:2:0 always."""

    name, label = "webp", "WebP 4:2:0"
    colour = "#7a9e3a"
    quick = compared = True
    tuned = "the eye, a little: spatial noise shaping at its default of 50"
    format, feature, options = "WEBP", "webp", {"method": 6}
    suffix = "webp"
    settings = (1, 5, 15, 30, 50, 70, 80, 90, 95)


class Avif6(PillowCodec):
    name, label = "avif-s6", "AVIF 4:4:4, speed 6"
    colour = "#b58be0"
    quick = compared = True
    tuned = "the eye: libaom's tune=iq, libavif's default since 1.4"
    format, feature, options = "AVIF", "avif", {"speed": 6, "subsampling": "4:4:4"}
    suffix = "avif"


class Avif4(Avif6):
    name, label = "avif-s4", "AVIF 4:4:4, speed 4"
    colour = "#7b3fb5"
    quick = compared = False
    options = {"speed": 4, "subsampling": "4:4:4"}


class AvifSsim(Avif6):
    name, label = "avif-ssim", "AVIF 4:4:4, speed 6, tuned for SSIM"
    colour = GREY
    quick = compared = False
    tuned = "SSIM: tune=ssim, libavif's default before 1.4"
    options = {"speed": 6, "subsampling": "4:4:4", "advanced": {"tune": "ssim"}}


class AvifPsnr(Avif6):
    name, label = "avif-psnr", "AVIF 4:4:4, speed 4, tuned for PSNR"
    colour = "#4b1f80"
    quick = compared = False
    tuned = "PSNR: tune=psnr"
    options = {"speed": 4, "subsampling": "4:4:4", "advanced": {"tune": "psnr"}}


class JpegXL(PillowCodec):
    name, label = "jxl", "JPEG XL, effort 7"
    colour = "#f3a712"
    quick = compared = True
    tuned = "the eye: Butteraugli"
    format, options = "JXL", {"effort": 7}
    settings = (5, 15, 30, 45, 60, 70, 80, 88, 94)

    def __init__(self, model: str):
        import pillow_jxl  # noqa: F401  registers the format

        self.version = f"pillow-jxl-plugin {version('pillow-jxl-plugin')}, {self.options}"


class Heic(PillowCodec):
    """HEVC intra by x265: the stand-in for BPG."""

    name, label = "heic", "HEIC 4:4:4 (x265)"
    colour = "#1b998b"
    compared = True
    tuned = "SSIM: libheif's default of x265's tunes"
    format, options = "HEIF", {"chroma": "444"}

    def __init__(self, model: str):
        import pillow_heif

        pillow_heif.register_heif_opener()
        info = pillow_heif.libheif_info()
        self.version = (
            f"pillow-heif {version('pillow-heif')}, libheif {info['libheif']}, {info['HEIF']}, {self.options}"
        )


class HeicPsnr(Heic):
    name, label = "heic-psnr", "HEIC 4:4:4, tuned for PSNR"
    colour = "#0e5f56"
    compared = False
    tuned = "PSNR: tune=psnr"
    options = {"chroma": "444", "enc_params": {"tune": "psnr"}}


class Jpeg2000(PillowCodec):
    """Irreversible wavelet. Setting: compression ratio."""

    name, label = "jpeg2000", "JPEG 2000"
    colour = "#8d6a4f"
    tuned = "PSNR"
    format, feature = "JPEG2000", "jpg_2000"
    options = {"quality_mode": "rates", "irreversible": True, "mct": 1}
    settings = (200, 120, 80, 50, 32, 20, 13, 8)

    def encode(self, image: Image.Image, setting: int) -> bytes:
        out = io.BytesIO()
        image.save(out, self.format, quality_layers=[setting], **self.options)
        return out.getvalue()


class Vvc(Codec):
    """VVC intra by vvenc, preset medium, through ffmpeg: 4:2:0 and 10 bits, all that this build offers. Setting: QP."""

    name, label = "vvc420", "VVC 4:2:0 (vvenc)"
    colour = "#c2408b"
    tuned = "the eye: vvenc's default QPA, after XPSNR"
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


# In the order of tables.
ALL: tuple[type[Codec], ...] = (
    Lat, LatBest, LatPsnr, LatBestPsnr, Jpeg, Jpeg420, Jpegli, WebP, Jpeg2000, JpegXL,
    Avif6, Avif4, AvifSsim, AvifPsnr, Heic, HeicPsnr, Vvc,
)  # fmt: skip
CODECS = {codec.name: codec for codec in ALL}
PUBLISHED = {  # names of curves that others published -> labels
    "bpg_444_x265_ycbcr": "BPG 4:4:4, published",
    "compressai-mbt2018-mean_mse_cuda": "mbt2018-mean, published",
    "vtm": "VVC 4:4:4 (VTM), published",
    "jpeg": "JPEG, published",
}


def build(name: str, model: str, compressai: dict[str, dict[int, Path]]) -> Codec:
    """The codec of that name: `model` are lat's weights, `compressai` the weights of the zoo's models.

    Raises: ImportError where its package is missing.
    """
    if name in compressai:
        return CompressAI(name, compressai[name])
    return CODECS[name](model)
