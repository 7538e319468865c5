"""`lat latent …`: what makes pictures of pictures. What looks for something is in `latent_find.py`."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codec import container, files, loaded, process
from codec.command.latent_find import anomaly, model_option, opened, overwrite_option, similar, write_picture
from codec.command.parts import LatCommand, parse_output, parse_region, say, together
from codec.errors import LatError, about
from codec.tiles import Box

if TYPE_CHECKING:
    from PIL import Image

    from codec.coder import Codec
    from codec.latent.latents import Latents
    from codec.picture.image import Picture

EDIT_QUALITY = 90
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


def parse_point(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    """ "X,Y" -> (X, Y)."""
    try:
        x, y = (int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not X,Y") from None
    return x, y


quality_option = click.option(
    "-q", "--quality", type=click.FloatRange(0, 100), default=EDIT_QUALITY, show_default=True, help="Of the latents."
)
output_option = click.option(
    "-o", "--output", required=True, callback=parse_output, help="File to write: .lat, .npz, .png …"
)
seed_option = click.option("--seed", type=int, default=0, show_default=True)
common = together(model_option, quality_option, output_option, overwrite_option)
box_option = click.option("--box", required=True, callback=parse_region, metavar="X,Y,W,H", help="In pixels.")


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
    return codec, Latents.from_image(codec, opened(data, source), quality)


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


def check_suffix(output: str) -> None:
    """An error now, not after the work.

    Raises: LatError where the suffix is none that can be written.
    """
    from codec.picture import pictures

    process.own()
    if Path(output).suffix.lower() != ".lat":
        pictures.output_format(output)


def read_pixels(source: str, model: str, output: str) -> tuple[Codec, Picture]:
    """(codec, picture) of a picture or a .lat file, for tools that work on pixels.

    Raises: LatError; also where the suffix of the output is none that can be written.
    """
    from codec.picture.image import Picture
    from codec.tiles import picture_box

    check_suffix(output)
    data = files.read_bytes(source)
    try:
        if data[:8] != container.MAGIC:
            return loaded.codec(model), opened(data, source)
        file = container.parse(data)
        codec = loaded.codec_for(file.header.model)
        return codec, Picture(codec.learned.decode(file, picture_box(file.header)), file.header.mode, file.metadata)
    except LatError as error:
        raise type(error)(about(error, files.shown(source))) from None


def tell_of_profile(source: str, own: dict[str, bytes], kept: dict[str, bytes]) -> None:
    """Say so where the ICC profile of a picture is not the one that the result has."""
    if own.get("icc") != kept.get("icc"):
        say(f"{files.shown(source)}: its colours are not converted to the ICC profile of the other picture", err=True)


def write_result(codec: Codec, image: Image.Image, target: str, quality: float, overwrite: bool) -> None:
    """A .lat file or a picture, by the target's suffix.

    Raises: LatError.
    """
    if Path(target).suffix.lower() == ".lat":
        files.write_bytes(target, codec.encode(image, quality), overwrite)
    else:
        write_picture(image, target, overwrite)


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


@command(click.argument("source", metavar="IN"), box_option, common)
def fill(source, box, model, quality, output, overwrite) -> None:
    """Forget what is in a box and go on from its border. For small holes; all other pixels stay."""
    from codec.latent import fill as filling

    codec, picture = read_pixels(source, model, output)
    write_result(codec, filling.fill(picture, box), output, quality, overwrite)


@command(
    click.argument("source", metavar="IN"),
    click.option("--by", type=click.IntRange(1, 1024), default=32, show_default=True, help="Pixels on every side."),
    common,
)
def outpaint(source, by, model, quality, output, overwrite) -> None:
    """Go on beyond the borders, a few dozen pixels on every side: light and colour, no objects."""
    from codec.latent import fill as filling

    codec, picture = read_pixels(source, model, output)
    write_result(codec, filling.outpaint(picture, by), output, quality, overwrite)


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
    b = edit.stored_like(codec, b, a)
    shown = [edit.blend(codec, a, b, i / (frames - 1)).to_image(codec) for i in range(frames)]
    data, notes = pictures.encode_animation(shown, animated, MILLISECONDS)
    files.write_bytes(output, data, overwrite)
    for note in notes:
        say(f"{output}: {note}", err=True)


@command(
    click.argument("target", metavar="A"),
    click.argument("patch", metavar="B"),
    box_option,
    click.option("--at", required=True, callback=parse_point, metavar="X,Y", help="Where in A, in pixels."),
    common,
)
def paste(target, patch, box, at, model, quality, output, overwrite) -> None:
    """A box of B into A, without a seam: light and colour of the patch are made to fit at its border."""
    from codec.latent import fill as filling

    codec, picture = read_pixels(target, model, output)
    _, other = read_pixels(patch, model, output)
    height, width = other.pixels.shape[:2]
    if box[2] > width or box[3] > height:
        raise LatError(f"{patch}: box {box} leaves the picture of {width} × {height}")
    tell_of_profile(patch, other.metadata, picture.metadata)
    part = replace(other, pixels=other.pixels[Box(*box).slices])
    write_result(codec, filling.paste(picture, part, at), output, quality, overwrite)


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
                opened(data, source)  # for its notes
            except LatError as error:
                raise LatError(about(error, files.shown(source))) from None
        else:
            codec, picture = read_pixels(source, model, output)
            if noise:
                image = restoring.denoise(codec, picture, noise, progress)
            else:
                image = restoring.upscale(codec, picture, progress)
    write_result(codec, image, output, quality, overwrite)


latent.add_command(anomaly)
latent.add_command(similar)
