"""Ten steps without noise, for `test_train`, which starts it by torchrun too: -m tests.distributed PHOTOS OUT BATCH."""

import sys
from pathlib import Path

import torch

from codec.train import loop
from tests.test_train import TINY

if __name__ == "__main__":
    torch.rand_like = lambda v: torch.full_like(v, 0.75)  # the noise of latents differs between processes
    torch.set_num_threads(1)
    recipe = loop.Recipe(batch=int(sys.argv[3]), crop=128)
    loop.train(
        TINY, recipe, [Path(sys.argv[1])], Path(sys.argv[2]), 1e-6, "tiny"
    )  # over at the first look at the clock
