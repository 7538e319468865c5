"""What other libraries of the process set does not reach files: rounding modes, defaults of torch, limits of Pillow."""

import contextlib
import ctypes
import ctypes.util
import hashlib
import os
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from codec import Codec, LatError, LimitError, engine, entropy_model
from codec.command import web
from codec.engine.integer_networks import power_of_two
from tests.conftest import run

MODES = {"to nearest": 0, "downwards": 0x400, "upwards": 0x800, "towards zero": 0xC00}  # fesetround, x86
x86 = pytest.mark.skipif(sys.platform != "linux" or np.finfo(np.longdouble).nmant != 63, reason="modes of x86")


@contextlib.contextmanager
def rounding(mode: str):
    set_mode = ctypes.CDLL(ctypes.util.find_library("m")).fesetround
    set_mode(MODES[mode])
    try:
        yield
    finally:
        set_mode(0)


@x86
@pytest.mark.parametrize("mode", MODES)
def test_steps_are_exact_in_every_rounding_mode(mode):
    exponents = np.arange(-20, 21, dtype=np.int8)
    with rounding(mode):
        found = power_of_two(exponents), power_of_two(exponents, np.float64)
        assert engine.rounds_to_nearest() == (mode == "to nearest")
    for array in found:
        assert (np.frexp(array)[0] == 0.5).all() and (np.frexp(array)[1] == exponents + 1).all()
    assert entropy_model.MU_STEP * 2**entropy_model.MU_BITS == 1


IN_A_MODE = """
import ctypes, ctypes.util, sys
import numpy as np
from codec import Codec, LatError

name, modes = sys.argv[1], [int(m) for m in sys.argv[2:]]
set_mode = ctypes.CDLL(ctypes.util.find_library("m")).fesetround
pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
usual = Codec.load(engine=name, threads=1)
expected = np.asarray(usual.decode(usual.encode(pixels)), int)
for mode in modes:
    try:
        set_mode(mode)
        codec = Codec.load(engine=name, threads=1)
        data = codec.encode(pixels)
        there = np.asarray(codec.decode(data), int)
    except LatError as error:  # a refusal, with the reason
        set_mode(0)
        assert "rounding mode" in str(error), error
        continue
    set_mode(0)
    assert abs(np.asarray(usual.decode(data), int) - there).max() <= 2, mode
print("done")
"""


@x86
@pytest.mark.parametrize("name", engine.installed())
def test_files_of_a_process_with_another_rounding_mode_are_read_everywhere(name):
    result = run("-W", "ignore", "-c", IN_A_MODE, name, str(MODES["downwards"]), text=True)
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr


def test_an_engine_whose_library_fails_is_passed_over(monkeypatch, codec):
    def fail(*args):
        raise RuntimeError("no such instruction")

    for name in (engine.BY_SIZE, engine.installed()[0]):
        monkeypatch.setitem(engine.LOADERS, name, fail)
    assert engine.load(codec.weights).name == engine.installed()[1]
    monkeypatch.setattr(engine, "LOADERS", dict.fromkeys(engine.LOADERS, fail))
    monkeypatch.setattr(engine, "rounds_to_nearest", lambda: False)
    with pytest.raises(LatError, match="no engine works.*no such instruction.*rounding mode"):
        engine.load(codec.weights)


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "setting",
    [
        lambda: default_dtype(torch.float64),
        lambda: torch.device("meta"),
        torch.inference_mode,
    ],
    ids=["float64", "device", "inference"],
)
def test_defaults_of_torch_do_not_reach_a_codec(crop, setting):
    """Neither while it is loaded nor while it works, nor afterwards what was loaded under them."""
    pixels, usual = crop[:32, :32], Codec.load(engine="torch")
    data = usual.encode(pixels, 40, effort=4, tune="eye")
    with setting():
        codec = Codec.load(engine="torch")
        under = codec.encode(pixels, 40, effort=4, tune="eye"), codec.decode(data)
    after = codec.encode(pixels, 40, effort=4, tune="eye"), codec.decode(data)
    assert under == after == (data, usual.decode(data))


@pytest.mark.parametrize("setting", [lambda: default_dtype(torch.float64), lambda: torch.device("meta")])
def test_targets_by_ssimulacra2_do_not_depend_on_defaults_of_torch(codec, crop, setting):
    from codec import target

    expected = target.to_ssimulacra2(codec, crop[:32, :32], 40)
    with setting():
        assert target.to_ssimulacra2(codec, crop[:32, :32], 40) == expected


@pytest.mark.parametrize("limit", [1, 100])
def test_a_limit_of_pillow_is_named_where_it_is_too_low(codec, crop, monkeypatch, limit):
    data = codec.encode(crop[:32, :40], lossless=True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # warnings are errors here
    with pytest.raises(LimitError, match="MAX_IMAGE_PIXELS is Pillow's limit"):
        codec.decode(data)
    with pytest.raises(LimitError, match="MAX_IMAGE_PIXELS is Pillow's limit"):
        codec.decode_region(data, (3, 4, 4, 5))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 32 * 40 - 1)
    assert (np.asarray(codec.decode(data)) == crop[:32, :40]).all()


def npm(folder, contents: dict[str, bytes]):
    """A stand-in for npm that fetches these files, on the PATH of a folder."""
    source = folder / "registry"
    source.mkdir(parents=True)
    for name, data in contents.items():
        (source / name).write_bytes(data)
    script = folder / "npm"
    script.write_text(f"#!/bin/sh\necho called >> {folder}/calls\nmkdir -p node_modules/onnxruntime-web\n"
                      f"cp -r {source} node_modules/onnxruntime-web/dist\n")  # fmt: skip
    script.chmod(0o755)
    return lambda: (folder / "calls").read_text().count("called")


@pytest.mark.skipif(os.name != "posix", reason="a shell script stands for npm")
def test_the_runtime_of_the_web_page_is_checked_at_each_use(tmp_path, monkeypatch):
    contents = {name: name.encode() for name in web.RUNTIME}
    calls = npm(tmp_path, contents)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(LatError, match="other files than those"):
        web.runtime_folder()
    monkeypatch.setattr(web, "RUNTIME", {k: hashlib.sha256(v).hexdigest() for k, v in contents.items()})
    kept = web.runtime_folder()
    assert web.runtime_folder() == kept and calls() == 2, "kept after it was fetched"
    for damage in (lambda: (kept / "more.mjs").touch(), lambda: (kept / next(iter(contents))).write_bytes(b"evil")):
        damage()
        assert {p.name: p.read_bytes() for p in web.runtime_folder().iterdir()} == contents
    assert calls() == 4 and [p.name for p in (tmp_path / "cache" / "lat").iterdir()] == [kept.name]
