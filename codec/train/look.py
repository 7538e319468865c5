"""Train the texture of a network, and nothing else of it: `python -m codec.train.look --help`.

Loss: √λ · (part · Wasserstein distortion of the picture with detail and grain + (1 − part) · squared error of that
with detail alone). Noise cannot lower a squared error, so that a decoder which has one number for both drives it out;
here each part of the picture has its own. Neighbourhoods and the part shrink as the rate grows.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import click
import torch
from safetensors.torch import save_file
from torch import Tensor

from codec.config import NOISES, Config
from codec.model import Model
from codec.train import wasserstein
from codec.train.checkpoint import load_networks
from codec.train.data import Photos
from codec.train.distortion import coloured_error, squared_error
from codec.train.loop import STALL_SECONDS, faster_dtype, spread_rates
from codec.train.muon import Muon

CROP, BATCH = 256, 6
PART = 0.6  # of Wasserstein distortion at the lowest rate; half of it at the highest
SIZES = (3.6, 1.6)  # base-2 logarithm of the side of neighbourhoods, at the lowest and the highest rate
WARMUP, DECAY, EMA, CLIP = 100, 0.5, 0.998, 1.0
REPORT_STEPS = 50


def texture_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform noise of mean 0 and variance 1: what a hash of positions gives a decoder."""
    return (torch.rand(shape, generator=generator) - 0.5) * 12**0.5


