"""The `lat` command: parse, call, print. Torch is imported only where pixels are made."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import click

from codec import __version__, container, files, weights
from codec.errors import FormatError, LatError


class LatCommand(click.Command):
    """Turns LatError into one line on stderr and exit code 1."""

    def invoke(self, ctx: click.Context):
        try:
            return super().invoke(ctx)
        except (LatError, MemoryError) as error:
            message = str(error) or "not enough memory for this picture"
            click.echo(f"lat: {message}", err=True)
            ctx.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """A learned image codec: photographs in, small .lat files out, PNG back.

    Exit codes: 0 all good, 1 a file failed, 2 wrong usage, 3 nothing to do.
    """


def command(function: Callable) -> Callable:
    return main.command(cls=LatCommand)(function)


@contextmanager
def named(path: str):
    """Put the file's name in front of errors that do not know it."""
    try:
        yield
    except LatError as error:
        shown = "standard input" if path == "-" else path
        message = str(error)
        raise error if message.startswith(shown) else type(error)(f"{shown}: {message}") from None


@contextmanager
def progress_bar(quiet: bool):
    """A callback (done, all) that draws a bar on a terminal once there is more than one tile."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    bars = []

    def update(done: int, count: int) -> None:
        if not bars and count > 1:
            bars.append(click.progressbar(length=count, label="tiles", file=sys.stderr, show_pos=True))
        if bars:
            bars[0].update(done - bars[0].pos)

    yield update
    for bar in bars:
        bar.render_finish()


def target_for(source: str, output: str | None, suffix: str) -> str:
    if output is not None:
        return output
    return "-" if source == "-" else str(Path(source).with_suffix(suffix))


def refuse_terminal(target: str) -> None:
    if target == "-" and sys.stdout.isatty():
        raise click.UsageError("not writing binary data to a terminal: give -o FILE or redirect standard output")


overwrite_option = click.option("--overwrite", is_flag=True, help="Replace an existing output.")
quiet_option = click.option("--quiet", is_flag=True, help="Print errors only.")
max_pixels_option = click.option(
    "--max-pixels", type=click.IntRange(1), default=2**28, show_default=True, help="Refuse larger pictures."
)


@command
@click.argument("source", metavar="IN", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="File to write, - for standard output. Default: IN with suffix .lat.",
)
@click.option(
    "-q", "--quality", type=click.FloatRange(0, 100), default=50, show_default=True, help="Higher is better and larger."
)
@click.option(
    "-m", "--model", default=weights.DEFAULT, show_default=True, help="Weights: a name or a .safetensors file."
)
@overwrite_option
@max_pixels_option
@quiet_option
def compress(
    source: str, output: str | None, quality: float, model: str, overwrite: bool, max_pixels: int, quiet: bool
) -> None:
    """Compress a photograph to a .lat file."""
    target = target_for(source, output, ".lat")
    refuse_terminal(target)
    if target != "-" and Path(target).exists() and not overwrite:
        raise LatError(f"{target}: exists; --overwrite replaces it, -o writes elsewhere")
    from codec import image as images

    data = files.read_bytes(source)
    opened = images.open_image(io.BytesIO(data), source, max_pixels)
    picture = images.from_pillow(opened, source)
    from codec.coder import Codec

    with named(source), progress_bar(quiet) as progress:
        encoded = Codec.load(model).encode(picture, quality, progress)
    files.write_bytes(target, encoded, overwrite)
    if not quiet:
        for note in picture.notes:
            click.echo(f"{source}: {note}", err=True)
        if target != "-":
            height, width = picture.pixels.shape[:2]
            click.echo(
                f"{source} → {target}: {len(data):,} → {len(encoded):,} bytes, "
                f"{8 * len(encoded) / (width * height):.3f} bits per pixel",
                err=True,
            )


@command
@click.argument("source", metavar="IN", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="File to write (.png, .jpg, .tif, .webp …), - for PNG on standard output. Default: IN with suffix .png.",
)
@click.option("--region", metavar="X,Y,W,H", help="Only this part: left, top, width, height in pixels.")
@overwrite_option
@max_pixels_option
@quiet_option
def decompress(
    source: str, output: str | None, region: str | None, overwrite: bool, max_pixels: int, quiet: bool
) -> None:
    """Decompress a .lat file to a picture."""
    target = target_for(source, output, ".png")
    refuse_terminal(target)
    if target != "-" and Path(target).exists() and not overwrite:
        raise LatError(f"{target}: exists; --overwrite replaces it, -o writes elsewhere")
    data = files.read_bytes(source)
    from PIL import Image

    with named(source), progress_bar(quiet) as progress:
        header = container.parse(data).header  # refuse what is no .lat before the second it takes to load torch
        box = parse_region(region, header) if region else None
        format = "PNG" if target == "-" else Image.registered_extensions().get(Path(target).suffix.lower())
        if format is None:
            raise click.UsageError(f"{target}: no picture format has this suffix; use .png")
        from codec import image as images
        from codec.coder import Codec

        codec = Codec.for_file(data)
        image = codec.decode_region(data, box) if box else codec.decode(data, max_pixels, progress)
        buffer = io.BytesIO()
        try:
            images.save(image, buffer, format)
        except (OSError, KeyError, ValueError) as error:
            raise LatError(f"{target}: cannot be written as {format}: {error}") from None
    files.write_bytes(target, buffer.getvalue(), overwrite)
    if not quiet and target != "-":
        click.echo(f"{source} → {target}: {image.width} × {image.height} pixels", err=True)


def parse_region(text: str, header: container.Header) -> tuple[int, int, int, int]:
    """ "x,y,w,h" -> (left, top, right, bottom) inside the picture."""
    try:
        x, y, w, h = (int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not X,Y,W,H", param_hint="--region") from None
    if min(x, y) < 0 or min(w, h) < 1 or x + w > header.width or y + h > header.height:
        raise click.BadParameter(
            f"{text} leaves the picture of {header.width} × {header.height}", param_hint="--region"
        )
    return x, y, x + w, y + h


@command
@click.argument("source", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def info(source: str, as_json: bool) -> None:
    """Describe a .lat file."""
    data = files.read_bytes(source)
    with named(source):
        parsed = container.parse(data)
    header, first = parsed.header, parsed.tiles[0]
    fields = {
        "file": source,
        "width": header.width,
        "height": header.height,
        "mode": header.mode,
        "bytes": len(data),
        "bpp": round(8 * len(data) / (header.width * header.height), 4),
        "rate_row": first[0] if len(first) else None,
        "tiles": list(header.grid),
        "tile_pixels": header.tile * container.LATENT,
        "model": weights.name_of(header.model),
        "fingerprint": header.model.hex(),
        "metadata": {key: len(value) for key, value in parsed.metadata.items()},
        "format": ".".join(map(str, container.VERSION)),
    }
    if as_json:
        click.echo(json.dumps(fields, ensure_ascii=False))
        return
    fields["model"] = fields["model"] or "not installed"
    fields["tiles"] = " × ".join(map(str, header.grid))
    fields["metadata"] = ", ".join(f"{k} {n} bytes" for k, n in fields["metadata"].items()) or "none"
    for key, value in fields.items():
        click.echo(f"{key.replace('_', ' '):12} {value}")


@command
@click.argument("source", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@quiet_option
def verify(source: str, quiet: bool) -> None:
    """Check that a .lat file is whole: structure, sizes and every checksum."""
    data = files.read_bytes(source)
    with named(source):
        parsed = container.parse(data)
        parsed.verify()
        if any(len(tile) < 13 for tile in parsed.tiles):
            raise FormatError("a tile is too short to hold a stream")
    if not quiet:
        click.echo(f"{source}: good ({len(data):,} bytes, {len(parsed.tiles)} tiles)")


if __name__ == "__main__":
    main()
