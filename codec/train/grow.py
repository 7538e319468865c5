"""A trained network inside a larger one that begins by computing the same thing.

Old channels keep their weights and do not listen to new ones; new blocks add nothing yet; new latents carry the
next principal components of what the old ones leave out, which alone change the first picture, for the better. New
channels of z and new latents cost bits from the start. A network for another range of λ takes its tables of gains
from the same λ (`at_lambdas`).
"""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from torch import Tensor

from codec.config import PASSES, Y_SCALE, Config
from codec.model import Model, log_lambdas

SILENT_LAYERS = re.compile(r"(mix_out|contract)\.weight$")  # a block without them passes its input on
GAINS = re.compile(r"gain_(enc|dec|y|y_inverse|feedback)$")  # a new channel has the mean of the old ones
BY_RATE = re.compile(r"gain_\w+$|z_prior$")  # (rates, …)
END_ROWS = 6  # at either end, whose slope goes on beyond it
# "name dimension" of what counts latents, and of what counts their means and then their log σ
LATENTS = re.compile(
    r"(g_a|feedback)\.(linear|down)\.\w+ 0|(g_s\.(up\.expand|linear)|h_a\.0)\.weight 1"
    r"|gain_(y|y_inverse|feedback) 1|context\.adapt.* 1"
)
PARAMETERS = re.compile(r"(h_s|context)\.out\.\w+ 0|context\.reduce\.weight 1")


class LargerNetworkError(ValueError):
    """The trained network does not fit into the one it should grow into."""


def latents_kept(old: int, new: int) -> Tensor:
    """Where old latents go: each stays in its group of channels, and groups lie one after the other."""
    channel = torch.arange(old)
    return channel // (old // PASSES) * (new // PASSES) + channel % (old // PASSES)


def at_lambdas(tensors: dict[str, Tensor], old: Config, new: Config) -> dict[str, Tensor]:
    """The networks `tensors` of `old` with rate rows for the λ of `new`.

    Straight lines over log λ between two old rows, and beyond the last one along the slope of the END_ROWS there.
    """
    if (old.lambda_min, old.lambda_max, old.rates) == (new.lambda_min, new.lambda_max, new.rates):
        return tensors
    logs = log_lambdas(old).double()
    rows = (log_lambdas(new).double() - logs[0]) / (logs[-1] - logs[0]) * (old.rates - 1)
    inside = rows.clamp(0, old.rates - 1)
    low = inside.floor().clamp_max(old.rates - 2).long()
    along = torch.arange(END_ROWS, dtype=torch.float64) - (END_ROWS - 1) / 2

    def moved(table: Tensor) -> Tensor:
        t = table.double()
        first, last = (along @ end / (along @ along) for end in (t[:END_ROWS], t[-END_ROWS:]))  # slopes
        slope = torch.where((rows < 0)[:, None], first, last)
        t = torch.lerp(t[low], t[low + 1], (inside - low)[:, None]) + (rows - inside)[:, None] * slope
        return t.to(table.dtype)

    return {name: moved(t) if BY_RATE.match(name) else t for name, t in tensors.items()}


