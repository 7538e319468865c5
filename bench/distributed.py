"""Held-out loss of a small network: two processes under torchrun, one with the doubled batch, one with the same batch.

python -m bench.distributed --data SHARD.tar --minutes 0.8 --out bench/results/distributed.json
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

import click
import torch

from codec.config import Config
from codec.train import loop

SMALL = Config(width=32, latents=64, hyper=16, context=32, enc_blocks=2, dec_blocks=2, context_blocks=1)
EVERY = 20  # steps between looks at the held-out photographs
RUNS = {"two processes of 4": (2, 4), "one of 8": (1, 8), "one of 4": (1, 4)}


def run(photos: Path, batch: int, minutes: float) -> None:
    """In a process of its own: a run at a constant learning rate, that no clock may influence."""
    torch.set_num_threads(1)
    loop.CHECKPOINT_SECONDS, loop.CLOCK_STEPS = 0, EVERY
    recipe = loop.Recipe(batch=batch, crop=128, warmup=20, decay=1e-9, final_part=0.0, ema=0.9)
    noise = patch("torch.rand_like", lambda v: torch.full_like(v, 0.75))  # processes draw different noise
    with noise, tempfile.TemporaryDirectory() as folder:
        loop.train(SMALL, recipe, [photos], Path(folder) / "run.ckpt", minutes, "small")


@click.command()
@click.option("--data", "photos", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--minutes", default=1.0, show_default=True, help="Of each run.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--batch", type=int, hidden=True)
def main(photos: Path, minutes: float, out: Path | None, batch: int | None) -> None:
    if batch:
        run(photos, batch, minutes)
        return
    curves = {}
    for name, (processes, batch) in RUNS.items():
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [sys.executable, *(launcher if processes > 1 else []), "-m", "bench.distributed"]
        command += ["--data", str(photos), "--minutes", str(minutes), "--batch", str(batch)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        losses = re.findall(r"step (\d+)  checkpoint; held-out log-loss (\S+)", printed)
        curves[name] = {int(step): float(loss) for step, loss in losses}
    steps = sorted(set.intersection(*map(set, curves.values())))
    looks = {name: [curve[s] for s in steps] for name, curve in curves.items()}
    result: dict[str, object] = {"steps": steps, **looks}
    two, *others = (looks[name] for name in RUNS)
    for name, other in zip(list(RUNS)[1:], others):
        apart = sum(abs(a - b) for a, b in zip(two, other)) / len(steps)
        result[f"mean distance of two processes from {name}"] = round(apart, 4)
        click.echo(f"two processes and {name}: {apart:.4f} apart in {len(steps)} looks")
    if out:
        out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
