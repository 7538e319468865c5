"""Checkpoint -> weights file: float networks, their whole-number twin for entropy coding, and frequency tables.

python -m codec.train.export fast.ckpt --data photos.tar --name mine     # weights/mine.safetensors + .json
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from codec import entropy_model
from codec.coder import Codec
from codec.config import PASSES, SIGMA_MIN, Config
from codec.engine.integer_networks import LIMIT, SUM_LIMIT
from codec.layers import Block, Depthwise, Pointwise
from codec.model import Context, Model
from codec.rans import quantise_pmf
from codec.train.checkpoint import load_networks
from codec.train.data import Photos
from codec.train.distortion import LOSSES
from codec.train.loop import Recipe
from codec.weights import Weights

CROPS = 160  # to count symbols in
CALIBRATION = 48  # of them, to calibrate whole numbers on
NARROW = 32  # how many small-σ tables are also stored in uncounted Gaussian form; refined latents fit those
PRIOR = 300  # symbols that the model's own tables count for, beside those counted
REACH = 2**10  # largest |symbol| that a table may hold
RARE = 2.0**-16  # symbols less likely than that, at the ends of a table, are left to its escape

Exponents = Tensor  # (channels,): an activation a in the whole-number network means a · 2^-exponent


def record_inputs(model: Model, crops: Tensor) -> dict[str, Tensor]:
    """Largest |input| per channel of every layer of h_s and the context models, over crops at rates spread evenly."""
    largest: dict[str, Tensor] = {}
    hooks = []
    for part in ("h_s", "context", "z_context"):
        for name, layer in getattr(model, part).named_modules(prefix=part):
            if not list(layer.children()) and hasattr(layer, "weight"):

                def hook(_, inputs, name=name):
                    top = inputs[0].abs().amax((0, 2, 3))
                    largest[name] = torch.maximum(largest.get(name, top), top)

                hooks.append(layer.register_forward_pre_hook(hook))
    with torch.inference_mode():
        for i, x in enumerate(crops):
            model(x[None], torch.tensor([(i * 37) % model.cfg.rates]), noise=False)
    for h in hooks:
        h.remove()
    return largest


def exponents(*tops: Tensor, most: int = 14) -> Exponents:
    """Largest exponents at which activations up to the largest of `tops` fit into LIMIT."""
    top = torch.stack(tops).amax(0).double().clamp_min(1e-3)
    return torch.floor(torch.log2(LIMIT / top)).clamp(-12, most)


def quantise(weight: Tensor, bias: Tensor, inputs: Exponents, outputs: Exponents) -> dict[str, Tensor]:
    """One layer in whole numbers: per output channel the largest shift at which every sum stays below 2²⁴."""
    by_input = (1, -1) if weight.ndim == 2 else (-1, 1, 1, 1)  # depthwise: one input per output
    w = weight.double() * torch.exp2(-inputs).view(by_input) * torch.exp2(outputs).view(-1, *[1] * (weight.ndim - 1))
    b = bias.double() * torch.exp2(outputs) + 0.5  # the half makes the later floor a rounding
    shift = torch.full_like(b, 24)
    while True:
        scale = torch.exp2(shift)
        wi, bi = (w * scale.view(-1, *[1] * (w.ndim - 1))).round(), (b * scale).round()
        reach = wi.abs().flatten(1).sum(1) * LIMIT + bi.abs()
        over = (reach >= SUM_LIMIT) | (wi.abs().flatten(1).amax(1) >= 2**15)
        if not over.any():
            return {"weight": wi.to(torch.int16), "bias": bi.to(torch.int32), "shift": shift.to(torch.int8)}
        shift = torch.where(over, shift - 1, shift)
        if shift.min() < 0:
            raise click.ClickException("a layer's weights are too large for exact evaluation")


def units(channels: int) -> tuple[Tensor, Tensor, Exponents]:
    """Of the values μ and log σ, of so many channels each: steps per unit, what is zero, bits of a step.

    μ in units of 2^-MU_BITS; log σ as level = (log σ − log σ_min) / step in units of 2^-LEVEL_BITS.
    """
    step = torch.tensor([1.0] * channels + [1 / entropy_model.LEVEL_STEP] * channels, dtype=torch.float64)
    origin = torch.tensor([0.0] * channels + [math.log(SIGMA_MIN)] * channels, dtype=torch.float64)
    wide = torch.tensor([entropy_model.MU_BITS] * channels + [entropy_model.LEVEL_BITS] * channels, dtype=torch.float64)
    return step, origin, wide


class WholeNumbers:
    """The whole-number twins of layers, gathered in `out` under the names that a weights file has for them."""

    def __init__(self, tops: dict[str, Tensor]):
        self.tops = tops  # largest |input| per channel of every layer
        self.out: dict[str, Tensor] = {}

    def put(
        self, name: str, layer: Pointwise | Depthwise | tuple[Tensor, Tensor], inputs: Exponents, outputs: Exponents
    ) -> None:
        weight, bias = layer if isinstance(layer, tuple) else (layer.weight, layer.bias)
        self.out.update({f"{name}.{k}": v for k, v in quantise(weight, bias, inputs, outputs).items()})

    def put_block(self, name: str, block: nn.Module, stream: Exponents) -> None:
        assert isinstance(block, Block)
        inner, spread = exponents(self.tops[f"{name}.spatial"]), exponents(self.tops[f"{name}.contract"])
        mixed = exponents(self.tops[f"{name}.mix_out"])
        self.put(f"{name}.mix_in", block.mix_in, stream, inner)
        self.put(f"{name}.spatial", block.spatial, inner, mixed)
        self.put(f"{name}.mix_out", block.mix_out, mixed, stream)
        self.put(f"{name}.expand", block.expand, stream, spread)
        self.put(f"{name}.contract", block.contract, spread, stream)

    def put_hyper(self, model: Model) -> None:
        """h_s, and the gain and prior of its latents z."""
        tops, h_s = self.tops, model.h_s
        start = exponents(tops["h_s.up1.expand"])
        first = exponents(tops["h_s.block1.mix_in"], tops["h_s.block1.expand"], tops["h_s.up2.expand"])
        second = exponents(tops["h_s.block2.mix_in"], tops["h_s.block2.expand"], tops["h_s.out"])
        gain = torch.exp(-model.gain_z.double()) * torch.exp2(start + entropy_model.GAIN_BITS)
        self.out["z_gain"] = gain.round().clamp(0, 2**31 - 1).to(torch.int32)
        self.put("h_s.up1.expand", h_s.up1.expand, start, first.repeat_interleave(4))
        self.put_block("h_s.block1", h_s.block1, first)
        self.put("h_s.up2.expand", h_s.up2.expand, first, second.repeat_interleave(4))
        self.put_block("h_s.block2", h_s.block2, second)
        step, origin, wide = units(model.cfg.latents)
        self.put("h_s.out", (h_s.out.weight * step[:, None], (h_s.out.bias - origin) * step), second, wide)
        step, origin, wide = units(model.cfg.hyper)
        self.out["z_prior"] = ((model.z_prior - origin) * step * torch.exp2(wide)).round().to(torch.int32)

    def put_context(self, name: str, context: Context) -> None:
        """A context model; h and the known values enter it narrowed by a shift per channel."""
        tops, (step, origin, wide) = self.tops, units(context.channels)
        h_top = (tops[f"{name}.reduce"].double() + origin.abs()) * step
        narrowed_h = torch.minimum(exponents(h_top), wide)
        self.out[f"{name}.h_shift"] = (wide - narrowed_h).to(torch.int8)
        adapt = [f"{name}.adapt.{t}" for t in range(PASSES - 1)]
        p = len(context.reduce.bias)
        reduced = exponents(*[tops[a][:p] for a in adapt])
        narrowed = torch.minimum(exponents(*[tops[a][p:] / context.scale for a in adapt]), wide[: context.channels])
        self.out[f"{name}.known_shift"] = (wide[: context.channels] - narrowed).to(torch.int8)
        w = context.reduce.weight.double()
        self.put(f"{name}.reduce", (w / step, context.reduce.bias + w @ origin), narrowed_h, reduced)
        body = [f"{name}.body.{i}" for i in range(len(context.body))]
        into = [tops[f"{b}.{part}"] for b in body for part in ("mix_in", "expand")]
        stream = exponents(*into, tops[f"{name}.out"])
        for a, layer in zip(adapt, context.adapt):
            assert isinstance(layer, Pointwise)
            scaled = torch.cat([layer.weight[:, :p].double(), layer.weight[:, p:].double() * context.scale], 1)
            self.put(a, (scaled, layer.bias), torch.cat([reduced, narrowed]), stream)
        for b, block in zip(body, context.body):
            self.put_block(b, block, stream)
        self.put(f"{name}.out", (context.out.weight * step[:, None], context.out.bias * step), stream, wide)


def whole_numbers(model: Model, crops: Tensor) -> dict[str, Tensor]:
    """The "exact." tensors: h_s and the context models converted to whole numbers, calibrated on crops."""
    converted = WholeNumbers(record_inputs(model, crops))
    converted.put_hyper(model)
    converted.put_context("context", model.context)
    converted.put_context("z_context", model.z_context)
    return converted.out


def gaussian_tables() -> np.ndarray:
    """Probabilities of −REACH … REACH under a Gaussian of each σ level, as training has them."""
    edges = torch.arange(-REACH, REACH + 2, dtype=torch.float64) - 0.5
    return torch.diff(torch.special.ndtr(edges / torch.from_numpy(entropy_model.SIGMAS).double()[:, None])).numpy()


def counted(codec: Codec, crops: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Tables of y and of z, as Gaussians corrected by what comes up in crops.

    Where σ is small, residuals have heavier tails than a Gaussian; where it is middling, less of ± 1.
    """
    gaussian = gaussian_tables()
    counts = np.zeros((2, *gaussian.shape))

    for i, x in enumerate(crops):
        row = i * 37 % codec.cfg.rates
        with torch.inference_mode():
            y = codec.model.analyse(x[None], torch.tensor([row])).numpy()
        of_z = codec.learned.hyper_latents(y, row)
        of_y = codec.tile_coder.quantise(y, of_z.values, row)
        for count, quantised in zip(counts, (of_y, of_z)):
            for symbols, index in quantised.coded:
                np.add.at(count, (index, symbols.clip(-REACH, REACH) + REACH), 1)
    counts += counts[..., ::-1]  # residuals have no preferred sign
    y_tables, z_tables = (counts + PRIOR * gaussian) / (counts.sum(2, keepdims=True) + PRIOR)
    return y_tables, z_tables


