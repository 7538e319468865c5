"""A tiny network, and ten steps of its training without noise, in as many processes as there are.

`test_train` starts it by torchrun: -m tests.distributed PHOTOS OUT BATCH.
"""

import sys
from pathlib import Path
from unittest import mock

import torch

from codec.config import Config
from codec.train import loop

TINY = Config(width=16, latents=16, hyper=8, context=16, enc_blocks=2, dec_blocks=2, context_blocks=1)


def ten_steps(photos: Path, out: Path, batch: int) -> None:
    """The noise of latents differs between processes: none here. Over at the first look at the clock."""
    recipe = loop.Recipe(batch=batch, crop=128)
    with (
        mock.patch.object(torch, "rand_like", lambda v: torch.full_like(v, 0.75)),
        mock.patch.object(loop, "SHORTCUT_CROPS", 50),
    ):
        loop.train(TINY, recipe, [photos], out, 1e-6, "tiny")


if __name__ == "__main__":
    ten_steps(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
