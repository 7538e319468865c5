"""Photograph <-> bytes: tiles through the networks and the entropy coder, two at a time."""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Lock

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from codec import container, entropy_model, weights
from codec.container import LATENT, Container, Header
from codec.effort import DEFAULT as DEFAULT_EFFORT
from codec.effort import STEPS, TUNES, Objective, descend
from codec.errors import DesyncError, FormatError, LatError, LimitError, MissingModelError
from codec.image import MAX_PIXELS, Picture, from_array, from_pillow, to_pillow
from codec.model import Config, Model, zero_bin
from codec.rans import SymbolReader, SymbolWriter, Tables
from codec.tiles import Box, latent_bounds, tile_box, tiles_in

TILE = 64  # latents a side: 1024 pixels
ZERO_BINS = zero_bin(entropy_model.SIGMAS)
QUALITY = 50
Write = Callable[[np.ndarray, np.ndarray], None]  # coded symbols of a pass, in order, and their tables
Progress = Callable[[int, int], None]  # tiles done, tiles in all; with effort, steps of tiles
OnError = Callable[[int, LatError], None]  # tile, what is wrong with it


@dataclass(frozen=True)
class TileLatents:
    """One decoded tile: rate row, ẑ (1, Z, h, w), ŷ (1, M, H, W), and alpha (16H, 16W, 1) where there is one."""

    row: int
    z_hat: Tensor
    y_hat: Tensor
    alpha: np.ndarray | None = None


