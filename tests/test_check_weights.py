"""What `check_weights` expects of a file is what training has and exports."""

from dataclasses import replace

import pytest
import torch

from codec.check_weights import exact_shapes, network_shapes
from codec.config import Config
from codec.model import Model
from codec.train.export import whole_numbers
from tests import tiny

CONFIGS = {
    "the smallest": tiny.CONFIG,
    "odd numbers of blocks": replace(tiny.CONFIG, enc_blocks=3, dec_blocks=5, context_blocks=3, z_blocks=2),
    "no blocks": replace(tiny.CONFIG, enc_blocks=0, dec_blocks=0, context_blocks=0, z_blocks=0),
    "all widths different": replace(tiny.CONFIG, width=12, latents=20, hyper=4, context=6, rates=3),
}


def shapes(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_tensors_of_a_file_are_those_of_the_model(config: Config):
    model = Model(config).eval()
    assert dict(network_shapes(config)) == shapes(model.state_dict())
    with torch.no_grad():
        exported = whole_numbers(model, torch.zeros(1, 3, 64, 64))
    assert dict(exact_shapes(config)) == shapes(exported)
    assert all(not tensor.is_floating_point() for tensor in exported.values())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_no_tensor_is_named_twice(config: Config):
    for names in ([name for name, _ in table(config)] for table in (network_shapes, exact_shapes)):
        assert len(names) == len(set(names))
