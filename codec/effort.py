"""More encoding time for fewer bytes: the latents of a tile moved to where rate + λ · distortion is least.

g_a and h_a map all photographs with one function; a given photograph has better latents nearby (the amortisation
gap: Yang, Bamler and Mandt, *Improving Inference for Neural Image Compression*, NeurIPS 2020). They are whole numbers
in the end (each less its prediction μ), so gradient descent alone leads astray: between whole numbers lie points that
look better than both. Here the objective is what *independent random rounding* costs on average. For a value a
fraction p of the way from n to n + 1, and to second order in the distortion, that is

    (1 − p) · bits(n) + p · bits(n + 1)  +  D(value)  +  c · p · (1 − p),        c = ½ ∂²D/∂value²

exact at whole numbers and, coordinate by coordinate, without a minimum between them. The rate has a kink at every whole
number, hence proximal steps: downhill in the own interval and never past its ends in one step, off a whole number only
where one of the two sides leads down. Steps are scaled by c, which a random projection estimates for each channel.

The result is an ordinary file. Efforts from 4 on are numbers of such steps (`settings.STEPS`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from codec.config import LATENT
from codec.distortion import DISTORTIONS, Distortion
from codec.engine.torch_engine import to_tensor
from codec.layers import gaussian_likelihood
from codec.learned import Learned
from codec.model import Model
from codec.picture.image import to_colour
from codec.settings import Settings
from codec.tiles import Box

Z_PACE = (0.2, 0.05)  # part of a Newton step in each coordinate of z alone, at first and at last
Z_PART = 0.7  # of the steps; then z is rounded, and y follows the μ that are final
PENALTY = (1.0, 0.7)  # of c, at the lowest and the highest rate: there rounding is nearer to the best than random is
AT_WHOLE = 0.02  # so near, a value counts as being at a whole number
EVERY = 30  # steps after which the latents are looked at
MAX_BITS = 30.0  # of one symbol: what the model holds impossible has an escape code

Prediction = tuple[Tensor, Tensor]  # μ and log σ


class Objective:
    """Rate and distortion of one tile as functions of its y and z, its neighbours held fixed."""

    def __init__(self, model: Model, around: Tensor, own: Box, row: Tensor, distortion: Distortion):
        """around (1, M, H, W): y of the tile and of the ring that g_s sees; own: the tile in it; row (1,)."""
        self.model, self.around, self.own, self.row, self.distortion = model, around, own, row, distortion

    def synthesise(self, y: Tensor) -> Tensor:
        """x̂ (1, 3, 16h, 16w) of the tile, in 0 … 255."""
        whole = self.around.clone()
        whole[(..., *self.own.slices)] = y
        return self.model.synthesise(whole, self.row)[(..., *(self.own * LATENT).slices)] * 255

    def prediction(self, y: Tensor, z: Tensor) -> Prediction:
        """μ and log σ of y, where what is known of y and z is what they are, unrounded."""
        return self.model.predict(y, z, self.row, quantise=unrounded)[1:]

    def prediction_z(self, z: Tensor) -> Prediction:
        """The same of z."""
        return self.model.predict_z(z, self.row, quantise=unrounded)[1:]

    def gradients(self, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Prediction, Prediction]:
        """Gradients of D + bits by y and z, excluding each latent's own bits; and (μ, log σ) of y and z."""
        y_free, z_free = y.clone().requires_grad_(True), z.clone().requires_grad_(True)
        of_y, of_z = self.prediction(y_free, z_free), self.prediction_z(z_free)
        bits = symbol_bits(y, *of_y).sum() + symbol_bits(z, *of_z).sum()
        loss = bits + sum(r.square().sum() for r in self.distortion.residuals(self.synthesise(y_free)))
        y_slope, z_slope = torch.autograd.grad(loss, (y_free, z_free))
        return y_slope, z_slope, detached(*of_y), detached(*of_z)

    def curvature(self, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Half the second derivatives of D by y and of the bits of y by z, means over each channel."""
        generator = torch.Generator().manual_seed(0)  # the same file every time

        def random_signs(like: Tensor) -> Tensor:
            return torch.randint(0, 2, like.shape, generator=generator, device="cpu").to(like).mul_(2).sub_(1)

        free = y.clone().requires_grad_(True)
        residuals = self.distortion.residuals(self.synthesise(free))
        projected = reduce(torch.add, ((r * random_signs(r)).sum() for r in residuals))
        of_y = torch.autograd.grad(projected, free)[0].square()
        free = z.clone().requires_grad_(True)
        bits = symbol_bits(y, *self.prediction(y, free)).sum()
        slope = torch.autograd.grad(bits, free, create_graph=True)[0]
        signs = random_signs(z)
        of_z = torch.autograd.grad((slope * signs).sum(), free)[0] * signs / 2
        of_y, of_z = (v.mean((2, 3), keepdim=True) for v in (of_y, of_z))
        return of_y.clamp_min(1e-3), of_z.clamp_min(0.5)


class Refinement:
    """What finds the latents of a tile whose file costs least in bits + λ · distortion: `learned.Choose`."""

    def __init__(self, learned: Learned, settings: Settings):
        self._learned, self._transforms = learned, learned.torch_transforms
        self._steps, self._row = settings.steps, learned.config.row(settings.quality)
        self._distortion = DISTORTIONS[settings.tune or learned.weights.tune]

    @torch.inference_mode(False)  # gradients are needed even under a caller's inference_mode
    @torch.autocast("cpu", enabled=False)
    def __call__(self, pixels: np.ndarray, box: Box, step_done: Callable[[], None]) -> tuple[np.ndarray, np.ndarray]:
        """y and ẑ of the latents in `box` of a picture (H, W, C)."""
        learned, device, row = self._learned, self._transforms.device, self._row
        height, width = pixels.shape[:2]
        seen = box.grow(learned.config.decoder_reach, Box(0, 0, width, height).cover(LATENT))
        around, own = learned.analyse(pixels, seen, row), box.shift(seen.left, seen.top)
        y = around[(..., *own.slices)]
        x = to_tensor(to_colour(pixels[(box * LATENT).slices])).to(device)
        distortion = self._distortion(x, float(self._transforms.model.lambdas[row]))
        whole, z = (torch.from_numpy(v).to(device) for v in (around, learned.engine.transforms.hyper_analyse(y, row)))
        objective = Objective(self._transforms.model, whole, own, self._transforms.rows(row), distortion)
        start = whole[(..., *own.slices)]
        found = [(start, z), *descend(objective, start, z, self._steps, step_done)]
        candidates = [(y.cpu().numpy(), learned.tile_coder.quantise_z(z.cpu().numpy(), row).values) for y, z in found]
        costs = [self._cost(y, z_hat, around, own, distortion) for y, z_hat in candidates]
        return candidates[costs.index(min(costs))]

    def _cost(self, y: np.ndarray, z_hat: np.ndarray, around: np.ndarray, own: Box, distortion: Distortion) -> float:
        """Bits + λ · distortion of the file of a tile's latents, its neighbours' as they are."""
        learned, row = self._learned, self._row
        decoded = around.copy()
        decoded[(..., *own.slices)] = learned.tile_coder.quantise(y, z_hat, row).values
        x_hat = learned.engine.transforms.synthesise(decoded, row)[(own * LATENT).slices]
        bits = 8 * len(learned.tile_coder.encode(y, z_hat, row))
        return bits + float(distortion.bits(to_tensor(x_hat).to(self._transforms.device)))


def descend(objective: Objective, y: Tensor, z: Tensor, steps: int, step_done: Callable) -> list[tuple[Tensor, Tensor]]:
    """y (1, M, h, w) and z on their way down: every few of the `steps` and at the end, unrounded.

    The float model that is descended differs a little from the whole-number one that codes: the caller takes the best
    by what they really cost.
    """
    model, found = objective.model, []
    with torch.inference_mode(False), torch.enable_grad():
        y, z = y.clone(), z.clone()
        y_curve, z_curve = objective.curvature(y, z)
        penalty = PENALTY[0] + (PENALTY[1] - PENALTY[0]) * int(objective.row) / (model.cfg.rates - 1)
        for step in range(1, steps + 1):
            y_slope, z_slope, of_y, of_z = objective.gradients(y, z)
            with torch.no_grad():
                y = proximal(y, *of_y, y_slope, y_curve, penalty, objective.distortion.pace)
                if step <= Z_PART * steps:
                    pace = Z_PACE[0] * (Z_PACE[1] / Z_PACE[0]) ** (step / steps)
                    z = proximal(z, *of_z, z_slope, z_curve, 1.0, pace)
                else:
                    z = model.predict_z(z, objective.row)[0]
            step_done()
            if step % EVERY == 0 or step == steps:
                found.append((y, z))
    return found


def detached(mu: Tensor, log_sigma: Tensor) -> Prediction:
    return mu.detach(), log_sigma.detach()


def unrounded(residual: Tensor, log_sigma: Tensor) -> Tensor:
    return residual


def proximal(
    value: Tensor, mu: Tensor, log_sigma: Tensor, slope: Tensor, curve: Tensor, penalty: float, pace: float
) -> Tensor:
    """One step of each value on its own. slope: of all but its own bits; curve: c of the module's text."""
    value = value - mu
    low, near = value.floor(), value.round()
    below, at, above, beyond = (symbol_bits(low + k, 0.0, log_sigma) for k in (-1, 0, 1, 2))
    part = value - low
    step, curve = pace / (2 * curve), penalty * curve
    inside = value - step * (slope + above - at + curve * (1 - 2 * part))
    inside = torch.minimum(torch.maximum(inside, low), low + 1)
    is_low = near == low
    up = slope + curve + torch.where(is_low, above - at, beyond - above)
    down = slope - curve + torch.where(is_low, at - below, above - at)
    away = near - (step * torch.where(up < 0, up, down.clamp_min(0))).clamp(-1, 1)
    return torch.where((value - near).abs() < AT_WHOLE, away, inside) + mu


def symbol_bits(values: Tensor, mu: Tensor | float, log_sigma: Tensor) -> Tensor:
    return -gaussian_likelihood(values - mu, log_sigma).clamp_min(2**-MAX_BITS).log2()
