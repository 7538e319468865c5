"""Memory of a process that codes picture after picture: `python -m tests.leaks --count 2000 --engine openvino`.

SECURITY.md has the results. Sizes and modes change from picture to picture, as a server sees them.
"""

from __future__ import annotations

import gc
import os
import random
from pathlib import Path

import click
import numpy as np

from codec import Codec
from codec.settings import ENGINES

WARM = 200  # pictures until caches are full


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
    codec, generator = Codec.load(engine=engine, threads=threads), random.Random(seed)
    noise = np.random.default_rng(seed).integers(0, 256, (160, 160, 4), np.uint8)
    start = 0.0
    for number in range(1, count + 1):
        height, width, channels = generator.randrange(8, 160), generator.randrange(8, 160), generator.choice((1, 3, 4))
        pixels = noise[:height, :width, :channels]
        codec.decode(codec.encode(pixels if channels > 1 else pixels[:, :, 0], generator.randrange(101)))
        if number % WARM == 0:
            gc.collect()
            start = start or resident()
            click.echo(f"{number} pictures: {resident() - start:+.1f} MB of {resident():.0f} MB")


if __name__ == "__main__":
    main()
