"""The training loop: one function from photographs to a checkpoint, resumable, annealed inside its budget.

Loss: mean over samples of (R + λ·D) / √λ, each sample at a rate row of its own, D as `distortion.py` has it. R + λD
grows about as √λ, so every rate gets the same weight. (Its logarithm would give every picture the same weight too, but
the gradients of the flattest quarter are then seven times as large as the others', and noise: `bench/EXPERIMENTS.md`.)

Muon on the matrices, Adam on the rest. The learning rate warms up, stays, and falls linearly to zero over the last
part of the budget, where crops also grow: the budget can be extended by resuming from a checkpoint with a larger one.

Under `torchrun` each process takes its share of the same crops and gradients are averaged: n processes with a batch
of b do what one does with n · b. The first process keeps the clock, prints and writes.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import Parameter
from torch.nn.parallel import DistributedDataParallel

from codec.config import Config
from codec.model import Model
from codec.train.data import Photos
from codec.train.distortion import DISTORTIONS, Distortion, squared_error
from codec.train.grow import at_lambdas, grow
from codec.train.muon import Muon


@dataclass(frozen=True)
class Recipe:
    """What a run does; stored in its checkpoint and in the card of the weights."""

    batch: int = 8  # crops a step, of each process
    crop: int = 256
    final_crop: int = 384  # in the last `final_part` of the budget, at the same number of pixels a step
    final_part: float = 0.1
    lr_muon: float = 3e-3
    lr_adam: float = 1e-3
    warmup: int = 300  # steps
    decay: float = 0.5  # part of the budget over which the learning rate falls to zero
    clip: float = 1.0  # below the usual norm: else a few odd crops are most of the noise
    ema: float = 0.999
    seed: int = 0
    tune: str = "psnr"  # what the weights are for: a key of DISTORTIONS

    def rate_factor(self, step: int, progress: float) -> float:
        return min(1.0, (step + 1) / self.warmup) * min(1.0, max(0.0, 1 - progress) / self.decay)


CHECKPOINT_SECONDS = 150
CLOCK_STEPS = 10  # steps between looks at the clock: reading a value back waits for the device
SHORTCUT_CROPS = 600  # whose patches the principal components are of
SHORTCUT_RATE = 1 / 64  # of the learning rate, for ŷ -> pixels: ŷ is in the hundreds, full steps jolt greys by several
STALL_SECONDS = 5.0  # a longer step was a suspended process, not training: it does not count


def patches(photos: Photos) -> Tensor:
    """16×16 patches of random crops, as rows (N, 768) in the order of `pixel_unshuffle`."""
    some = torch.cat([photos.crops(50, 256) for _ in range(SHORTCUT_CROPS // 50)])
    return torch.nn.functional.pixel_unshuffle(some, 16).permute(0, 2, 3, 1).reshape(-1, 768).cpu()


def pca_shortcut(model: Model, photos: Photos) -> None:
    """Initialise the linear shortcut from the principal components of 16×16 patches."""
    flat = patches(photos).double()
    mean = flat.mean(0)
    variance, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
    m = model.cfg.latents
    variance, basis = variance.flip(0)[:m].clamp_min(1e-12), vectors.flip(1)[:, :m].T
    model.init_linear(mean.float(), basis.float(), variance.float())


def faster_dtype(device: torch.device) -> torch.dtype:
    """bfloat16, or float32 where it multiplies faster: CPUs without the instructions need a hundred times as long."""
    if device.type != "cpu":
        return torch.bfloat16
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        x, times = torch.ones(256, 256, dtype=dtype), []
        for _ in range(5):
            start = time.perf_counter()
            x @ x
            times.append(time.perf_counter() - start)
        seconds[dtype] = min(times)
    return min(seconds, key=seconds.__getitem__)


def optimizers(model: Model, recipe: Recipe, dtype: torch.dtype) -> dict[str, torch.optim.Optimizer]:
    """Muon for every weight kept as a matrix in a layer; Adam for biases, depthwise kernels, gains and priors."""
    tables = {name for name, _ in model.named_parameters(recurse=False)}
    matrices: list[Parameter] = []
    rest: list[Parameter] = []
    for name, p in model.named_parameters():
        (matrices if p.ndim == 2 and name not in tables else rest).append(p)
    shortcut = model.g_s.linear.weight
    groups: list[dict[str, Any]] = [
        {"params": [p for p in matrices if p is not shortcut]},
        {"params": [shortcut], "lr": recipe.lr_muon * SHORTCUT_RATE},
    ]
    return {
        "muon": Muon(groups, lr=recipe.lr_muon, dtype=dtype),
        "adam": torch.optim.Adam(rest, lr=recipe.lr_adam, betas=(0.9, 0.98)),
    }


def spread_rates(rates: int, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """`count` rate rows, each as likely as any other, spread evenly: less noise than independent ones."""
    first = torch.rand((), device=device, generator=generator)
    return ((torch.arange(count, device=device) + first) * rates / count).long().clamp_max(rates - 1)


@torch.no_grad()
def validate(model: Model, crops: Tensor, distortion: Distortion) -> float:
    """Mean log-loss of the held-out crops, rounded latents, rates spread evenly over them; in float32, as files are."""
    total = 0.0
    for i, x in enumerate(crops):
        q = torch.tensor([(i * 37) % model.cfg.rates], device=x.device)
        x_hat, bpp = model(x[None], q, noise=False)
        total += torch.log(bpp + model.lambdas[q] * distortion(x[None], x_hat, model.lambdas[q])).item()
    return total / len(crops)


def save_checkpoint(path: Path, model: Model, ema: dict[str, Tensor], opts: dict, meta: dict) -> None:
    """One safetensors file: weights, their average, optimizer state; written beside, then renamed."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in ema.items()}
    names = {p: n for n, p in model.named_parameters()}
    for label, opt in opts.items():
        for p, state in opt.state.items():
            tensors |= {f"{label}.{names[p]}.{k}": v for k, v in state.items()}
    tensors = {k: v.detach().contiguous().cpu() for k, v in tensors.items()}
    temp = path.with_name(path.name + ".part")
    save_file(tensors, temp, {"meta": json.dumps(meta)})
    os.replace(temp, path)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict]:
    with safe_open(path, "pt") as f:
        return {k: f.get_tensor(k) for k in f.keys()}, json.loads(f.metadata()["meta"])


