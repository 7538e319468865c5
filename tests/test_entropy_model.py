"""A file decodes to the same symbols on every machine."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load

from codec import Codec, FormatError, container, engine, entropy_model, weights
from codec.engine import onnx_engine, self_test, torch_engine
from codec.settings import Settings
from codec.tiles import Box
from tests.conftest import run
from tests.reference import Reference, read_file
from tests.symbols import digest


@pytest.mark.parametrize("row", [3, 32, 61])
def test_numpy_integers_agree_to_the_last_bit(codec, photo, row):
    tensors = load(weights.locate(weights.DEFAULT).read_bytes())
    reference = Reference(tensors)
    pixels = np.asarray(photo)[100:292, 200:504]
    y = codec.learned.analyse(pixels, Box(0, 0, 19, 12), row)
    z = codec.engine.transforms.hyper_analyse(y, row)
    indices = np.zeros_like(y, np.uint8)

    z_hat = codec.tile_coder.quantise_z(z, row).values
    passes = codec.tile_coder.entropy.y(z_hat, row, 12, 19)
    for t in passes:
        mu, _ = passes.predict()
        entropy_model.scatter(indices, t, passes.index)
        passes.put(np.rint(passes.gather(y) - mu))
    y_hat = passes.values()

    def symbols_of(values):
        return lambda at, mu, index: np.round(values[at] - (mu / 64).astype(np.float32)).astype(np.int64)

    expected_z = reference.z(row, 3, 5, symbols_of(z[0]))
    assert (z_hat[0].astype(np.float64) * 64 == expected_z).all()
    expected_y, expected_index = reference.y(expected_z, row, 12, 19, symbols_of(y[0]))
    assert (indices[0] == expected_index).all()
    assert (y_hat[0].astype(np.float64) * 64 == expected_y).all()


@pytest.mark.parametrize("quality", [10, 90])
def test_a_reader_written_from_the_format_page_reads_the_same(codec, photo, quality):
    """Container, rANS and entropy model, each a second time, without torch and without CompressAI."""
    data = codec.encode(photo.crop((330, 80, 420, 150)), quality)
    tensors = load(weights.locate(weights.DEFAULT).read_bytes())
    z, y_hat, row = read_file(data, tensors)
    tile = codec.tile_coder.decode(container.parse(data), 0)
    assert row == tile.row and (tile.z_hat[0].astype(np.float64) * 64 == z).all()
    assert (tile.y_hat[0].astype(np.float64) * 64 == y_hat).all()


@pytest.fixture(scope="module")
def real_file(codec, photo, tmp_path_factory):
    path = tmp_path_factory.mktemp("exact") / "photo.lat"
    path.write_bytes(codec.encode(photo.crop((200, 100, 600, 420)), quality=60))
    return path


MACHINES = {
    "torch, two threads": ({}, "torch", "2"),
    "OpenVINO, two threads": ({}, "openvino", "2"),
    "OpenVINO, one thread, AVX2": ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, "openvino", "1"),
    "OpenVINO, three threads, no vector units": ({"ONEDNN_MAX_CPU_ISA": "SSE41"}, "openvino", "3"),
    "ONNX Runtime, two threads": ({}, "onnxruntime", "2"),
    "ONNX Runtime, one thread": ({}, "onnxruntime", "1"),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_symbols_are_the_same_everywhere(codec, real_file, machine):
    env, name, threads = MACHINES[machine]
    if name not in engine.installed():
        pytest.skip(f"{name} is not installed")
    result = run("-m", "tests.symbols", str(real_file), name, threads, env=env, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == digest(codec, real_file.read_bytes())


def test_symbols_do_not_depend_on_tile_order(codec, photo):
    data = codec.encode_picture(photo.crop((0, 0, 400, 300)), Settings(40, tile=8))
    order = np.random.default_rng(0).permutation(4 * 3).tolist()
    assert digest(codec, data, order) == digest(codec, data)


@pytest.mark.parametrize("setting", ["matmul", "convolution"])
def test_a_callers_torch_settings_do_not_matter(photo, real_file, setting):
    codec = Codec.load(engine="torch")
    expected, image = digest(codec, real_file.read_bytes()), photo.crop((0, 0, 200, 100))
    data, pixels = codec.encode(image), np.asarray(codec.decode(real_file.read_bytes()), np.int16)
    conv = torch.backends.mkldnn.conv
    before, before_conv = torch.get_float32_matmul_precision(), conv.fp32_precision
    if setting == "matmul":
        torch.set_float32_matmul_precision("medium")
    else:
        conv.fp32_precision = "bf16"
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert digest(codec, real_file.read_bytes()) == expected
            assert codec.encode(image) == data
            again = np.asarray(codec.decode(real_file.read_bytes()), np.int16)
        assert (again == pixels).all()
        assert (torch.get_float32_matmul_precision(), conv.fp32_precision) == (
            ("medium", before_conv) if setting == "matmul" else (before, "bf16")
        )
    finally:
        torch.set_float32_matmul_precision(before)
        conv.fp32_precision = before_conv


def test_a_caller_s_precision_comes_back_when_the_last_thread_leaves():
    matmul, region = torch.backends.mkldnn.matmul, torch_engine.float32_throughout
    before, matmul.fp32_precision = matmul.fp32_precision, "bf16"
    try:
        with region:
            with region:
                assert matmul.fp32_precision == "ieee"
            assert matmul.fp32_precision == "ieee"
        assert matmul.fp32_precision == "bf16"
    finally:
        matmul.fp32_precision = before


class Rounded:
    """Entropy networks whose inputs are cut to 8 bits, as bfloat16 does it."""

    def __init__(self, networks):
        self.networks = networks

    def start_y(self, *args):
        predictor = self.networks.start_y(*args)

        def parameters(t, values, exact=predictor.parameters):
            exponent = np.exp2(np.floor(np.log2(np.maximum(np.abs(values), 1))) - 7)
            return exact(t, np.round(values / exponent) * exponent)

        predictor.parameters = parameters
        return predictor


@pytest.mark.parametrize("name", engine.installed())
def test_every_engine_sums_exactly_and_one_that_does_not_is_found_out(codec, name):
    chosen = engine.load(codec.weights, name)
    assert chosen.name == name and self_test.sums_exactly(chosen.entropy, codec.weights)
    assert not self_test.sums_exactly(Rounded(chosen.entropy), codec.weights)


@pytest.mark.parametrize("name", [None, *engine.installed()])
def test_numpy_takes_over_from_networks_that_sum_inexactly(codec, real_file, monkeypatch, name):
    monkeypatch.setattr(self_test, "sums_exactly", lambda networks, weights: False)
    slow = Codec.load(engine=name)
    first = container.parse(codec.encode(np.zeros((20, 40, 3), np.uint8)))
    data = real_file.read_bytes() if name is None else container.build(first)
    monkeypatch.setattr(onnx_engine.OnnxPredictor, "__init__", None)  # nothing but numpy can work
    found = digest(slow, data)
    monkeypatch.undo()
    assert found == digest(codec, data)


@pytest.mark.skipif("openvino" not in engine.installed(), reason="needs openvino")
def test_streams_are_proven_too_when_openvino_is_forced(codec, monkeypatch):
    proven, sums_exactly = [], self_test.sums_exactly
    monkeypatch.setattr(self_test, "sums_exactly", lambda *args: proven.append(args) or sums_exactly(*args))
    forced = engine.load(codec.weights, "openvino", threads=2)
    shared = forced.several(5)
    assert len(proven) == 2 and shared.entropy is not forced.entropy
    assert forced.several(5).entropy is shared.entropy and forced.several(1) is forced and len(proven) == 2


def test_weights_whose_sums_could_overflow_are_refused(codec):
    exact = {k: v.copy() for k, v in codec.weights.exact.items()}
    exact["h_s.out.bias"][5] = 2**24
    with pytest.raises(FormatError, match="h_s.out is not exact"):
        Codec(replace(codec.weights, exact=exact))
