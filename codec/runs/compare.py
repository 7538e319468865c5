"""How far two pictures are apart: pixels (PSNR, SSIMULACRA 2), transparency and metadata."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from codec import container, kinds, loaded, lossless, weights
from codec.container import Container
from codec.errors import LatError
from codec.picture import metadata
from codec.picture.image import Picture
from codec.runs import files, job, plan
from codec.runs.plan import Job
from codec.runs.rows import Row

if TYPE_CHECKING:
    from codec.runs.job import Options

GREY = 128  # what transparent pixels are seen on


@dataclass(frozen=True)
class Comparison:
    """`identical`: every sample, those of invisible pixels too. `psnr` in dB, ∞ where both look the same.

    `ssimulacra2`: None where torch is missing. `same_alpha`. `metadata`: what differs, as "exif is missing".
    """

    identical: bool
    psnr: float
    ssimulacra2: float | None
    same_alpha: bool
    metadata: tuple[str, ...]

    def describe(self) -> str:
        """One line for people."""
        if self.identical:
            pixels = "every pixel is the same"
        else:
            score = f"SSIMULACRA 2 {self.ssimulacra2:.1f}, " if self.ssimulacra2 is not None else ""
            pixels = f"{score}PSNR {'∞' if math.isinf(self.psnr) else f'{self.psnr:.2f}'} dB"
        alpha = "" if self.same_alpha else ", transparency differs"
        return f"{pixels}{alpha}, {'metadata kept' if not self.metadata else '; '.join(self.metadata)}"


def compare(original: Picture, other: Picture, with_score: bool = True) -> Comparison:
    """Compare two pictures as they are seen: turned upright, on grey where they are transparent.

    Raises: LatError where they are of different sizes.
    """
    a, b = upright_rgba(original), upright_rgba(other)
    if a.shape != b.shape:
        sizes = " and ".join(f"{p.shape[1]} × {p.shape[0]}" for p in (a, b))
        raise LatError(f"they are pictures of different sizes: {sizes}")
    identical = np.array_equal(a, b)
    seen_a, seen_b = on_grey(a), on_grey(b)
    error = float(np.mean(np.square(seen_a.astype(np.int16) - seen_b, dtype=np.int32), dtype=np.float64))
    psnr = 10 * math.log10(255**2 / error) if error else math.inf
    score = (ssimulacra2(seen_a, seen_b) if error else 100.0) if with_score else None
    return Comparison(identical, psnr, score, np.array_equal(a[:, :, 3], b[:, :, 3]), differences(original, other))


def upright_rgba(picture: Picture) -> np.ndarray:
    """(H, W, 4) uint8, turned as the metadata say."""
    pixels = metadata.turned(picture.pixels, metadata.orientation(picture.metadata))
    has_alpha = picture.mode in ("LA", "RGBA")
    alpha = pixels[:, :, -1:] if has_alpha else np.full((*pixels.shape[:2], 1), 255, np.uint8)
    colours = pixels[:, :, : -1 if has_alpha else None]
    return np.concatenate([colours if colours.shape[2] == 3 else np.repeat(colours, 3, 2), alpha], 2)


def on_grey(rgba: np.ndarray) -> np.ndarray:
    """(H, W, 4) -> (H, W, 3): what is seen in front of a grey."""
    if rgba[:, :, 3].min() == 255:
        return rgba[:, :, :3]
    alpha = rgba[:, :, 3:].astype(np.uint16)
    return ((rgba[:, :, :3] * alpha + GREY * (255 - alpha) + 127) // 255).astype(np.uint8)


def ssimulacra2(a: np.ndarray, b: np.ndarray) -> float | None:
    """The score of (H, W, 3) uint8 pictures, 100 for equal ones; None without torch.

    Sides below the least that the metric takes are continued by their last pixels.
    """
    try:
        import torch

        from codec import ssimulacra2 as metric
    except ModuleNotFoundError:
        return None

    def tensor(pixels: np.ndarray) -> torch.Tensor:
        missing = [max(0, metric.SMALLEST - side) for side in pixels.shape[:2]]
        if any(missing):
            pixels = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        return torch.tensor(pixels, dtype=torch.float32, device="cpu").permute(2, 0, 1)[None] / 255

    with torch.inference_mode():
        return float(metric.score(tensor(a), tensor(b)))


def differences(original: Picture, other: Picture) -> tuple[str, ...]:
    """What of the metadata is not the same, a clause each."""
    found = []
    for kind in metadata.KINDS:
        had, has = original.metadata.get(kind), other.metadata.get(kind)
        if had != has:
            name = "text" if kind == "text" else kind.upper()
            found.append(f"{name} {'is missing' if has is None else 'is new' if had is None else 'differs'}")
    return tuple(found)


def picture_of(file: Container, options: Options, model: str) -> Picture:
    """All of the picture in a .lat file, decoded with the weights `model`. Raises: LatError."""
    if file.header.lossless:
        image = lossless.decode(file)
    else:
        codec = loaded.codec(model, options.threads, options.engine, options.float32)
        image = codec.decode(file, options.max_pixels)
    pixels = np.asarray(image).reshape(file.header.height, file.header.width, -1)
    return Picture(pixels, file.header.mode, file.metadata)


@dataclass
class Compared(Row):
    """What a comparison of two files found. `psnr`: None where both look the same; `ssimulacra2`: without torch."""

    identical: bool = False
    psnr: float | None = None
    ssimulacra2: float | None = None
    metadata: str = ""


def compare_files(pair: Job, options: Options, progress: object = None) -> Row:
    """Compare the files of a job, each a picture or a .lat file.

    Raises: LatError, also for fewer points than `options.check`.
    """
    name = f"{pair.source} and {pair.target}"
    before, notes = files.read_bytes(pair.source), []
    after = files.read_bytes(pair.target)
    original = picture_in(before, pair.source, options, pair.page)
    other = picture_in(after, pair.target, options)
    try:
        found = compare(original, other)
    except LatError as error:
        raise LatError(f"{name}: {error}") from None
    if found.ssimulacra2 is None:
        notes.append("PSNR only: SSIMULACRA 2 needs PyTorch: pip install torch")
    if after.startswith(container.MAGIC):
        notes += [f"of the original: {note}" for note in original.notes]
    if options.check is not None and not found.identical and not (found.ssimulacra2 or 0) >= options.check:
        raise LatError(f"{name}: {found.describe()}: below the {options.check:g} of --check")
    height, width = original.pixels.shape[:2]
    return Compared(
        pair.source,
        pair.target,
        bytes_in=len(before),
        bytes_out=len(after),
        width=width,
        height=height,
        notes=notes,
        identical=found.identical,
        psnr=None if math.isinf(found.psnr) else round(found.psnr, 3),
        ssimulacra2=None if found.ssimulacra2 is None else round(found.ssimulacra2, 3),
        metadata="; ".join(found.metadata) or "kept",
        remark=found.describe(),
    )


def picture_in(data: bytes, name: str, options: Options, page: tuple[int, int] | None = None) -> Picture:
    """The picture in the bytes of any file, .lat or other. Raises: LatError."""
    if not data.startswith(container.MAGIC):
        return job.opened(data, name, options, page)
    try:
        file = job.parse_limited(data, options)
        file.verify()
        return picture_of(file, options, weights.name_for(file.header.model))
    except LatError as error:
        raise type(error)(f"{name}: {error}") from None


def pairs(originals: Path, others: Path, max_pixels: int) -> tuple[list[Job], list[str]]:
    """(A job for each picture below a folder and its counterpart below another one, kinds of what is passed over.)

    The counterpart is at the same place: a.lat, a.jpg.lat, a.png for a.jpg; a-001.lat … for the pages of a.tif.
    """
    pictures = kinds.picture_suffixes()
    found = plan.find([str(originals)], True, pictures)
    same = os.path.samefile(originals, others)
    counterparts = plan.find([str(others)], True, {".lat"} if same else {".lat", *pictures})
    by_place: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in counterparts.files:
        by_place[path.relative_to(others).with_suffix("")].append(path)
    jobs, used = found.failed + counterparts.failed, set()
    for path in found.files:
        place = path.relative_to(originals)
        matches = by_place.get(place) or by_place.get(place.with_suffix(""), [])
        if not matches and (count := job.count_pages(str(path), max_pixels)) > 1:
            paged = [(others / name, page) for name, page in plan.name_pages(place.with_suffix(".lat"), count)]
            matches = [name for name, _ in paged]
            jobs += [Job(str(path), str(name), page=page) for name, page in paged]
        elif len(matches) == 1:
            jobs.append(Job(str(path), str(matches[0])))
        else:
            said = f"{len(matches)} files could be its counterpart" if matches else "nothing of it"
            jobs.append(Job(str(path), "", f"{path}: {said} below {others}"))
        used |= set(matches)
    return jobs, ["without an original" for path in counterparts.files if path not in used]
