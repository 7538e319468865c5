"""Texture: what is drawn where bits are too few, and how it is trained."""

from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from codec import check_weights
from codec.config import NEXT_SIZES, NOISES
from codec.model import Model
from codec.train import look, wasserstein
from codec.train.data import Photos
from tests.distributed import TINY

WITH_TEXTURE = replace(TINY, texture=8, texture_blocks=1)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Model(WITH_TEXTURE).eval()


def test_what_is_decoded_without_texture_stays_the_same(model):
    y, q = torch.randn(1, TINY.latents, 3, 2), torch.tensor([7])
    picture, features = model.decode_features(y, q)
    assert torch.equal(picture, model.synthesise(y, q))
    detail, grain = model.texture(features, q, torch.zeros(1, NOISES, 48, 32))
    assert detail.shape == grain.shape == picture.shape
    assert not grain.any()


def test_wasserstein_distortion_ignores_where_grain_lies_and_sees_that_it_is_missing():
    random = torch.Generator().manual_seed(0)
    flat = torch.full((1, 3, 64, 64), 0.5)
    one, other = (flat + 0.1 * torch.randn(flat.shape, generator=random) for _ in range(2))
    large, small = torch.tensor([4.0]), torch.tensor([0.0])

    def apart(x_hat, sizes):
        return wasserstein.distortion(wasserstein.by_hand(x_hat), wasserstein.by_hand(one), sizes, 64).item()

    assert apart(one, large) == apart(one, small) == 0
    assert apart(other, large) < 0.1 * apart(flat, large)
    assert apart(other, small) > 1.5 * apart(flat, small)


def test_a_look_is_trained_and_nothing_else(model, photo, tmp_path, monkeypatch):
    photo.resize((200, 160)).save(tmp_path / "a.png")
    photo.resize((160, 200)).save(tmp_path / "b.png")
    for name, value in {"CROP": 32, "BATCH": 2, "REPORT_STEPS": 2, "WARMUP": 1}.items():
        monkeypatch.setattr(look, name, value)
    monkeypatch.setattr(wasserstein, "Lite0", lambda: lambda x: [torch.nn.functional.avg_pool2d(x, 2)])
    monkeypatch.setattr(look, "Photos", lambda sources, device: Photos(sources, device, holdout=2))
    start, out = tmp_path / "start.safetensors", tmp_path / "look.safetensors"
    tensors = {k: v for k, v in model.state_dict().items() if not k.startswith("texture.")}
    save_file(tensors, start, {"config": look.json.dumps(asdict(TINY))})
    clock = iter(range(100))
    monkeypatch.setattr(look.time, "monotonic", lambda: next(clock))
    look.main(
        ["--init", str(start), "--data", str(tmp_path), "--minutes", "0.1", "--width", "8", "--out", str(out)],
        standalone_mode=False,
    )
    trained = load_file(out)
    assert trained and all(name.startswith("texture.") and value.isfinite().all() for name, value in trained.items())


@pytest.mark.parametrize("size", ["fast-9", "best-9"])
def test_what_a_weights_file_must_hold_is_what_a_network_has(size):
    cfg = replace(NEXT_SIZES[size], width=16, latents=16, hyper=8, context=16, feedback=8, texture=8)
    assert dict(check_weights.network_shapes(cfg)) == {k: tuple(v.shape) for k, v in Model(cfg).state_dict().items()}
    plain = replace(cfg, feedback=0, texture=0)
    assert dict(check_weights.network_shapes(plain)) == {
        k: tuple(v.shape) for k, v in Model(plain).state_dict().items()
    }
