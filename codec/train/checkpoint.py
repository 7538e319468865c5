"""Checkpoints: one safetensors file with weights, their average, the optimizers' state and a description."""

from __future__ import annotations

import json
import os
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from codec.model import Model


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
