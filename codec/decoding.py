"""Tiles of a file -> their pixels, several at a time."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING

import numpy as np

from codec import lossless
from codec.concurrency import in_flight
from codec.container import LATENT, Container, Header
from codec.errors import LatError
from codec.lossless import OnError
from codec.picture.image import to_grey
from codec.tile import TileLatents
from codec.tiles import Box, latent_bounds, tile_box, tiles_in

if TYPE_CHECKING:
    from codec.coder import Codec


def synthesised(
    codec: Codec, file: Container, todo: list[int], under: Box, on_error: OnError | None
) -> Iterator[tuple[Box, np.ndarray]]:
    """(latents, pixels (16h, 16w, C)) of each tile in `todo`; only pixels of latents in `under` are final.

    Tiles are always synthesised whole, so that a region equals the crop of the picture to the last bit; latents
    that none of its pixels depend on stay zero. Only tiles still in reach are kept, and a few ahead.
    """
    header, bounds, reach = file.header, latent_bounds(file.header), codec.cfg.decoder_reach
    wanted = set(tiles_in(header, under.grow(reach, bounds)))
    around = [tile_box(header, index).grow(reach, bounds) for index in todo]
    order = iter(dict.fromkeys(t for seen in around for t in tiles_in(header, seen) if t in wanted))
    worker = codec.for_tiles(len(todo))
    at_once = worker.engine.at_once
    decoded: dict[int, Future[TileLatents]] = {}
    begun: deque[tuple[Box, Future[np.ndarray]]] = deque()
    used: set[int] = set()
    submitted = 0
    with in_flight(len(wanted), at_once) as pool:
        for index, seen in zip(todo, around):
            needed = [t for t in tiles_in(header, seen) if t in wanted]
            used.update(needed)
            for other in itertools.islice(order, len(used) + at_once - submitted):  # those, and the next ones ahead
                decoded[other] = pool.submit(decode_or_report, worker, file, other, on_error)
                submitted += 1
            y_hat = joined(header, seen, {t: decoded[t].result() for t in needed})
            task = pool.submit(synthesise, worker, file, index, decoded[index].result(), y_hat, seen)
            begun.append((tile_box(header, index), task))
            if len(begun) > at_once:
                box, pixels = begun.popleft()
                yield box, pixels.result()
            decoded = {k: v for k, v in decoded.items() if k >= index - header.grid[0] - 1}
        for box, pixels in begun:
            yield box, pixels.result()


def joined(header: Header, seen: Box, tiles: dict[int, TileLatents]) -> np.ndarray:
    """ŷ (1, M, h, w) of a box, from the tiles in it; 0 where none is."""
    channels = next(iter(tiles.values())).y_hat.shape[1]
    y_hat = np.zeros((1, channels, seen.height, seen.width), np.float32)
    for index, tile in tiles.items():
        theirs = tile_box(header, index)
        shared = theirs & seen
        source = tile.y_hat[(..., *shared.shift(theirs.left, theirs.top).slices)]
        y_hat[(..., *shared.shift(seen.left, seen.top).slices)] = source
    return y_hat


def synthesise(
    codec: Codec, file: Container, index: int, tile: TileLatents, y_hat: np.ndarray, seen: Box
) -> np.ndarray:
    """Pixels (16h, 16w, C) of a tile, from the latents `seen` under and around it."""
    header, box = file.header, tile_box(file.header, index)
    if not file.tiles[index]:
        return lossless.flat(header, box.height * LATENT, box.width * LATENT)
    x = codec.engine.transforms.synthesise(y_hat, tile.row)[(box.shift(seen.left, seen.top) * LATENT).slices]
    if header.mode in ("L", "LA"):
        x = to_grey(x)
    return x if tile.alpha is None else np.concatenate([x, tile.alpha], 2)


def decode_or_report(codec: Codec, file: Container, index: int, on_error: OnError | None) -> TileLatents:
    """One tile's latents; with `on_error` a damaged tile becomes a flat one."""
    try:
        return codec.tiles.decode(file, index)
    except LatError as error:
        if on_error is None:
            raise
        on_error(index, error)
        return codec.tiles.flat(file, index)
