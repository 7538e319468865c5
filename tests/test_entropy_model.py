"""A file decodes to the same symbols on every machine."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load

from codec import FormatError, container, entropy_model, weights
from codec.entropy_model import EntropyModel
from codec.tiles import Box
from tests.conftest import run
from tests.reference import Reference, read_file
from tests.symbols import digest


@pytest.mark.parametrize("row", [3, 32, 61])
def test_numpy_integers_agree_to_the_last_bit(codec, photo, row):
    tensors = load(weights.locate(weights.DEFAULT).read_bytes())
    reference = Reference(tensors)
    pixels = np.asarray(photo)[100:292, 200:504]
    with torch.inference_mode():
        y = codec.analyse(pixels, Box(0, 0, 19, 12), row)
        z = codec.engine.hyper_analyse(y, row)
    indices = torch.zeros_like(y, dtype=torch.uint8)

    def visit(t, mu, index):
        entropy_model.scatter(indices, t, index)
        return (entropy_model.gather(y, t) - mu).round() * (index > 0)

    z_hat = codec.tiles.quantise_z(z, row)
    y_hat, _ = codec.tiles.entropy.run(z_hat, row, 12, 19, visit)

    def symbols_of(values):
        return lambda at, mu, index: np.round(values[at] - (mu / 64).astype(np.float32)).astype(np.int64)

    expected_z = reference.z(row, 3, 5, symbols_of(z[0].numpy()))
    assert (z_hat[0].double().numpy() * 64 == expected_z).all()
    expected_y, expected_index = reference.y(expected_z, row, 12, 19, symbols_of(y[0].numpy()))
    assert (indices[0].numpy() == expected_index).all()
    assert ((y_hat[0].numpy().astype(np.float64) * 64) == expected_y).all()


@pytest.mark.parametrize("quality", [10, 90])
def test_a_reader_written_from_the_format_page_reads_the_same(codec, photo, quality):
    """Container, rANS and entropy model, each a second time, without torch and without CompressAI."""
    data = codec.encode(photo.crop((330, 80, 420, 150)), quality)
    tensors = load(weights.locate(weights.DEFAULT).read_bytes())
    z, y_hat, row = read_file(data, tensors)
    tile = codec.tiles.decode(container.parse(data), 0)
    assert row == tile.row and (tile.z_hat[0].double().numpy() * 64 == z).all()
    assert (tile.y_hat[0].double().numpy() * 64 == y_hat).all()


@pytest.fixture(scope="module")
def real_file(codec, photo, tmp_path_factory):
    path = tmp_path_factory.mktemp("exact") / "photo.lat"
    path.write_bytes(codec.encode(photo, quality=60))
    return path


MACHINES = {
    "two threads": ({}, "2", "channels_last"),
    "one thread": ({}, "1", "channels_last"),
    "three threads, planar": ({}, "3", "contiguous_format"),
    "no vector units": ({"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}, "1", "channels_last"),
    "AVX2": ({"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}, "2", "channels_last"),
    "AVX2, planar": ({"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}, "1", "contiguous_format"),
    "AVX-512": ({"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, "2", "channels_last"),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_symbols_are_the_same_everywhere(codec, real_file, machine):
    env, threads, layout = MACHINES[machine]
    if machine == "AVX-512" and torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("this processor has no AVX-512: asked for it, torch stops with an illegal instruction")
    result = run("-m", "tests.symbols", str(real_file), threads, layout, env=env, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == digest(codec, real_file.read_bytes())


def test_symbols_do_not_depend_on_tile_order(codec, photo):
    data = codec.encode(photo.crop((0, 0, 400, 300)), quality=40, tile=8)
    order = np.random.default_rng(0).permutation(4 * 3).tolist()
    assert digest(codec, data, order) == digest(codec, data)


def test_a_callers_torch_settings_do_not_matter(codec, photo, real_file):
    expected, image = digest(codec, real_file.read_bytes()), photo.crop((0, 0, 200, 100))
    data, pixels = codec.encode(image), np.asarray(codec.decode(real_file.read_bytes()), np.int16)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert digest(codec, real_file.read_bytes()) == expected
            assert codec.encode(image) == data
            again = np.asarray(codec.decode(real_file.read_bytes()), np.int16)
            # with one thread the lower precision picks other float kernels: 15 of a million samples move by 1
            assert np.abs(again - pixels).max() <= 1
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_machine_that_sums_inexactly_falls_back_to_float64(codec, real_file, monkeypatch):
    """As with fast-math settings that round float32 inputs to bfloat16."""
    tensors = load(weights.locate(weights.DEFAULT).read_bytes())
    part = {k.removeprefix("exact."): torch.from_numpy(v) for k, v in tensors.items() if k.startswith("exact.")}
    monkeypatch.setattr(entropy_model, "_sums_are_exact", lambda dtype: dtype == torch.float64)
    expected = digest(codec, real_file.read_bytes())
    monkeypatch.setattr(codec.tiles, "entropy", EntropyModel(part, codec.cfg))
    assert codec.tiles.entropy.dtype == torch.float64
    assert digest(codec, real_file.read_bytes()) == expected


def test_weights_whose_sums_could_overflow_are_refused(codec):
    tensors = load(weights.locate(weights.DEFAULT).read_bytes())
    part = {k.removeprefix("exact."): torch.from_numpy(v.copy()) for k, v in tensors.items() if k.startswith("exact.")}
    part["h_s.out.bias"][5] = 2**24
    with pytest.raises(FormatError, match="h_s.out is not exact"):
        EntropyModel(part, codec.cfg)
