"""What commands that make pictures of pictures share: their options, and pictures and `.lat` files in and out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codec import container, loaded, weights
from codec.command.parts import parse_output, say, together
from codec.errors import LatError, about
from codec.runs import files, process

if TYPE_CHECKING:
    from PIL import Image

    from codec.coder import Codec
    from codec.picture.image import Picture

EDIT_QUALITY = 90

model_option = click.option(
    "-m",
    "--model",
    default=weights.FOR_PIXELS,
    show_default=True,
    help="Weights for pictures; .lat and .npz name theirs.",
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace an existing output.")
quality_option = click.option(
    "-q", "--quality", type=click.FloatRange(0, 100), default=EDIT_QUALITY, show_default=True, help="Of the latents."
)
output_option = click.option(
    "-o", "--output", required=True, callback=parse_output, help="File to write: .lat, .npz, .png …"
)
common = together(model_option, quality_option, output_option, overwrite_option)


def write_picture(image: Image.Image, target: str, overwrite: bool) -> None:
    """By the target's suffix.

    Raises: LatError.
    """
    from codec.picture import pictures

    data, notes = pictures.encode(image, pictures.output_format(target))
    files.write_bytes(target, data, overwrite)
    for note in notes:
        say(f"{target}: {note}", err=True)


def open_picture(data: bytes, source: str) -> Picture:
    """The picture in a file's bytes; what is lost of it is printed.

    Raises: LatError.
    """
    from codec.picture import image as images

    name = files.shown(source)
    picture = images.from_pillow(images.open_image(io.BytesIO(data), name), name)
    for note in picture.notes:
        say(f"{name}: {note}", err=True)
    return picture


def check_suffix(output: str) -> None:
    """An error now, not after the work.

    Raises: LatError where the suffix is none that can be written.
    """
    from codec.picture import pictures

    process.own()
    if Path(output).suffix.lower() != ".lat":
        pictures.output_format(output)


def read_pixels(source: str, output: str) -> tuple[Picture, Codec | None]:
    """The picture in a picture file, or in a .lat file with the codec of its weights.

    Raises: LatError; also where the suffix of the output is none that can be written.
    """
    from codec.picture.image import Picture
    from codec.tiles import picture_box

    check_suffix(output)
    data = files.read_bytes(source)
    try:
        if data[:8] != container.MAGIC:
            return open_picture(data, source), None
        file = container.parse(data)
        codec = loaded.codec_for(file.header.model)
        pixels = codec.learned.decode(file, picture_box(file.header))
        return Picture(pixels, file.header.mode, file.metadata), codec
    except LatError as error:
        raise type(error)(about(error, files.shown(source))) from None


def tell_of_profile(source: str, own: dict[str, bytes], kept: dict[str, bytes]) -> None:
    """Say so where the ICC profile of a picture is not the one that the result has."""
    if own.get("icc") != kept.get("icc"):
        say(f"{files.shown(source)}: its colours are not converted to the ICC profile of the other picture", err=True)


def write_result(image: Image.Image, target: str, codec: Codec | str, quality: float, overwrite: bool) -> None:
    """Write a picture, or a .lat file with a codec or the name of its weights, by the target's suffix.

    Raises: LatError.
    """
    if Path(target).suffix.lower() == ".lat":
        writer = loaded.codec(codec) if isinstance(codec, str) else codec
        files.write_bytes(target, writer.encode(image, quality), overwrite)
    else:
        write_picture(image, target, overwrite)
