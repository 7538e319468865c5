"""`python -m codec.train`: see `--help`."""

from __future__ import annotations

from pathlib import Path

import click

from codec.config import NEXT_SIZES, SIZES
from codec.train.distortion import LOSSES
from codec.train.grow import LargerNetworkError
from codec.train.loop import Recipe, train


@click.command()
@click.option("--size", type=click.Choice(sorted(SIZES | NEXT_SIZES)), default="fast", show_default=True)
@click.option(
    "--data",
    "sources",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    required=True,
    help="Folder of photographs or tar file; may be given several times.",
)
@click.option("--minutes", type=float, required=True, help="Training time in all, resumed parts included.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Checkpoint to write.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out where there is one.")
@click.option(
    "--init",
    "start",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Begin with the networks of this checkpoint or weights file; those of a smaller size are grown.",
)
@click.option(
    "--tune",
    type=click.Choice(list(LOSSES)),
    default=Recipe.tune,
    show_default=True,
    help="What bits are weighed against: squared error, or mostly SSIMULACRA 2.",
)
@click.option("--batch", type=int, default=Recipe.batch, show_default=True, help="Crops a step, of each process.")
@click.option("--decoder-only", is_flag=True, help="Leave all but g_s as it is.")
@click.option("--halved", type=float, default=Recipe.halved, show_default=True, help="Part of the crops at half size.")
@click.option("--rate", type=float, default=1.0, show_default=True, help="Learning rate, in parts of the recipe's.")
def main(
    size: str,
    sources: tuple[Path, ...],
    minutes: float,
    out: Path,
    resume: bool,
    start: Path | None,
    tune: str,
    batch: int,
    decoder_only: bool,
    halved: float,
    rate: float,
) -> None:
    """Train the codec's network on photographs; then `python -m codec.train.export`.

    On several GPUs or machines: `torchrun --nproc-per-node 8 -m codec.train …`.
    """
    if out.exists() and not resume:
        raise click.UsageError(f"{out} exists: --resume goes on from it, another --out leaves it alone")
    recipe = Recipe(batch=batch, tune=tune, halved=halved, decoder_only=decoder_only).paced(rate)
    try:
        train((SIZES | NEXT_SIZES)[size], recipe, list(sources), out, minutes, size, resume, start)
    except LargerNetworkError as e:
        raise click.UsageError(f"--init {start}: {e}") from None


if __name__ == "__main__":
    main()
