"""Tiles of a file -> their pixels, several at a time."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import Future
from itertools import islice
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
    wanted = under.grow(reach, bounds)
    worker = codec.for_tiles(len(todo))
    at_once = worker.engine.at_once
    decoded: dict[int, Future[TileLatents]] = {}
    leaving: defaultdict[int, list[int]] = defaultdict(list)  # what is not needed any more after a tile
    begun: deque[tuple[Box, Future[np.ndarray]]] = deque()
    ahead = iter(todo)

    def seen_by(index: int) -> Box:
        return tile_box(header, index).grow(reach, bounds)

    def needed(index: int) -> list[int]:
        return list(tiles_in(header, seen_by(index) & wanted)) if len(file.tiles[index]) else []

    with in_flight(sum(1 for _ in tiles_in(header, wanted)), at_once) as pool:

        def fetch(tiles: int) -> None:
            for other in [other for index in islice(ahead, tiles) for other in needed(index)]:
                if other not in decoded:
                    decoded[other] = pool.submit(decode_or_report, worker, file, other, on_error)
                    *_, last = tiles_in(header, seen_by(other) & under)
                    leaving[last].append(other)

        fetch(at_once)
        for index in todo:
            fetch(1)
            box, seen = tile_box(header, index), seen_by(index)
            if latents := {other: decoded[other].result() for other in needed(index)}:
                y_hat = joined(header, seen, latents)
                task = pool.submit(synthesise, worker, file, index, latents[index], y_hat, seen)
            else:
                task = pool.submit(lossless.flat, header, box.height * LATENT, box.width * LATENT)
            begun.append((box, task))
            for other in leaving.pop(index, ()):
                del decoded[other]
            if len(begun) > at_once:
                box, task = begun.popleft()
                yield box, task.result()
        for box, task in begun:
            yield box, task.result()


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
