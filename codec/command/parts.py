"""What the commands of `lat` share: errors as one line, options as decorators, parsed values, careful printing."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from codec import process
from codec.errors import NO_MEMORY, LatError, reason

FAILED, NOTHING_TO_DO = 1, 3
UNSAID = "lat.unsaid"  # in a context's `meta`: something that was to be said on standard output was not


class LatCommand(click.Command):
    """Turns whatever is raised into one line on stderr and exit code 1."""

    def invoke(self, ctx: click.Context):
        code = 0
        try:
            with process.own_standard_output():
                super().invoke(ctx)
        except (click.ClickException, click.Abort, KeyboardInterrupt):
            raise
        except (click.exceptions.Exit, SystemExit) as ended:
            code = getattr(ended, "exit_code", None) or getattr(ended, "code", None) or 0
        except LatError as error:
            say(f"lat: {error}", err=True)
            code = FAILED
        except BaseException as error:  # what plugins written in Rust raise is no Exception
            said = reason(error)
            say(f"lat: {said}" if said == NO_MEMORY else f"lat: {type(error).__name__}: {said}", err=True)
            code = FAILED
        ctx.exit(FAILED if ctx.find_root().meta.get(UNSAID) and code in (0, NOTHING_TO_DO) else code)


def say(text: str, err: bool = False) -> None:
    """Print a line. Where that is impossible the work goes on, and the exit code tells."""
    try:
        click.echo(text, file=sys.stderr if err else process.standard_output())
    except (OSError, ValueError) as error:  # a full disk, a reader that went away, a closed stream
        process.discard(sys.stderr if err else process.standard_output())
        context = click.get_current_context(silent=True)
        if not err and context:
            context.find_root().meta[UNSAID] = True
            say(f"lat: standard output: cannot be written: {reason(error)}", err=True)


def together(*options: Callable) -> Callable:
    """Several click options as one decorator."""

    def decorate(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


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
