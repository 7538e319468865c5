"""Every ONNX graph against torch (float networks) or against float64 (integer networks)."""

import json

import numpy as np
import pytest
import torch

from codec.config import PASSES
from codec.engine.integer_networks import LIMIT, Context, start_y, start_z
from codec.engine.numpy_engine import NumpyLayers
from codec.weights import Weights

graphs = pytest.importorskip("codec.engine.onnx_graphs", reason="needs onnx")
runtime = pytest.importorskip("onnxruntime")

ROW = np.array([33])


@pytest.fixture(scope="module", params=["fast-6", "best-6"])
def weights(request):
    return Weights.open(request.param)


@pytest.fixture(scope="module")
def run(weights):
    sessions = {}

    def evaluate(name, **inputs):
        if name not in sessions:
            model = (graphs.ENCODER | graphs.DECODER)[name](weights)
            sessions[name] = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return sessions[name].run(None, inputs)

    return evaluate


@pytest.fixture(scope="module")
def model(weights):
    from codec.engine.torch_engine import TorchTransforms

    return TorchTransforms(weights).model


def test_float_networks_agree_with_torch(weights, run, model, crop):
    pixels, row = crop[None, :80, :96], torch.from_numpy(ROW)
    with torch.inference_mode():
        y = model.analyse(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255, row)
        z = model.hyper_analyse(y, row)
        x = model.synthesise(y, row)[0].permute(1, 2, 0).mul(255).round().clamp(0, 255)
    assert np.allclose(run("g_a", pixels=pixels, row=ROW)[0], y, atol=2e-3)
    assert np.allclose(run("h_a", y=y.numpy(), row=ROW)[0], z, atol=1e-4)
    found = run("g_s", y=y.numpy(), row=ROW)[0]
    assert found.dtype == np.uint8 and found.shape == pixels.shape
    difference = np.abs(found[0].astype(int) - x.numpy())
    assert difference.max() <= 1 and difference.mean() < 1e-3


@pytest.mark.parametrize(("kind", "height", "width"), [("y", 6, 8), ("y", 5, 3), ("y", 1, 1), ("z", 2, 3), ("z", 1, 2)])
def test_integer_networks_agree_with_float64(weights, run, kind, height, width):
    layers, random, size = NumpyLayers(weights), np.random.default_rng(1), np.array([height, width])
    context, half = Context(layers, kind, weights.config), (-(-height // 2), -(-width // 2))
    if kind == "y":
        z = random.integers(-LIMIT, LIMIT + 1, (weights.config.hyper, -(-height // 4), -(-width // 4)))
        expected, before = start_y(layers, weights.config, z.astype(np.float64), (height, width))
        reduced, *guesses = run("y_start", z=z[None].astype(np.float32), size=size)
    else:
        expected, before = start_z(layers, weights.config, int(ROW[0]), (height, width))
        reduced, *guesses = run("z_start", row=ROW, size=size)
    assert (reduced[0] == expected).all() and (np.concatenate(guesses) == np.stack(before)).all()
    for t in range(1, PASSES):
        known = random.integers(-(2**15), 2**15, (t * context.channels, *half))
        inputs = {"reduced": reduced, "values": known[None].astype(np.float32), "guess": guesses[t]}
        params = run(f"{kind}_step_{t}", **inputs)[0][0]
        assert (params == context.step(t, expected, known.astype(np.float64), before[t])).all()


def test_export_writes_what_a_decoder_needs(weights, tmp_path):
    graphs.export(weights, tmp_path, encoder=False)
    assert {p.name for p in tmp_path.iterdir()} == {f"{name}.onnx" for name in graphs.DECODER} | {"manifest.json"}
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["fingerprint"] == weights.fingerprint.hex()
    assert sum(p.stat().st_size for p in tmp_path.glob("*.onnx")) < 2 * sum(p.size for p in weights.networks.values())
