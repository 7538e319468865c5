"""Memory of a process that codes picture after picture: `python -m tests.leaks --count 2000 --engine openvino`.

SECURITY.md has the results. Sizes and modes change from picture to picture, as a server sees them; one in ten is large
enough for the engine that is best then. The weights are those of `tiny.py`: what leaks is around the networks.
"""

from __future__ import annotations

import gc
import os
import random
from pathlib import Path

import click
import numpy as np

from codec import Codec, container
from codec.arguments import as_picture
from codec.settings import ENGINES, Settings
from tests import tiny

WARM = 200  # pictures until caches are full
SMALL, LARGE = 120, 1000  # pixels a side, at most


def resident() -> float:
    """MB of this process that lie in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@click.command()
@click.option("--count", default=2000, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--engine", type=click.Choice(ENGINES), help="Default: the one that a picture's size calls for.")
@click.option("--threads", default=2, show_default=True)
def main(count: int, seed: int, engine: str | None, threads: int) -> None:
    """Encode and decode small noisy pictures, and print what memory has grown by since the first 200."""
    codec, generator = Codec(tiny.weights(), engine, threads), random.Random(seed)
    noise = np.random.default_rng(seed).integers(0, 256, (LARGE, LARGE, 4), np.uint8)
    start = 0.0
    for number in range(1, count + 1):
        most = LARGE if number % 10 == 0 else SMALL
        height, width = generator.randrange(most // 2, most), generator.randrange(most // 2, most)
        picture = as_picture(noise[:height, :width, : generator.choice((1, 2, 3, 4))].copy())
        codec.decode(container.build(codec.learned.encode(picture, Settings(generator.randrange(101)))))
        if number % WARM == 0:
            gc.collect()
            start = start or resident()
            click.echo(f"{number} pictures: {resident() - start:+.1f} MB of {resident():.0f} MB")


if __name__ == "__main__":
    main()
