"""Whether the data of a JPEG reach to the end of its picture: libjpeg fills with grey what is missing.

It warns then, but Pillow keeps that to itself. So a picture that may be cut is decoded once more with more data in
front of its end: they change pixels only where data were missing.
"""

from __future__ import annotations

import io

from PIL import Image, ImageChops

from codec.picture.declared import jpeg

MORE = (bytes(range(1, 251)) * 4, bytes(1000))  # the second where no code but zeros means anything, as in white
SCANS = 64  # the last ones, that more data are put behind
GREY = (127, 128)  # of samples that are not there; CMYK is inverted
BLOCK = 8
TAIL = 16  # bytes of zeros fewer, that a picture needs if it needs zeros


def missing(image: Image.Image, data: bytes) -> float:
    """The share of rows below the first that lacks data, of a decoded JPEG and the bytes of its file."""
    file = jpeg.parse(data)
    if not file.scans or not file.whole:
        return 0.0
    end, grey = file.end - 2, ends_grey(image)
    if len(file.scans) > 1 or grey:
        places = [scan.end for scan in file.scans[-SCANS:]]
        if share := max(changed(image, with_more(data, places, more)) for more in MORE[: 1 + grey]):
            return share
    zeros = end - file.scans[-1].start - len(data[file.scans[-1].start : end].rstrip(b"\0"))
    if zeros < jpeg.ZEROS:
        return 0.0
    share = changed(image, data[: end - zeros] + data[end:])
    natural = file.scans[-1].zeros_are_flat and changed(image, data[: end - TAIL] + data[end:])
    return 0.0 if natural else share


def with_more(data: bytes, places: list[int], more: bytes) -> bytes:
    """The same with more data at these places, which rise."""
    parts = [data[a:b] for a, b in zip([0, *places], [*places, len(data)])]
    return more.join(parts)


def has_foreign_data(image: Image.Image, data: bytes, end_is_missing: bool) -> bool:
    """Whether a decoded JPEG has data that are none of its picture: the last ones of their scan are not read then.

    Only scans with many zeros are looked at, and the last one where the end of the file is missing.
    """
    file = jpeg.parse(data)
    scans = [
        scan for scan in file.scans if scan.zeros_are_flat and data.find(bytes(jpeg.ZEROS), scan.start, scan.end) > 0
    ]
    if end_is_missing and file.scans[-1] not in scans:
        scans.append(file.scans[-1])
    for scan in scans[-SCANS:]:
        end = scan.start + len(data[scan.start : scan.end].rstrip(b"\0"))
        flat = not data[scan.start : end - 1].strip(b"\0")  # zeros alone, and the padding of the last byte
        if (
            not flat
            and end - scan.start > TAIL
            and not changed(image, data[: end - TAIL] + MORE[0][:TAIL] + data[end:])
        ):
            return True
    return False


def ends_grey(image: Image.Image) -> bool:
    """Whether the last block is of the brightness that missing data have; their colours may blend with those above."""
    left, top = ((n - 1) // BLOCK * BLOCK for n in image.size)
    block = image.crop((left, top, *image.size))
    darkest, brightest = GREY
    if block.mode == "RGB":
        block, darkest, brightest = block.convert("L"), darkest - 1, brightest + 1
    samples = block.tobytes()
    return darkest <= min(samples) and max(samples) <= brightest


def changed(image: Image.Image, data: bytes) -> float:
    """The share of rows from the first on that another file shows differently."""
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as other:
            if (other.size, other.mode) != (image.size, image.mode):  # by `draft`, which shrinks
                return 0.0
            box = ImageChops.difference(image, other).getbbox()
    except Exception:  # as in `image.open_image`: then it is another picture from the start
        return 1.0
    return 1 - box[1] / image.height if box else 0.0
