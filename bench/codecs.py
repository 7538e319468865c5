"""Codecs under test: one short class each, `encode(image, setting) -> bytes` and `decode(bytes) -> image`.

Settings are in order of rising quality. Where a format offers it, chroma is 4:4:4: subsampling would flatter
this codec in RGB PSNR. A rival whose package is missing raises ImportError from its constructor.
`tuned` says what the encoder spends its bits for, `suffix` is given where browsers show the format.
"""

from __future__ import annotations

import functools
import io
import itertools
import struct
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
import PIL
import torch
import torch.nn.functional as F
from PIL import Image, features

import codec
from codec.weights import BEST


class Codec(Protocol):
    """What each of them has."""

    tuned: str
    settings: tuple
    version: str

    def __init__(self, model: str): ...

    @property
    def suffix(self) -> str | None: ...

    def encode(self, image: Image.Image, setting: int) -> bytes: ...

    def decode(self, data: bytes) -> Image.Image: ...


class Lat:
    """This package, as it is by default. Setting: -q."""

    tune: str | None = None
    suffix: str | None = None
    settings: tuple = (0, 5, 12, 20, 28, 35, 43, 50, 58, 65, 73, 80, 88, 95, 100)

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

    def __init__(self, model: str):
        super().__init__(BEST)


class LatPsnr(Lat):
    tune = "psnr"


class LatBestPsnr(LatBest):
    tune = "psnr"


class PillowCodec:
    """A format that Pillow writes, its own or a plugin's. Setting: `quality`."""

    tuned = ""
    format = ""
    suffix: str | None = None
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

    tuned = "the eye: the quantisation tables of the standard's Annex K"
    format, feature, options = "JPEG", "libjpeg_turbo", {"subsampling": "4:4:4", "optimize": True}
    suffix = "jpeg"
    settings = (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 88, 94)


class Jpeg420(Jpeg):
    """As cameras and the web use it."""

    options = {"subsampling": "4:2:0", "optimize": True}


class Jpegli:
    """Google's JPEG encoder as its wheel sets it up; any JPEG decoder reads the files."""

    tuned = "the eye: adaptive quantisation by Butteraugli"
    settings: tuple = (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 88, 94)
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

    tuned = "the eye, a little: spatial noise shaping at its default of 50"
    format, feature, options = "WEBP", "webp", {"method": 6}
    suffix = "webp"
    settings = (1, 5, 15, 30, 50, 70, 80, 90, 95)


class Avif6(PillowCodec):
    tuned = "the eye: libaom's tune=iq, libavif's default since 1.4"
    format, feature, options = "AVIF", "avif", {"speed": 6, "subsampling": "4:4:4"}
    suffix = "avif"


class Avif4(Avif6):
    options = {"speed": 4, "subsampling": "4:4:4"}


class AvifSsim(Avif6):
    tuned = "SSIM: tune=ssim, libavif's default before 1.4"
    options = {"speed": 6, "subsampling": "4:4:4", "advanced": {"tune": "ssim"}}


class AvifPsnr(Avif6):
    tuned = "PSNR: tune=psnr"
    options = {"speed": 4, "subsampling": "4:4:4", "advanced": {"tune": "psnr"}}


class JpegXL(PillowCodec):
    tuned = "the eye: Butteraugli"
    format, options = "JXL", {"effort": 7}
    settings = (5, 15, 30, 45, 60, 70, 80, 88, 94)

    def __init__(self, model: str):
        import pillow_jxl  # noqa: F401  registers the format

        self.version = f"pillow-jxl-plugin {version('pillow-jxl-plugin')}, {self.options}"


class Heic(PillowCodec):
    """HEVC intra by x265: the stand-in for BPG."""

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
    tuned = "PSNR: tune=psnr"
    options = {"chroma": "444", "enc_params": {"tune": "psnr"}}


class Jpeg2000(PillowCodec):
    """Irreversible wavelet. Setting: compression ratio."""

    tuned = "PSNR"
    format, feature = "JPEG2000", "jpg_2000"
    options = {"quality_mode": "rates", "irreversible": True, "mct": 1}
    settings = (200, 120, 80, 50, 32, 20, 13, 8)

    def encode(self, image: Image.Image, setting: int) -> bytes:
        out = io.BytesIO()
        image.save(out, self.format, quality_layers=[setting], **self.options)
        return out.getvalue()


class Vvc:
    """VVC intra by vvenc, preset medium, through ffmpeg: 4:2:0 and 10 bits, all that this build offers. Setting: QP."""

    tuned = "the eye: vvenc's default QPA, after XPSNR"
    settings: tuple = (47, 42, 37, 32, 27, 22, 17, 12)
    suffix: str | None = None

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


class CompressAI:
    """A model of CompressAI's zoo with weights from files. Setting: its quality, 1 to 8.

    CompressAI defines no file, so this one is ours: 9 bytes of sizes, then each string behind its length.
    """

    tuned = "what its weights were trained for"
    suffix: str | None = None
    header = struct.Struct("<B4H")

    def __init__(self, name: str, files: dict[int, Path]):
        complete_torchvision()
        try:
            from compressai.zoo import image_models
        except RuntimeError as error:
            raise ImportError(str(error)) from error
        self.settings: tuple = tuple(sorted(files))
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


CODECS: dict[str, type[Codec]] = {
    "lat": Lat,
    "lat-best": LatBest,
    "lat-psnr": LatPsnr,
    "lat-best-psnr": LatBestPsnr,
    "jpeg": Jpeg,
    "jpeg420": Jpeg420,
    "jpegli": Jpegli,
    "webp": WebP,
    "avif-s4": Avif4,
    "avif-s6": Avif6,
    "avif-ssim": AvifSsim,
    "avif-psnr": AvifPsnr,
    "jxl": JpegXL,
    "heic": Heic,
    "heic-psnr": HeicPsnr,
    "jpeg2000": Jpeg2000,
    "vvc420": Vvc,
}


def build(name: str, model: str, compressai: dict[str, dict[int, Path]]) -> Codec:
    """The codec of that name: `model` are lat's weights, `compressai` the weights of the zoo's models.

    Raises: ImportError where its package is missing.
    """
    if name in compressai:
        return CompressAI(name, compressai[name])
    return CODECS[name](model)
