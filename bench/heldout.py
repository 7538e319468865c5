"""Compare networks on the photographs that training keeps back, while they train: checkpoints need no export.

    python -m bench.heldout --data PHOTOS weights/best-6.safetensors run.ckpt --out heldout.json

Every later file is compared with the first, at its λ: BD-rate of the mean curves, and the mean of log(R + λD) with its
standard error over the photographs. Rates are estimated from rounded latents: enough to choose between networks, but
what is reported of weights comes from `lat bench`.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from codec.bench.metrics import bd_rate
from codec.model import Model
from codec.train.data import Photos
from codec.train.distortion import squared_error
from codec.train.export import load_averaged

CROP = 384
ROWS = range(2, 64, 10)


@torch.no_grad()
def curves(model: Model, crops: Tensor, lambdas: Tensor) -> np.ndarray:
    """(3, crops, λ): estimated bits per pixel, squared error on the 0..255 scale, log(R + λD); rows nearest to λ."""
    model, out = model.channels_last(), np.empty((3, len(crops), len(lambdas)))
    for i, crop in enumerate(crops):
        for k, of in enumerate(lambdas):
            q = (model.lambdas / of).log().abs().argmin()[None]
            x = crop[None].contiguous(memory_format=torch.channels_last)
            x_hat, bpp = model(x, q, noise=False)
            mse = squared_error(x, x_hat)
            out[:, i, k] = torch.cat([bpp, mse, torch.log(bpp + of * mse)])
    return out


def compare(first: np.ndarray, other: np.ndarray) -> dict:
    """`other` against `first`, of `curves`."""
    means = [(c[0].mean(1), 10 * np.log10(255**2 / c[1].mean(1))) for c in (first.swapaxes(1, 2), other.swapaxes(1, 2))]
    gain = (other[2] - first[2]).mean(1)
    return {
        "bd_rate_percent": round(bd_rate(*means[0], *means[1])[0], 2),
        "log_loss": round(float(gain.mean()), 5),
        "standard_error": round(float(gain.std() / len(gain) ** 0.5), 5),
    }


@click.command()
@click.argument("networks", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1, required=True)
@click.option("--data", "sources", type=click.Path(exists=True, path_type=Path), multiple=True, required=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path))
def main(networks: tuple[Path, ...], sources: tuple[Path, ...], out: Path | None) -> None:
    crops = Photos(list(sources), torch.device("cpu")).validation(CROP)
    click.echo(f"{len(crops)} crops of {CROP} × {CROP}, {len(ROWS)} rates; against {networks[0].name}")
    model, found = load_averaged(networks[0])[0], {}
    lambdas = model.lambdas[[*ROWS]]
    first = curves(model, crops, lambdas)
    for path in networks[1:]:
        row = found[path.name] = compare(first, curves(load_averaged(path)[0], crops, lambdas))
        click.echo(
            f"{path.name}: BD-rate {row['bd_rate_percent']:+} %, "
            f"log(R + λD) {row['log_loss']:+.4f} ± {row['standard_error']:.4f}"
        )
    if out:
        result = {"against": networks[0].name, "crops": len(crops), "size": CROP, "rows": list(ROWS), "networks": found}
        out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
