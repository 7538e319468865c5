"""`lat engines` and `lat onnx`: what evaluates the networks here, and the networks for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from codec import weights
from codec.command.parts import LatCommand, say
from codec.errors import LatError
from codec.settings import ENGINES


@click.command(cls=LatCommand)
def engines() -> None:
    """What can evaluate the networks here, and what does."""
    from codec import engine, rans

    opened = weights.Weights.open(weights.DEFAULT)
    say(f"{'chosen':12} {engine.load(opened).description}; {rans.description()}")
    for name in ENGINES:
        here = engine.load(opened, name).description if name in engine.installed() else "not installed"
        say(f"{name:12} {here}")


@click.command(cls=LatCommand)
@click.option("-m", "--model", default=weights.DEFAULT, show_default=True, help="Weights, by name or file.")
@click.option("--out", "folder", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--decoder", is_flag=True, help="Only what reading files takes.")
def onnx(model: str, folder: Path, decoder: bool) -> None:
    """Write the networks as ONNX graphs, and manifest.json with all that is not in them.

    What each takes and gives is told at the top of codec/engine/onnx_graphs.py.
    """
    try:
        from codec.engine import onnx_graphs
    except ModuleNotFoundError as error:
        raise LatError(f"{error.name} is missing: pip install onnx") from None
    onnx_graphs.export(weights.Weights.open(model), folder, encoder=not decoder)
