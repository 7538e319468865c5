"""Muon (Jordan et al., 2024) with the Newton–Schulz iteration batched over matrices of the same shape.

What `torch.optim.Muon` computes, one matrix after another; a network of many small ones keeps neither a GPU nor a CPU
busy that way.
"""

from __future__ import annotations

import torch
from torch import Tensor

COEFFICIENTS, STEPS = (3.4445, -4.775, 2.0315), 5


def orthogonalised(x: Tensor, dtype: torch.dtype) -> Tensor:
    """(N, rows, columns) -> the same in `dtype`, all singular values brought near 1."""
    tall = x.shape[1] > x.shape[2]
    x = (x.mT if tall else x).to(dtype, memory_format=torch.contiguous_format)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """For parameters that are matrices: their gradients' mean with Nesterov momentum, orthogonalised.

    The learning rate counts √(rows / columns) times for tall ones, as in `torch.optim.Muon`. `dtype`: of the iteration.
    """

    def __init__(
        self,
        params: list[Tensor] | list[dict],
        lr: float,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.bfloat16,
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # torch's takes a closure too: nothing here has one
        for group in self.param_groups:
            params, momentum = [p for p in group["params"] if p.grad is not None], group["momentum"]
            for p in params:
                if not self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            grads, buffers = [p.grad for p in params], [self.state[p]["momentum_buffer"] for p in params]
            torch._foreach_lerp_(buffers, grads, 1 - momentum)
            updates = torch._foreach_lerp(grads, buffers, momentum)  # Nesterov's
            for shape in {p.shape for p in params}:
                alike = [i for i, p in enumerate(params) if p.shape == shape]
                rate = group["lr"] * max(1, shape[0] / shape[1]) ** 0.5
                for i, update in zip(alike, orthogonalised(torch.stack([updates[i] for i in alike]), self.dtype)):
                    params[i].add_(update, alpha=-rate)