class Look:
    """A run on its way."""

    def __init__(self, model: Model, photos: Photos, rate: float):
        assert model.texture is not None
        self.model, self.texture, self.photos = model.eval().requires_grad_(False), model.texture, photos
        self.texture.requires_grad_(True)
        self.lite0, self.dtype = wasserstein.Lite0(), faster_dtype(torch.device("cpu"))
        tables = {"gain", "level"}
        named = list(self.texture.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and name not in tables]
        rest = [p for name, p in named if p.ndim != 2 or name in tables]
        self.opts = [
            Muon([{"params": matrices}], lr=3e-3 * rate, dtype=self.dtype),
            torch.optim.Adam(rest, lr=1e-3 * rate, betas=(0.9, 0.98)),
        ]
        self.groups = [(group, group["lr"]) for opt in self.opts for group in opt.param_groups]
        self.ema = {k: v.detach().clone() for k, v in self.texture.state_dict().items()}
        self.random = torch.Generator().manual_seed(1)
        self.step, self.scale = 0, self.fit()

    def autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.dtype is torch.bfloat16)

    @torch.no_grad()
    def decode(self, x: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """What g_s makes of the latents of x, and its features."""
        model = self.model
        y = model.analyse(x, q).float()
        z_hat = model.predict_z(model.hyper_analyse(y, q).float(), q)[0]
        return model.decode_features(model.predict(y, z_hat, q)[0], q)

    def sizes(self, q: Tensor) -> Tensor:
        along = q.float() / (self.model.cfg.rates - 1)
        return SIZES[0] + (SIZES[1] - SIZES[0]) * along

    def distortion(self, x: Tensor, x_hat: Tensor, q: Tensor) -> Tensor:
        """Wasserstein distortion (N,) of features of Lite0 and of filters."""
        with self.autocast():
            with torch.no_grad():
                original = self.lite0(x)
            decoded = self.lite0(x_hat)
        sizes = self.sizes(q)
        by_net = wasserstein.distortion([f.float() for f in decoded], [f.float() for f in original], sizes, CROP)
        return by_net + wasserstein.distortion(wasserstein.by_hand(x_hat), wasserstein.by_hand(x), sizes, CROP)

    @torch.no_grad()
    def fit(self) -> Tensor:
        """(rates,): squared error per Wasserstein distortion, a power of λ fitted to held-out crops without texture."""
        points = []
        for x in self.photos.validation(CROP)[:10]:
            for row in range(4, self.model.cfg.rates, 12):
                q = torch.tensor([row])
                x_hat = self.decode(x[None], q)[0].float().clamp(0, 1)
                ratio = squared_error(x[None], x_hat) / self.distortion(x[None], x_hat, q)
                points.append(torch.stack([torch.ones(()), self.model.lambdas[row].log(), ratio.log()[0]]))
        table = torch.stack(points)
        found = torch.linalg.lstsq(table[:, :2], table[:, 2:]).solution[:, 0]
        return torch.exp(found[0] + found[1] * self.model.lambdas.log())

    def advance(self, progress: float) -> tuple[float, float, float]:
        """One step; its loss, Wasserstein distortion and squared error."""
        factor = min(1.0, (self.step + 1) / WARMUP) * min(1.0, (1 - progress) / DECAY)
        for group, rate in self.groups:
            group["lr"] = rate * factor
        x = self.photos.crops(BATCH, CROP, self.random)
        larger = self.photos.crops(BATCH // 2, 2 * CROP, self.random)
        x[: BATCH // 2] = torch.nn.functional.avg_pool2d(larger, 2)
        x = x[torch.randperm(BATCH, generator=self.random)].contiguous(memory_format=torch.channels_last)
        q = spread_rates(self.model.cfg.rates, BATCH, self.random, torch.device("cpu"))
        with self.autocast():
            faithful, features = self.decode(x, q)
            detail, grain = self.texture(features, q, texture_noise((BATCH, NOISES, CROP, CROP), self.random))
        sharp = faithful.float() + detail.float()
        look = self.distortion(x, (sharp + grain.float()).clamp(0, 1), q)
        error, part = coloured_error(x, sharp), PART * (1 - 0.5 * q / (self.model.cfg.rates - 1))
        loss = (self.model.lambdas[q].sqrt() * (part * self.scale[q] * look + (1 - part) * error)).mean()
        for opt in self.opts:
            opt.zero_grad()
        loss.backward()
        if torch.isfinite(torch.nn.utils.clip_grad_norm_(self.texture.parameters(), CLIP)):
            for opt in self.opts:
                opt.step()
        self.step += 1
        weight = 1 - min(EMA, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.values()), list(self.texture.state_dict().values()), weight)
        return loss.item(), look.mean().item(), error.mean().item()


@click.command()
@click.option("--init", "start", type=click.Path(exists=True, path_type=Path), required=True, help="Trained network.")
@click.option("--texture", type=click.Path(exists=True, path_type=Path), help="Trained texture to go on from.")
@click.option("--data", "sources", type=click.Path(exists=True, path_type=Path), multiple=True, required=True)
@click.option("--minutes", type=float, required=True)
@click.option("--rate", type=float, default=1.0, show_default=True, help="Learning rate, in parts of the recipe's.")
@click.option("--width", type=int, default=96, show_default=True, help="Of the texture, where the network has none.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the averaged texture goes.")
def main(
    start: Path,
    texture: Path | None,
    sources: tuple[Path, ...],
    minutes: float,
    rate: float,
    width: int,
    out: Path,
) -> None:
    """Train the texture of a network; --out has its averaged weights as "texture.…"."""
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    tensors, described = load_networks(start)
    cfg = Config(**{"texture": width} | {k: v for k, v in described["config"].items() if k != "texture" or v})
    model = Model(cfg)
    model.load_state_dict(tensors | (load_networks(texture)[0] if texture else {}), strict=False)
    run = Look(model.channels_last(), Photos(list(sources), torch.device("cpu")), rate)
    spent, last, recent = 0.0, time.monotonic(), []
    while spent < 60 * minutes:
        recent.append(run.advance(spent / (60 * minutes)))
        now = time.monotonic()
        spent, last = spent + min(now - last, STALL_SECONDS), now
        if run.step % REPORT_STEPS == 0 or spent >= 60 * minutes:
            loss, look, error = torch.tensor(recent[-REPORT_STEPS:]).mean(0).tolist()
            click.echo(f"step {run.step}  {spent / 60:.1f} min  loss {loss:.3f}  look {look:.3f}  error {error:.1f}")
            averaged = {f"texture.{k}": v.contiguous() for k, v in run.ema.items()}
            save_file(averaged, out, {"config": json.dumps(asdict(cfg)), "steps": str(run.step)})


if __name__ == "__main__":
    main()
