"""More encoding time for fewer bytes: the latents of a tile moved along the gradient of rate + λ · distortion.

g_a maps all photographs with one function; a given photograph has better latents nearby (the amortisation gap).
A few steps of gradient descent through the decoder and the rate model find them: y moves, ẑ stays. Rounding is
replaced by a steep sigmoid between whole numbers, σ((r − ⌊r⌋ − ½) · SHARPNESS) (in the manner of stochastic Gumbel
annealing, arXiv:2006.04240, without its noise, which needs thousands of steps). The result is an ordinary file.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from codec.container import LATENT
from codec.model import Model, gaussian_likelihood, pass_masks
from codec.tiles import Box

STEPS = {1: 0, 2: 0, 3: 0, 4: 2, 5: 4, 6: 6, 7: 10, 8: 24, 9: 50}  # by effort
DEFAULT = 3
RATE = 0.1  # of descent, divided by the number of steps but at most MAX_RATE, on the loss in bits
MAX_RATE = 0.01
MOMENTUM = 0.5
SHARPNESS = 8.0
EVERY = 8  # steps after which y is looked at


class Objective:
    """Bits and squared error of one tile as functions of its y, ring of neighbours and ẑ held fixed."""

    def __init__(self, model: Model, y: Tensor, own: Box, z_hat: Tensor, row: int, pixels: np.ndarray):
        """y (1, M, H, W): the tile's latents and those around it that g_s sees; own: the tile in it;
        pixels: uint8 (h, w, 3) of the tile, where it ends at the picture's border too."""
        self.model, self.around, self.own = model, y, own
        self.row = torch.tensor([row])
        self.target = torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None]
        self.weight = float(model.lambdas[row]) / 3  # of the sum of squared errors, 0 … 255
        gain = -model.gain_z[self.row][:, :, None, None]
        self.h = model.h_s(z_hat * gain.exp())[..., : own.height, : own.width]
        self.reduced = model.context.start(self.h)
        self.masks = pass_masks(model.cfg.latents, own.height, own.width)

    def __call__(self, y: Tensor) -> Tensor:
        """Bits + λ · error of y (1, M, own.height, own.width), softly rounded."""
        y_hat, bits = torch.zeros_like(y), y.new_zeros(())
        for t, mask in enumerate(self.masks):
            params = self.h if t == 0 else self.model.context.step(t, self.h, self.reduced, y_hat)
            mu, log_sigma = params.chunk(2, 1)
            residual = y - mu
            floor = residual.detach().floor()
            symbols = floor + torch.sigmoid((residual - floor - 0.5) * SHARPNESS)
            cost = -gaussian_likelihood(symbols, log_sigma).clamp_min(1e-9).log2()
            bits = bits + torch.where(mask, cost, 0).sum()
            y_hat = torch.where(mask, symbols + mu, y_hat)
        whole = self.around.clone()
        whole[(..., *self.own.slices)] = y_hat
        x = self.model.synthesise(whole, self.row)[(..., *(self.own * LATENT).slices)]
        x = x[..., : self.target.shape[2], : self.target.shape[3]] * 255
        return bits + self.weight * (x - self.target).square().sum()


def descend(
    model: Model, y: Tensor, own: Box, z_hat: Tensor, row: int, pixels: np.ndarray, effort: int
) -> Iterator[Tensor]:
    """A tile's y on its way down, every few steps and at the end of STEPS[effort]. Arguments as for `Objective`.

    The float model that is descended differs a little from the whole-number one that codes, most at low rates: the
    caller takes the best of these by what they really cost.
    """
    steps = STEPS[effort]
    with torch.inference_mode(False), torch.enable_grad():
        with torch.no_grad():
            objective = Objective(model, y.clone(), own, z_hat.clone(), row, pixels)
        moved = y[(..., *own.slices)].clone().requires_grad_(True)
        descent = torch.optim.SGD([moved], lr=min(MAX_RATE, RATE / max(steps, 1)), momentum=MOMENTUM)
        found = []
        for step in range(1, steps + 1):
            descent.zero_grad()
            objective(moved).backward()
            descent.step()
            if step % EVERY == 0 or step == steps:
                found.append(moved.detach().clone())
    return iter(found)