def load_networks(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The networks of a checkpoint (averaged) or of a weights file, and its description, "config" at the least."""
    with safe_open(path, "pt") as f:
        described, names = f.metadata(), list(f.keys())
        averaged = [k for k in names if k.startswith("ema.")]
        chosen = averaged or [k for k in names if not k.startswith(("exact.", "tables."))]
        tensors = {k.removeprefix("ema."): f.get_tensor(k).float() for k in chosen}
    return tensors, json.loads(described["meta"]) if averaged else {"config": json.loads(described["config"])}


def restore(tensors: dict[str, Tensor], model: Model, ema: dict[str, Tensor], opts: dict, device) -> None:
    """Put a checkpoint's tensors back in place."""

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v.to(device) for k, v in tensors.items() if k.startswith(prefix)}

    model.load_state_dict(part("model."))
    for k, v in part("ema.").items():
        ema[k].copy_(v)
    for label, opt in opts.items():
        for name, p in model.named_parameters():
            state = part(f"{label}.{name}.")
            if state:
                opt.state[p] = {k: v.cpu() if k == "step" else v for k, v in state.items()}


def join() -> tuple[int, int, torch.device]:
    """This process's number, how many `torchrun` started (one without it), and its device."""
    rank, world, local = (int(os.environ.get(k, d)) for k, d in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0)))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return rank, world, device


def agreed(seconds: float, device: torch.device) -> float:
    """The first process's clock: all must have the same learning rate, and end at the same step."""
    if not dist.is_initialized():
        return seconds
    told = torch.tensor([seconds], dtype=torch.float64, device=device)
    dist.broadcast(told, 0)
    return told.item()


