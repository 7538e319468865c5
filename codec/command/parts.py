"""What the commands of `lat` share: errors as one line, options as decorators, parsed values, careful printing."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

from codec.errors import NO_MEMORY, LatError, reason
from codec.runs import process

FAILED, NOTHING_TO_DO = 1, 3
GROUPS = {  # of options in --help, by the names of their parameters; the rest are "Options"
    "Quality": (
        *("quality", "model", "effort", "tune", "lossless"),
        *("target_size", "target_bpp", "target_psnr", "target_ssimulacra2"),
    ),
    "What is kept": ("strip", "exact", "even_if_larger", "first_frame", "all_frames", "region"),
    "Which files": ("recursive", "output", "out_dir", "format", "overwrite", "dry_run"),
    "Safety": ("check", "remove_source", "decode", "ignore_errors", "max_pixels"),
    "Speed": ("jobs", "threads", "engine", "float32"),
    "What is printed": ("as_json", "quiet"),
}
BYTES = re.compile(r"\s*([0-9]+(?:[_,][0-9]{3})*(?:\.[0-9]*)?|\.[0-9]+)\s*([kmg]?)(i?)(?:b|bytes?)?\s*", re.IGNORECASE)
UNSAID = "lat.unsaid"  # in a context's `meta`: something that was to be said on standard output was not


class LatCommand(click.Command):
    """Turns whatever is raised into one line on stderr and exit code 1; lists its options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options of each of `GROUPS`, then the others."""
        title_of = {name: title for title, names in GROUPS.items() for name in names}
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in (*GROUPS, "Options")}
        for param in self.get_params(ctx):
            if (line := param.get_help_record(ctx)) is not None:
                sections[title_of.get(param.name or "", "Options")].append(line)
        for title, lines in sections.items():
            if lines:
                with formatter.section(title):
                    formatter.write_dl(lines)

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
            say(f"lat: {error}", err=True, colour="red")
            code = FAILED
        except BaseException as error:  # what plugins written in Rust raise is no Exception
            said = reason(error)
            say(f"lat: {said}" if said == NO_MEMORY else f"lat: {type(error).__name__}: {said}", err=True)
            code = FAILED
        ctx.exit(FAILED if ctx.find_root().meta.get(UNSAID) and code in (0, NOTHING_TO_DO) else code)


def complete_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Have the shell complete the name of a file or folder."""
    return [CompletionItem(incomplete, type="file")]


def run_process(command: Callable[[], object]) -> None:
    """Run the command as a process of its own, with safe streams."""
    try:
        process.own_streams()
        command()
    except OSError as error:  # so few files may be open that Python cannot load what it needs
        say(f"lat: {reason(error)}", err=True)
        sys.exit(FAILED)


def say(text: str, err: bool = False, colour: str | None = None) -> None:
    """Print a line, in colour on terminals (unless NO_COLOR is set).

    Where that is impossible the work goes on, and the exit code tells.
    """
    if colour and not os.environ.get("NO_COLOR"):
        text = click.style(text, fg=colour)
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
    """ "200k", "200 KB", "0.2MB" -> 200,000; "1KiB" -> 1024."""
    if value is None:
        return None
    found = re.fullmatch(
        r"\s*([0-9]+(?:[_,][0-9]{3})*(?:\.[0-9]*)?|\.[0-9]+)\s*([kmg]?)(i?)(?:b|bytes?)?\s*", value, re.I
    )
    if not found or found[3] and not found[2]:
        raise click.BadParameter(f"{value!r} is no number of bytes: 50000, 200k, 20KB or 1.5M")
    unit = 1024 if found[3] else 1000
    size = int(float(re.sub("[_,]", "", found[1])) * unit ** " kmg".index(found[2].lower() or " "))
    if size < 1:
        raise click.BadParameter(f"{value} is no size of a file")
    return size
