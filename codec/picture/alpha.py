"""Alpha: whether it is opacity at all, and what becomes of the colours that it hides.

Nobody sees colours under full transparency, but they cost bytes and blur into the pixels beside them. Where they are
rubbish, they become what their visible surroundings suggest, by a pyramid (push-pull, as in S. J. Gortler et al., "The
Lumigraph", 1996): averages weighted by alpha on the way down, so that a nearly transparent pixel has little say; where
a level knows nothing, the coarser one speaks, smoothed. Where they are a picture, alpha is not what hides it for good
(a mask that was laid over a photograph, data of a texture), and they stay.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np
from PIL import Image

from codec.picture.declared.others import TGA_FOOTER

PICTURE = 0.25  # correlation of hidden neighbours from which on they are a picture; of noise it is 0


def other_meaning(image: Image.Image) -> str | None:
    """What the last channel of an open file is, where the file declares that it is no opacity."""
    file = getattr(image, "fp", None)
    declared = {"PSD": _saved_selection, "TGA": _unused_attribute, "DDS": _custom_channel}.get(image.format or "")
    if declared is None or file is None or file.closed:
        return None
    at = file.tell()
    try:
        return declared(file)
    except struct.error:  # what is cut here is reported when its pixels are read
        return None
    finally:
        file.seek(at)


def _saved_selection(file: BinaryIO) -> str | None:
    """Of a PSD, whose fourth channel is transparency where the number of layers is negative, and else a selection."""
    file.seek(26)
    for _ in range(2):  # colours of the mode, resources
        file.seek(struct.unpack(">I", file.read(4))[0], 1)
    section, layers, count = struct.unpack(">IIh", file.read(10).ljust(10, b"\0"))
    return None if section and layers and count < 0 else "a saved selection of the PSD"


def _unused_attribute(file: BinaryIO) -> str | None:
    """Of a TGA; what its extension area says goes before the bits that the descriptor counts."""
    file.seek(17)
    unused = file.read(1)[0] & 15 == 0
    end = file.seek(0, 2)
    file.seek(max(0, end - 26))
    start, _, signature = struct.unpack("<II18s", file.read(26).ljust(26, b"\0"))
    if signature == TGA_FOOTER and 18 <= start <= end - 495:
        file.seek(start + 494)
        unused = file.read(1)[0] < 2  # 0: there is no alpha; 1: undefined, can be ignored
    return "a channel that the TGA declares to be no alpha" if unused else None


def _custom_channel(file: BinaryIO) -> str | None:
    """Of a DDS with the header of DirectX 10, whose alpha mode is 3 where all is opaque and 4 where alpha is data."""
    file.seek(84)
    kind, mode = struct.unpack("<4s56xI", file.read(64).ljust(64, b"\0"))
    return "a channel that the DDS declares to be no alpha" if kind == b"DX10" and mode & 7 in (3, 4) else None


def without_hidden_colours(pixels: np.ndarray, keyed: bool = False) -> tuple[np.ndarray, str | None]:
    """uint8 (H, W, 2 or 4), alpha last -> (the same with new colours where alpha is 0; a note on those that had some).

    They stay where they are a picture, or where everything is hidden. Black alone or white alone is worth no note, like
    the one colour that stands for transparency (`keyed`).
    """
    hidden = pixels[:, :, -1] == 0
    if not hidden.any() or hidden.all():
        return pixels, None
    colours = pixels[:, :, :-1]
    black, white = (hidden & (colours == value).all(2) for value in (0, 255))
    coloured = hidden & ~max(black, white, key=np.count_nonzero)
    if coloured.any() and neighbour_correlation(pixels, coloured) > PICTURE:
        return pixels, None
    out = pixels.copy()
    weight = pixels[:, :, -1:].astype(np.float32) / 255
    filled = _filled(colours * weight, weight)
    out[:, :, :-1][hidden] = np.clip(filled + 0.5, 0, 255).astype(np.uint8)[hidden]
    count = int(np.count_nonzero(coloured))
    said = f"colours of {count:,} fully transparent pixels are replaced by their surroundings; --exact keeps them"
    return out, said if count and not keyed else None


def neighbour_correlation(pixels: np.ndarray, coloured: np.ndarray) -> float:
    """Of the colours of hidden pixels with those on their right and below, hidden or not; 0 where all are one colour.

    pixels: (H, W, C), alpha last; coloured (H, W): hidden pixels that are not just black, or white.
    """
    visible = pixels[:, :, -1] > 0
    apart = spread = 0.0
    for ahead, behind in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        pairs = coloured[ahead] & (coloured | visible)[behind] | coloured[behind] & visible[ahead]
        a, b = (pixels[side][pairs][:, :-1].astype(np.float32) for side in (ahead, behind))
        if len(a):
            apart += float(np.square(a - b).sum())
            spread += float(len(a) * (a.var(0) + b.var(0) + np.square(a.mean(0) - b.mean(0))).sum())
    return 1 - apart / spread if spread else 0.0


def _filled(sums: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted colours (H, W, C) and their weights (H, W, 1) -> colours everywhere."""
    known = weight > 0
    colours = np.divide(sums, weight, out=np.zeros_like(sums), where=known)
    if known.all():
        return colours
    coarse = _filled(_halved(sums), _halved(weight))
    return np.where(known, colours, _smooth(_doubled(coarse, weight.shape)))


def _halved(x: np.ndarray) -> np.ndarray:
    """Sums of 2 × 2 pixels."""
    x = np.pad(x, ((0, x.shape[0] % 2), (0, x.shape[1] % 2), (0, 0)))
    return x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]


def _doubled(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return x.repeat(2, 0).repeat(2, 1)[: shape[0], : shape[1]]


def _smooth(x: np.ndarray) -> np.ndarray:
    """Weights 1, 2, 1 each way."""
    for axis in (0, 1):
        ends = [(1, 1) if a == axis else (0, 0) for a in range(3)]
        padded = np.moveaxis(np.pad(x, ends, mode="edge"), axis, 0)
        x = np.moveaxis((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4, 0, axis)
    return x
