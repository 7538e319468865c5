"""Latents as a thing of their own: from pictures and files, to pixels and files, and arithmetic on them.

    latents = Latents.from_image(codec, image, quality=60)
    half = (latents + Latents.from_image(codec, other, quality=60)) * 0.5
    half.to_image(codec).save("between.png")
    half.to_file(codec)                            # bytes of a .lat file that every reader decodes

ŷ is an array (M, H, W) of float32 in units of the quantiser's step at rate row `row`, one position for 16 × 16
pixels; ẑ (Z, ⌈H/4⌉, ⌈W/4⌉) are whole numbers, one position for 64 × 64 pixels. Latents that come from a file or a
picture lie on the grid that the entropy coder knows (ŷ = whole number + prediction) and keep their ẑ: they go to
.lat and .npz and back to the last bit. Edited latents have lost their ẑ and may lie anywhere. They decode to
pixels as they are; `coded` puts them on the grid, which is what a file of them restores.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from PIL import Image

from codec import container
from codec.arguments import LatFile, PictureLike, as_picture, parsed
from codec.coder import Codec
from codec.config import HYPER, LATENT, TILE, ceil_div
from codec.container import Container, Header
from codec.errors import FormatError, LatError, LimitError
from codec.picture.image import to_pillow
from codec.picture.metadata import KINDS
from codec.settings import MAX_PIXELS, QUALITY
from codec.tile import TileLatents
from codec.tiles import Box, hyper_box, latent_bounds, picture_box, tile_box

Padding = Literal["constant", "edge", "mean", "reflect", "symmetric", "wrap"]  # of numpy.pad


@dataclass(frozen=True, eq=False)
class Latents:
    """What a picture is between encoder and decoder; alpha and metadata stay beside it as they are."""

    y_hat: np.ndarray  # (M, H, W) float32
    row: int  # rate row
    width: int  # of the picture, in pixels
    height: int
    model: bytes  # fingerprint of the weights
    mode: str = "RGB"  # or "L": of the colours alone
    z_hat: np.ndarray | None = None  # (Z, ⌈H/4⌉, ⌈W/4⌉) float32; None where ŷ was edited
    alpha: np.ndarray | None = None  # (height, width) uint8
    metadata: dict[str, bytes] = field(default_factory=dict)  # as of a Picture

    # -- in and out ----------------------------------------------------------------------------------------------

    @classmethod
    def from_image(cls, codec: Codec, image: PictureLike, quality: float = QUALITY, coded: bool = True) -> Latents:
        """Analyse a picture; `coded=False` skips the quantiser and leaves y as the network made it.

        Raises: LatError, ValueError.
        """
        picture = as_picture(image)
        height, width = picture.pixels.shape[:2]
        row, bounds = codec.cfg.row(quality), Box(0, 0, width, height).cover(LATENT)
        y = np.empty((codec.cfg.latents, bounds.height, bounds.width), np.float32)
        mode, alpha = picture.mode.removesuffix("A"), picture.pixels[:, :, -1] if "A" in picture.mode else None
        empty = cls(y, row, width, height, codec.fingerprint, mode, None, alpha, picture.metadata)
        for box in empty.tiles():
            y[(..., *box.slices)] = codec.learned.analyse(picture.pixels, box, row)[0]
        return empty.coded(codec) if coded else empty

    @classmethod
    def from_file(cls, codec: Codec, data: LatFile, max_pixels: int = MAX_PIXELS) -> Latents:
        """Decode the latents of a .lat file, without synthesis unless a part of it is lossless.

        Raises: LatError and its kinds; also where tiles have different rate rows, which share no unit.
        """
        file = parsed(data)
        header, bounds = file.header, latent_bounds(file.header)
        if header.width * header.height > max_pixels:
            raise LimitError(f"{header.width} × {header.height} is more than {max_pixels} pixels")
        metadata, file = file.metadata, codec.learned.with_latents(file)
        header = file.header
        codec.learned.require(header)
        y_hat = np.empty((codec.cfg.latents, bounds.height, bounds.width), np.float32)
        z_hat = np.empty((codec.cfg.hyper, ceil_div(bounds.height, HYPER), ceil_div(bounds.width, HYPER)), np.float32)
        alpha = np.empty((header.height, header.width), np.uint8) if header.has_alpha else None
        rows = set()
        for index in range(len(file.tiles)):
            tile, box = codec.tile_coder.decode(file, index), tile_box(header, index)
            rows.add(tile.row)
            y_hat[(..., *box.slices)] = tile.y_hat[0]
            z_hat[(..., *hyper_box(box).slices)] = tile.z_hat[0]
            if alpha is not None and tile.alpha is not None:
                target = alpha[(box * LATENT).slices]
                target[:] = tile.alpha[: target.shape[0], : target.shape[1], 0]
        if len(rows) > 1:
            raise LatError(f"its tiles have {len(rows)} different rate rows, and latents need one: encode it anew")
        mode = header.mode.removesuffix("A")
        return cls(y_hat, rows.pop(), header.width, header.height, header.model, mode, z_hat, alpha, metadata)

    def to_image(self, codec: Codec) -> Image.Image:
        """Pixels, through the same tiles as a file of these latents: equal to decoding it where they are coded."""
        codec.learned.require(self.header)
        colours = replace(self.header, mode=self.mode)
        worker = codec.learned.sharing(colours.grid[0] * colours.grid[1])
        out = worker.synthesise(colours, picture_box(colours), self._tile)
        return to_pillow(out if self.alpha is None else np.dstack([out, self.alpha]), self.metadata)

    def _tile(self, index: int) -> TileLatents:
        """What a decoder needs of a tile to synthesise it: no ẑ."""
        box = tile_box(self.header, index)
        return TileLatents(self.row, np.empty(0, np.float32), self.y_hat[(None, ..., *box.slices)])

    def to_file(self, codec: Codec) -> bytes:
        """A .lat file. Edited latents are put on the coder's grid on the way, as `coded` does."""
        codec.learned.require(self.header)
        alphas = (None if self.alpha is None else self.alpha[(box * LATENT).slices] for box in self.tiles())
        coder = codec.tile_coder
        records = [coder.encode(y, z, self.row, alpha) for (y, z), alpha in zip(self._tiles(codec), alphas)]
        return container.build(Container(self.header, records, self.metadata))

    def coded(self, codec: Codec) -> Latents:
        """The nearest latents that a file can hold, with the ẑ that belongs to them."""
        codec.learned.require(self.header)
        y_hat = np.empty_like(self.y_hat)
        z_hat = np.empty((codec.cfg.hyper, *(ceil_div(n, HYPER) for n in y_hat.shape[1:])), np.float32)
        for box, (y, z) in zip(self.tiles(), self._tiles(codec)):
            y_hat[(..., *box.slices)] = codec.tile_coder.quantise(y, z, self.row).values[0]
            z_hat[(..., *hyper_box(box).slices)] = z[0]
        return replace(self, y_hat=y_hat, z_hat=z_hat)

    def save(self, file) -> None:
        """Write .npz (a path or a binary file): y_hat, row, size, model, mode; z_hat, alpha, metadata if there are."""
        arrays: dict[str, Any] = {"y_hat": self.y_hat, "row": self.row, "size": (self.width, self.height)}
        arrays["mode"] = self.mode
        arrays |= {key: value for key, value in (("z_hat", self.z_hat), ("alpha", self.alpha)) if value is not None}
        arrays |= {key: np.frombuffer(value, np.uint8) for key, value in self.metadata.items()}
        np.savez_compressed(file, model=np.frombuffer(self.model, np.uint8), **arrays)

    @classmethod
    def load(cls, file) -> Latents:
        """From what `save` wrote.

        Raises: FormatError.
        """
        if isinstance(file, (str, Path)):
            file = io.BytesIO(Path(file).read_bytes())  # np.load leaves a damaged file open
        try:
            with np.load(file, allow_pickle=False) as a:
                width, height = map(int, a["size"])
                fields = (a["y_hat"], int(a["row"]), width, height, a["model"].tobytes(), str(a["mode"]))
                metadata = {key: a[key].tobytes() for key in KINDS if key in a}
                found = cls(*fields, a.get("z_hat"), a.get("alpha"), metadata)
        except (KeyError, ValueError, OSError, BadZipFile, EOFError) as error:
            raise FormatError(f"no latents: {error}") from None
        found._check()
        return found

    def _check(self) -> None:
        y, z = self.y_hat, self.z_hat
        good = y.ndim == 3 and y.dtype == np.float32 and y.shape[:0:-1] == self.grid and self.mode in ("L", "RGB")
        if good and z is not None:
            good = z.dtype == np.float32 and z.shape[1:] == tuple(ceil_div(n, HYPER) for n in y.shape[1:])
        if good and self.alpha is not None:
            good = self.alpha.dtype == np.uint8 and self.alpha.shape == (self.height, self.width)
        if not good or not np.isfinite(y).all():
            raise FormatError(f"no latents: ŷ of {y.dtype} {y.shape} for {self.width} × {self.height} pixels")

    # -- geometry ------------------------------------------------------------------------------------------------

    @property
    def header(self) -> Header:
        return Header(self.width, self.height, self.mode + "A" * (self.alpha is not None), TILE, self.model)

    @property
    def grid(self) -> tuple[int, int]:
        """Latent positions across and down."""
        return ceil_div(self.width, LATENT), ceil_div(self.height, LATENT)

    def tiles(self) -> Iterator[Box]:
        header = self.header
        return (tile_box(header, i) for i in range(header.grid[0] * header.grid[1]))

    def _tiles(self, codec: Codec) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """y and ẑ (1, channels, h, w) of each tile; ẑ from y where it was lost."""
        for box in self.tiles():
            y = self.y_hat[(None, ..., *box.slices)]
            if self.z_hat is None:
                yield y, codec.learned.hyper_latents(y, self.row).values
            else:
                yield y, self.z_hat[(None, ..., *hyper_box(box).slices)]

    def __getitem__(self, index: tuple[slice, slice]) -> Latents:
        """latents[top:bottom, left:right] in latent positions; whole 16 × 16 squares, so the size is a multiple of 16
        except where the picture ends."""
        (top, bottom, step_y), (left, right, step_x) = (s.indices(n) for s, n in zip(index, self.grid[::-1]))
        if (step_y, step_x) != (1, 1) or bottom <= top or right <= left:
            raise LatError(f"latents{list(index)}: need steps of 1 and at least one position")
        width = min(right * LATENT, self.width) - left * LATENT
        height = min(bottom * LATENT, self.height) - top * LATENT
        y_hat = self.y_hat[:, top:bottom, left:right].copy()
        alpha = None if self.alpha is None else self.alpha[(Box(left, top, right, bottom) * LATENT).slices]
        return replace(self, y_hat=y_hat, z_hat=None, width=width, height=height, alpha=alpha)

    def pad(self, left: int = 0, top: int = 0, right: int = 0, bottom: int = 0, mode: Padding = "edge") -> Latents:
        """Add positions around, filled as numpy.pad's `mode` says, alpha as at the edge.

        The picture grows to whole squares first.
        """
        y_hat = np.pad(self.y_hat, ((0, 0), (top, bottom), (left, right)), mode)
        height, width = (n * LATENT for n in y_hat.shape[1:])
        alpha, above, before = self.alpha, top * LATENT, left * LATENT
        if alpha is not None:
            margins = (above, height - above - self.height), (before, width - before - self.width)
            alpha = np.pad(alpha, margins, "edge")
        return replace(self, y_hat=y_hat, z_hat=None, width=width, height=height, alpha=alpha)

    # -- arithmetic ----------------------------------------------------------------------------------------------

    def with_y(self, y_hat: np.ndarray) -> Latents:
        """The same picture frame with other latents.

        Raises: LatError where they are not finite.
        """
        values = np.asarray(y_hat, np.float32)
        if not np.isfinite(values).all():
            raise LatError("latents must be finite numbers")
        return replace(self, y_hat=values, z_hat=None)

    def __add__(self, other: Latents | float) -> Latents:
        return self.with_y(self.y_hat + self._values(other))

    def __sub__(self, other: Latents | float) -> Latents:
        return self.with_y(self.y_hat - self._values(other))

    def __mul__(self, factor: float | np.ndarray) -> Latents:
        """By a number, or an array that broadcasts to (M, H, W)."""
        return self.with_y(self.y_hat * factor)

    __rmul__ = __mul__

    def _values(self, other: Latents | float) -> np.ndarray | float:
        if not isinstance(other, Latents):
            return other
        if other.model != self.model or other.row != self.row or other.y_hat.shape != self.y_hat.shape:
            raise LatError(
                f"latents of {other.grid} positions at rate row {other.row} do not go with {self.grid} at {self.row}: "
                "they need the same size, rate row (`at_row` changes it) and weights"
            )
        return other.y_hat

    def at_row(self, codec: Codec, row: int) -> Latents:
        """The same values in the units of another rate row."""
        if row == self.row:
            return self
        return replace(self.with_y(self.natural(codec) / step(codec, row)), row=row)

    def natural(self, codec: Codec) -> np.ndarray:
        """ŷ in units that all rate rows share, (M, H, W): the quantiser's step undone, as g_s sees it."""
        return self.y_hat * step(codec, self.row)


def step(codec: Codec, row: int) -> np.ndarray:
    """The quantiser's step of a rate row, by channel, in natural units: (M, 1, 1)."""
    return np.exp(codec.weights.networks["gain_y_inverse"][row].astype(np.float32))[:, None, None]
