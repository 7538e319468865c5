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

import os
import time
from collections import deque
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.parallel import DistributedDataParallel

from codec.config import Config
from codec.model import Model
from codec.train.checkpoint import load_checkpoint, load_networks, restore, save_checkpoint
from codec.train.data import Photos
from codec.train.distortion import LOSSES, Loss, squared_error
from codec.train.grow import at_lambdas, fit_feedback, grow
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
    halved: float = 0.0  # part of the crops at half their size: sharp, and free of what JPEG left
    tune: str = "psnr"  # what the weights are for: a key of LOSSES
    decoder_only: bool = False  # all but g_s stays as it is

    def paced(self, rate: float) -> Recipe:
        """The same with learning rates that many times as large."""
        return replace(self, lr_muon=rate * self.lr_muon, lr_adam=rate * self.lr_adam)

    def rate_factor(self, step: int, progress: float) -> float:
        return min(1.0, (step + 1) / self.warmup) * min(1.0, max(0.0, 1 - progress) / self.decay)


DECODER = ("g_s.", "gain_dec", "gain_y_inverse")
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
        if name.startswith("texture.") or recipe.decoder_only and not name.startswith(DECODER):  # texture: `look.py`
            p.requires_grad_(False)
            continue
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
def validate(model: Model, crops: Tensor, distortion: Loss) -> float:
    """Mean log-loss of the held-out crops, rounded latents, rates spread evenly over them; in float32, as files are."""
    total = 0.0
    for i, x in enumerate(crops):
        q = torch.tensor([(i * 37) % model.cfg.rates], device=x.device)
        x_hat, bpp = model(x[None], q, noise=False)
        total += torch.log(bpp + model.lambdas[q] * distortion(x[None], x_hat, model.lambdas[q])).item()
    return total / len(crops)


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


