"""Pictures <-> tiles of latents, several at a time: through the networks and the entropy coder.

encode:   pixels ─► analyse: y, z (or better ones: `effort.py`) ─► TileCoder.encode ─► a tile's record
decode:   a tile's record ─► TileCoder.decode: ŷ, alpha ─► synthesise, with the neighbours' ŷ ─► pixels
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from functools import cached_property, partial
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from codec import lossless, weights
from codec.concurrency import in_flight
from codec.config import LATENT, ceil_div
from codec.container import Container, Header
from codec.engine import Engine
from codec.errors import LatError, MissingModelError
from codec.lossless import OnError
from codec.picture.image import Picture, to_colour, to_grey
from codec.settings import QUALITY, Settings
from codec.tile import CodingTables, Quantised, TileCoder, TileLatents
from codec.tiles import Box, latent_bounds, picture_box, tile_box, tiles_in
from codec.weights import Weights

if TYPE_CHECKING:
    from codec.engine.torch_engine import TorchTransforms

Progress = Callable[[int, int], None]  # tiles done, tiles in all; with effort, steps of tiles
# pixels (H, W, C), a tile's box, what to call after each step -> y and z of the tile
Choose = Callable[[np.ndarray, Box, Callable[[], None]], tuple[np.ndarray, np.ndarray]]
REFINED_AT_ONCE = 2  # tiles: torch, which refines latents, shares its threads among them and needs much memory


class Learned:
    """One set of weights and the engine that evaluates it."""

    def __init__(self, own: Weights, engine: Engine, tables: CodingTables | None = None):
        """tables: those of the weights, if they are unpacked already."""
        self.weights, self.config, self.engine = own, own.config, engine
        self.tile_coder = TileCoder(own, engine.entropy, tables)

    def sharing(self, tiles: int) -> Learned:
        """The same with the cores shared out among so many tiles."""
        engine = self.engine.several(tiles)
        return self if engine is self.engine else Learned(self.weights, engine, self.tile_coder.tables)

    @cached_property
    def torch_transforms(self) -> TorchTransforms:
        """The transforms as torch has them, whatever else evaluates them otherwise: for gradients."""
        from codec.engine.torch_engine import TorchTransforms

        own = self.engine.transforms
        return own if isinstance(own, TorchTransforms) else TorchTransforms(self.weights)

    def require(self, header: Header) -> None:
        """Raises: MissingModelError where these are not the weights that a header names."""
        if header.model != self.weights.fingerprint:
            written = weights.name_of(header.model) or header.model.hex()
            loaded = self.weights.name
            raise MissingModelError(f"written with weights {written}, but {loaded} is loaded; use Codec.for_file")

    # -- encoding ------------------------------------------------------------------------------------------------

    def encode(
        self,
        picture: Picture,
        settings: Settings,
        choose: Choose | None = None,
        progress: Progress | None = None,
        unseen: Callable[[Box], bool] = lambda box: False,
    ) -> Container:
        """A file of tiles alone, of the latents that `choose` finds; tiles whose latents are `unseen` stay empty.

        Raises: LatError.
        """
        height, width = picture.pixels.shape[:2]
        header = Header(width, height, picture.mode, settings.tile, self.weights.fingerprint)
        count, row = header.grid[0] * header.grid[1], self.config.row(settings.quality)
        worker = self if choose else self.sharing(count)
        steps, done, lock = settings.steps + 1 if choose else 1, itertools.count(1), Lock()

        def step_done() -> None:
            with lock:
                if progress:
                    progress(next(done), count * steps)

        def encode_tile(index: int) -> bytes:
            box, record = tile_box(header, index), b""
            if not unseen(box):
                if choose:
                    y, z = choose(picture.pixels, box, step_done)
                else:
                    y, z = worker.latents(picture.pixels, box, row)
                record = worker.tile_coder.encode(y, z, row, alpha_under(picture.pixels, box), settings.threshold)
            step_done()
            return record

        with in_flight(count, REFINED_AT_ONCE if choose else worker.engine.at_once) as pool:
            return Container(header, list(pool.map(encode_tile, range(count))), picture.metadata)

    def latents(self, pixels: np.ndarray, box: Box, row: int) -> tuple[np.ndarray, np.ndarray]:
        """y (1, M, h, w) and z of the latents in `box` of a picture (H, W, C), as the networks make them."""
        y = self.analyse(pixels, box, row)
        return y, self.engine.transforms.hyper_analyse(y, row)

    def hyper_latents(self, y: np.ndarray, row: int) -> Quantised:
        """The ẑ that belongs to a tile's y (1, M, h, w), and its symbols."""
        return self.tile_coder.quantise_z(self.engine.transforms.hyper_analyse(y, row), row)

    def analyse(self, pixels: np.ndarray, box: Box, row: int) -> np.ndarray:
        """y (1, M, h, w) of the latents in `box`, from the pixels under and around them."""
        height, width = pixels.shape[:2]
        bounds = Box(0, 0, width, height).cover(LATENT)
        seen = box.grow(ceil_div(self.config.encoder_reach, LATENT), bounds)
        part = to_colour(pixels[(seen * LATENT).slices])
        missing = (seen.height * LATENT - part.shape[0], seen.width * LATENT - part.shape[1])
        if any(missing):
            part = np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        return self.engine.transforms.analyse(part, row)[(..., *box.shift(seen.left, seen.top).slices)]

    def with_latents(self, file: Container) -> Container:
        """A file whose latents are those of all its picture: itself, or what is below patches encoded with the rest.

        Raises: LatError and its kinds.
        """
        if not file.minor:
            return file
        pixels = self.decode(file, picture_box(file.header))
        rows = [tile[0] % self.config.rates for tile in file.tiles if tile]
        quality = self.config.quality(rows[0]) if rows else QUALITY
        return self.encode(Picture(pixels, file.header.mode), Settings(quality, tile=file.header.tile))

    # -- decoding ------------------------------------------------------------------------------------------------

    def decode(
        self, file: Container, region: Box, progress: Progress | None = None, on_error: OnError | None = None
    ) -> np.ndarray:
        """uint8 (H, W, C) of a region of a file.

        Raises: LatError and its kinds.
        """
        header = file.header
        if header.lossless:
            return lossless.decode_pixels(file, region, on_error)
        self.require(header)
        worker = self.sharing(sum(1 for _ in tiles_in(header, region.cover(LATENT))))
        decode = partial(worker.decode_tile, file, on_error=on_error)
        out = worker.synthesise(header, region, decode, lambda index: not len(file.tiles[index]), progress)
        lossless.paste(out, region, file, on_error)
        return out

    def decode_tile(self, file: Container, index: int, on_error: OnError | None) -> TileLatents:
        """The latents of one tile of a file; with `on_error`, a damaged tile is reported and becomes a flat one."""
        try:
            return self.tile_coder.decode(file, index)
        except LatError as error:
            if on_error is None:
                raise
            on_error(index, error)
            return self.tile_coder.flat(file, index)

    def synthesise(
        self,
        header: Header,
        region: Box,
        latents: Callable[[int], TileLatents],
        is_empty: Callable[[int], bool] = lambda index: False,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """uint8 (H, W, C) of a region of a picture whose tiles have these latents; an empty tile shows nothing.

        Tiles are always synthesised whole, so that a region equals the crop of the picture to the last bit.
        """
        # allocated after the first tile decodes: a forged header must not cost a gigabyte
        out: np.ndarray | None = None
        count = sum(1 for _ in tiles_in(header, region.cover(LATENT)))
        for done, (box, pixels) in enumerate(self._tiles(header, region.cover(LATENT), latents, is_empty), 1):
            if out is None:
                out = np.empty((region.height, region.width, len(header.mode)), np.uint8)
            wanted = box * LATENT & region
            part = wanted.shift(box.left * LATENT, box.top * LATENT)
            out[wanted.shift(region.left, region.top).slices] = pixels[part.slices]
            if progress:
                progress(done, count)
        assert out is not None  # there is no region without a tile
        return out

    def _tiles(
        self, header: Header, under: Box, latents: Callable[[int], TileLatents], is_empty: Callable[[int], bool]
    ) -> Iterator[tuple[Box, np.ndarray]]:
        """(latents, pixels (16h, 16w, C)) of each tile that shares latents with `under`, in raster order."""
        todo, at_once = list(tiles_in(header, under)), self.engine.at_once
        reach = self.config.decoder_reach
        seen = under.grow(reach, latent_bounds(header))
        started: deque[tuple[Box, Future[np.ndarray]]] = deque()
        with in_flight(sum(1 for _ in tiles_in(header, seen)), at_once) as pool:
            window = Window(pool, header, under, reach, latents, is_empty)
            for index in todo[:at_once]:
                window.request(index)
            for index, ahead in itertools.zip_longest(todo, todo[at_once:]):
                if ahead is not None:
                    window.request(ahead)
                started.append((tile_box(header, index), pool.submit(self._pixels, header, index, *window.take(index))))
                if len(started) > at_once:
                    box, task = started.popleft()
                    yield box, task.result()
            for box, task in started:
                yield box, task.result()

    def _pixels(self, header: Header, index: int, tile: TileLatents | None, seen: Box, y_hat: np.ndarray) -> np.ndarray:
        """Pixels (16h, 16w, C) of a tile, from the ŷ `seen` under and around it; flat without latents."""
        box = tile_box(header, index)
        if tile is None:
            return lossless.flat(header, box.height * LATENT, box.width * LATENT)
        x = self.engine.transforms.synthesise(y_hat, tile.row)[(box.shift(seen.left, seen.top) * LATENT).slices]
        if header.mode in ("L", "LA"):
            x = to_grey(x)
        return x if tile.alpha is None else np.concatenate([x, tile.alpha], 2)


class Window:
    """The latents of tiles, fetched ahead in a pool, and kept until the last tile that sees them is taken.

    Latents that no pixel of the latents `under` depends on are not fetched, and 0.
    """

    def __init__(
        self,
        pool: Executor,
        header: Header,
        under: Box,
        reach: int,
        latents: Callable[[int], TileLatents],
        is_empty: Callable[[int], bool],
    ):
        self._pool, self._header, self._under, self._reach = pool, header, under, reach
        self._latents, self._is_empty = latents, is_empty
        self._fetched: dict[int, Future[TileLatents]] = {}
        self._last_seen_by: defaultdict[int, list[int]] = defaultdict(list)

    def _seen_by(self, index: int) -> Box:
        return tile_box(self._header, index).grow(self._reach, latent_bounds(self._header))

    def _needed(self, index: int) -> list[int]:
        wanted = self._under.grow(self._reach, latent_bounds(self._header))
        return [] if self._is_empty(index) else list(tiles_in(self._header, self._seen_by(index) & wanted))

    def request(self, index: int) -> None:
        """Start to fetch what a tile sees. Tiles are requested, and taken, in raster order."""
        for other in self._needed(index):
            if other not in self._fetched:
                self._fetched[other] = self._pool.submit(self._latents, other)
                *_, last = tiles_in(self._header, self._seen_by(other) & self._under)
                self._last_seen_by[last].append(other)

    def take(self, index: int) -> tuple[TileLatents | None, Box, np.ndarray]:
        """A tile's latents, None where it is empty; the box that it sees; and ŷ (1, M, h, w) of that box."""
        seen = self._seen_by(index)
        tiles = {other: self._fetched[other].result() for other in self._needed(index)}
        for other in self._last_seen_by.pop(index, ()):
            del self._fetched[other]
        return tiles.get(index), seen, join(self._header, seen, tiles)


def join(header: Header, box: Box, tiles: dict[int, TileLatents]) -> np.ndarray:
    """ŷ (1, M, h, w) of a box, from the tiles in it; 0 where none is."""
    channels = next(iter(tiles.values())).y_hat.shape[1] if tiles else 0
    y_hat = np.zeros((1, channels, box.height, box.width), np.float32)
    for index, tile in tiles.items():
        own = tile_box(header, index)
        shared = own & box
        source = tile.y_hat[(..., *shared.shift(own.left, own.top).slices)]
        y_hat[(..., *shared.shift(box.left, box.top).slices)] = source
    return y_hat


def alpha_under(pixels: np.ndarray, box: Box) -> np.ndarray | None:
    """Alpha (H, W) of the pixels (H, W, C) under the latents in `box`, where there is one."""
    return pixels[(*(box * LATENT).slices, -1)] if pixels.shape[2] in (2, 4) else None