def train(
    cfg: Config,
    recipe: Recipe,
    sources: list[Path],
    out: Path,
    minutes: float,
    name: str,
    resume: bool = False,
    start: Path | None = None,
) -> None:
    """Train for `minutes` (counted over all resumed parts), leaving the checkpoint in `out`.

    A new run begins with the PCA shortcut, or with the averaged weights of the checkpoint or weights file `start`:
    those of a smaller network, or of one for other rates, are fitted to this one (`grow.py`).
    """
    rank, world, device = join()
    torch.manual_seed(recipe.seed)
    say = partial(print, flush=True) if rank == 0 else lambda text: None
    torch.set_flush_denormal(True)
    photos = Photos(sources, device)
    crops = photos.validation(256)
    place = f"{device}, {world} processes" if world > 1 else device
    say(f"{photos.count} photographs, {photos.megapixels:.0f} MP on {place}; {len(crops)} held out")

    model, going_on = Model(cfg), resume and out.exists()
    if not going_on and start is None:
        pca_shortcut(model, photos)
    elif not going_on and start is not None:
        tensors, described = load_networks(start)
        trained = replace(cfg, **{k: described["config"][k] for k in ("rates", "lambda_min", "lambda_max")})
        grow(at_lambdas(tensors, trained, cfg), model, patches(photos))
    model = model.to(device).channels_last()
    dtype, distortion = faster_dtype(device), DISTORTIONS[recipe.tune]
    opts = optimizers(model, recipe, dtype)
    groups = [(group, group["lr"]) for opt in opts.values() for group in opt.param_groups]
    ema = {k: v.detach().clone() for k, v in model.state_dict().items()}
    averaged = Model(cfg).to(device).channels_last().eval()
    step, elapsed = 0, 0.0
    if going_on:
        tensors, meta = load_checkpoint(out)
        restore(tensors, model, ema, opts, device)
        step, elapsed = meta["step"], meta["seconds"]
        say(f"resumed at step {step}, {elapsed / 60:.1f} min")
    shared = torch.Generator(device).manual_seed(recipe.seed + step)  # the same in all processes
    torch.manual_seed((recipe.seed + step) * world + rank)
    network = DistributedDataParallel(model) if world > 1 else model

    def checkpoint() -> None:
        meta = {"size": name, "config": asdict(cfg), "recipe": asdict(recipe), "step": step, "seconds": elapsed}
        save_checkpoint(out, model, ema, opts, meta | {"device": str(device), "megapixels": photos.megapixels})

    budget = minutes * 60
    recent: deque[tuple[float, float, float, float]] = deque(maxlen=100)
    clock, saved, skipped, last = elapsed, elapsed, 0, time.monotonic()
    while elapsed < budget:
        progress = elapsed / budget
        for group, rate in groups:
            group["lr"] = rate * recipe.rate_factor(step, progress)
        size = recipe.final_crop if progress > 1 - recipe.final_part else recipe.crop
        count = max(1, round(recipe.batch * (recipe.crop / size) ** 2))
        x = photos.crops(count, size, shared, rank, world).contiguous(memory_format=torch.channels_last)
        q = spread_rates(cfg.rates, count * world, shared, device)[rank::world]
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16):
            x_hat, bpp = network(x, q)
        lambdas = model.lambdas[q]
        loss = ((bpp + lambdas * distortion(x, x_hat, lambdas)) / lambdas.sqrt()).mean()
        for opt in opts.values():
            opt.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        step += 1
        if torch.isfinite(norm):
            skipped = 0
            for opt in opts.values():
                opt.step()
            weight = 1 - min(recipe.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                torch._foreach_lerp_(list(ema.values()), list(model.state_dict().values()), weight)
        elif (skipped := skipped + 1) >= 50 and out.exists():
            say(f"step {step}: 50 steps without a finite gradient, back to the last checkpoint")
            restore(load_checkpoint(out)[0], model, ema, opts, device)
            skipped = 0
        now = time.monotonic()
        seconds, last = min(now - last, STALL_SECONDS), now
        clock += seconds
        if step % CLOCK_STEPS == 0:
            elapsed = agreed(clock, device)
            psnr = (10 * torch.log10(255**2 / squared_error(x, x_hat.detach()))).mean().item()
            recent.append((loss.item(), bpp.mean().item(), psnr, count * world / seconds))
        if step in (20, 100) or step % 500 == 0:
            mean = torch.tensor(list(recent)).mean(0).tolist()
            eta = (budget - elapsed) / 60
            say(
                f"step {step}  {elapsed / 60:.1f} min  loss {mean[0]:.4f}  bpp {mean[1]:.3f}  PSNR {mean[2]:.2f} dB  "
                f"{mean[3]:.1f} images/s  grad {norm:.2f}  ETA {eta:.0f} min"
            )
        if elapsed - saved > CHECKPOINT_SECONDS or elapsed >= budget:
            saved = elapsed
            if rank == 0:
                checkpoint()
                averaged.load_state_dict(ema)
                say(f"step {step}  checkpoint; held-out log-loss {validate(averaged, crops, distortion):.4f}")
            last = time.monotonic()
    if world > 1:
        dist.barrier()  # the first process writes longer than the others
        network, loss, bpp, x_hat = model, None, None, None  # what holds on to the process group goes before it
        dist.destroy_process_group()