def begun(cfg: Config, photos: Photos, start: Path | None) -> Model:
    """A network to train: new, with the PCA shortcut, or with the averaged weights of `start` fitted to it."""
    model = Model(cfg)
    if start is None:
        pca_shortcut(model, photos)
    else:
        tensors, described = load_networks(start)
        trained = replace(cfg, **{k: described["config"][k] for k in ("rates", "lambda_min", "lambda_max")})
        grow(at_lambdas(tensors, trained, cfg), model, patches(photos))
        if not any(name.startswith("feedback.") for name in tensors):
            fit_feedback(model, photos.crops(16, 256).cpu(), cfg.rates // 2)
    return model


class Training:
    """A run on its way, in this process: network, average, optimizers and photographs, steps done and time spent."""

    norm: Tensor  # of the last gradient

    def __init__(
        self, cfg: Config, recipe: Recipe, sources: list[Path], out: Path, name: str, resume: bool, start: Path | None
    ):
        self.cfg, self.recipe, self.out, self.name = cfg, recipe, out, name
        self.rank, self.world, self.device = join()
        torch.manual_seed(recipe.seed)
        torch.set_flush_denormal(True)
        self.photos = Photos(sources, self.device)
        self.heldout = self.photos.validation(256)
        place = f"{self.device}, {self.world} processes" if self.world > 1 else self.device
        pixels = f"{self.photos.count} photographs, {self.photos.megapixels:.0f} MP"
        self.say(f"{pixels} on {place}; {len(self.heldout)} held out")

        going_on = resume and out.exists()
        model = Model(cfg) if going_on else begun(cfg, self.photos, start)
        self.model = model.to(self.device).channels_last()
        self.dtype, self.distortion = faster_dtype(self.device), LOSSES[recipe.tune]
        self.opts = optimizers(self.model, recipe, self.dtype)
        self.groups = [(group, group["lr"]) for opt in self.opts.values() for group in opt.param_groups]
        self.ema = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.averaged = Model(cfg).to(self.device).channels_last().eval()
        self.step, self.elapsed = 0, 0.0
        if going_on:
            meta = self.restore()
            self.step, self.elapsed = meta["step"], meta["seconds"]
            self.say(f"resumed at step {self.step}, {self.elapsed / 60:.1f} min")
        self.shared = torch.Generator(self.device).manual_seed(recipe.seed + self.step)  # the same in all processes
        torch.manual_seed((recipe.seed + self.step) * self.world + self.rank)
        self.network: nn.Module = DistributedDataParallel(self.model) if self.world > 1 else self.model

        self.recent: deque[tuple[float, float, float, float]] = deque(maxlen=100)
        self.skipped = 0  # steps without a finite gradient, in a row
        self.clock = self.saved = self.elapsed  # seconds: of this process; at the last checkpoint; agreed by all
        self.last = time.monotonic()

    def say(self, text: str) -> None:
        if self.rank == 0:
            print(text, flush=True)

    def restore(self) -> dict:
        """Go back to the checkpoint in `out`; its description."""
        tensors, meta = load_checkpoint(self.out)
        restore(tensors, self.model, self.ema, self.opts, self.device)
        return meta

    def draw(self, progress: float) -> tuple[Tensor, Tensor]:
        """Crops (N, 3, size, size) and their rate rows (N,): this process's share of a step."""
        recipe = self.recipe
        size = recipe.final_crop if progress > 1 - recipe.final_part else recipe.crop
        count = max(1, round(recipe.batch * (recipe.crop / size) ** 2))
        x = self.photos.crops(count, size, self.shared, self.rank, self.world)
        if halved := round(recipe.halved * count) if size <= recipe.crop else 0:
            larger = self.photos.crops(halved, 2 * size, self.shared, self.rank, self.world)
            x[:halved] = torch.nn.functional.avg_pool2d(larger, 2)
            x = x[torch.randperm(count, generator=self.shared)]  # rates are spread in order
        q = spread_rates(self.cfg.rates, count * self.world, self.shared, self.device)[self.rank :: self.world]
        return x.contiguous(memory_format=torch.channels_last), q

    def advance(self, progress: float) -> None:
        """One step, at the learning rate and crop size of this part of the budget."""
        for group, rate in self.groups:
            group["lr"] = rate * self.recipe.rate_factor(self.step, progress)
        x, q = self.draw(progress)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype is torch.bfloat16):
            x_hat, bpp = self.network(x, q)
        lambdas = self.model.lambdas[q]
        loss = ((bpp + lambdas * self.distortion(x, x_hat, lambdas)) / lambdas.sqrt()).mean()
        for opt in self.opts.values():
            opt.zero_grad()
        loss.backward()
        self.update()
        seconds = self.tick()
        if self.step % CLOCK_STEPS == 0:
            self.elapsed = agreed(self.clock, self.device)
            psnr = (10 * torch.log10(255**2 / squared_error(x, x_hat.detach()))).mean().item()
            self.recent.append((loss.item(), bpp.mean().item(), psnr, len(x) * self.world / seconds))

    def update(self) -> None:
        """Move the weights and their average along the gradient, or skip one that is not finite."""
        self.norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.step += 1
        if torch.isfinite(self.norm):
            self.skipped = 0
            for opt in self.opts.values():
                opt.step()
            weight = 1 - min(self.recipe.ema, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                torch._foreach_lerp_(list(self.ema.values()), list(self.model.state_dict().values()), weight)
            return
        self.skipped += 1
        if self.skipped >= 50 and self.out.exists():
            self.say(f"step {self.step}: 50 steps without a finite gradient, back to the last checkpoint")
            self.restore()
            self.skipped = 0

    def tick(self) -> float:
        """Seconds of the step that ends here, added to the clock."""
        now = time.monotonic()
        seconds, self.last = min(now - self.last, STALL_SECONDS), now
        self.clock += seconds
        return seconds

    def report(self, budget: float) -> None:
        """A line of the means of recent looks at the clock."""
        loss, bpp, psnr, speed = torch.tensor(list(self.recent)).mean(0).tolist()
        self.say(
            f"step {self.step}  {self.elapsed / 60:.1f} min  loss {loss:.4f}  bpp {bpp:.3f}  PSNR {psnr:.2f} dB  "
            f"{speed:.1f} images/s  grad {self.norm:.2f}  ETA {(budget - self.elapsed) / 60:.0f} min"
        )

    def checkpoint(self) -> None:
        """Write the checkpoint and look at the held-out crops, in the first process; the clock stands still."""
        self.saved = self.elapsed
        if self.rank == 0:
            meta = {"size": self.name, "config": asdict(self.cfg), "recipe": asdict(self.recipe)}
            spent = {"step": self.step, "seconds": self.elapsed}
            place = {"device": str(self.device), "megapixels": self.photos.megapixels}
            save_checkpoint(self.out, self.model, self.ema, self.opts, meta | spent | place)
            self.averaged.load_state_dict(self.ema)
            loss = validate(self.averaged, self.heldout, self.distortion)
            self.say(f"step {self.step}  checkpoint; held-out log-loss {loss:.4f}")
        self.last = time.monotonic()

    def leave(self) -> None:
        """Part from the other processes."""
        if self.world > 1:
            dist.barrier()  # the first process writes longer than the others
            self.network = self.model  # what holds on to the process group goes before it
            dist.destroy_process_group()


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
    run, budget = Training(cfg, recipe, sources, out, name, resume, start), minutes * 60
    while run.elapsed < budget:
        run.advance(run.elapsed / budget)
        if run.step in (20, 100) or run.step % 500 == 0:
            run.report(budget)
        if run.elapsed - run.saved > CHECKPOINT_SECONDS or run.elapsed >= budget:
            run.checkpoint()
    run.leave()