@torch.no_grad()
def grow(small: dict[str, Tensor], model: Model, patches: Tensor) -> None:
    """Put the networks `small` (name -> tensor, of a smaller `Config` with the same rates) into `model`, in place.

    patches (N, 768): of `pixel_unshuffle(16)` photographs; the components that new latents carry come from them.
    Raises: LargerNetworkError.
    """
    m0, m = small["g_a.linear.bias"].numel(), model.cfg.latents
    if m0 > m:
        raise LargerNetworkError(f"{m0} latents do not fit into {m}")
    kept = latents_kept(m0, m)
    new = torch.tensor(sorted(set(range(m)) - set(kept.tolist())), dtype=torch.long)
    state = model.state_dict()
    if missing := set(small) - set(state):
        raise LargerNetworkError(f"the network to train has no {sorted(missing)[0]}")

    def places(name: str, dim: int, size: int) -> Tensor:
        """Positions in the model's tensor of the old entries along one dimension."""
        if PARAMETERS.match(f"{name} {dim}"):
            return torch.cat([kept, kept + m])
        if LATENTS.match(f"{name} {dim}"):
            before = size - m0  # channels that come before the latents
            return torch.cat([torch.arange(before), state[name].shape[dim] - m + kept])
        return torch.arange(size)

    for name, target in state.items():
        if name not in small:  # of a block that is new
            if SILENT_LAYERS.search(name):
                target.zero_()
            continue
        source = small[name].to(target)
        if any(a > b for a, b in zip(source.shape, target.shape)):
            raise LargerNetworkError(f"{name} {tuple(source.shape)} does not fit into {tuple(target.shape)}")
        rows = places(name, 0, source.shape[0])
        if source.ndim == 1:
            target[rows] = source
            continue
        columns = places(name, 1, source.shape[1])
        if GAINS.match(name):
            target.copy_(source.mean(1, keepdim=True))
        elif PARAMETERS.match(f"{name} 0") or name == "g_a.down.weight":
            target.zero_()  # new latents come from the linear shortcut alone, with a σ of their own
        else:
            target[rows] = 0  # old outputs do not listen to new inputs
        target[rows[:, None], columns] = source
    if not len(new):
        return

    # new latents: principal components of what the old linear shortcut leaves out
    mean = patches.double().mean(0)
    rest = patches.double() - mean
    span, _ = torch.linalg.qr(small["g_s.linear.weight"].double().to(rest))
    rest -= rest @ span @ span.T
    variance, vectors = torch.linalg.eigh(rest.T @ rest / len(rest))
    order = torch.arange(len(new)).view(-1, PASSES).T.reshape(-1)  # large and small ones in every group
    basis, variance = vectors.flip(1).T[: len(new)][order].to(mean), variance.flip(0)[: len(new)][order]
    state["g_a.linear.weight"][new] = (basis / Y_SCALE).float()
    state["g_a.linear.bias"][new] = (-(basis @ mean) / Y_SCALE).float()
    state["g_s.linear.weight"][:, new] = (basis.T * Y_SCALE).float()
    middle = state["gain_y"][len(state["gain_y"]) // 2, new].exp()  # what a rate in the middle makes of them
    state["h_s.out.bias"][new + m] = torch.log(variance.clamp_min(0).sqrt().to(middle) / Y_SCALE * middle + 0.1)


FEEDBACK_PACE = 0.7  # of a Newton step: crops held out gain most from it (0.35: half as much; a second step costs bits)
FEEDBACK_FLOOR = 0.15  # of the largest singular value of g_s: what it hardly answers to is not corrected


@torch.no_grad()
def fit_feedback(model: Model, crops: Tensor, row: int) -> None:
    """Begin the feedback with the regularised inverse of g_s, measured at a rate row around `crops` (N, 3, H, W)."""
    if model.feedback is None:
        return
    q = torch.full((len(crops),), row, device=crops.device)
    gain = model.gain_y[row].exp()[None, :, None, None]
    y = model.g_a(crops, model.gain_enc[q].exp()[:, :, None, None]) * gain
    moves = torch.randn_like(y) * 2
    answers = model.synthesise(y + moves, q) - model.synthesise(y, q)
    moves, answers = (moves / gain), F.pixel_unshuffle(answers, 16)
    flat = [t.permute(0, 2, 3, 1).reshape(-1, t.shape[1]).double() for t in (moves, answers)]
    jacobian = torch.linalg.lstsq(*flat).solution  # (M, 768)
    floor = FEEDBACK_FLOOR * torch.linalg.matrix_norm(jacobian, 2)
    inverse = torch.linalg.solve(jacobian.T @ jacobian + floor**2 * torch.eye(768, dtype=torch.double), jacobian.T)
    model.feedback.linear.weight.copy_(FEEDBACK_PACE * inverse.T)
    for parameter in (model.feedback.linear.bias, model.feedback.down.weight, model.feedback.down.bias):
        parameter.zero_()
