"""The preview in a .lat file: a small WebP in a chunk `prev` before the tiles (FORMAT.md), read without any network.

    preview(file) -> Image       what a file has, found by a walk over the first chunks
    make, add, remove            pictures -> WebP; a file's bytes with a preview, or without

A preview that is damaged, too large or not of this picture is ignored with a note, before anything of it is decoded.
Nothing here imports numpy or an engine until a preview is made: thumbnails take no longer than starting Python.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Literal, TypeAlias

from codec import container
from codec.config import ceil_div
from codec.container import MAGIC, Header
from codec.errors import ChecksumError, FormatError, LatError, TruncatedError, reason

if TYPE_CHECKING:
    from PIL import Image

    from codec.arguments import LatFile
    from codec.picture.image import Picture

KIND = b"prev"
MAX_SIDE = 1024  # pixels
MAX_BYTES = 2**20
MAX_HEAD = 2**16  # bytes
SIDES = (320, 256, 160)  # that are tried, largest first, where no side is asked for
SHARE = 0.015  # of a file, that a preview takes at the most where no side is asked for
QUALITY = 50  # of WebP
SMALLEST = 400  # bytes: where less is left for a preview, none is tried
MOST_CHUNKS = 64  # that are looked at in search of a preview
STRIP = 16  # rows of a reduced picture that are made at a time
TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
TURNS |= {6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}  # of an upright picture, to be stored for an orientation
Side: TypeAlias = (
    'int | Literal["auto"]'  # longest side in pixels, whatever it costs; 0: none; "auto": where it costs little
)


@dataclass
class Front:
    """What stands before the tiles of a file: its header, its preview and ICC profile, where a new preview would be.

    `note`: why a preview that is there is ignored. Sizes of a picture may be turned: its orientation is not known here.
    """

    header: Header
    place: int
    preview: bytes = b""
    size: tuple[int, int] = (0, 0)
    icc: bytes = b""
    note: str = ""


# -- reading ---------------------------------------------------------------------------------------------------------


def preview(file: LatFile) -> Image.Image | None:
    """The preview in a .lat file, upright, with the file's ICC profile in `info`; None where there is none to use.

    The file is given as its bytes, by path, open, or parsed; its first kilobytes are enough.
    Raises: FormatError and its kinds where it is no .lat file; LatError where it cannot be read; TypeError.
    """
    if isinstance(file, container.Container):
        return decode(of_container(file))
    with opened(file) as stream:
        return decode(front(stream))


@contextmanager
def opened(file: LatFile) -> Iterator[IO[bytes]]:
    """A .lat file as a stream that can be searched. Raises: LatError, TypeError."""
    if isinstance(file, (str, os.PathLike)):
        name = os.fsdecode(file)
        try:
            with open(name, "rb") as stream:
                yield stream if stream.seekable() else io.BytesIO(stream.read())
        except (OSError, ValueError) as error:  # ValueError: a zero byte in a name
            if isinstance(error, LatError):
                raise type(error)(f"{name}: {error}") from None
            raise LatError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        return
    if not isinstance(file, (bytes, bytearray, memoryview)):
        from codec.arguments import read_file

        yield io.BytesIO(read_file(file)[0])
    else:
        yield io.BytesIO(file)


def walk(stream: IO[bytes]) -> Iterator[tuple[bytes, int, int, int]]:
    """(Type, position, position of the payload, its length) of the first chunks of a file, as far as they are there.

    Raises: FormatError.
    """
    container.check_signature(stream.read(len(MAGIC)))
    at = len(MAGIC)
    for _ in range(MOST_CHUNKS):
        stream.seek(at)
        head = stream.read(9)
        try:
            length, start = container.read_varint(head, 4)
        except LatError:
            return
        yield head[:4], at, at + start, length
        at += start + length + 4


def front(stream: IO[bytes]) -> Front:
    """Everything before the tiles that a thumbnail takes. Raises: FormatError and its kinds."""
    found: Front | None = None
    for kind, at, start, length in walk(stream):
        if found is None:
            if kind != b"HEAD":
                raise FormatError(f"byte {at}: HEAD must come first, found {kind!r}")
            if not (head := _payload(stream, kind, start, MAX_HEAD, length)):
                raise ChecksumError("chunk HEAD is cut or was altered after writing")
            found = Front(Header.unpack(head), 0)
        if kind in (b"LOSS", b"DATA"):
            break
        if kind in (b"HEAD", b"made", b"INDX"):
            found.place = start + length + 4
        elif kind == KIND and not found.preview and not found.note:
            _look(found, _payload(stream, kind, start, MAX_BYTES, length), length)
        elif kind == b"iccp" and not found.icc:
            found.icc = _payload(stream, kind, start, container.METADATA_LIMIT, length)
    if found is None:
        raise TruncatedError("file ends before its HEAD")
    return found


def _payload(stream: IO[bytes], kind: bytes, start: int, limit: int, length: int) -> bytes:
    """A chunk's payload; nothing where it is longer than the limit, cut or damaged."""
    if length > limit:
        return b""
    stream.seek(start)
    payload, stored = stream.read(length), stream.read(4)
    good = len(payload) == length and stored == struct.pack("<I", zlib.crc32(payload, zlib.crc32(kind)))
    return payload if good else b""


