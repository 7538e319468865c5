"""`lat latent …`: what makes pictures of pictures. What looks for something is in `latent_find.py`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codec import container, loaded
from codec.command.latent_find import anomaly, similar
from codec.command.parts import LatCommand, parse_output, say, together
from codec.command.pixels import (
    check_suffix,
    common,
    model_option,
    open_picture,
    overwrite_option,
    read_pixels,
    tell_of_profile,
    write_picture,
    write_result,
)
from codec.errors import LatError, about
from codec.runs import files, process

if TYPE_CHECKING:
    from codec.coder import Codec
    from codec.latent.latents import Latents

MILLISECONDS = 80  # of a frame of an animated blend


@click.group()
def latent() -> None:
    """Work on latents: every result comes back through the same decoder.

    IN is a picture, a .lat file or .npz latents; -o ends in .lat, .npz or the suffix of a picture.
    """


def command(*options):
    """A subcommand of `lat latent` with these options."""
    return lambda function: latent.command(cls=LatCommand)(together(*options)(function))


def parse_size(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    """ "WxH" -> (W, H)."""
    try:
        width, height = (int(part) for part in value.lower().split("x"))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not WxH") from None
    if min(width, height) < 1 or width * height > 2**26:
        raise click.BadParameter(f"{value}: must be at least 1x1 and at most {2**26} pixels")
    return width, height


seed_option = click.option("--seed", type=int, default=0, show_default=True)


def read(source: str, model: str, quality: float) -> tuple[Codec, Latents]:
    """(codec, latents) of a .lat file, .npz latents, or a picture.

    Raises: LatError.
    """
    from codec.latent.latents import Latents

    process.own()
    data = files.read_bytes(source)
    try:
        if data[:8] == container.MAGIC:
            codec = loaded.codec_for(container.parse(data).header.model)
            return codec, Latents.from_file(codec, data)
        if data[:4] == b"PK\x03\x04":
            found = Latents.load(io.BytesIO(data))
            return loaded.codec_for(found.model), found
    except LatError as error:
        raise type(error)(f"{files.shown(source)}: {error}") from None
    codec = loaded.codec(model)
    return codec, Latents.from_image(codec, open_picture(data, source), quality)


def write(codec: Codec, latents: Latents, target: str, overwrite: bool) -> None:
    """By the target's suffix: a .lat file, .npz latents, or a picture.

    Raises: LatError.
    """
    from codec.picture import pictures

    suffix = Path(target).suffix.lower()
    if suffix not in (".lat", ".npz"):
        pictures.output_format(target)  # an error now, not after the work
        write_picture(latents.to_image(codec), target, overwrite)
        return
    with files.writing(target, overwrite) as file:
        if suffix == ".lat":
            file.write(latents.to_file(codec))
        else:
            latents.save(file)


@command(click.argument("source", metavar="IN"), common)
def convert(source, model, quality, output, overwrite) -> None:
    """Between pictures, .lat files and .npz latents."""
    write(*read(source, model, quality), output, overwrite)


@command(
    click.option("--size", callback=parse_size, default="512x512", show_default=True, metavar="WxH"),
    seed_option,
    click.option("-n", "--count", type=click.IntRange(1), default=1, show_default=True, help="Seeds S, S + 1, …"),
    click.option("--temperature", type=click.FloatRange(0, 4), default=1.0, show_default=True, help="0 … 4."),
    model_option,
    click.option("-q", "--quality", type=click.FloatRange(0, 100), default=20, show_default=True, help="Rate row."),
    click.option(
        "-o",
        "--output",
        required=True,
        callback=parse_output,
        help="File to write; with -n, {seed} in it becomes the seed.",
    ),
    overwrite_option,
)
def sample(size, seed, count, temperature, model, quality, output, overwrite) -> None:
    """Pictures that the model makes up: texture and light, not objects."""
    from codec.latent import generate

    if count > 1 and "{seed}" not in output:
        raise click.UsageError("-n writes several files: put {seed} into -o, as in -o 'sample-{seed}.png'")
    codec, (width, height) = loaded.codec(model), size
    for s in range(seed, seed + count):
        drawn = generate.sample(codec, width, height, s, quality, temperature)
        write(codec, drawn, output.replace("{seed}", str(s)), overwrite)


@command(
    click.argument("first", metavar="A"),
    click.argument("second", metavar="B"),
    click.option("-t", "t", type=float, default=0.5, show_default=True, help="0 is A, 1 is B."),
    click.option("--frames", type=click.IntRange(2), help="Go from A to B and write an animated .webp, .gif or .png."),
    common,
)
def blend(first, second, t, frames, model, quality, output, overwrite) -> None:
    """Between two pictures of the same size, in latent space."""
    from codec.latent import edit
    from codec.picture import pictures

    animated = frames and pictures.output_format(output)
    if animated and animated not in ("WEBP", "GIF", "PNG"):
        raise click.UsageError(f"{output}: an animation is .webp, .gif or .png")
    codec, a = read(first, model, quality)
    _, b = read(second, model, quality)
    tell_of_profile(second, b.metadata, a.metadata)
    if not animated:
        write(codec, edit.blend(codec, a, b, t), output, overwrite)
        return
    b = edit.store_like(codec, b, a)
    shown = [edit.blend(codec, a, b, i / (frames - 1)).to_image(codec) for i in range(frames)]
    data, notes = pictures.encode_animation(shown, animated, MILLISECONDS)
    files.write_bytes(output, data, overwrite)
    for note in notes:
        say(f"{output}: {note}", err=True)


@command(
    click.argument("source", metavar="IN"),
    click.option("--direction", required=True, help="As `lat latent directions` lists them."),
    click.option("--strength", type=float, default=1.0, show_default=True, help="Negative goes the other way."),
    click.option("--directions", "path", type=click.Path(path_type=Path), help="A file of directions of your own."),
    common,
)
def edit(source, direction, strength, path, model, quality, output, overwrite) -> None:
    """Sharper, brighter, less noise …: along a direction found from photographs."""
    from codec.latent import edit as edits

    codec, latents = read(source, model, quality)
    known = edits.load(path or edits.directions_file(codec))
    if direction not in known:
        raise click.UsageError(f"no direction {direction}; there are {', '.join(known)}")
    write(codec, edits.apply(codec, latents, known[direction], strength), output, overwrite)


@command(model_option)
def directions(model) -> None:
    """List the directions that belong to the weights."""
    from codec.latent import edit as edits

    say("\n".join(edits.load(edits.directions_file(loaded.codec(model)))))


@command(
    click.argument("source", metavar="IN"),
    click.option(
        "--noise", type=click.FloatRange(0, 255, min_open=True), metavar="σ", help="Of this σ, in grey levels."
    ),
    click.option("--deblock", is_flag=True, help="Smooth the blocks and ringing of a JPEG."),
    click.option("--upscale", type=click.Choice(["2"]), help="To twice the size."),
    common,
)
def restore(source, noise, deblock, upscale, model, quality, output, overwrite) -> None:
    """Remove noise or JPEG's blocks, or double the size. Takes as long as coding the picture sixteen times."""
    from codec.command.runs import progress_bar
    from codec.latent import restore as restoring

    if (noise is not None) + deblock + (upscale is not None) != 1:
        raise click.UsageError("say one of --noise σ, --deblock and --upscale 2")
    with progress_bar("passes", False) as progress:
        if deblock:
            check_suffix(output)
            codec, data = loaded.codec(model), files.read_bytes(source)
            try:
                image = restoring.deblock(codec, data, progress)
                open_picture(data, source)  # for its notes
            except LatError as error:
                raise LatError(about(error, files.shown(source))) from None
        else:
            picture, own = read_pixels(source, output)
            codec = own or loaded.codec(model)
            if noise:
                image = restoring.denoise(codec, picture, noise, progress)
            else:
                image = restoring.upscale(codec, picture, progress)
    write_result(image, output, codec, quality, overwrite)


latent.add_command(anomaly)
latent.add_command(similar)
