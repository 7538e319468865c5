"""Nearest pictures among .lat files, without making a pixel.

A descriptor is a file's layout of light and colour: the channels of ŷ that carry the mean of their 16 × 16 pixels,
pooled to a GRID × GRID map, minus its mean. After two of the four passes they are known at every second latent, like
the black squares of a chessboard (one pass, every fourth, loses a third of the duplicates of half the size); the
white ones are the mean of their neighbours. g_s never runs. Pooling over relative position makes a descriptor
indifferent to size; re-compression moves it little. Cosine similarity compares two; near 1 means a duplicate.
"""

from __future__ import annotations

import numpy as np

from codec import container
from codec.coder import Codec
from codec.config import LATENT, PASSES
from codec.latent.latents import step
from codec.tiles import latent_bounds, tile_box

GRID = 6
PASSES_DECODED = 2
DUPLICATE = 0.945  # similarity from which two files are called the same picture, chosen on 420 photographs


def descriptor(codec: Codec, data: bytes) -> np.ndarray:
    """Of a .lat file's bytes: unit vector (channels · GRID²,) float32.

    Raises: LatError and its kinds.
    """
    parsed = codec.learned.with_latents(container.parse(data))
    header, bounds = parsed.header, latent_bounds(parsed.header)
    codec.learned.require(header)
    channels = mean_channels(codec)
    known = np.empty((len(channels), bounds.height, bounds.width), np.float32)
    for index in range(len(parsed.tiles)):
        tile, box = codec.tile_coder.decode(parsed, index, passes=PASSES_DECODED), tile_box(header, index)
        known[(..., *box.slices)] = tile.y_hat[0, channels] * step(codec, tile.row)[channels]
    black = np.add.outer(np.arange(bounds.height), np.arange(bounds.width)) % 2 == 0
    around = neighbour_sum(known * black) / np.maximum(neighbour_sum(black[None].astype(np.float32)), 1)
    pooled = pool(np.where(black, known, around), header.height / LATENT, header.width / LATENT)
    pooled -= pooled.mean((1, 2), keepdims=True)
    vector = pooled.reshape(-1)
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def mean_channels(codec: Codec) -> list[int]:
    """Channels of the first group whose part in the linear shortcut of g_s is mostly one colour for all its pixels."""
    weight = codec.weights.networks["g_s.linear.weight"].astype(np.float32)
    weight = weight.reshape(3, -1, codec.cfg.latents)  # (RGB, pixels, M)
    flat = np.square(weight.mean(1)).sum(0) / np.square(weight).mean(1).sum(0)
    return [c for c in range(codec.cfg.latents // PASSES) if flat[c] > 0.5]


def neighbour_sum(values: np.ndarray) -> np.ndarray:
    """(C, H, W): above, below, left and right."""
    p = np.pad(values, ((0, 0), (1, 1), (1, 1)))
    return p[:, :-2, 1:-1] + p[:, 2:, 1:-1] + p[:, 1:-1, :-2] + p[:, 1:-1, 2:]


def pool(values: np.ndarray, height: float, width: float) -> np.ndarray:
    """(C, H, W) -> (C, GRID, GRID): means over the cells of a grid laid over `height` × `width` positions."""
    rows, columns = overlap(values.shape[1], height), overlap(values.shape[2], width)
    return np.einsum("gh,chw,kw->cgk", rows, values, columns, optimize=True)


def overlap(count: int, length: float) -> np.ndarray:
    """(GRID, count): share of each position in each cell; rows sum to 1."""
    edges = np.arange(GRID + 1) * length / GRID
    at = np.arange(count)
    shares = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
    shares = np.maximum(shares, 1e-6)
    return shares / shares.sum(1, keepdims=True)


def nearest(query: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order of the rows of `others` by similarity to `query`, nearest first, and the similarities in that order."""
    similarity = others @ query
    order = np.argsort(-similarity, kind="stable")
    return order, similarity[order]
