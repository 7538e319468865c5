"""Where tiles lie: a grid over the latents, and the pixels and latents each tile needs around itself.

Tiles part the latents without overlap and are entropy-coded independently, so no bit is spent twice. The
networks see beyond a tile's border: g_a real pixels, g_s the neighbours' latents, as far as they reach.
A tiled picture therefore equals the untiled one, and there is no seam to hide.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass

from codec.container import HYPER, LATENT, MAX_PATCH, Container, Header
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

    def shift(self, left: int, top: int) -> Box:
        """The same rectangle in coordinates whose origin is (left, top)."""
        return Box(self.left - left, self.top - top, self.right - left, self.bottom - top)

    @property
    def slices(self) -> tuple[slice, slice]:
        """(rows, columns) for indexing arrays."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def latent_bounds(header: Header) -> Box:
    """All latents of the picture."""
    return Box(0, 0, -(-header.width // LATENT), -(-header.height // LATENT))


def tile_box(header: Header, index: int) -> Box:
    """Latents of a tile, by its place in raster order."""
    row, column = divmod(index, header.grid[0])
    left, top = column * header.tile, row * header.tile
    return Box(left, top, left + header.tile, top + header.tile) & latent_bounds(header)


def picture_box(header: Header) -> Box:
    """All pixels of the picture."""
    return Box(0, 0, header.width, header.height)


def box_of(numbers: tuple[int, int, int, int]) -> Box:
    """The box that four whole numbers stand for.

    Raises: LatError where they are not four, or not whole.
    """
    try:
        return Box(*map(operator.index, numbers))
    except TypeError:
        raise LatError(f"a box must be (left, top, right, bottom) in whole pixels, got {numbers!r}") from None


def region_box(header: Header, box: tuple[int, int, int, int]) -> Box:
    """Pixels (left, top, right, bottom) of a picture.

    Raises: LatError where there are none, or not all are in the picture.
    """
    region = box_of(box)
    if region & picture_box(header) != region or not region.width * region.height:
        raise LatError(f"region {box} is empty or leaves the picture of {header.width} × {header.height}")
    return region


def hyper_box(box: Box) -> Box:
    """Positions of ẑ that belong to a tile's latents."""
    return Box(box.left // HYPER, box.top // HYPER, -(-box.right // HYPER), -(-box.bottom // HYPER))


def tiles_in(header: Header, latents: Box) -> Iterator[int]:
    """Tiles that share latents with a box, in raster order."""
    across, _ = header.grid
    for row in range(latents.top // header.tile, -(-latents.bottom // header.tile)):
        for column in range(latents.left // header.tile, -(-latents.right // header.tile)):
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
    for row in range(pixels.top // MAX_PATCH, -(-pixels.bottom // MAX_PATCH)):
        for column in range(pixels.left // MAX_PATCH, -(-pixels.right // MAX_PATCH)):
            yield row, column
