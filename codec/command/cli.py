"""The `lat` command: parse, call, print. Torch is imported only where pixels are made."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from codec import __version__, container, kinds, weights
from codec.command.latent_cli import latent
from codec.command.parts import (
    FAILED,
    LatCommand,
    parse_bytes,
    parse_output,
    parse_region,
    parse_strip,
    say,
    together,
)
from codec.command.runs import Run, process_all
from codec.command.web import web
from codec.config import LATENT
from codec.errors import LatError, install, reason
from codec.runs import files, job, process, record
from codec.runs.files import shown
from codec.runs.job import Options
from codec.runs.rows import json_text
from codec.settings import EFFORT, ENGINES, MAX_HOLLOW, MAX_PIXELS, QUALITY, STEPS, TUNE, TUNES, Settings
from codec.tiles import tile_kinds


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """A learned image codec: photographs in, small .lat files out, PNG back.

    Exit codes: 0 all good, 1 a file failed, 2 wrong usage, 3 nothing to do.
    """


def command(*options: Callable) -> Callable:
    """A subcommand with these options."""
    return lambda function: main.command(cls=LatCommand)(together(*options)(function))


sources_argument = click.argument("sources", metavar="IN...", nargs=-1, required=True)
max_pixels_option = click.option(
    "--max-pixels", type=click.IntRange(1), default=MAX_PIXELS, show_default=True, help="Refuse larger pictures."
)
output_options = together(
    click.option(
        "-o", "--output", callback=parse_output, help="File to write, - for standard output. Default: beside IN."
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
    click.option("--strict", is_flag=True, help="Refuse animated pictures instead of keeping their first frame."),
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
    return Options(settings, given[0] if given else None, weights.newest(model, tune), **others)


@command(
    sources_argument,
    encoder_options,
    output_options,
    batch_options,
)
def compress(sources, output, out_dir, dry_run, recursive, jobs, as_json, quiet, **encoder) -> None:
    """Compress photographs to .lat files."""
    if output and output not in sources and not files.is_stream(output) and kinds.is_other_format(output):
        raise click.UsageError(f"compress writes .lat files, and {output} is named as one of another format")
    options = encoding(**encoder)
    run = Run(job.compress, ".lat", sources, recursive, jobs, as_json, quiet, output, out_dir, dry_run)
    process_all(run, options, kinds.picture_suffixes)


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
)
def decompress(sources, overwrite, max_pixels, threads, engine, float32, region, quality, ignore_errors, **run) -> None:
    """Decompress .lat files to pictures: .png, or what the suffix of -o says.

    Without --max-pixels, files of a few bytes are refused from a quarter of it on.
    """
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
    )
    process_all(Run(job.decompress, ".png", sources, **run), options, lambda: {".lat"})


@command(sources_argument, batch_options)
def verify(sources, **run) -> None:
    """Check that .lat files are whole: structure, sizes and every checksum."""
    process_all(Run(job.verify, "", sources, **run), Options(), lambda: {".lat"})


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


@command(
    click.argument("source", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True)),
    click.option("--json", "as_json", is_flag=True, help="One JSON object."),
)
def info(source: str, as_json: bool) -> None:
    """Describe a .lat file."""
    data = job.read_lat(source).data
    try:
        parsed = container.parse(data)
    except LatError as error:
        raise type(error)(f"{shown(source)}: {error}") from None
    header, first = parsed.header, parsed.tiles[0] if parsed.tiles else b""
    fields: dict[str, Any] = {
        "file": source,
        "width": header.width,
        "height": header.height,
        "mode": header.mode,
        "bytes": len(data),
        "bpp": round(8 * len(data) / (header.width * header.height), 4),
        "rate_row": first[0] if len(first) else None,
        "tiles": list(header.grid),
        "tile_pixels": header.tile * LATENT,
        "kinds": tile_kinds(parsed),
        "model": weights.name_of(header.model),
        "fingerprint": header.model.hex(),
        "made_with": made.settings if (made := record.find(data[: record.READ])) else "unknown settings",
        "metadata": {key: len(value) for key, value in parsed.metadata.items()},
        "format": f"{container.VERSION[0]}.{parsed.minor}",
    }
    if as_json:
        say(json_text(fields))
        return
    fields["model"] = fields["model"] or ("none needed" if header.lossless else "not installed")
    fields["tiles"] = " × ".join(map(str, header.grid))
    fields["kinds"] = ", ".join(f"{n} {kind}" for kind, n in fields["kinds"].items() if n)
    fields["metadata"] = ", ".join(f"{k} {n} bytes" for k, n in fields["metadata"].items()) or "none"
    for key, value in fields.items():
        say(f"{key.replace('_', ' '):12} {value}")


@command()
def engines() -> None:
    """What can evaluate the networks here, and what does."""
    from codec import engine, rans

    opened = weights.Weights.open(weights.DEFAULT)
    say(f"{'chosen':12} {engine.load(opened).description}; {rans.description()}")
    for name in ENGINES:
        here = engine.load(opened, name).description if name in engine.installed() else "not installed"
        say(f"{name:12} {here}")


@command(
    click.option("-m", "--model", default=weights.DEFAULT, show_default=True, help="Weights, by name or file."),
    click.option("--out", "folder", type=click.Path(file_okay=False, path_type=Path), required=True),
    click.option("--decoder", is_flag=True, help="Only what reading files takes."),
)
def onnx(model: str, folder: Path, decoder: bool) -> None:
    """Write the networks as ONNX graphs, and manifest.json with all that is not in them.

    What each takes and gives is told at the top of codec/engine/onnx_graphs.py.
    """
    try:
        from codec.engine import onnx_graphs
    except ModuleNotFoundError as error:
        raise LatError(f"{error.name} is missing: pip install onnx") from None
    onnx_graphs.export(weights.Weights.open(model), folder, encoder=not decoder)


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def bench(args: tuple[str, ...]) -> None:
    """Measure lat against other codecs; see `lat bench --help`."""
    installed = importlib.util.find_spec("codec.bench") is not None  # a checkout has it beside the package instead
    try:
        run = importlib.import_module("codec.bench.run" if installed else "bench.run")
    except ImportError as error:
        say(f"lat: the benchmark needs more packages ({error.name}): {install('bench')}", err=True)
        sys.exit(FAILED)
    run.main(args, prog_name="lat bench")


main.add_command(latent)
main.add_command(web)


def entry() -> None:
    """The command as a process of its own."""
    try:
        process.own_streams()
        process.end_when_told()
        main(prog_name="lat")
    except OSError as error:  # so few files may be open that Python cannot load what it needs
        say(f"lat: {reason(error)}", err=True)
        sys.exit(FAILED)


if __name__ == "__main__":
    entry()