def packed_tables(**of: np.ndarray) -> dict[str, Tensor]:
    """Tables of some kinds as tensors: frequencies of the symbols that are not too rare, the escape's for the rest."""
    out = {}
    for label, pmfs in of.items():
        likely = [np.flatnonzero(pmf > RARE) for pmf in pmfs]
        cdfs = [quantise_pmf(pmf[at[0] : at[-1] + 1]) for pmf, at in zip(pmfs, likely)]
        out[f"{label}.cdf"] = torch.from_numpy(np.concatenate(cdfs))
        out[f"{label}.length"] = torch.tensor([len(c) for c in cdfs], dtype=torch.int32)
        out[f"{label}.offset"] = torch.tensor([at[0] - REACH for at in likely], dtype=torch.int32)
    return out


def data_sources(index: Path) -> list[dict]:
    """Where the training photographs come from: one entry per source and licence, with their number."""
    with index.open(newline="", encoding="utf-8") as file:
        pairs = Counter((row["source"], row["licence"]) for row in csv.DictReader(file))
    return [{"source": s, "licence": licence, "photographs": n} for (s, licence), n in sorted(pairs.items())]


def load_averaged(path: Path) -> tuple[Model, dict]:
    """The model of a training checkpoint (averaged) or of a weights file, and its description."""
    tensors, meta = load_networks(path)
    model = Model(Config(**meta["config"])).eval()
    model.load_state_dict(tensors)
    return model, meta


