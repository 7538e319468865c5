"""What holds for every engine, and that torch is needed for none of what users do every day."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from click.testing import CliRunner

from codec import Codec, engine
from codec.command.cli import main
from codec.engine import onnx_engine
from codec.settings import Settings
from tests.conftest import run

NAMES = engine.installed()


@pytest.fixture(scope="module", params=NAMES)
def by_engine(request):
    return Codec.load(engine=request.param, float32=True)


@pytest.mark.parametrize("quality", [5, 50, 95])
def test_pixels_agree_to_one_and_latents_to_the_last_bit(codec, by_engine, crop, quality):
    data = codec.encode(crop[:90, :75], quality)
    expected, found = (np.asarray(c.decode(data), np.int16) for c in (codec, by_engine))
    assert np.abs(expected - found).max() <= 1
    assert np.asarray(codec.decode(by_engine.encode(crop[:90, :75], quality))).shape == expected.shape


@pytest.mark.parametrize("shape", [(1, 1), (16, 17), (33, 15)])
def test_small_pictures_of_every_mode(codec, by_engine, shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 4), np.uint8)
    for channels in (1, 2, 3, 4):
        data = by_engine.encode_picture(pixels[:, :, :channels].copy(), Settings(tile=4))
        assert np.abs(np.asarray(codec.decode(data), int) - np.asarray(by_engine.decode(data), int)).max() <= 1


def test_threads_share_an_engine(by_engine, crop):
    """Of other sizes each, so that requests and shapes get mixed up if they can."""
    files = [by_engine.encode(crop[: 16 * n, : 20 * n], 40) for n in (1, 2, 3, 4)] * 2
    expected = [by_engine.decode(data).tobytes() for data in files]
    with ThreadPoolExecutor(4) as pool:
        assert [image.tobytes() for image in pool.map(by_engine.decode, files)] == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("tile", [64, 4])  # one, and several at the same time
def test_a_forked_child_decodes(by_engine, tmp_path, tile):
    """In a process of its own: this one has threads that others started."""
    path = tmp_path / "a.lat"
    path.write_bytes(by_engine.encode_picture(np.zeros((40, 70, 3), np.uint8), Settings(tile=tile)))
    result = run("-c", FORK, by_engine.engine.name, str(path), text=True)
    assert (result.returncode, result.stdout) == (0, "0\n"), result.stderr


FORK = """
import os, sys, warnings
from codec import Codec

warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of threads at every fork
codec, data = Codec.load(engine=sys.argv[1], threads=2), open(sys.argv[2], "rb").read()
expected = codec.decode(data).tobytes()
child = os.fork()
if not child:
    os._exit(codec.decode(data).tobytes() != expected)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_the_command_names_the_engines():
    result = CliRunner().invoke(main, ["engines"])
    assert result.exit_code == 0 and all(name in result.output for name in (*NAMES, "chosen"))


@pytest.mark.skipif("openvino" not in NAMES, reason="needs openvino")
def test_bfloat16_costs_a_fiftieth_of_a_decibel_at_most(codec, photo):
    fast, pixels = Codec.load(engine="openvino"), np.asarray(photo.crop((200, 100, 600, 420)), float)
    for quality in (10, 50, 60, 95):
        data = codec.encode(pixels.astype(np.uint8), quality)
        errors = [np.mean((np.asarray(c.decode(data), float) - pixels) ** 2) for c in (codec, fast)]
        assert 10 * np.log10(errors[1] / errors[0]) <= 0.02
        encoded = fast.encode(pixels.astype(np.uint8), quality)
        error = np.mean((np.asarray(codec.decode(encoded), float) - pixels) ** 2)
        assert 10 * np.log10(error / errors[0]) <= 0.02 and len(encoded) <= 1.002 * len(data) + 8


@pytest.mark.skipif(not {"openvino", "onnxruntime"} <= {*NAMES}, reason="needs both")
def test_large_work_and_small_work_go_to_different_engines(codec, photo, monkeypatch):
    monkeypatch.setattr(onnx_engine, "LARGE", 100)
    ran, run = set(), onnx_engine.OnnxNetworks.run
    monkeypatch.setattr(onnx_engine.OnnxNetworks, "run", lambda self, *a: ran.add(self.name) or run(self, *a))
    both, image = Codec(codec.weights), photo.crop((0, 0, 240, 200))
    for tile in (4, 64):
        data = both.encode_picture(image, Settings(tile=tile))
        assert np.abs(np.asarray(codec.decode(data), int) - np.asarray(both.decode(data), int)).max() <= 1
        box = (40, 50, 130, 120)
        assert both.decode_region(data, box).tobytes() == both.decode(data).crop(box).tobytes()
    assert ran == {"onnxruntime", "openvino"}


EVERY_DAY = """
import io, sys
from importlib.machinery import PathFinder

found = PathFinder.find_spec  # as if torch were not installed
PathFinder.find_spec = lambda name, *where: None if name.partition(".")[0] == "torch" else found(name, *where)
from click.testing import CliRunner
from PIL import Image
from codec.command.cli import main

folder = sys.argv[1]
Image.linear_gradient("L").resize((70, 50)).convert("RGB").save(f"{folder}/a.png")
for line in ("compress a.png", "decompress a.lat -o b.png", "info a.lat", "verify a.lat",
             "decompress a.lat -o c.png --region 5,6,20,30", "compress b.png --target-bpp 1"):
    args = [f"{folder}/{word}" if word[1:2] == "." else word for word in line.split()]
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 0, (args, result.output, result.exception)
import codec.plugin
with Image.open(f"{folder}/a.lat") as image:
    image.load()
    image.save(io.BytesIO(), "LAT", quality=20)
result = CliRunner().invoke(main, ["compress", f"{folder}/a.png", "-e", "7", "--overwrite"])
assert result.exit_code == 1 and "needs torch" in result.output, result.output
print("torch" in sys.modules)
"""


@pytest.mark.skipif(NAMES == ["torch"], reason="needs openvino or onnxruntime")
def test_everyday_work_needs_no_torch(tmp_path):
    result = run("-W", "error", "-c", EVERY_DAY, str(tmp_path), text=True)
    assert (result.returncode, result.stdout) == (0, "False\n"), result.stderr


def test_an_engine_that_is_not_installed_is_named_with_what_to_do(monkeypatch, codec):
    monkeypatch.setattr(engine, "find_spec", lambda package: None)
    with pytest.raises(engine.LatError, match=r"openvino is not installed.*pip install openvino"):
        engine.load(codec.weights, "openvino")
    with pytest.raises(engine.LatError, match="no engine"):
        engine.load(codec.weights)


def test_a_graph_that_ages_is_compiled_anew(codec, monkeypatch):
    """OpenVINO leaves something behind with each run: a server's memory must not grow with its pictures."""
    compiled = []

    class Runtime:
        name, description, has_bfloat16, ages = "aging", "", False, True

        def compile(self, model, bfloat16):
            compiled.append(model)
            return lambda inputs: onnx_engine.Results([np.zeros((1, 1))])

    monkeypatch.setattr(onnx_engine, "LIFETIME", 3)
    one = onnx_engine.OnnxNetworks(codec.weights, Runtime())
    for _ in range(7):
        one.hyper_analyse(np.zeros((1, codec.cfg.latents, 1, 1), np.float32), 0)
    assert len(compiled) == 3
    Runtime.ages = False
    for _ in range(7):
        one.hyper_analyse(np.zeros((1, codec.cfg.latents, 1, 1), np.float32), 0)
    assert len(compiled) == 3
