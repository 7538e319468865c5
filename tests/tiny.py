"""Weights that take no time, made from a seed: a network of a few channels that knows nothing of pictures.

For tests of what is around the networks, in every reader: `python -m tests.tiny FILE.safetensors`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from codec.check_weights import LIMIT, SUM_LIMIT, exact_shapes, network_shapes
from codec.config import SIGMA_LEVELS, SIGMA_MAX, SIGMA_MIN, Config
from codec.rans import PRECISION
from codec.weights import Weights

CONFIG = Config(
    width=8,
    latents=16,
    hyper=8,
    context=8,
    enc_blocks=2,
    dec_blocks=2,
    context_blocks=1,
    z_blocks=1,
    rates=4,
)
FINGERPRINT = b"tinytiny"
GAUSSIAN = 8  # tables of the second set


def tensors(seed: int = 0) -> dict[str, np.ndarray]:
    """What its file holds."""
    random = np.random.default_rng(seed)
    found = {k: (random.normal(size=v) * 0.1).astype(np.float16) for k, v in network_shapes(CONFIG)}
    for name, shape in exact_shapes(CONFIG):
        kind = name.rpartition(".")[2]
        if kind == "weight":
            most = min(2**14, SUM_LIMIT // (4 * LIMIT * max(9, int(np.prod(shape[1:])))))
            found[f"exact.{name}"] = random.integers(-most, most + 1, shape).astype(np.int16)
        elif kind == "bias":
            found[f"exact.{name}"] = random.integers(-(2**14), 2**14, shape).astype(np.int32)
        elif kind == "shift":
            found[f"exact.{name}"] = np.full(shape, 9, np.int8)
        elif kind in ("h_shift", "known_shift"):
            found[f"exact.{name}"] = np.zeros(shape, np.int8)
        elif kind == "z_gain":
            found["exact.z_gain"] = np.full(shape, 2**14, np.int32)
        else:
            found["exact.z_prior"] = random.integers(0, 600, shape).astype(np.int32)
    for label, count in (("y", SIGMA_LEVELS), ("y_gaussian", GAUSSIAN), ("z", SIGMA_LEVELS)):
        cdfs, offsets = tables(count)
        found[f"tables.{label}.cdf"] = np.concatenate(cdfs).astype(np.int32)
        found[f"tables.{label}.length"] = np.array([len(cdf) for cdf in cdfs], np.int32)
        found[f"tables.{label}.offset"] = np.array(offsets, np.int32)
    return found


def tables(count: int) -> tuple[list[np.ndarray], list[int]]:
    """Rough Gaussians whose escape is as likely as one in sixteen: forged streams shall reach it."""
    cdfs, offsets = [], []
    for sigma in np.geomspace(SIGMA_MIN, SIGMA_MAX, SIGMA_LEVELS)[:count]:
        reach = int(min(20, 2 * sigma)) + 1
        shares = np.exp(-((np.arange(-reach, reach + 1) / max(sigma, 0.5)) ** 2) / 2) + 0.01
        inside = np.cumsum(shares) / shares.sum() * (15 << PRECISION - 4)
        cdfs.append(np.concatenate([[0], inside.astype(int), [1 << PRECISION]]))
        offsets.append(-reach)
    return cdfs, offsets


def described(**texts: str) -> dict[str, str]:
    """The description in its file, some texts of it replaced."""
    return {"name": "tiny", "tune": "psnr", "config": json.dumps(asdict(CONFIG))} | texts


def data(seed: int = 0, changed: dict[str, np.ndarray] | None = None, **texts: str) -> bytes:
    """The weights file, some tensors and texts of its description replaced."""
    return save(tensors(seed) | (changed or {}), described(**texts))


def weights(seed: int = 0) -> Weights:
    return Weights.parse(data(seed), FINGERPRINT)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(data())