class Codec:
    """One set of weights, ready to encode and decode.

    >>> from codec import Codec
    >>> codec = Codec.load()
    >>> data = codec.encode(Image.new("RGB", (40, 30), "teal"), quality=50)
    >>> codec.decode(data).size
    (40, 30)
    """

    def __init__(self, data: bytes, fingerprint: bytes):
        with_names = load(data)
        length = struct.unpack_from("<Q", data)[0]
        meta = json.loads(data[8 : 8 + length])["__metadata__"]
        self.name, self.fingerprint = meta["name"], fingerprint
        self.cfg = Config(**json.loads(meta["config"]))

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in with_names.items() if k.startswith(prefix)}

        networks = {k: v.float() for k, v in with_names.items() if not k.startswith(("exact.", "tables."))}
        with torch.random.fork_rng(devices=[]):  # the caller's random state is not ours to advance
            model = Model(self.cfg)
        model.load_state_dict(networks)
        self.model = model.eval().requires_grad_(False)
        self.device = torch.device("cpu")
        self.entropy = entropy_model.EntropyModel(part("exact."), self.cfg)
        t = {k: v.numpy() for k, v in part("tables.").items()}
        counted, gaussian, self.z_tables = (
            Tables.unpack(*(t[f"{label}.{part}"] for part in ("cdf", "length", "offset")))
            for label in ("y", "y_gaussian", "z")
        )
        self.y_tables = counted, gaussian.continued(counted)  # a tile takes what is cheaper: after effort, the second

    @classmethod
    def load(cls, name: str = weights.DEFAULT) -> Codec:
        """Installed weights by name, or a path to a .safetensors file.

        Raises: MissingModelError, FormatError.
        """
        path = weights.locate(name)
        try:
            return cls(*weights.read(path))
        except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
            raise FormatError(f"{path}: no weights of this codec: {error}") from None

    @classmethod
    def for_file(cls, data: bytes) -> Codec:
        """The installed weights that a .lat file was written with.

        Raises: FormatError, MissingModelError.
        """
        return cls.load(weights.name_for(container.parse(data).header.model))

    def to(self, device: torch.device | str) -> Codec:
        """This codec with g_a, g_s and h_a on another device; entropy coding stays on the CPU."""
        self.device = torch.device(device)
        self.model.to(self.device)
        return self

    def row(self, quality: float) -> int:
        """Rate row of a quality of 0 … 100."""
        if not 0 <= quality <= 100:
            raise ValueError(f"quality must be 0 … 100, got {quality}")
        return round(quality * (self.cfg.rates - 1) / 100)

    def require(self, header: Header) -> None:
        """Raises: MissingModelError where these are not the weights that a header names."""
        if header.model != self.fingerprint:
            written = weights.name_of(header.model) or header.model.hex()
            raise MissingModelError(f"written with weights {written}, but {self.name} is loaded; use Codec.for_file")

    # -- encoding ------------------------------------------------------------------------------------------------

    def encode(
        self,
        image: Image.Image | np.ndarray | Picture,
        quality: float = QUALITY,
        progress: Progress | None = None,
        threshold: float = 0.5,
        effort: int = DEFAULT_EFFORT,
        tune: str = "psnr",
    ) -> bytes:
        """A Pillow image, or a uint8 array (H, W) or (H, W, C), -> the bytes of a .lat file.

        `quality` 0 … 100: higher is better and larger. Alpha is lossless. `threshold` 0.5 … 1:
        residuals shrink by what it exceeds 0.5 by, before they are rounded, small ones to 0 (`zero_bin`); a larger one
        makes the file smaller by less than a step of quality does.
        `effort` 1 … 9: from 4 on, gradient steps make the file smaller and encoding slower (`effort.py`), for the
        sake of the metric `tune`, "psnr" or "ms-ssim". `progress` counts these steps too.
        Raises: LatError, ValueError.
        """
        if effort not in STEPS or tune not in TUNES:
            raise ValueError(f"effort must be 1 … 9 and tune one of {', '.join(TUNES)}, got {effort}, {tune}")
        image = as_picture(image)
        height, width = image.pixels.shape[:2]
        header = Header(width, height, image.mode, TILE, self.fingerprint)
        row, count = self.row(quality), header.grid[0] * header.grid[1]
        done, lock = itertools.count(1), Lock()

        def step_done() -> None:
            with lock:
                if progress:
                    progress(next(done), count * (STEPS[effort] + 1))

        def encoded(index: int) -> bytes:
            box = tile_box(header, index)
            tile = self.encode_tile(image.pixels, box, row, threshold, effort, tune, step_done)
            step_done()
            return tile

        with _two_at_a_time(count) as pool:
            tiles = list(pool.map(encoded, range(count)))
        return container.build(Container(header, tiles, image.metadata))

    @torch.inference_mode()
    @torch.autocast("cpu", enabled=False)
    def analyse(self, pixels: np.ndarray, box: Box, row: int) -> Tensor:
        """y (1, M, h, w) of the latents in `box`, from the pixels under and around them."""
        height, width = pixels.shape[:2]
        bounds = Box(0, 0, -(-width // LATENT), -(-height // LATENT))
        seen = box.grow(-(-self.model.g_a.reach // LATENT), bounds)
        part = pixels[(seen * LATENT).slices]
        missing = (seen.width * LATENT - part.shape[1], seen.height * LATENT - part.shape[0])
        x = to_tensor(part)
        x = F.pad(x, (0, missing[0], 0, missing[1]), mode="replicate") if any(missing) else x
        y = self.model.analyse(x.to(self.device).div_(255), self._rows(row))
        return y[(..., *box.shift(seen.left, seen.top).slices)].cpu()

    def encode_tile(
        self,
        pixels: np.ndarray,
        box: Box,
        row: int,
        threshold: float = 0.5,
        effort: int = DEFAULT_EFFORT,
        tune: str = "psnr",
        step_done: Callable[[], None] = lambda: None,
    ) -> bytes:
        """One tile of a picture (H, W, C)."""
        if STEPS[effort]:
            y, z = self.refined(pixels, box, row, effort, tune, step_done)
        else:
            y = self.analyse(pixels, box, row)
            z = self.hyper_analyse(y, row)
        alpha = pixels[(*(box * LATENT).slices, -1)] if pixels.shape[2] in (2, 4) else None
        return self.encode_latents(y, z, row, alpha, threshold)

    @torch.inference_mode(False)  # a caller's must not reach in here
    @torch.autocast("cpu", enabled=False)
    def refined(
        self, pixels: np.ndarray, box: Box, row: int, effort: int, tune: str, step_done: Callable[[], None]
    ) -> tuple[Tensor, Tensor]:
        """y and ẑ after the steps of an effort: those whose file costs least in bits + λ · distortion."""
        height, width = pixels.shape[:2]
        seen = box.grow(self.model.g_s.reach, Box(0, 0, -(-width // LATENT), -(-height // LATENT)))
        around, own = self.analyse(pixels, seen, row), box.shift(seen.left, seen.top)
        y = around[(..., *own.slices)]
        x = to_tensor(pixels[(box * LATENT).slices]).to(self.device)
        residuals = TUNES[tune](x, float(self.model.lambdas[row]) / 3)

        def cost(candidate: tuple[Tensor, Tensor]) -> float:
            y, z_hat = candidate
            decoded = around.clone()
            decoded[(..., *own.slices)] = self.quantise(y, z_hat, row)[0]
            decoded = to_tensor(self.synthesise(decoded, row)[(own * LATENT).slices]).to(self.device)
            error = decoded[..., : x.shape[2], : x.shape[3]] - x
            distortion = sum(float(r.square().sum(dtype=torch.float64)) for r in residuals(error))
            return 8 * len(self.encode_latents(y, z_hat, row)) + distortion

        objective = Objective(self.model, around.to(self.device), own, self._rows(row), x, residuals)
        z = self.model.hyper_analyse(y.to(self.device), self._rows(row))
        found = [(y, z), *descend(objective, y.to(self.device), z, effort, step_done)]
        return min(((y.cpu(), self.quantise_z(z.cpu(), row)) for y, z in found), key=cost)

    @torch.inference_mode()
    @torch.autocast("cpu", enabled=False)
    def hyper_analyse(self, y: Tensor, row: int) -> Tensor:
        """y (1, M, h, w) -> z (1, Z, ⌈h/4⌉, ⌈w/4⌉), ready for `quantise_z`."""
        return self.model.hyper_analyse(y.to(self.device), self._rows(row)).cpu()

    def _rows(self, row: int) -> Tensor:
        return torch.tensor([row], device=self.device)

    @torch.inference_mode()
    def encode_latents(
        self, y: Tensor, z: Tensor, row: int, alpha: np.ndarray | None = None, threshold: float = 0.5
    ) -> bytes:
        """A tile's record: rate row and set of tables, CRC of its latents, alpha uint8 (H, W), stream."""
        writer = SymbolWriter()
        z_hat = self.quantise_z(z, row, lambda *part: writer.put(*part, self.z_tables))
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        _, crc = self.quantise(y, z_hat, row, lambda *part: parts.append(part), threshold)
        costs = [sum(tables.bits(*part) for part in parts) for tables in self.y_tables]
        kind = costs.index(min(costs))
        for part in parts:
            writer.put(*part, self.y_tables[kind])
        packed = b""
        if alpha is not None:
            packed = pack_alpha(alpha)
            packed = container.varint(len(packed)) + packed
        return struct.pack("<BI", row + kind * self.cfg.rates, crc) + packed + writer.finish()

    @torch.inference_mode()
    def quantise(
        self,
        y: Tensor,
        z_hat: Tensor,
        row: int,
        write: Write | None = None,
        threshold: float = 0.5,
    ) -> tuple[Tensor, int]:
        """y (1, M, h, w) -> the ŷ that a file restores, and its CRC; `write` gets the coded symbols and their tables.

        ŷ given with its own ẑ comes back unchanged.
        """

        def visit(t: int, mu: Tensor, index: Tensor) -> Tensor:
            symbols = entropy_model.gather(y, t).sub_(mu)
            if threshold > 0.5:  # towards zero first, but not beyond it
                symbols = F.softshrink(symbols, threshold - 0.5)
            small = symbols.abs() <= ZERO_BINS.take(index.long())
            return coded(symbols.masked_fill_(small, 0), index, write)

        return self.entropy.run(z_hat, row, y.shape[2], y.shape[3], visit)

    @torch.inference_mode()
    def quantise_z(self, z: Tensor, row: int, write: Write | None = None) -> Tensor:
        """z (1, Z, h, w) -> ẑ, as `quantise` does it to y but for zero bins: ẑ is too few bits to save any.

        ẑ comes back unchanged.
        """

        def visit(t: int, mu: Tensor, index: Tensor) -> Tensor:
            return coded(entropy_model.gather(z, t).sub_(mu), index, write)

        return self.entropy.hyper(row, z.shape[2], z.shape[3], visit)

    # -- decoding ------------------------------------------------------------------------------------------------

    def decode(
        self,
        data: bytes,
        max_pixels: int = MAX_PIXELS,
        progress: Progress | None = None,
        on_error: OnError | None = None,
    ) -> Image.Image:
        """The bytes of a .lat file -> a Pillow image in the mode it was written from, metadata in its `info`.

        With `on_error`, a damaged tile is reported to it and painted flat instead of raising.
        Raises: FormatError, ChecksumError, TruncatedError, LimitError, MissingModelError, DesyncError.
        """
        parsed = container.parse(data)
        header = parsed.header
        if header.width * header.height > max_pixels:
            size = f"{header.width} × {header.height}"
            raise LimitError(f"{size} is more than {max_pixels} pixels; raise the limit if you trust the file")
        whole = Box(0, 0, header.width, header.height)
        pixels = self.decode_pixels(parsed, whole, progress, on_error)
        return to_pillow(pixels, parsed.metadata)

    def decode_region(self, data: bytes, box: tuple[int, int, int, int]) -> Image.Image:
        """Only the pixels (left, top, right, bottom): equal to that crop of `decode`, reading just the tiles it needs.

        Raises: as `decode`; LatError where the box leaves the picture.
        """
        parsed = container.parse(data)
        header, region = parsed.header, Box(*box)
        if region & Box(0, 0, header.width, header.height) != region or not region.width * region.height:
            raise LatError(f"region {box} is empty or leaves the picture of {header.width} × {header.height}")
        return to_pillow(self.decode_pixels(parsed, region), parsed.metadata)

    def decode_pixels(
        self, parsed: Container, region: Box, progress: Progress | None = None, on_error: OnError | None = None
    ) -> np.ndarray:
        """uint8 (H, W, C) of a region of a parsed file."""
        header = parsed.header
        self.require(header)
        under = Box(
            region.left // LATENT, region.top // LATENT, -(-region.right // LATENT), -(-region.bottom // LATENT)
        )
        todo = list(tiles_in(header, under))
        out = None  # not before a first tile has proved that the file means it
        for done, (box, pixels) in enumerate(self._synthesised(parsed, under, on_error), 1):
            if out is None:
                out = np.empty((region.height, region.width, len(header.mode)), np.uint8)
            wanted = box * LATENT & region
            part = wanted.shift(box.left * LATENT, box.top * LATENT)
            out[wanted.shift(region.left, region.top).slices] = pixels[part.slices]
            if progress:
                progress(done, len(todo))
        return out

    def _synthesised(self, parsed: Container, under: Box, on_error: OnError | None) -> Iterator[tuple[Box, np.ndarray]]:
        """(latents, pixels (16h, 16w, C)) of each tile that shares latents with `under`, right where it does.

        Tiles are always synthesised whole, so that a region equals the crop of the picture to the last bit; latents
        that none of its pixels depend on stay zero. Only tiles still in reach are kept.
        """
        header, bounds = parsed.header, latent_bounds(parsed.header)
        reach = self.model.g_s.reach
        todo, wanted = list(tiles_in(header, under)), set(tiles_in(header, under.grow(reach, bounds)))
        around = [tile_box(header, index).grow(reach, bounds) for index in todo]
        order = iter(dict.fromkeys(t for seen in around for t in tiles_in(header, seen) if t in wanted))
        decoded: dict[int, Future[TileLatents]] = {}
        with _two_at_a_time(len(wanted)) as pool:
            for index, seen in zip(todo, around):
                needed = [t for t in tiles_in(header, seen) if t in wanted]
                missing = sum(other not in decoded for other in needed)
                for other in itertools.islice(order, missing + 1):  # and the next one ahead
                    decoded[other] = pool.submit(self._decode_or_report, parsed, other, on_error)
                y_hat = torch.zeros(1, self.cfg.latents, seen.height, seen.width)
                y_hat = y_hat.contiguous(memory_format=torch.channels_last)
                for other in needed:
                    theirs = tile_box(header, other)
                    shared = theirs & seen
                    source = decoded[other].result().y_hat[(..., *shared.shift(theirs.left, theirs.top).slices)]
                    y_hat[(..., *shared.shift(seen.left, seen.top).slices)] = source
                box, tile = tile_box(header, index), decoded[index].result()
                x = self.synthesise(y_hat, tile.row)[(box.shift(seen.left, seen.top) * LATENT).slices]
                if header.mode in ("L", "LA"):
                    x = to_grey(x)
                if tile.alpha is not None:
                    x = np.concatenate([x, tile.alpha], 2)
                yield box, x
                decoded = {k: v for k, v in decoded.items() if k >= index - header.grid[0] - 1}

    @torch.inference_mode()
    @torch.autocast("cpu", enabled=False)
    def synthesise(self, y_hat: Tensor, row: int) -> np.ndarray:
        """ŷ (1, M, h, w) -> uint8 (16h, 16w, 3)."""
        x = self.model.synthesise(y_hat.to(self.device), self._rows(row))
        return x[0].permute(1, 2, 0).mul(255).round_().clamp_(0, 255).byte().cpu().numpy()

    @torch.inference_mode()
    def decode_tile(self, parsed: Container, index: int, passes: int = entropy_model.PASSES) -> TileLatents:
        """Latents and alpha of one tile; after fewer passes, ŷ is 0 where it is not known yet, and not verified.

        Raises: FormatError, DesyncError.
        """
        header, data, box = parsed.header, parsed.tile(index), tile_box(parsed.header, index)
        first, crc = struct.unpack_from("<BI", data)
        kind, row = divmod(first, self.cfg.rates)
        if kind >= len(self.y_tables):
            raise FormatError(f"tile with rate row {first}, the weights have {self.cfg.rates} in two kinds")
        at, alpha = 5, None
        if header.mode in ("LA", "RGBA"):
            size, at = container.read_varint(data, at)
            alpha = unpack_alpha(data[at : at + size], box * LATENT & Box(0, 0, header.width, header.height))
            at += size
        m, n = self.cfg.latents, self.cfg.hyper
        height, width = -(-box.height // 4), -(-box.width // 4)
        count = m * box.height * box.width + n * height * width
        reader = SymbolReader(data[at:], count)

        def read(tables: Tables, t: int, mu: Tensor, index: Tensor) -> Tensor:
            used = index > 0
            values = torch.from_numpy(reader.get(index[used].numpy(), tables))
            symbols = torch.zeros_like(mu)
            symbols[used] = values.clamp_(-entropy_model.SYMBOL_LIMIT, entropy_model.SYMBOL_LIMIT).float()
            return symbols

        z_hat = self.entropy.hyper(row, height, width, partial(read, self.z_tables))
        of_y = partial(read, self.y_tables[kind])
        y_hat, found = self.entropy.run(z_hat, row, box.height, box.width, of_y, passes)
        if found != crc and passes == entropy_model.PASSES:
            raise DesyncError("decoded latents do not match their checksum: the stream was forged or damaged")
        return TileLatents(row, z_hat, y_hat, alpha)

    def _decode_or_report(self, parsed: Container, index: int, on_error: OnError | None) -> TileLatents:
        """`decode_tile`; with `on_error` a damaged tile becomes a flat one."""
        try:
            return self.decode_tile(parsed, index)
        except LatError as error:
            if on_error is None:
                raise
            on_error(index, error)
        box = tile_box(parsed.header, index)
        alpha = None
        if parsed.header.mode in ("LA", "RGBA"):
            alpha = np.full((box.height * LATENT, box.width * LATENT, 1), 255, np.uint8)
        z = torch.zeros(1, self.cfg.hyper, -(-box.height // 4), -(-box.width // 4))
        return TileLatents(0, z, torch.zeros(1, self.cfg.latents, box.height, box.width), alpha)


def to_tensor(pixels: np.ndarray) -> Tensor:
    """uint8 (H, W, C), colour or grey, with or without alpha -> float32 (1, 3, H, W), 0 … 255, channels last."""
    pixels = np.broadcast_to(pixels[:, :, :1], (*pixels.shape[:2], 3)) if pixels.shape[2] < 3 else pixels[:, :, :3]
    return torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None]


def coded(residuals: Tensor, index: Tensor, write: Write | None) -> Tensor:
    """Residuals of a pass -> symbols; those at the smallest σ are other than 0 once in 50,000: not worth coding."""
    symbols, used = residuals.round_().clamp_(1 - entropy_model.SYMBOL_LIMIT, entropy_model.SYMBOL_LIMIT - 1), index > 0
    if write:
        write(symbols[used].int().numpy(), index[used].numpy())
    return symbols.mul_(used)


class _AtOnce(Executor):
    """Runs what is submitted to it there and then."""

    def submit(self, function, /, *args, **kwargs) -> Future:
        future: Future = Future()
        future.set_result(function(*args, **kwargs))
        return future


@contextmanager
def _two_at_a_time(tiles: int) -> Iterator[Executor]:
    """Entropy coding holds Python's lock and convolutions do not: two tiles in flight are 15 % faster than one.

    A single one stays in the caller's thread: another has neither memory nor OpenMP threads yet, and loses a quarter.
    """
    pool = ThreadPoolExecutor(2) if tiles > 1 else _AtOnce()
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def as_picture(image: Image.Image | np.ndarray | Picture) -> Picture:
    """Raises: LatError."""
    if isinstance(image, Image.Image):
        return from_pillow(image)
    return from_array(image) if isinstance(image, np.ndarray) else image


def to_grey(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (H, W, 1): the rounded mean, as files of mode L are decoded."""
    return np.round(pixels.mean(2, keepdims=True)).astype(np.uint8)


def pack_alpha(alpha: np.ndarray) -> bytes:
    """uint8 (h, w) -> nothing where it is opaque, one byte where it is constant, else zlib of row differences."""
    if alpha.min() == alpha.max():
        return b"" if alpha.flat[0] == 255 else bytes([alpha.flat[0]])
    return zlib.compress(np.diff(alpha, axis=0, prepend=np.zeros_like(alpha[:1])).tobytes(), 9)


def unpack_alpha(data: bytes, box: Box) -> np.ndarray:
    """Inverse of `pack_alpha`: uint8 (16h, 16w, 1), what lies beyond the picture's border is 0.

    Raises: FormatError.
    """
    out = np.zeros((-(-box.height // LATENT) * LATENT, -(-box.width // LATENT) * LATENT, 1), np.uint8)
    inside, count = out[: box.height, : box.width, 0], box.height * box.width
    if len(data) < 2:
        inside[:] = data[0] if data else 255
        return out
    try:
        decoder = zlib.decompressobj()
        rows = decoder.decompress(data, count + 1)
    except zlib.error as error:
        raise FormatError(f"alpha of a tile is damaged: {error}") from None
    if len(rows) != count:
        raise FormatError(f"alpha of a tile does not have {count} samples")
    inside[:] = np.cumsum(np.frombuffer(rows, np.uint8).reshape(inside.shape), axis=0, dtype=np.uint8)
    return out