@torch.no_grad()
def centre(model: Model, crops: Tensor) -> None:
    """Move the last bias of g_s by its mean error: what looks alike is not paid for being a little too bright."""
    errors = []
    for i, x in enumerate(crops):
        row = torch.tensor([i * 37 % model.cfg.rates])
        errors.append((model(x[None], row, noise=False)[0].clamp(0, 1) - x).mean((0, 2, 3)))
    model.g_s.head.bias.sub_(torch.stack(errors).mean(0).repeat_interleave(64))


def weights_bytes(model: Model, crops: Tensor, name: str, tune: str) -> bytes:
    """A weights file: every network as float16, "exact." integers, "tables.", and the configuration.

    crops (N, 3, H, W): of photographs, to calibrate the whole numbers and to count symbols.
    """
    tensors = {k: v.half() for k, v in model.state_dict().items()}
    tensors |= {f"exact.{k}": v for k, v in whole_numbers(model, crops[:CALIBRATION]).items()}
    described = {"name": name, "tune": tune, "config": json.dumps(asdict(model.cfg))}

    gaussian = gaussian_tables()

    def file(of_y: np.ndarray, of_z: np.ndarray) -> bytes:
        tables = packed_tables(y=of_y, y_gaussian=gaussian[:NARROW], z=of_z)
        whole = tensors | {f"tables.{k}": v for k, v in tables.items()}
        return save({k: v.detach().contiguous() for k, v in whole.items()}, described)

    return file(*counted(Codec(Weights.parse(file(gaussian, gaussian))), crops))


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--data",
    "sources",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    required=True,
    help="Photographs to calibrate the whole-number networks on (those of the training).",
)
@click.option("--name", required=True, help="Name of the weights, as in weights/NAME.safetensors.")
@click.option(
    "--index",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with columns `source` and `licence`, a line per photograph, for the card.",
)
@click.option("--tune", type=click.Choice(list(LOSSES)), help="What for, where the checkpoint does not say.")
@click.option("--note", help="A sentence for the card on how the checkpoint came about.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("weights"), show_default=True)
def main(
    checkpoint: Path,
    sources: tuple[Path, ...],
    name: str,
    index: Path | None,
    tune: str | None,
    note: str | None,
    out: Path,
) -> None:
    """Turn a training checkpoint into weights that `lat` can load."""
    torch.manual_seed(0)
    target = out / f"{name}.safetensors"
    if target.exists():
        raise click.ClickException(f"{target} exists; weights are added under a new name, never edited")
    model, meta = load_averaged(checkpoint)
    photos = Photos(list(sources), torch.device("cpu"))
    tune = meta.get("recipe", {}).get("tune", tune or Recipe.tune)
    crops = photos.crops(CROPS, 384)
    centre(model, crops)
    data = weights_bytes(model, crops, name, tune)
    out.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    described: dict[str, Any] = {"name": name, "sha256": hashlib.sha256(data).hexdigest()}
    described |= {"tune": tune, "kmac_per_pixel": model.cfg.macs()}
    described |= {"training": {k: v for k, v in meta.items() if k != "config"}, "config": meta["config"]}
    if note:
        described["training"]["note"] = note
    described |= {"data": data_sources(index) if index else "not recorded", "licence": "BSD-3-Clause"}
    target.with_suffix(".json").write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n")
    click.echo(f"{target}: {len(data) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
