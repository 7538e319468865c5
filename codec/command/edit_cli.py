"""`lat edit …`: retouch pixels. The codec only reads and writes `.lat` files."""

from __future__ import annotations

from dataclasses import replace

import click

from codec import weights
from codec.command.parts import LatCommand, parse_output, parse_region, together
from codec.command.pixels import (
    EDIT_QUALITY,
    overwrite_option,
    read_pixels,
    tell_of_profile,
    write_result,
)
from codec.errors import LatError
from codec.tiles import Box


@click.group()
def edit() -> None:
    """Retouch pixels: holes, margins, patches.

    IN is a picture or a .lat file; -o ends in .lat or the suffix of a picture.
    """


def command(*options):
    """A subcommand of `lat edit` with these options."""
    return lambda function: edit.command(cls=LatCommand)(together(*options)(function))


def parse_point(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    """ "X,Y" -> (X, Y)."""
    try:
        x, y = (int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not X,Y") from None
    return x, y


box_option = click.option("--box", required=True, callback=parse_region, metavar="X,Y,W,H", help="In pixels.")
common = together(
    click.option(
        "-m", "--model", default=weights.FOR_PIXELS, show_default=True, help="Weights of a .lat made of a picture."
    ),
    click.option(
        "-q", "--quality", type=click.FloatRange(0, 100), default=EDIT_QUALITY, show_default=True, help="Of a .lat."
    ),
    click.option("-o", "--output", required=True, callback=parse_output, help="File to write: .lat, .png, .jpg …"),
    overwrite_option,
)


@command(click.argument("source", metavar="IN"), box_option, common)
def fill(source, box, model, quality, output, overwrite) -> None:
    """Forget what is in a box and go on from its border. For small holes; all other pixels stay."""
    from codec.edit import membrane

    picture, codec = read_pixels(source, output)
    write_result(membrane.fill(picture, box), output, codec or model, quality, overwrite)


@command(
    click.argument("source", metavar="IN"),
    click.option("--by", type=click.IntRange(1, 1024), default=32, show_default=True, help="Pixels on every side."),
    common,
)
def outpaint(source, by, model, quality, output, overwrite) -> None:
    """Go on beyond the borders, a few dozen pixels on every side: light and colour, no objects."""
    from codec.edit import membrane

    picture, codec = read_pixels(source, output)
    write_result(membrane.outpaint(picture, by), output, codec or model, quality, overwrite)


@command(
    click.argument("target", metavar="A"),
    click.argument("patch", metavar="B"),
    box_option,
    click.option("--at", required=True, callback=parse_point, metavar="X,Y", help="Where in A, in pixels."),
    common,
)
def paste(target, patch, box, at, model, quality, output, overwrite) -> None:
    """A box of B into A, without a seam: light and colour of the patch are made to fit at its border."""
    from codec.edit import membrane

    picture, codec = read_pixels(target, output)
    other, _ = read_pixels(patch, output)
    height, width = other.pixels.shape[:2]
    if box[2] > width or box[3] > height:
        raise LatError(f"{patch}: box {box} leaves the picture of {width} × {height}")
    tell_of_profile(patch, other.metadata, picture.metadata)
    part = replace(other, pixels=other.pixels[Box(*box).slices])
    write_result(membrane.paste(picture, part, at), output, codec or model, quality, overwrite)
