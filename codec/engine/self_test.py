"""Whether an engine's entropy networks sum exactly on this machine, and what takes their place where they do not."""

from __future__ import annotations

import numpy as np

from codec.config import PASSES, POSITIONS, ceil_div
from codec.engine.integer_networks import LIMIT, known_before, power_of_two
from codec.engine.numpy_engine import NumpyNetworks
from codec.engine.protocols import EntropyNetworks
from codec.weights import Weights


def prove(networks: EntropyNetworks, weights: Weights) -> EntropyNetworks:
    """The networks, where they sum exactly; else numpy's, which always do."""
    return networks if sums_exactly(networks, weights) else NumpyNetworks(weights)


def sums_exactly(networks: EntropyNetworks, weights: Weights) -> bool:
    """Whether they agree with float64 where large numbers meet, which fast-math settings may round."""
    height, width, half, channels = 5, 3, (3, 2), weights.config.latents
    random, scale = np.random.default_rng(0), power_of_two(weights.exact["context.known_shift"])
    z = random.integers(-LIMIT, LIMIT, (1, weights.config.hyper, 2, 1)).astype(np.float32)
    tested, exact = (n.start_y(z, height, width) for n in (networks, NumpyNetworks(weights)))
    inside = np.zeros((len(POSITIONS), 1, 1, *half), bool)
    for position, (i, j) in zip(inside, POSITIONS):
        position[..., : ceil_div(height - i, 2), : ceil_div(width - j, 2)] = True
    for t in range(PASSES):
        values = random.integers(-LIMIT, LIMIT, (len(POSITIONS), t * channels // PASSES, *half))
        known = (values * scale[known_before(t, channels), None, None]).astype(np.float32)
        if not ((tested.parameters(t, known) == exact.parameters(t, known)) | ~inside).all():
            return False
    tested.close()
    return True