def of_container(file: container.Container) -> Front:
    """The same of a parsed file."""
    found = Front(file.header, 0, icc=file.metadata.get("icc", b""))
    for kind, payload in file.ancillary:
        if kind == KIND:
            _look(found, payload if len(payload) <= MAX_BYTES else b"", len(payload))
            break
    return found


def _look(found: Front, payload: bytes, length: int) -> None:
    """Take a preview, or note what is wrong with it."""
    if not payload:
        found.note = f"the preview of {length:,} bytes is ignored: damaged, cut, or more than {MAX_BYTES:,} bytes"
    elif (size := webp_size(payload)) is None:
        found.note = "the preview is ignored: it is no WebP of one frame"
    elif max(size) > MAX_SIDE or not _fits(size, (found.header.width, found.header.height)):
        shape = f"{found.header.width} × {found.header.height}"
        found.note = f"the preview is ignored: {size[0]} × {size[1]} pixels are none of a picture of {shape}"
    else:
        found.preview, found.size = payload, size


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that a WebP file of one frame declares (RFC 9649); None for everything else."""
    if len(data) < 30 or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    if struct.unpack_from("<I", data, 4)[0] + 8 != len(data):
        return None
    kind = data[12:16]
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X" and not data[20] & 2:  # animated
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return None


def _fits(size: tuple[int, int], picture: tuple[int, int]) -> bool:
    """Whether a size is that of a smaller copy of a picture, which may be turned."""
    return is_reduced(size, picture) or is_reduced(size, picture[::-1])


def is_reduced(size: tuple[int, int], whole: tuple[int, int]) -> bool:
    """Whether this is the size of a smaller copy of a picture, to a pixel."""
    return max(size) <= max(whole) and all(abs(a - b) <= 1 for a, b in zip(size, scaled(whole, max(size))))


def scaled(size: tuple[int, int], side: int) -> tuple[int, int]:
    """A size with its longest side at most `side`."""
    longest = max(size)
    if longest <= side:
        return size
    width, height = (max(1, round(length * side / longest)) for length in size)
    return width, height


def decode(found: Front) -> Image.Image | None:
    """The picture of a preview, in mode L, LA, RGB or RGBA as its file. What cannot be decoded becomes a note."""
    if not found.preview:
        return None
    from PIL import Image
    from PIL.WebPImagePlugin import WebPImageFile

    try:
        with WebPImageFile(io.BytesIO(found.preview)) as opened:
            if opened.size != found.size or getattr(opened, "n_frames", 1) != 1:
                raise LatError("it is not what it declares")
            opened.load()
            image = opened.convert(found.header.mode)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        found.preview, found.note = b"", f"the preview is ignored: {reason(error)}"
        return None
    image.info = {"icc_profile": found.icc} if found.icc else {}
    return image


def as_stored(image: Image.Image, orientation: int) -> Image.Image:
    """An upright picture -> as it is stored beside an EXIF orientation of 1 … 8."""
    from PIL import Image

    return image.transpose(Image.Transpose[TURNS[orientation]]) if orientation in TURNS else image


# -- writing ---------------------------------------------------------------------------------------------------------


def check_side(side: object) -> None:
    """Raise LatError for what is no `Side`."""
    if side != "auto" and (isinstance(side, bool) or not isinstance(side, int) or not 0 <= side <= MAX_SIDE):
        raise LatError(f'preview must be 0 … {MAX_SIDE} pixels or "auto", got {side!r}')


def with_preview(data: bytes, picture: Picture, side: Side) -> bytes:
    """The bytes of a .lat file with a preview of its picture, where one is asked for. Raises: LatError."""
    made = make(picture, side, len(data))
    return add(data, made) if made else data


def make(picture: Picture, side: Side, size: int) -> bytes:
    """A picture as a WebP, upright, with this longest side; "auto": the largest of SIDES within SHARE of `size` bytes.

    Nothing where there is none. Raises: LatError.
    """
    check_side(side)
    if not side or side == "auto" and not is_worth_trying(size):
        return b""
    room = int(SHARE * size) if side == "auto" else MAX_BYTES
    sides = SIDES if side == "auto" else (int(side),)
    small, shape = _upright(picture, sides[0])
    for each in sides:
        data = webp(small, scaled(shape, each))
        if len(chunk(data)) <= room:
            return data
    if side == "auto":
        return b""
    raise LatError(f"a preview of {side} pixels takes more than {MAX_BYTES:,} bytes; ask for fewer pixels")


def is_worth_trying(size: int) -> bool:
    """Whether a file of so many bytes leaves enough for a preview where no side is asked for."""
    return SHARE * size >= SMALLEST


def _upright(picture: Picture, side: int) -> tuple[Image.Image, tuple[int, int]]:
    """A picture with about twice this longest side, or as it is where it is smaller, and its whole size; both turned
    as they are to be seen.
    """
    from PIL import Image

    from codec.picture import metadata

    height, width, channels = picture.pixels.shape
    factor = max(1, max(width, height) // (2 * side))
    small = Image.new(picture.mode, (ceil_div(width, factor), ceil_div(height, factor)))
    for top in range(0, height, STRIP * factor):  # a copy of all of it would take as much memory again
        part = picture.pixels[top : top + STRIP * factor]
        strip = Image.fromarray(part[:, :, 0] if channels == 1 else part)
        small.paste(strip.reduce(factor), (0, top // factor))
    turn = metadata.orientation(picture.metadata)
    upright = as_stored(small, {6: 8, 8: 6}.get(turn, turn))
    return upright, (height, width) if turn > 4 else (width, height)


def webp(image: Image.Image, size: tuple[int, int]) -> bytes:
    """An image of this size as a WebP without metadata."""
    from PIL import Image

    small = image.resize(size, Image.Resampling.LANCZOS)
    small.info = {}
    out = io.BytesIO()
    small.convert("RGBA" if image.mode in ("LA", "RGBA") else "RGB").save(out, "WEBP", quality=QUALITY)
    return out.getvalue()


def chunk(data: bytes) -> bytes:
    return container.chunk(KIND, data)


def add(data: bytes, made: bytes) -> bytes:
    """The bytes of a .lat file with this preview, in the place of another. Raises: FormatError and its kinds."""
    data = remove(data)
    place = front(io.BytesIO(data)).place
    return data[:place] + chunk(made) + data[place:]


def remove(data: bytes) -> bytes:
    """The bytes of a .lat file without its preview."""
    places = [(at, start + length + 4) for kind, at, start, length in walk(io.BytesIO(data)) if kind == KIND]
    for at, end in reversed(places):
        data = data[:at] + data[end:]
    return data
