"""Where tiles lie: a grid over the latents, and the pixels and latents each tile needs around itself.

Tiles part the latents without overlap and are entropy-coded independently, so no bit is spent twice. The
networks see beyond a tile's border: g_a real pixels, g_s the neighbours' latents, as far as they reach.
A tiled picture therefore equals the untiled one, and there is no seam to hide.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass

from codec.config import HYPER, LATENT, ceil_div
from codec.container import MAX_PATCH, Container, Header
from codec.errors import LatError


@dataclass(frozen=True)
class Box:
    """Half-open rectangle: left ≤ x < right, top ≤ y < bottom."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def area(self) -> int:
        return self.width * self.height

    def grow(self, by: int, within: Box) -> Box:
        return Box(self.left - by, self.top - by, self.right + by, self.bottom + by) & within

    def __and__(self, other: Box) -> Box:
        left, top = max(self.left, other.left), max(self.top, other.top)
        return Box(left, top, max(left, min(self.right, other.right)), max(top, min(self.bottom, other.bottom)))

    def __mul__(self, factor: int) -> Box:
        return Box(self.left * factor, self.top * factor, self.right * factor, self.bottom * factor)

    def cover(self, unit: int) -> Box:
        """The smallest box that covers this one, in units of so many."""
        ends = ceil_div(self.right, unit), ceil_div(self.bottom, unit)
        return Box(self.left // unit, self.top // unit, *ends)

    def shift(self, left: int, top: int) -> Box:
        """The same rectangle in coordinates whose origin is (left, top)."""
        return Box(self.left - left, self.top - top, self.right - left, self.bottom - top)

    @property
    def slices(self) -> tuple[slice, slice]:
        """(rows, columns) for indexing arrays."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def latent_bounds(header: Header) -> Box:
    """All latents of the picture."""
    return picture_box(header).cover(LATENT)


def tile_box(header: Header, index: int) -> Box:
    """Latents of a tile, by its place in raster order."""
    row, column = divmod(index, header.grid[0])
    left, top = column * header.tile, row * header.tile
    return Box(left, top, left + header.tile, top + header.tile) & latent_bounds(header)


def picture_box(header: Header) -> Box:
    """All pixels of the picture."""
    return Box(0, 0, header.width, header.height)


def region_box(header: Header, box: tuple[int, int, int, int]) -> Box:
    """Pixels (left, top, right, bottom) of a picture.

    Raises: LatError where there are none, or not all are in the picture.
    """
    return box_within(box, header.width, header.height, "region")


def box_within(box: tuple[int, int, int, int], width: int, height: int, what: str = "box") -> Box:
    """(left, top, right, bottom) of a picture of this size; `what` it is called in messages.

    Raises: LatError where these are not four whole numbers, or the box is empty or leaves the picture.
    """
    try:
        left, top, right, bottom = (operator.index(value) for value in box)
    except (TypeError, ValueError):
        raise LatError(f"{what} {box!r} must be four whole numbers: left, top, right, bottom") from None
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise LatError(f"{what} {box} is empty or leaves the picture of {width} × {height}")
    return Box(left, top, right, bottom)


def hyper_box(box: Box) -> Box:
    """Positions of ẑ that belong to a tile's latents."""
    return box.cover(HYPER)


def tiles_in(header: Header, latents: Box) -> Iterator[int]:
    """Tiles that share latents with a box, in raster order."""
    across, _ = header.grid
    for row in range(latents.top // header.tile, ceil_div(latents.bottom, header.tile)):
        for column in range(latents.left // header.tile, ceil_div(latents.right, header.tile)):
            yield row * across + column


def tile_kinds(file: Container) -> dict[str, int]:
    """How many tiles are learned, how many lossless, and how many both: those that a patch reaches into."""
    across, down = file.header.grid
    if file.header.lossless:
        return {"learned": 0, "mixed": 0, "lossless": across * down}
    kinds = {"learned": 0, "mixed": 0, "lossless": 0}
    patches = {patch.cell: Box(*patch.sides) for patch in file.patches}
    for index, tile in enumerate(file.tiles):
        if not len(tile):
            kinds["lossless"] += 1
            continue
        pixels = tile_box(file.header, index) * LATENT
        near = (patches.get(cell) for cell in cells_under(pixels))
        shared = any(patch is not None and (pixels & patch).area for patch in near)
        kinds["mixed" if shared else "learned"] += 1
    return kinds


def cells_under(pixels: Box) -> Iterator[tuple[int, int]]:
    """Row and column of each cell that a box of pixels reaches into. A cell has one patch at most."""
    for row in range(pixels.top // MAX_PATCH, ceil_div(pixels.bottom, MAX_PATCH)):
        for column in range(pixels.left // MAX_PATCH, ceil_div(pixels.right, MAX_PATCH)):
            yield row, column
