"""What Python callers hand over: a picture as an image, an array, a tensor or a file; a .lat file as bytes or by path.

A value of another type raises TypeError with one sentence on what is taken; a bad value raises LatError.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias

import numpy as np
from PIL import Image

from codec import container
from codec.container import MAGIC, MODES, Container
from codec.errors import LatError, reason
from codec.picture.image import Picture, from_pillow, open_image
from codec.runs.files import describe


class Tensor(Protocol):
    """A torch.Tensor, without importing torch."""

    @property
    def dtype(self) -> Any: ...

    def detach(self) -> Any: ...


File: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]"
PictureLike: TypeAlias = "Image.Image | np.ndarray[Any, Any] | Tensor | File | Picture"
LatFile: TypeAlias = "File | Container"


def as_picture(image: PictureLike, exact: bool = False) -> Picture:
    """Convert whatever holds one picture; `exact` as for `from_pillow`. A Picture is returned as it is.

    Raises: LatError; TypeError for an object that holds no picture.
    """
    if isinstance(image, Picture):
        return image
    if isinstance(image, Image.Image):
        return from_pillow(image, exact=exact)
    if isinstance(image, np.ndarray):
        return from_array(image)
    if is_tensor(image):
        return from_tensor(image)
    if isinstance(image, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(image, "read"):
        data, name = read_file(image)
        if bytes(data[: len(MAGIC)]) == MAGIC:
            raise LatError(f"{name}: is a .lat file already; Codec.decode reads it")
        return from_pillow(open_image(io.BytesIO(data), name), name, exact)
    raise TypeError(
        "a picture must be a Pillow image, a uint8 array, a tensor, a path, or the bytes of a picture file; "
        f"got {type(image).__name__}"
    )


def from_array(array: np.ndarray) -> Picture:
    """uint8 (H, W) grey, or (H, W, C) with 1 to 4 channels: L, LA, RGB, RGBA.

    Raises: LatError.
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.dtype != np.uint8 or array.ndim != 3 or not 1 <= array.shape[2] <= 4:
        raise LatError(f"array of {array.dtype} {array.shape}: need uint8 (H, W) or (H, W, C) with 1 to 4 channels")
    if np.ma.is_masked(array):
        raise LatError(f"array of shape {array.shape} has masked samples: fill them first, as in array.filled(0)")
    if 0 in array.shape:
        raise LatError(f"array of shape {array.shape} has no pixels")
    return Picture(array, MODES[array.shape[2] - 1])


def is_tensor(value: object) -> bool:
    """Whether a value is a torch.Tensor; without torch in memory nothing is."""
    return isinstance(value, getattr(sys.modules.get("torch"), "Tensor", ()))


def from_tensor(tensor: Any) -> Picture:
    """A tensor (C, H, W) or (H, W), or a batch of one: uint8, or floats 0 … 1, which are rounded to 8 bits.

    Raises: LatError.
    """
    name = f"tensor of {str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
    if tensor.ndim == 4 and len(tensor) != 1:
        raise LatError(f"{name}: is a batch of {len(tensor)} pictures; encode them one at a time")
    shape = tuple(tensor.shape[-3:]) if tensor.ndim > 2 else (1, *tensor.shape)
    if tensor.ndim not in (2, 3, 4) or not 1 <= shape[0] <= 4:
        raise LatError(f"{name}: need (C, H, W) with 1 to 4 channels; tensor.permute(2, 0, 1) makes that of (H, W, C)")
    if 0 in shape:
        raise LatError(f"{name}: has no pixels")
    floating = tensor.is_floating_point()
    if not floating and str(tensor.dtype) != "torch.uint8":
        raise LatError(f"{name}: need uint8, or floats from 0 to 1")
    try:
        planes = tensor.detach().cpu().reshape(shape)
        samples = (planes.float() if floating else planes).permute(1, 2, 0).numpy()
    except Exception as error:  # sparse, or on the device "meta": torch raises several kinds
        raise LatError(f"{name}: has no plain samples: {reason(error)}") from None
    if not floating:
        return from_array(samples)
    low, high = samples.min(), samples.max()
    if not (low >= 0 and high <= 1):  # not a number is neither
        raise LatError(f"{name}: floats must be from 0 to 1, these are from {low:g} to {high:g}; scale or clamp them")
    picture = from_array(np.rint(samples * 255).astype(np.uint8))
    if np.abs(samples * 255 - picture.pixels).max() > 1e-3:
        picture.reduced = "float samples are reduced to 8 bits"
        picture.notes.append(picture.reduced)
    return picture


def read_file(source: Any) -> tuple[Any, str]:
    """(Bytes or a view of them, name for messages) of a path, of an open binary file, or of what holds bytes.

    Raises: LatError where it cannot be read; TypeError.
    """
    if isinstance(source, (str, os.PathLike)):
        name = os.fsdecode(source)
        try:
            return Path(name).read_bytes(), name
        except (OSError, ValueError) as error:  # ValueError: a zero byte in a name
            raise LatError(f"{name}: cannot be read: {describe(error)}") from None
    try:
        view = memoryview(source)  # before `read`: a memory map has both
        return view if view.c_contiguous else view.tobytes(), "bytes"
    except TypeError:
        pass
    if not hasattr(source, "read"):
        raise TypeError(f"a file must be a path, its bytes, or open for reading; got {type(source).__name__}")
    name = str(getattr(source, "name", "file"))
    try:
        data = source.read()
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise LatError(f"{name}: cannot be read: {describe(error)}") from None
    if not isinstance(data, bytes):
        raise TypeError(f"{name}: is open as text; open it in binary mode, as in open(path, 'rb')")
    return data, name


def parsed(source: LatFile) -> Container:
    """Parse a .lat file: its bytes, a path, or an open file. A Container is returned as it is.

    Raises: FormatError and its kinds; LatError where it cannot be read; TypeError.
    """
    if isinstance(source, Container):
        return source
    data, name = read_file(source)
    try:
        return container.parse(data)
    except LatError as error:
        raise error if name == "bytes" else type(error)(f"{name}: {error}") from None
