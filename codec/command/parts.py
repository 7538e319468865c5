"""What the commands of `lat` share: errors as one line, options as decorators, parsed values, careful printing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click

from codec.errors import NO_MEMORY, LatError, reason
from codec.runs import process

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


def run_process(command: Callable[[], object]) -> None:
    """Run the command as a process of its own, with safe streams."""
    try:
        process.own_streams()
        command()
    except OSError as error:  # so few files may be open that Python cannot load what it needs
        say(f"lat: {reason(error)}", err=True)
        sys.exit(FAILED)


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


def parse_output(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """A name for -o: that of a file, which may be there or not, never of a folder."""
    if value == "":
        raise click.BadParameter("is empty: name a file, or leave it out")
    if value is not None and (value.endswith(("/", os.sep)) or os.path.isdir(value)):
        writes_folders = any(each.name == "out_dir" for each in ctx.command.params)
        instead = "--out-dir writes into it" if writes_folders else "name a file in it"
        raise click.BadParameter(f"{value} {'is' if os.path.isdir(value) else 'names'} a folder: {instead}")
    return value


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


def parse_strip(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    """ "icc,exif" -> ("icc", "exif"); "all" -> every kind of metadata."""
    parts = tuple(p.strip().lower() for p in value.split(",")) if value else ()
    known = ("icc", "exif", "xmp", "text")
    if parts == ("all",):
        return known
    if unknown := set(parts) - set(known):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: must be all, or some of {', '.join(known)}")
    return parts


def parse_bytes(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """ "200k" -> 200,000."""
    if value is None:
        return None
    units = {"k": 1e3, "m": 1e6, "g": 1e9}
    factor = units.get(value[-1:].lower(), 1)
    try:
        size = int(float(value[:-1] if value[-1:].lower() in units else value) * factor)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no number of bytes: 50000, 200k or 1.5M") from None
    if size < 1:
        raise click.BadParameter(f"{value} is no size of a file")
    return size
