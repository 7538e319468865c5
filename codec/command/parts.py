"""What the commands of `lat` share: errors as one line, options as decorators, parsed values."""

from __future__ import annotations

from collections.abc import Callable

import click

from codec.errors import LatError

FAILED = 1


class LatCommand(click.Command):
    """Turns LatError into one line on stderr and exit code 1."""

    def invoke(self, ctx: click.Context):
        try:
            return super().invoke(ctx)
        except (LatError, MemoryError) as error:
            click.echo(f"lat: {str(error) or 'not enough memory for this picture'}", err=True)
            ctx.exit(FAILED)


def together(*options: Callable) -> Callable:
    """Several click options as one decorator."""

    def decorate(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def picture_suffixes() -> set[str]:
    """Suffixes of the pictures that a folder run takes."""
    from PIL import Image

    return {s for s, format in Image.registered_extensions().items() if format in Image.OPEN} - {".pdf", ".mpg", ".lat"}


def parse_region(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int, int, int] | None:
    """ "x,y,w,h" -> (left, top, right, bottom)."""
    if value is None:
        return None
    try:
        x, y, w, h = (int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not X,Y,W,H") from None
    if min(x, y) < 0 or min(w, h) < 1:
        raise click.BadParameter(f"{value} leaves the picture")
    return x, y, x + w, y + h
