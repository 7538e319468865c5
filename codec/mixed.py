"""Learned tiles, lossless patches, or both: the file that costs least in bits + λ · squared error. No torch here.

The learned part of a file that is both codes a picture in which a smooth continuation of the photographs stands in
place of what the patches show: a tile and its neighbours see nothing unusual at the border, so none shows.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from codec import container, graphics, lossless
from codec.container import Container
from codec.learned import Choose, Learned, Progress
from codec.picture.image import Picture
from codec.settings import Settings
from codec.tiles import Box, picture_box

BEST_SAVING = 0.8  # of the quick estimate: at full effort WebP saves at most 20 % of it


def encode(
    learned: Learned,
    picture: Picture,
    settings: Settings,
    choose: Choose | None = None,
    progress: Progress | None = None,
) -> Container:
    """The cheapest file of a picture: learned, or with patches where these pay.

    Raises: LatError.
    """
    tiles = learned.encode(picture, settings, choose, progress)
    blocks = graphics.find(picture.pixels)
    if blocks is None:
        return tiles
    cheapest, cost = tiles, 8 * len(container.build(tiles)) + distortion(learned, picture, settings, tiles)
    patched = partial(everywhere, picture, settings)
    for candidate in (patched, partial(mixture, learned, picture, settings, choose, blocks)):
        other = candidate(cost)
        if other is None:
            continue
        bits = 8 * len(container.build(other))
        if bits < cost and (total := bits + distortion(learned, picture, settings, other)) < cost:
            cheapest, cost = other, total
    return cheapest


def everywhere(picture: Picture, settings: Settings, limit: float) -> Container | None:
    """All of the picture in patches; None where these can be seen to cost more bits than `limit`."""
    estimate = sum(len(p.stream) for p in lossless.patches(picture.pixels, None, lossless.ESTIMATE))
    return None if 8 * BEST_SAVING * estimate > limit else lossless.encode(picture, settings.effort)


def mixture(
    learned: Learned,
    picture: Picture,
    settings: Settings,
    choose: Choose | None,
    blocks: graphics.Blocks,
    limit: float,
) -> Container | None:
    """Patches over the blocks, tiles under the rest; None where its patches alone cost more bits than `limit`."""
    if blocks.all():
        return None
    mask = graphics.spread(blocks, picture.pixels)
    over = lossless.patches(picture.pixels, mask, settings.effort)
    if 8 * sum(len(patch.stream) for patch in over) > limit:
        return None

    def unseen(box: Box) -> bool:
        """Whether nothing that the tiles show depends on these latents; alpha, if there is some, is in every tile."""
        around = box.grow(learned.config.decoder_reach, Box(0, 0, blocks.shape[1], blocks.shape[0]))
        return picture.pixels.shape[2] in (1, 3) and bool(blocks[around.slices].all())

    under = replace(picture, pixels=graphics.filled(picture.pixels, mask))
    return replace(learned.encode(under, settings, choose, unseen=unseen), patches=over)


def distortion(learned: Learned, picture: Picture, settings: Settings, file: Container) -> float:
    """λ · squared error, in bits."""
    if file.header.lossless:
        return 0.0
    colours = 1 if picture.mode in ("L", "LA") else 3
    decoded = learned.decode(file, picture_box(file.header))
    error = decoded[..., :colours].astype(np.float32) - picture.pixels[..., :colours]
    weight = learned.config.lambda_of(learned.config.row(settings.quality)) / colours
    return weight * float(np.square(error).sum(dtype=np.float64))
