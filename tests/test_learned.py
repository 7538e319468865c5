"""Tiles on their way to pixels: each is decoded once, a few ahead, and forgotten when no other sees it."""

import weakref

import numpy as np
import pytest

from codec import Codec
from codec.concurrency import AtOnce
from codec.container import Header
from codec.learned import Window
from codec.settings import Settings
from codec.tile import TileLatents
from codec.tiles import Box, latent_bounds, tile_box, tiles_in
from tests import tiny
from tests.symbols import digest

HEADER = Header(16 * 4 * 9, 16 * 4 * 7, "RGB", 4, bytes(8))  # 9 × 7 tiles of 4 × 4 latents
ALL = latent_bounds(HEADER)


class Source:
    """Latents of tiles, each full of its number: which were asked for, and which of them somebody still holds."""

    def __init__(self):
        self.asked, self.held = [], []

    def __call__(self, index):
        tile = TileLatents(0, np.zeros(0), np.full((1, 1, 4, 4), index, np.float32))
        self.asked.append(index)
        self.held.append(weakref.ref(tile))
        return tile

    def count(self):
        return sum(ref() is not None for ref in self.held)


@pytest.mark.parametrize("under", [ALL, Box(9, 10, 11, 13)], ids=["a picture", "a region in its middle"])
@pytest.mark.parametrize("reach", [0, 2, 4])
def test_every_tile_in_reach_is_fetched_once_and_forgotten(under, reach):
    source, most = Source(), 0
    window = Window(AtOnce(), HEADER, under, reach, source, lambda index: False)
    for index in tiles_in(HEADER, under):
        window.request(index)
        tile, seen, y_hat = window.take(index)
        assert (tile.y_hat == index).all() and seen == tile_box(HEADER, index).grow(reach, ALL)
        own = tile_box(HEADER, index).shift(seen.left, seen.top)
        assert (y_hat[(..., *own.slices)] == index).all()
        del tile, y_hat
        most = max(most, source.count())
    assert sorted(source.asked) == sorted(tiles_in(HEADER, under.grow(reach, ALL)))
    assert source.count() == 0 and most <= 2 * HEADER.grid[0] + 2


def test_an_empty_tile_needs_no_latents():
    source = Source()
    window = Window(AtOnce(), HEADER, ALL, 2, source, lambda index: index != 30)
    for index in tiles_in(HEADER, ALL):
        window.request(index)
        tile, _, _ = window.take(index)
        assert (tile is None) == (index != 30)
    assert sorted(source.asked) == [20, 21, 22, 29, 30, 31, 38, 39, 40]


def test_on_a_device_the_entropy_networks_stay_where_they_are():
    codec, pixels = Codec(tiny.weights(), threads=1), np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8)
    data, entropy = codec.encode_picture(pixels, Settings(tile=4)), codec.engine.entropy
    latents = digest(codec, data)
    assert codec.to("cpu") is codec and (codec.engine.name, codec.engine.entropy) == ("torch", entropy)
    assert digest(codec, data) == latents and codec.decode(data).size == (90, 40)
    assert codec.model is codec.engine.transforms.model
