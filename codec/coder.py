"""Photograph <-> bytes: tiles through the networks and the entropy coder, several at a time."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from codec import container, engine, loaded, lossless, mixed, process, weights
from codec.arguments import LatFile, PictureLike, as_picture, parsed
from codec.concurrency import in_flight
from codec.container import LATENT, Container, Header
from codec.decoding import synthesised
from codec.errors import LatError, LimitError, MissingModelError
from codec.lossless import OnError
from codec.picture.image import Picture, to_colour, to_pillow
from codec.settings import EFFORT, MAX_PIXELS, QUALITY, Settings
from codec.tile import TileCoder
from codec.tiles import Box, picture_box, region_box, tile_box, tiles_in
from codec.weights import Weights

if TYPE_CHECKING:
    import torch

    from codec.engine.torch_engine import TorchTransforms
    from codec.model import Model

Progress = Callable[[int, int], None]  # tiles done, tiles in all; with effort, steps of tiles


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
        self.engine, self.tiles = chosen, TileCoder(self.weights, chosen.entropy)

    def for_tiles(self, tiles: int) -> Codec:
        """This codec, or a twin of it that shares out the cores among several tiles."""
        shared = self.engine.several(tiles) if tiles > 1 else self.engine
        if shared is self.engine:
            return self
        twin = object.__new__(Codec)
        twin.__dict__ |= self.__dict__ | {"engine": shared, "tiles": self.tiles.by(shared.entropy)}
        return twin

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
        """The installed weights that a .lat file was written with.

        Raises: as `decode`.
        """
        return cls.load(weights.name_for(parsed(data).header.model))

    @cached_property
    def torch_transforms(self) -> TorchTransforms:
        """The transforms as torch has them, whatever else evaluates them otherwise: for gradients."""
        from codec.engine.torch_engine import TorchTransforms

        found = self.engine.transforms
        return found if isinstance(found, TorchTransforms) else TorchTransforms(self.weights)

    @property
    def model(self) -> Model:
        """The float networks, as torch modules."""
        return self.torch_transforms.model

    def to(self, device: torch.device | str) -> Codec:
        """This codec by torch, with g_a, g_s and h_a on a device; entropy coding stays on the CPU."""
        self._use(engine.by_torch(self.torch_transforms.to(device), self.engine.entropy))
        self._asked = ("torch", *self._asked[1:3], str(device))
        return self

    def require(self, header: Header) -> None:
        """Raises: MissingModelError where these are not the weights that a header names."""
        if header.model != self.fingerprint:
            written = weights.name_of(header.model) or header.model.hex()
            raise MissingModelError(f"written with weights {written}, but {self.name} is loaded; use Codec.for_file")

    # -- encoding ------------------------------------------------------------------------------------------------

    def encode(
        self,
        image: PictureLike,
        quality: float = QUALITY,
        progress: Progress | None = None,
        effort: int = EFFORT,
        tune: str | None = None,
        lossless: bool = False,
    ) -> bytes:
        """A picture -> the bytes of a .lat file.

        A picture is a Pillow image, a uint8 array (H, W) or (H, W, C), a tensor (C, H, W) of uint8 or of floats 0 … 1,
        a path, or the bytes of a picture file. `Settings` says what can be asked for. Alpha is lossless; so is what
        costs less that way (`mixed.py`). `progress` counts tiles, and from effort 4 on their steps too.
        Raises: LatError; TypeError for what is no picture.
        """
        return self.encode_picture(image, Settings(quality, effort, tune, lossless=lossless), progress)

    def encode_picture(self, image: PictureLike, settings: Settings, progress: Progress | None = None) -> bytes:
        """`encode`, with everything that can be asked for in one object.

        Raises: LatError, TypeError.
        """
        if progress is not None and not callable(progress):
            raise TypeError(f"progress must be a function of (done, all), got {type(progress).__name__}")
        picture = as_picture(image, exact=settings.lossless)
        if settings.lossless:
            return lossless.exact(picture, settings.effort)
        learned = self.encode_tiles(picture, settings, progress)
        return container.build(mixed.cheapest(self, picture, settings, learned))

    def encode_tiles(
        self,
        picture: Picture,
        settings: Settings,
        progress: Progress | None = None,
        unseen: Callable[[Box], bool] = lambda box: False,
    ) -> Container:
        """A file of tiles alone; those whose latents are `unseen` stay empty.

        Raises: LatError.
        """
        height, width = picture.pixels.shape[:2]
        header = Header(width, height, picture.mode, settings.tile, self.fingerprint)
        count = header.grid[0] * header.grid[1]
        worker, at_once = self, 2  # torch, which efforts take, shares its threads among tiles, and needs much memory
        if not settings.steps:
            worker = self.for_tiles(count)
            at_once = worker.engine.at_once
        done, lock = itertools.count(1), Lock()

        def step_done() -> None:
            with lock:
                if progress:
                    progress(next(done), count * (settings.steps + 1))

        def encoded(index: int) -> bytes:
            box = tile_box(header, index)
            tile = b"" if unseen(box) else worker.encode_tile(picture.pixels, box, settings, step_done)
            step_done()
            return tile

        with in_flight(count, at_once) as pool:
            tiles = list(pool.map(encoded, range(count)))
        return Container(header, tiles, picture.metadata)

    def learned(self, file: Container) -> Container:
        """A file whose latents are those of all its picture: itself, or what is below patches encoded with the rest.

        Raises: LatError and its kinds.
        """
        if not file.minor:
            return file
        pixels = self.decode_pixels(file, picture_box(file.header))
        rows = [tile[0] % self.cfg.rates for tile in file.tiles if tile]
        quality = self.cfg.quality(rows[0]) if rows else QUALITY
        return self.encode_tiles(Picture(pixels, file.header.mode), Settings(quality, tile=file.header.tile))

    def encode_tile(
        self, pixels: np.ndarray, box: Box, settings: Settings, step_done: Callable[[], None] = lambda: None
    ) -> bytes:
        """The record of the latents in `box` of a picture (H, W, C)."""
        row = self.cfg.row(settings.quality)
        if settings.steps:
            y, z = refinement()(self, pixels, box, settings, step_done)
        else:
            y = self.analyse(pixels, box, row)
            z = self.engine.transforms.hyper_analyse(y, row)
        alpha = pixels[(*(box * LATENT).slices, -1)] if pixels.shape[2] in (2, 4) else None
        return self.tiles.encode(y, z, row, alpha, settings.threshold)

    def analyse(self, pixels: np.ndarray, box: Box, row: int) -> np.ndarray:
        """y (1, M, h, w) of the latents in `box`, from the pixels under and around them."""
        height, width = pixels.shape[:2]
        bounds = Box(0, 0, -(-width // LATENT), -(-height // LATENT))
        seen = box.grow(-(-self.cfg.encoder_reach // LATENT), bounds)
        part = to_colour(pixels[(seen * LATENT).slices])
        missing = (seen.height * LATENT - part.shape[0], seen.width * LATENT - part.shape[1])
        if any(missing):
            part = np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        return self.engine.transforms.analyse(part, row)[(..., *box.shift(seen.left, seen.top).slices)]

    # -- decoding ------------------------------------------------------------------------------------------------

    def decode(
        self,
        data: LatFile,
        max_pixels: int = MAX_PIXELS,
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
        return to_pillow(self.decode_pixels(file, picture_box(header), progress, on_error), file.metadata)

    def decode_region(self, data: LatFile, box: tuple[int, int, int, int]) -> Image.Image:
        """Only the pixels (left, top, right, bottom): equal to that crop of `decode`, reading just the tiles it needs.

        Raises: as `decode`; LatError where the box leaves the picture.
        """
        file = parsed(data)
        return to_pillow(self.decode_pixels(file, region_box(file.header, box)), file.metadata)

    def decode_pixels(
        self, file: Container, region: Box, progress: Progress | None = None, on_error: OnError | None = None
    ) -> np.ndarray:
        """uint8 (H, W, C) of a region of a parsed file."""
        header = file.header
        if header.lossless:
            return lossless.decode_pixels(file, region, on_error)
        self.require(header)
        under = Box(
            region.left // LATENT, region.top // LATENT, -(-region.right // LATENT), -(-region.bottom // LATENT)
        )
        todo = list(tiles_in(header, under))
        out: np.ndarray | None = None  # not before a first tile has proved that the file means it
        for done, (box, pixels) in enumerate(synthesised(self, file, todo, under, on_error), 1):
            if out is None:
                out = np.empty((region.height, region.width, len(header.mode)), np.uint8)
            wanted = box * LATENT & region
            part = wanted.shift(box.left * LATENT, box.top * LATENT)
            out[wanted.shift(region.left, region.top).slices] = pixels[part.slices]
            if progress:
                progress(done, len(todo))
        assert out is not None  # there is no region without a tile
        lossless.paste(out, region, file, on_error)
        return out


def refinement() -> Callable:
    """`effort.refine`. Raises: LatError."""
    try:
        from codec.effort import refine
    except ModuleNotFoundError as error:
        raise LatError(f"an effort of 4 and more needs {error.name}: pip install torch") from None
    return refine
