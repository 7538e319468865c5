"""`Codec`, the public face: photographs <-> the bytes of .lat files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from PIL import Image

from codec import container, engine, loaded, lossless, mixed, previews, weights
from codec.arguments import LatFile, PictureLike, as_picture, parsed
from codec.errors import LatError, LimitError
from codec.learned import Choose, Learned, Progress
from codec.lossless import OnError
from codec.picture.image import to_pillow
from codec.runs import process
from codec.settings import EFFORT, MAX_DECODED, QUALITY, Settings
from codec.tiles import picture_box, region_box
from codec.weights import Weights

if TYPE_CHECKING:
    import torch

    from codec.model import Model


class Codec:
    """One set of weights, ready to encode and decode.

    >>> from codec import Codec
    >>> codec = Codec.load()
    >>> data = codec.encode(Image.new("RGB", (40, 30), "teal"), quality=50)
    >>> codec.decode(data).size
    (40, 30)
    """

    def __init__(
        self, weights: Weights, engine_name: str | None = None, threads: int | None = None, float32: bool = False
    ):
        """The last three as `engine.load` takes them. Raises: FormatError, LatError."""
        self.weights, self.name, self.fingerprint, self.cfg = weights, weights.name, weights.fingerprint, weights.config
        self._asked: tuple[str | None, int | None, bool, str | None] = (engine_name, threads, float32, None)
        self._use(engine.load(weights, engine_name, threads, float32))

    def __reduce__(self):
        """Pickle the name of the weights, which are loaded at the other end; weights without one are pickled whole."""
        return loaded.rebuild, (weights.name_of(self.fingerprint) or self.weights, *self._asked)

    def _use(self, chosen: engine.Engine) -> None:
        process.survive_fork(chosen)
        self.engine, self.learned = chosen, Learned(self.weights, chosen)
        self.tile_coder = self.learned.tile_coder

    @classmethod
    def load(
        cls,
        name: str | os.PathLike[str] = weights.DEFAULT,
        engine: str | None = None,
        threads: int | None = None,
        float32: bool = False,
        tune: str | None = None,
    ) -> Codec:
        """Installed weights: the newest of a size, "fast" or "best", for a metric; by name; or a .safetensors file.

        engine: "openvino", "onnxruntime" or "torch", default the best one there is; threads: of each network, default
        all cores; float32: bfloat16 is not used, which is faster on some machines and costs less than 0.02 dB.
        tune: the metric, "eye", "psnr" or "ms-ssim"; it matters for a size alone.
        Raises: MissingModelError, FormatError, LatError.
        """
        return cls(Weights.open(weights.newest(name, tune)), engine, threads, float32)

    @classmethod
    def for_file(cls, data: LatFile) -> Codec:
        """The installed weights that a .lat file was written with. Raises: as `decode`."""
        return cls.load(weights.name_for(parsed(data).header.model))

    @property
    def model(self) -> Model:
        """The float networks, as torch modules."""
        return self.learned.torch_transforms.model

    def to(self, device: torch.device | str) -> Codec:
        """This codec by torch, with g_a, g_s and h_a on a device; entropy coding stays on the CPU."""
        self._use(engine.by_torch(self.learned.torch_transforms.to(device), self.engine.entropy))
        self._asked = ("torch", *self._asked[1:3], str(device))
        return self

    def encode(
        self,
        image: PictureLike,
        quality: float = QUALITY,
        progress: Progress | None = None,
        effort: int = EFFORT,
        tune: str | None = None,
        lossless: bool = False,
        preview: previews.Side = 0,
    ) -> bytes:
        """A picture -> the bytes of a .lat file.

        A picture is a Pillow image, a uint8 array (H, W) or (H, W, C), a tensor (C, H, W) of uint8 or of floats 0 … 1,
        a path, or the bytes of a picture file. `Settings` says what can be asked for. Alpha is lossless; so is what
        costs less that way (`mixed.py`). `progress` counts tiles, and from effort 4 on their steps too.
        `preview`: the longest side of a small picture in front of the file (`codec.preview`), 1 … 1024 pixels; 0: none;
        "auto": the one that `lat compress` writes, where it takes at most 1.5 % of the file.
        Raises: LatError; TypeError for what is no picture.
        """
        settings = Settings(quality, effort, tune, lossless=lossless)
        previews.check_side(preview)
        picture = as_picture(image, exact=lossless)
        data = self.encode_picture(picture, settings, progress)
        return previews.with_preview(data, picture, preview)

    def encode_picture(self, image: PictureLike, settings: Settings, progress: Progress | None = None) -> bytes:
        """`encode`, with everything that can be asked for in one object. Raises: LatError, TypeError."""
        if progress is not None and not callable(progress):
            raise TypeError(f"progress must be a function of (done, all), got {type(progress).__name__}")
        picture = as_picture(image, exact=settings.lossless)
        if settings.lossless:
            return lossless.exact(picture, settings.effort)
        choose = self._refine(settings) if settings.steps else None
        return container.build(mixed.encode(self.learned, picture, settings, choose, progress))

    def _refine(self, settings: Settings) -> Choose:
        """What finds better latents, by gradients. Raises: LatError where torch is missing."""
        try:
            from codec.effort import Refinement
        except ModuleNotFoundError as error:
            raise LatError(f"an effort of 4 and more needs {error.name}: pip install torch") from None
        return Refinement(self.learned, settings)

    def decode(
        self,
        data: LatFile,
        max_pixels: int = MAX_DECODED,
        progress: Progress | None = None,
        on_error: OnError | None = None,
    ) -> Image.Image:
        """A .lat file -> a Pillow image in the mode it was written from, metadata in its `info`.

        The file is given as its bytes, by path, open, or parsed. With `on_error`, a damaged tile is reported to it and
        painted flat instead of raising.
        Raises: FormatError, ChecksumError, TruncatedError, LimitError, MissingModelError, DesyncError; TypeError.
        """
        file = parsed(data)
        header = file.header
        if header.width * header.height > max_pixels:
            size = f"{header.width} × {header.height}"
            raise LimitError(f"{size} is more than {max_pixels} pixels; raise the limit if you trust the file")
        return to_pillow(self.learned.decode(file, picture_box(header), progress, on_error), file.metadata)

    def decode_region(self, data: LatFile, box: tuple[int, int, int, int]) -> Image.Image:
        """Only the pixels (left, top, right, bottom): equal to that crop of `decode`, reading just the tiles it needs.

        Raises: as `decode`; LatError where the box leaves the picture.
        """
        file = parsed(data)
        return to_pillow(self.learned.decode(file, region_box(file.header, box)), file.metadata)
