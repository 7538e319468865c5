"""Learned tiles, lossless patches, or both: the file that costs least in bits + λ · squared error. No torch here.

The learned part of a file that is both codes a picture in which a smooth continuation of the photographs stands in
place of what the patches show: a tile and its neighbours see nothing unusual at the border, so none shows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from codec import container, estimate, graphics, lossless
from codec.container import Container
from codec.picture.image import Picture
from codec.settings import Settings
from codec.tiles import Box, picture_box

if TYPE_CHECKING:
    from codec.coder import Codec

SMALLEST = 0.65  # of the estimate, that a file may have at the most thorough


def cheapest(codec: Codec, picture: Picture, settings: Settings, learned: Container) -> Container:
    """`learned`, or a file of the same picture with patches where these pay.

    It is no larger than one without loss: what costs less than that has fewer bits too.
    """
    blocks, bits = graphics.find(picture.pixels), 8 * len(container.build(learned))
    if blocks is None and not estimate.is_close(codec, picture.pixels, codec.cfg.row(settings.quality), bits):
        return learned
    found, cost = learned, bits + distortion(codec, picture, settings, learned)
    for candidate in (everywhere, mixture):
        other = candidate(codec, picture, settings, blocks, cost)
        if other is None:
            continue
        bits = 8 * len(container.build(other))
        if bits < cost and (total := bits + distortion(codec, picture, settings, other)) < cost:
            found, cost = other, total
    return found


def mixture(
    codec: Codec, picture: Picture, settings: Settings, blocks: graphics.Blocks | None, cost: float
) -> Container | None:
    """Patches over the blocks, tiles under the rest; None where one of them is nothing, or patches cost too much."""
    if blocks is None or blocks.all():
        return None
    mask = graphics.spread(blocks, picture.pixels)
    over = lossless.patches(picture.pixels, mask, settings.effort)
    if 8 * sum(len(patch.stream) for patch in over) > cost:
        return None

    def unseen(box: Box) -> bool:
        """Nothing that the tiles show depends on these latents; alpha, where there is some, is in every tile."""
        around = box.grow(codec.cfg.decoder_reach, Box(0, 0, blocks.shape[1], blocks.shape[0]))
        return picture.pixels.shape[2] in (1, 3) and bool(blocks[around.slices].all())

    under = replace(picture, pixels=graphics.filled(picture.pixels, mask))
    return replace(codec.encode_tiles(under, settings, unseen=unseen), patches=over)


def everywhere(
    codec: Codec, picture: Picture, settings: Settings, blocks: graphics.Blocks | None, cost: float
) -> Container | None:
    """All of the picture in patches; None where these can be seen to cost more than `cost`."""
    if 8 * SMALLEST * sum(len(p.stream) for p in lossless.patches(picture.pixels, None, lossless.ESTIMATE)) > cost:
        return None
    return lossless.encode(picture, settings.effort)


def distortion(codec: Codec, picture: Picture, settings: Settings, file: Container) -> float:
    """λ · squared error, in bits."""
    if file.header.lossless:
        return 0.0
    decoded = codec.decode_pixels(file, picture_box(file.header))
    return codec.cfg.lambda_of(codec.cfg.row(settings.quality)) * estimate.squared_error(picture.pixels, decoded)
