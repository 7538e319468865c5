"""Training runs from nothing to weights that encode, stops and resumes."""

import json
import math
import shutil
import tarfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from bench import heldout
from codec import Codec, weights
from codec.config import PASSES, SIZES, Config
from codec.distortion import LIGHTNESS_PART
from codec.engine import load
from codec.latent import edit
from codec.model import Model, log_lambdas, pass_masks
from codec.rans import Tables
from codec.ssimulacra2 import weighted_sum
from codec.tile import CodingTables
from codec.train import __main__ as command
from codec.train import directions, export, loop
from codec.train.checkpoint import load_networks
from codec.train.data import Photos
from codec.train.distortion import (
    FLAT_PART,
    coloured_error,
    error_where_flat,
    squared_error,
    structure_error,
    visible_error,
)
from codec.train.grow import LargerNetworkError, at_lambdas, fit_feedback, grow, latents_kept
from codec.train.loop import pca_shortcut
from codec.train.muon import Muon
from codec.weights import Weights
from tests.conftest import run
from tests.distributed import TINY, ten_steps

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shards(tmp_path_factory, photo):
    """A folder and a tar of photographs."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(4):
        photo.rotate(90 * i, expand=True).resize((440 + 20 * i, 420)).save(folder / f"{i}.jpg")
    (folder / "notes.jpg").write_text("no image")
    tar = folder.parent / "photos.tar"
    with tarfile.open(tar, "w") as out:
        for path in sorted(folder.iterdir()):
            out.add(path, path.name)
    return folder, tar


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Trainings of a tiny network on few patches, by a clock that goes on by a second at every step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SHORTCUT_CROPS", 50)
        patch.setattr(export, "CROPS", 8)
        patch.setattr(loop, "time", SimpleNamespace(monotonic=count().__next__, perf_counter=time.perf_counter))
        yield


WITH_FEEDBACK = replace(TINY, feedback=8, feedback_blocks=1)


def called(main: Callable, *args) -> None:
    main([str(a) for a in args], standalone_mode=False)


@pytest.fixture(scope="module")
def checkpoint(shards, tmp_path_factory) -> Path:
    """Of a run of the command: twenty steps, written twice."""
    path = tmp_path_factory.mktemp("trained") / "run.ckpt"
    options = ["--size", "fast", "--batch", 1, "--tune", "eye", "--minutes", 20 / 60]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "fast", WITH_FEEDBACK)
        patch.setattr(loop, "CHECKPOINT_SECONDS", 5)
        called(command.main, "--data", shards[0], "--out", path, *options)
    return path


@pytest.fixture(scope="module")
def exported(shards, checkpoint) -> Path:
    """Weights, by the command."""
    index = checkpoint.with_name("index.csv")
    index.write_text("source,licence\nhere,CC0\nhere,CC0\n")
    options = ["--name", "tiny", "--index", index, "--out", checkpoint.parent]
    called(export.main, checkpoint, "--data", shards[1], *options)
    return checkpoint.with_name("tiny.safetensors")


def test_every_latent_is_coded_once():
    assert (pass_masks(8, 5, 7).sum(0) == 1).all()
    assert pass_masks(8, 5, 7).shape == (PASSES, 8, 5, 7)


def test_arithmetic_stays_within_the_promise():
    assert SIZES["fast"].macs()["decode"] <= 12
    assert SIZES["best"].macs()["decode"] <= 45


def test_folders_and_tars_give_the_same_photographs(shards):
    a, b = (Photos([source], CPU, holdout=2) for source in shards)
    assert a.count == b.count == 2 and torch.equal(a.buffer, b.buffer)


def test_crops_are_parts_of_the_photographs(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 280, 3), np.uint8)
    for i in range(2):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    photos = Photos([tmp_path], CPU, holdout=2)
    whole = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    for crop in photos.crops(8, 64):
        looks = [c for base in (crop, crop.flip(2)) for c in (base, base.transpose(1, 2), base.flip(1).transpose(1, 2))]
        windows = whole.unfold(1, 64, 1).unfold(2, 64, 1)[:, :, :, 0, 0]  # corner pixels of every window
        found = False
        for look in looks + [base.transpose(1, 2).flip(2) for base in (crop, crop.flip(2))]:
            for y, x in torch.nonzero((windows == look[:, 0, 0][:, None, None]).all(0)).tolist():
                found |= torch.equal(whole[:, y : y + 64, x : x + 64], look)
        assert found


def test_the_linear_shortcut_is_a_transform_codec_at_step_zero(shards):
    torch.manual_seed(0)
    photos = Photos([shards[0]], CPU, holdout=2)
    model = Model(replace(TINY, latents=192))
    loop.pca_shortcut(model, photos)
    x = photos.crops(1, 256)
    with torch.no_grad():
        x_hat, bpp = model(x, torch.tensor([63]))
    assert ((x_hat - x) ** 2).mean() < x.var() / 5
    assert 0 < bpp.item() < 8


@torch.no_grad()
def test_training_sees_the_brightness_that_files_see(photo):
    """bfloat16 must not shift what the networks learn from: files are coded in float32."""
    torch.manual_seed(0)
    model = Model(TINY)
    x = torch.tensor(np.asarray(photo.crop((0, 0, 512, 512)))).permute(2, 0, 1)[None] / 255
    basis, _ = torch.linalg.qr(torch.randn(768, 16))
    basis[:, 0] = 768**-0.5
    model.init_linear(torch.full((768,), 0.45), basis.T, torch.ones(16))
    precise = model.analyse(x, torch.tensor([40]))
    with torch.autocast("cpu", torch.bfloat16):
        trained_on = model.analyse(x, torch.tensor([40]))
        x_hat, _ = model(x, torch.tensor([40]))
    grey_level = 16 * 768**0.5 / 255  # of y, before its gain
    shift = (trained_on - precise)[:, 0].mean() / model.gain_y[40, 0].exp() / grey_level
    assert abs(shift) < 0.02
    assert trained_on.dtype == x_hat.dtype == torch.float32


@torch.no_grad()
def test_a_step_of_training_does_not_jolt_brightness():
    """Muon's steps have one size whatever the gradient's, and ŷ of a flat white picture is in the hundreds."""
    torch.manual_seed(0)
    model = Model(replace(TINY, latents=320))
    basis, _ = torch.linalg.qr(torch.randn(768, 320))
    basis[:, 0] = 768**-0.5
    model.init_linear(torch.full((768,), 0.45), basis.T, torch.ones(320))
    white = model.g_a.linear(torch.ones(1, 768, 1, 1))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    model.g_s.linear.weight.grad = torch.outer(torch.ones(768), white.flatten())  # all of it too bright
    before = model.g_s.linear(white)
    loop.optimizers(model, loop.Recipe(), torch.float32)["muon"].step()
    assert 0 < (before - model.g_s.linear(white)).mean() < 1 / 255


@torch.no_grad()
def test_a_grown_network_computes_the_same():
    torch.manual_seed(0)
    small = Model(TINY)
    x, q = torch.rand(1, 3, 64, 64), torch.tensor([20])
    patches = torch.rand(2000, 768)
    wide = Model(replace(TINY, width=24, context=20, enc_blocks=4, dec_blocks=3, context_blocks=2))
    grow(small.state_dict(), wide, patches)
    for a, b in zip(small(x, q, noise=False), wide(x, q, noise=False)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)

    more = Model(replace(TINY, latents=24))
    grow(small.state_dict(), more, patches)
    kept = latents_kept(16, 24)
    y, grown_y = small.analyse(x, q), more.analyse(x, q)
    torch.testing.assert_close(grown_y[:, kept], y, rtol=1e-4, atol=1e-4)
    z = torch.zeros(1, 8, 1, 1)
    for a, b in zip(small.predict(y, z, q), more.predict(grown_y, z, q)):  # ŷ, μ, log σ
        torch.testing.assert_close(b[:, kept], a, rtol=1e-4, atol=1e-4)

    with pytest.raises(LargerNetworkError, match="24 latents do not fit into 16"):
        grow(more.state_dict(), small, patches)
    with pytest.raises(LargerNetworkError, match="does not fit|has no"):
        grow(wide.state_dict(), small, patches)


def test_rate_rows_move_to_other_lambdas():
    old = Model(TINY)
    rows = torch.arange(TINY.rates)[:, None]
    old.gain_y.data = rows * torch.rand(1, TINY.latents)
    tensors = old.state_dict()
    assert at_lambdas(tensors, TINY, TINY) is tensors

    step = math.log(TINY.lambda_max / TINY.lambda_min) / (TINY.rates - 1)
    wider = replace(TINY, lambda_min=TINY.lambda_min * math.exp(-4 * step), lambda_max=TINY.lambda_max * math.exp(step))
    moved = at_lambdas(tensors, TINY, wider)
    where = (log_lambdas(wider) - log_lambdas(TINY)[0])[:, None] / step  # a row of `old`
    assert where[0] < -3.9 and where[-1] > TINY.rates - 0.1
    torch.testing.assert_close(moved["gain_y"], where * old.gain_y[1:2], rtol=1e-4, atol=1e-3)
    assert all(torch.equal(moved[k], tensors[k]) for k in tensors if not k.startswith(("gain", "z_prior")))


def test_training_goes_on_where_it_stopped(shards, checkpoint, tmp_path, capsys):
    out = tmp_path / "run.ckpt"
    shutil.copy(checkpoint, out)
    first = loop.load_checkpoint(out)[1]
    assert (first["step"], first["seconds"], first["recipe"]["tune"]) == (20, 20, "eye")
    recipe = loop.Recipe(batch=2, crop=64, final_crop=96, warmup=2, tune="eye")
    loop.train(WITH_FEEDBACK, recipe, [shards[0]], out, 40 / 60, "tiny", resume=True)
    printed = capsys.readouterr().out
    assert "resumed at step 20" in printed and "step 40  checkpoint; held-out log-loss" in printed
    assert loop.load_checkpoint(out)[1]["step"] == 40
    assert not list(tmp_path.glob("*.part"))


def test_the_command_overwrites_no_checkpoint(shards, checkpoint):
    before = checkpoint.read_bytes()
    with pytest.raises(click.UsageError, match="--resume goes on from it"):
        called(command.main, "--data", shards[0], "--out", checkpoint, "--minutes", 1)
    assert checkpoint.read_bytes() == before


def test_exported_weights_code_pictures_and_have_a_card(shards, checkpoint, exported, crop):
    tiny = Codec.load(str(exported))
    assert tiny.decode(tiny.encode(crop)).size == (128, 96)
    card = json.loads(exported.with_suffix(".json").read_text())
    assert Config(**card["config"]) == WITH_FEEDBACK
    assert card["training"]["recipe"]["tune"] == card["tune"] == tiny.weights.tune == "eye"
    assert card["data"] == [{"source": "here", "licence": "CC0", "photographs": 2}]
    with pytest.raises(click.ClickException, match="never edited"):
        called(export.main, checkpoint, "--data", shards[0], "--name", "tiny", "--out", exported.parent)


def test_the_command_finds_directions(shards, exported, tmp_path, monkeypatch):
    path = tmp_path / "tiny.directions"
    monkeypatch.setattr(edit, "directions_file", lambda codec: path)
    called(directions.main, "--data", shards[0], "--count", 2, "-m", exported)
    assert set(edit.load(path)) == set(directions.CHANGES)


def test_networks_are_compared_while_they_train(shards, tmp_path):
    torch.manual_seed(0)
    model = Model(replace(TINY, latents=64))
    loop.pca_shortcut(model, Photos([shards[0]], CPU))
    good, bad, out = tmp_path / "good.safetensors", tmp_path / "bad.ckpt", tmp_path / "heldout.json"
    save_file(model.state_dict(), good, {"config": json.dumps(asdict(model.cfg))})
    with torch.no_grad():
        model.g_s.linear.weight *= 1.01
    averaged = {k: v.clone() for k, v in model.state_dict().items()}
    loop.save_checkpoint(bad, model, averaged, {}, {"config": asdict(model.cfg)})
    other = tmp_path / "other.safetensors"  # the same, its 64 rows over more λ
    wider = replace(model.cfg, lambda_min=0.0002)
    save_file(at_lambdas(model.state_dict(), model.cfg, wider), other, {"config": json.dumps(asdict(wider))})
    heldout.main([str(a) for a in ("--data", shards[0], "--out", out, good, good, bad, other)], standalone_mode=False)
    found = json.loads(out.read_text())["networks"]
    assert found["good.safetensors"]["log_loss"] == found["good.safetensors"]["bd_rate_percent"] == 0
    assert found["bad.ckpt"]["log_loss"] > 0 and found["bad.ckpt"]["bd_rate_percent"] > 0
    assert abs(found["other.safetensors"]["log_loss"]) < 0.002


def test_rates_of_a_step_are_spread_evenly():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([loop.spread_rates(64, 8, generator, CPU) for _ in range(2000)])
    assert (drawn.diff() == 8).all()
    assert (drawn.flatten().bincount(minlength=64) - 250).abs().max() < 60


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_muon_does_what_torch_does(dtype):
    torch.manual_seed(0)
    shapes = [(24, 16), (16, 24), (16, 24), (16, 16)]
    start = [torch.randn(s) for s in shapes]
    ours, theirs = ([torch.nn.Parameter(m.clone()) for m in start] for _ in range(2))
    optimizers = Muon(ours, lr=0.1, dtype=dtype), torch.optim.Muon(theirs, lr=0.1, weight_decay=0.0)
    for _ in range(3):
        for p, q in zip(ours, theirs):
            p.grad = q.grad = torch.randn(p.shape)
        for optimizer in optimizers:
            optimizer.step()
    for p, q, m in zip(ours, theirs, start):
        assert (p - q).norm() < 0.02 * (q - m).norm()


def test_counted_tables_make_files_smaller(shards):
    codec = Codec.load()
    crops = Photos([shards[0]], CPU, holdout=2).crops(6, 384)
    gaussian = export.gaussian_tables()
    of_y, of_z = export.counted(codec, crops)
    for counted in (of_y, of_z):
        np.testing.assert_allclose(counted, counted[:, ::-1], atol=1e-12)
        assert (counted.sum(1) < 1 + 1e-6).all()

    def size(of_y: np.ndarray, of_z: np.ndarray) -> int:
        packed = {k: v.numpy() for k, v in export.packed_tables(y=of_y, z=of_z).items()}
        y, z = (Tables.unpack(*(packed[f"{of}.{part}"] for part in ("cdf", "length", "offset"))) for of in "yz")
        codec.tile_coder.tables = CodingTables(z, (y,))
        pixels = (crops[0].permute(1, 2, 0) * 255).byte().numpy()
        return sum(len(codec.encode(pixels, quality)) for quality in (10, 50, 90))

    assert size(of_y, of_z) < size(of_y, gaussian)
    assert size(of_y, of_z) < size(gaussian, of_z)


@pytest.mark.campaign
def test_two_processes_do_what_one_does_with_the_doubled_batch(shards, tmp_path):
    def trained(name: str) -> torch.Tensor:
        tensors, meta = loop.load_checkpoint(tmp_path / name)
        assert meta["step"] == loop.CLOCK_STEPS
        return torch.cat([v.flatten() for k, v in sorted(tensors.items()) if k.startswith("model.")])

    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = run(*torchrun, "-m", "tests.distributed", str(shards[0]), str(tmp_path / "two"), "2", text=True)
    assert done.returncode == 0, done.stderr
    for name, batch in (("doubled", 4), ("one", 2)):
        ten_steps(shards[0], tmp_path / name, batch)
    two, doubled, one = map(trained, ("two", "doubled", "one"))
    assert (two - doubled).norm() < 0.1 * (one - doubled).norm()


def test_a_broken_gradient_is_skipped(shards, tmp_path, monkeypatch):
    calls = []

    def broken(x, x_hat, lambdas):
        calls.append(1)
        return squared_error(x, x_hat) * (float("nan") if len(calls) % 2 and x_hat.requires_grad else 1)

    monkeypatch.setitem(loop.LOSSES, "psnr", broken)
    out = tmp_path / "run.ckpt"
    loop.train(TINY, loop.Recipe(batch=1, crop=64), [shards[1]], out, 20 / 60, "tiny")
    tensors, _ = loop.load_checkpoint(out)
    assert len(calls) >= 20
    assert all(t.isfinite().all() for t in tensors.values())


def test_tuning_for_the_eye_trains_a_mixture_that_changes_with_the_rate(photo):
    """It follows the whole of SSIMULACRA 2; structure is as large as squared error; shares are as told."""
    x = torch.from_numpy(np.asarray(photo)[100:356, 200:456].copy()).permute(2, 0, 1)[None] / 255
    random = torch.Generator().manual_seed(0)
    blurred = torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    noisy = (x + 0.05 * torch.randn(x.shape, generator=random)).clamp(0, 1)
    for x_hat in (blurred, noisy):
        seen, structure = weighted_sum(x.double(), x_hat.double()), structure_error(x, x_hat)
        mse, flat = coloured_error(x, x_hat), error_where_flat(x, x_hat)
        for lambda_, (s, t) in ((0.0006, (0.5, 0.25)), (1.2, (0.25, 0.35)), ((0.004 * 0.5) ** 0.5, (0.375, 0.3))):
            scale = 4.1 * (lambda_ / 0.0007) ** 0.118
            mixed = visible_error(x, x_hat, torch.tensor([lambda_]))
            expected = s * scale * seen + t * 1300 * structure + (1 - s - t) * mse + FLAT_PART * flat
            assert mixed.item() == pytest.approx(expected.item(), rel=0.01)


def test_structure_is_lost_by_blur_and_not_by_brightness(photo):
    x = torch.from_numpy(np.asarray(photo)[100:228, 200:328].copy()).permute(2, 0, 1)[None] / 255
    assert structure_error(x, x).item() == pytest.approx(0, abs=1e-5)
    assert structure_error(x, x + 0.02).item() == pytest.approx(0, abs=1e-4)
    assert structure_error(x, torch.nn.functional.avg_pool2d(x, 3, 1, 1)) > 0.02


@pytest.mark.parametrize("size", [(64, 96), (48, 32)])
def test_feedback_is_the_same_in_every_engine(exported, photo, size):
    weights = Weights.parse(exported.read_bytes())
    pixels = np.asarray(photo)[100 : 100 + size[0], 200 : 200 + size[1]]
    by_torch, by_onnx = (load(weights, name).transforms for name in ("torch", "onnxruntime"))
    for row in (5, 60):
        y = by_torch.analyse(pixels, row)
        assert np.abs(by_onnx.analyse(pixels, row) - y).max() < 0.02 * np.abs(y).max()


def test_feedback_brings_what_is_decoded_closer(shards):
    """Of latents that are not quantised."""
    photos = Photos([shards[0]], torch.device("cpu"), holdout=2)
    torch.manual_seed(0)
    model = Model(replace(TINY, latents=192, feedback=8))
    pca_shortcut(model, photos)
    model.g_a.linear.weight.data *= 0.8  # an encoder that does not know its decoder
    crops, q = photos.crops(4, 64), torch.full((4,), 32)
    errors = [squared_error(crops, model.synthesise(model.analyse(crops, q), q)).mean()]
    fit_feedback(model, crops, 32)
    errors.append(squared_error(crops, model.synthesise(model.analyse(crops, q), q)).mean())
    assert errors[1] < 0.9 * errors[0]


def test_errors_count_more_where_the_picture_is_flat():
    flat = torch.full((1, 3, 32, 32), 0.9)
    busy = flat + 0.05 * torch.randn(flat.shape, generator=torch.Generator().manual_seed(0))
    assert error_where_flat(flat, flat + 0.01).item() == pytest.approx(
        squared_error(flat, flat + 0.01).item(), rel=1e-3
    )
    assert error_where_flat(busy, busy + 0.01) < 0.2 * squared_error(busy, busy + 0.01)


def test_a_decoder_can_be_trained_alone(shards, tmp_path):
    start, out = tmp_path / "start.ckpt", tmp_path / "run.ckpt"
    loop.train(TINY, loop.Recipe(batch=1, crop=64), [shards[1]], start, 3 / 60, "tiny")
    recipe = loop.Recipe(batch=1, crop=64, decoder_only=True, ema=0.5)
    loop.train(TINY, recipe, [shards[1]], out, 6 / 60, "tiny", start=start)
    before, after = (load_networks(path)[0] for path in (start, out))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith(loop.DECODER) for name in changed)


def test_errors_of_lightness_and_of_colour_are_weighed_apart():
    x = torch.full((1, 3, 8, 8), 0.5)
    grey = x + 0.1
    redder = x + torch.tensor([0.299, -0.299 * 0.299 / 0.587, 0.0])[:, None, None] * 0.1  # of the same lightness
    assert coloured_error(x, grey).item() == pytest.approx(LIGHTNESS_PART * squared_error(x, grey).item(), rel=1e-4)
    assert coloured_error(x, redder) > 2 * squared_error(x, redder)


@pytest.mark.parametrize("size", SIZES)
def test_the_shipped_cards_tell_where_the_weights_come_from(size):
    path = weights.locate(size)
    card = weights.cards()[path.stem]
    assert path.stem.startswith(f"{size}-")
    assert {"sha256", "training", "config", "data", "licence"} <= set(card)
    assert Config(**card["config"]) == SIZES[size]
    assert weights.read(path)[1].hex() == card["sha256"][:16]
