"""Whether the data of a JPEG reach to the end of its picture: libjpeg fills with grey what is missing.

It warns then, but Pillow keeps that to itself. So a picture that may be cut is decoded once more with more data in front of
its end: they change pixels only where data were missing.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from codec.picture.declared import jpeg

MORE = bytes(range(1, 251)) * 4  # whatever it codes, it is no end of a block for long
GREY = (127, 128)  # of samples that are not there; CMYK is inverted
BLOCK = 8
TAIL = 16  # bytes of zeros fewer, that a picture needs if it needs zeros


def missing(pixels: np.ndarray, data: bytes) -> float:
    """The share of rows below the first that lacks data, of a JPEG decoded to pixels (H, W) or (H, W, C)."""
    file = jpeg.parse(data)
    if not file.scans or not file.whole:
        return 0.0
    end = file.end - 2
    if len(file.scans) > 1 or ends_grey(pixels):
        share = changed(pixels, data[:end] + MORE + data[end:])
        if share:
            return share
    zeros = end - file.scans[-1].start - len(data[file.scans[-1].start : end].rstrip(b"\0"))
    if zeros < jpeg.ZEROS:
        return 0.0
    share = changed(pixels, data[: end - zeros] + data[end:])
    natural = file.scans[-1].zeros_are_flat and changed(pixels, data[: end - TAIL] + data[end:])
    return 0.0 if natural else share


def ends_grey(pixels: np.ndarray) -> bool:
    """Whether the last block is of the colour that missing data have."""
    top, left = ((n - 1) // BLOCK * BLOCK for n in pixels.shape[:2])
    block = pixels[top:, left:]
    return int(block.min()) in GREY and int(block.max()) in GREY


def changed(pixels: np.ndarray, data: bytes) -> float:
    """The share of rows from the first on that another file shows differently."""
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            other = np.asarray(image)
    except Exception:  # as in `image.open_image`: then it is another picture from the start
        return 1.0
    if other.shape != pixels.shape:
        return 1.0
    rows = np.flatnonzero((other != pixels).reshape(len(pixels), -1).any(1))
    return 1 - int(rows[0]) / len(pixels) if len(rows) else 0.0
