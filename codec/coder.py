"""Photograph <-> bytes: tiles through the networks and the entropy coder, several at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from copy import copy
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from codec import container, engine, lossless, mixed, weights
from codec.concurrency import in_flight
from codec.container import LATENT, Container, Header
from codec.decoding import synthesised
from codec.errors import LatError, LimitError, MissingModelError
from codec.lossless import OnError
from codec.picture.image import Picture, as_picture, to_colour, to_pillow
from codec.runs import process
from codec.settings import EFFORT, MAX_PIXELS, QUALITY, TILE, Settings
from codec.tile import TileCoder
from codec.tiles import Box, picture_box, region_box, tile_box, tiles_in
from codec.weights import Weights

if TYPE_CHECKING:
    import torch

    from codec.engine.torch_engine import TorchEngine
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
        self._use(engine.load(weights, engine_name, threads, float32))

    def _use(self, chosen: engine.Engine) -> None:
        process.survive_fork(chosen)
        self.engine, self.tiles = chosen, TileCoder(self.weights, chosen)

    def for_tiles(self, tiles: int) -> Codec:
        """This codec, or a twin of it that shares out the cores among several tiles."""
        shared = self.engine.several(tiles) if tiles > 1 else self.engine
        if shared is self.engine:
            return self
        twin = copy(self)
        twin.engine, twin.tiles = shared, self.tiles.by(shared)
        return twin

    @classmethod
    def load(
        cls,
        name: str = weights.DEFAULT,
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
    def for_file(cls, data: bytes | Container) -> Codec:
        """The installed weights that a .lat file was written with.

        Raises: FormatError, MissingModelError.
        """
        return cls.load(weights.name_for(parsed(data).header.model))

    @cached_property
    def torch_engine(self) -> TorchEngine:
        """The networks as torch has them, whatever else evaluates them otherwise: for gradients."""
        found = self.engine if self.engine.name == "torch" else engine.load(self.weights, "torch")
        return cast("TorchEngine", found)

    @property
    def model(self) -> Model:
        """The float networks, as torch modules."""
        return self.torch_engine.model

    def to(self, device: torch.device | str) -> Codec:
        """This codec by torch, with g_a, g_s and h_a on a device; entropy coding stays on the CPU."""
        self._use(self.torch_engine.to(device))
        return self

    def require(self, header: Header) -> None:
        """Raises: MissingModelError where these are not the weights that a header names."""
        if header.model != self.fingerprint:
            written = weights.name_of(header.model) or header.model.hex()
            raise MissingModelError(f"written with weights {written}, but {self.name} is loaded; use Codec.for_file")

    # -- encoding ------------------------------------------------------------------------------------------------

    def encode(
        self,
        image: Image.Image | np.ndarray | Picture,
        quality: float = QUALITY,
        progress: Progress | None = None,
        threshold: float = 0.5,
        effort: int = EFFORT,
        tune: str | None = None,
        tile: int = TILE,
        lossless: bool = False,
    ) -> bytes:
        """A Pillow image, or a uint8 array (H, W) or (H, W, C), -> the bytes of a .lat file.

        What can be asked for is told by `Settings`. Alpha is lossless; so is what costs less that way (`mixed.py`).
        `progress` counts tiles, and from effort 4 on their steps too.
        Raises: LatError, ValueError.
        """
        settings = Settings(quality, effort, tune, threshold, tile, lossless)
        return self.encode_picture(as_picture(image, exact=lossless), settings, progress)

    def encode_picture(self, picture: Picture, settings: Settings, progress: Progress | None = None) -> bytes:
        """`encode`, with everything that can be asked for in one object.

        Raises: LatError.
        """
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
            z = self.engine.hyper_analyse(y, row)
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
        return self.engine.analyse(part, row)[(..., *box.shift(seen.left, seen.top).slices)]

    # -- decoding ------------------------------------------------------------------------------------------------

    def decode(
        self,
        data: bytes | Container,
        max_pixels: int = MAX_PIXELS,
        progress: Progress | None = None,
        on_error: OnError | None = None,
    ) -> Image.Image:
        """A .lat file, its bytes or parsed, -> a Pillow image in the mode it was written from, metadata in its `info`.

        With `on_error`, a damaged tile is reported to it and painted flat instead of raising.
        Raises: FormatError, ChecksumError, TruncatedError, LimitError, MissingModelError, DesyncError.
        """
        file = parsed(data)
        header = file.header
        if header.width * header.height > max_pixels:
            size = f"{header.width} × {header.height}"
            raise LimitError(f"{size} is more than {max_pixels} pixels; raise the limit if you trust the file")
        return to_pillow(self.decode_pixels(file, picture_box(header), progress, on_error), file.metadata)

    def decode_region(self, data: bytes | Container, box: tuple[int, int, int, int]) -> Image.Image:
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


def parsed(data: bytes | Container) -> Container:
    """Raises: FormatError and its kinds."""
    return data if isinstance(data, Container) else container.parse(data)
