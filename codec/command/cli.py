"""The `lat` command: parse, call, print. Torch is imported only where pixels are made."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from copy import copy
from pathlib import Path

import click
from click.core import ParameterSource

from codec import __version__, kinds, weights
from codec.command.compare import compare
from codec.command.desktop import desktop
from codec.command.edit_cli import edit
from codec.command.info import info
from codec.command.latent_cli import latent
from codec.command.networks import engines, onnx
from codec.command.opening import open_
from codec.command.parts import (
    FAILED,
    LatCommand,
    complete_files,
    parse_bytes,
    parse_output,
    parse_region,
    parse_strip,
    run_process,
    say,
    together,
)
from codec.command.preview import preview, preview_options, with_side
from codec.command.runs import Run, process_all
from codec.command.thumbnail import thumbnail
from codec.command.web import web
from codec.errors import LatError, install
from codec.runs import check, files, job, plan, process, record
from codec.runs.job import Options
from codec.settings import EFFORT, ENGINES, MAX_HOLLOW, MAX_PIXELS, QUALITY, STEPS, TUNE, TUNES, Settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """A learned image codec: photographs in, small .lat files out, PNG back.

    Exit codes: 0 all good, 1 a file failed, 2 wrong usage, 3 nothing to do.
    """


def command(*options: Callable) -> Callable:
    """A subcommand with these options."""
    return lambda function: main.command(cls=LatCommand)(together(*options)(function))


sources_argument = click.argument("sources", metavar="IN...", nargs=-1, required=True, shell_complete=complete_files)
max_pixels_option = click.option(
    "--max-pixels", type=click.IntRange(1), default=MAX_PIXELS, show_default=True, help="Refuse larger pictures."
)
output_options = together(
    click.option(
        "-o",
        "--output",
        callback=parse_output,
        shell_complete=complete_files,
        help="File to write, - for standard output. Default: beside IN.",
    ),
    click.option(
        "--out-dir", type=click.Path(file_okay=False), help="Write below this folder; folders keep their tree."
    ),
    click.option("--overwrite", is_flag=True, help="Replace existing outputs."),
    max_pixels_option,
    click.option(
        "--threads", type=click.IntRange(1), help="Threads of each process. Default: all cores, shared by -j."
    ),
    click.option("--engine", type=click.Choice(ENGINES), help="What evaluates the networks. Default: the fastest."),
    click.option(
        "--float32", is_flag=True, help="No bfloat16, which is faster on some processors and costs less than 0.02 dB."
    ),
    click.option("--dry-run", is_flag=True, help="Only say what would be written."),
)
batch_options = together(
    click.option("-r", "--recursive", is_flag=True, help="Take folders with everything in them."),
    click.option("-j", "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Files at a time."),
    click.option("--json", "as_json", is_flag=True, help="One JSON object a file on standard output."),
    click.option("--quiet", is_flag=True, help="Print errors only."),
)


encoder_options = together(
    click.option(
        "-q",
        "--quality",
        type=click.FloatRange(0, 100),
        default=QUALITY,
        show_default=True,
        help="Higher is better and larger.",
    ),
    click.option(
        "-m",
        "--model",
        default=weights.DEFAULT,
        show_default=True,
        help="Weights: fast, best (smaller files, slower), a name, or a .safetensors file.",
    ),
    click.option(
        "-e",
        "--effort",
        type=click.IntRange(1, max(STEPS)),
        default=EFFORT,
        show_default=True,
        help="From 4 on slower to encode and smaller.",
    ),
    click.option(
        "--tune",
        type=click.Choice(TUNES),
        help=f"What weights are trained for and efforts refine for.  [default: {TUNE}, or as the weights of -m are]",
    ),
    click.option("--lossless", is_flag=True, help="Every pixel comes back as it was; -q and -m do not count."),
    click.option("--target-size", callback=parse_bytes, metavar="BYTES", help="Best file of at most 200k, 1.5M …"),
    click.option("--target-bpp", type=click.FloatRange(0, min_open=True), help="The same, in bits per pixel."),
    click.option("--target-psnr", type=click.FloatRange(1, 60), help="Smallest file of at least so many dB."),
    click.option(
        "--target-ssimulacra2",
        type=click.FloatRange(1, 99),
        help="Smallest file of at least that score: 70 high, 80 very high, 90 lossless to eyes.",
    ),
    click.option(
        "--strip", callback=parse_strip, default="", help="Metadata to leave out: icc, exif, xmp, text, or all."
    ),
    click.option("--exact", is_flag=True, help="Keep colours that full transparency hides, for more bytes."),
    click.option(
        "--even-if-larger",
        is_flag=True,
        help="Make the file of a JPEG, WebP, AVIF … even where it is not 5 % smaller.",
    ),
    click.option("--first-frame", is_flag=True, help="Of several pages or frames keep the first, instead of failing."),
    preview_options,
)


def encoding(
    target_size, target_bpp, target_psnr, target_ssimulacra2, model, quality, effort, tune, lossless, **others
) -> Options:
    """Options of `encoder_options`."""
    targets = {"size": target_size, "bpp": target_bpp, "psnr": target_psnr, "ssimulacra2": target_ssimulacra2}
    given = [(kind, value) for kind, value in targets.items() if value is not None]
    if len(given) > 1:
        raise click.UsageError(
            "one target at a time: --target-size, --target-bpp, --target-psnr or --target-ssimulacra2"
        )
    if given and lossless:
        raise click.UsageError(f"--lossless has no quality to choose: leave out --target-{given[0][0]}")
    settings = Settings(quality, effort, tune, lossless=lossless)
    if tune and not settings.steps and tune not in weights.NEWEST.get(model, TUNES):
        raise click.UsageError(f"--tune {tune} needs an effort of at least 4: -e 6")
    return Options(settings, given[0] if given else None, weights.newest(model, tune), **with_side(**others))


@command(
    sources_argument,
    encoder_options,
    click.option("--all-frames", is_flag=True, help="Write each page or frame to a file of its own: name-001.lat …"),
    click.option(
        "--check",
        type=click.FloatRange(1, 100),
        metavar="N",
        help="Decode what was written and compare it; below so many points of SSIMULACRA 2 it is a failure.",
    ),
    click.option(
        "--remove-source",
        is_flag=True,
        help="Delete sources whose output passed the check (without --check: 70 points, or equal with --lossless).",
    ),
    output_options,
    batch_options,
)
def compress(sources, output, out_dir, dry_run, recursive, jobs, as_json, quiet, all_frames, **encoder) -> None:
    """Compress photographs to .lat files.

    `lat compress photo.jpg out.lat` means -o out.lat, where no out.lat is there yet.
    """
    if all_frames and encoder["first_frame"]:
        raise click.UsageError("--first-frame or --all-frames, not both")
    sources, output = split_output(sources, output, out_dir)
    if output and output not in sources and not files.is_stream(output) and kinds.is_other_format(output):
        raise click.UsageError(f"compress writes .lat files, and {output} is named as one of another format")
    options = encoding(**encoder)
    check.refuse_impossible(options)
    run = Run(job.compress, ".lat", sources, recursive, jobs, as_json, quiet, output, out_dir, dry_run, all_frames)
    process_all(run, options, kinds.picture_suffixes)


def split_output(
    sources: tuple[str, ...], output: str | None, out_dir: str | None
) -> tuple[tuple[str, ...], str | None]:
    """(Sources, -o) of "photo.jpg out.lat", which people type as with cp: the second is new and named as an output.

    Raises: LatError where it is there already, because no .lat file is a source.
    """
    if len(sources) != 2 or output is not None or out_dir is not None or not sources[1].lower().endswith(".lat"):
        return sources, output
    if os.path.isdir(sources[0]) or any(map(plan.is_pattern, sources)):
        return sources, output
    if os.path.lexists(sources[1]):
        raise LatError(f"{sources[1]}: exists, and is no picture to compress; -o {sources[1]} --overwrite replaces it")
    return sources[:1], sources[1]


@command(
    sources_argument,
    output_options,
    batch_options,
    click.option("--region", callback=parse_region, metavar="X,Y,W,H", help="Only this part, in pixels."),
    click.option(
        "-q",
        "--quality",
        type=click.FloatRange(0, 100),
        help="Of .jpg, .webp, .avif … that are written.  [default: 95]",
    ),
    click.option("--ignore-errors", is_flag=True, help="Paint damaged tiles flat and go on (exit code 1)."),
    click.option(
        "--format",
        type=click.Choice(["png", "jpg", "webp", "avif", "tif", "original"]),
        help="Of what is written; original: what each was made of, or .png where that is unknown.  [default: png]",
    ),
)
def decompress(
    sources, overwrite, max_pixels, threads, engine, float32, region, quality, ignore_errors, format, **run
) -> None:
    """Decompress .lat files to pictures: .png, or what --format or the suffix of -o says.

    Without --max-pixels, files of a few bytes are refused from a quarter of it on.
    """
    if format and run["output"] and not files.is_stream(run["output"]):
        raise click.UsageError("-o says the format by its suffix: leave out --format")
    suffix = original_suffix if format == "original" else f".{format or 'png'}"
    is_default = click.get_current_context().get_parameter_source("max_pixels") is ParameterSource.DEFAULT
    options = Options(
        overwrite=overwrite,
        max_pixels=max_pixels,
        max_hollow=MAX_HOLLOW if is_default else max_pixels,
        threads=threads,
        engine=engine,
        float32=float32,
        region=region,
        ignore_errors=ignore_errors,
        picture_quality=quality,
        picture_suffix="" if callable(suffix) else suffix,
    )
    process_all(Run(job.decompress, suffix, sources, **run), options, lambda: {".lat"})


def original_suffix(source: Path) -> str:
    """The suffix of what a .lat file was made of, by its record; .png where that cannot be known or written.

    Empty where it is in the name: a.jpg.lat comes back as a.jpg.
    """
    from codec.picture.pictures import is_named, suffix_of

    made = record.find(files.read_head(str(source), record.READ))
    suffix = suffix_of(made.format if made else "")
    return "" if is_named(source.stem, suffix) else suffix


@command(
    sources_argument,
    batch_options,
    click.option("--decode", is_flag=True, help="Decode all pixels too; needs the weights."),
    max_pixels_option,
)
def verify(sources, decode, max_pixels, **run) -> None:
    """Check that .lat files are whole: structure, sizes and every checksum."""
    process_all(Run(job.verify, "", sources, **run), Options(decode=decode, max_pixels=max_pixels), lambda: {".lat"})


@command(
    click.argument("source", metavar="SRC"),
    click.argument("target", metavar="DST"),
    encoder_options,
    click.option(
        "--on",
        "where",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Processes of this machine, or actors of a Ray cluster.",
    ),
    click.option(
        "--workers", type=click.IntRange(1), help="Processes, of one thread each. Default: all cores there are."
    ),
    click.option("--shards", is_flag=True, help="Write tar files (WebDataset) of many pictures each instead."),
    click.option(
        "--batch", "size", type=click.IntRange(1), help="Pictures a task, or a shard.  [default: 32, of a shard 1000]"
    ),
    click.option("--overwrite", is_flag=True, help="Do again what is done already."),
    max_pixels_option,
    click.option("--quiet", is_flag=True, help="Print errors only."),
)
def bulk(source, target, where, workers, shards, size, quiet, **encoder) -> None:
    """Compress all pictures below SRC into DST, on one machine or many.

    Both may be folders or URLs (s3://bucket/photos). The same command again goes on where a run was stopped.
    DST/log.jsonl has a row for every picture, failures too.
    """
    from codec.bulk.worker import Plan
    from codec.command.bulk_run import run_bulk

    options = encoding(**encoder)
    sys.exit(run_bulk(Plan(source, target, options, shards, options.describe_encoding()), where, workers, size, quiet))


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def bench(args: tuple[str, ...]) -> None:
    """Measure lat against other codecs; see `lat bench --help`."""
    try:
        from codec.bench import run
    except ImportError as error:
        say(f"lat: the benchmark needs more packages ({error.name}): {install('bench')}", err=True)
        sys.exit(FAILED)
    run.main(args, prog_name="lat bench")


for each in (engines, onnx, info, compare, desktop, edit, latent, open_, preview, thumbnail, web):
    main.add_command(each)
for moved in map(copy, edit.commands.values()):  # `lat latent fill` of scripts that were written before `lat edit`
    moved.hidden = True
    latent.add_command(moved)


def entry() -> None:
    """The command as a process of its own."""
    process.end_when_told()
    run_process(lambda: main(prog_name="lat"))


if __name__ == "__main__":
    entry()
