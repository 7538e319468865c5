"""`lat thumbnail`: a small picture at once. What costs time is imported where a file turns out to need it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codec import previews
from codec.command.parts import LatCommand, parse_output, say
from codec.errors import LatError, LimitError
from codec.previews import Front
from codec.settings import MAX_DECODED

if TYPE_CHECKING:
    from PIL import Image

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


@click.command(cls=LatCommand)
@click.argument("source", metavar="FILE", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "-s", "--size", "side", type=click.IntRange(1, 4096), default=256, show_default=True, help="Longest side."
)
@click.option("-o", "--output", callback=parse_output, required=True, help="File to write: .png, .jpg or .webp; - .")
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@click.option("--max-pixels", type=click.IntRange(1), default=MAX_DECODED, show_default=True, help="Decode no more.")
def thumbnail(source: str, side: int, output: str, overwrite: bool, max_pixels: int) -> None:
    """Write a small picture of a .lat file, upright.

    It is made of the preview in the file. Where that is missing or too small, the picture is decoded.
    """
    from codec.runs import files

    format = output_format(output)
    files.refuse_existing(output, overwrite)
    with previews.opened(source) as stream:
        found = previews.front(stream)
    small = of_preview(found, side)
    if found.note:
        say(f"{source}: {found.note}", err=True)
    if small is None:
        small = of_pixels(source, side, max_pixels)
    data = encoded(small, format)
    if overwrite and is_empty(output):
        Path(output).write_bytes(data)
    else:
        files.write_bytes(output, data, overwrite)


def is_empty(output: str) -> bool:
    """Whether an output is a file of no bytes: desktops make one, hold it open, and wait for it to be filled."""
    path = Path(output)
    return path.is_file() and not path.stat().st_size


def output_format(output: str) -> str:
    """PNG, or what the suffix of an output says. Raises: LatError."""
    suffix = Path(output).suffix.lower()
    if suffix and suffix not in FORMATS:
        from codec import kinds

        if kinds.is_other_format(output):
            raise LatError(f"{output}: thumbnails are written as .png, .jpg or .webp")
    return FORMATS.get(suffix, "PNG")


def of_preview(found: Front, side: int) -> Image.Image | None:
    """A preview at this size; None where it is smaller, but for one that is as large as its picture."""
    whole = found.header.width, found.header.height
    if max(found.size) < min(side, max(whole)):
        return None
    small = previews.decode(found)
    turned = not previews.is_reduced(found.size, whole)
    return small and reduced(small, previews.scaled(whole[::-1] if turned else whole, side))


def of_pixels(source: str, side: int, max_pixels: int) -> Image.Image:
    """The picture itself at this size. Raises: LatError and its kinds."""
    from codec.picture.pictures import upright
    from codec.runs import job, process

    process.end_when_told()
    process.own(max_pixels)
    try:
        options = job.Options(max_pixels=max_pixels)
        image = upright(job.decoded(job.parse_limited(job.read_lat(source).data, options), options, [], None))
    except LimitError as error:
        raise LimitError(f"{source}: {error}") from None
    image.info = {key: value for key, value in image.info.items() if key == "icc_profile"}
    return reduced(image, previews.scaled(image.size, side))


def reduced(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """An image at this size, with its ICC profile."""
    from PIL import Image

    if size == image.size:
        return image
    profile = image.info
    image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    image.info = profile
    return image


def encoded(image: Image.Image, format: str) -> bytes:
    """The bytes of a picture file, with the image's ICC profile."""
    out = io.BytesIO()
    out.name = f"thumbnail.{format.lower()}"  # by a name Pillow finds its format without loading the others
    if format == "JPEG" and image.mode in ("LA", "RGBA"):
        image = over_white(image)
    options: dict[str, Any] = {"compress_level": 1} if format == "PNG" else {"quality": 85}
    image.save(out, icc_profile=image.info.get("icc_profile"), **options)
    return out.getvalue()


def over_white(image: Image.Image) -> Image.Image:
    """An image with transparency as it looks on paper, for a format that has none."""
    from PIL import Image

    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image.convert("RGBA"))
    flat = paper.convert(image.mode.removesuffix("A"))
    flat.info = image.info
    return flat
