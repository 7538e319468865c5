"""What Python callers hand over is taken for what it is, or refused in one sentence."""

import copy
import io
import mmap
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from codec import Codec, FormatError, LatError, MissingModelError
from codec.arguments import as_picture, parsed
from codec.settings import Settings
from tests.conftest import PHOTO, run


@pytest.fixture(scope="module")
def planes(crop) -> torch.Tensor:
    return torch.from_numpy(crop.copy()).permute(2, 0, 1)


def test_tensors_are_pictures(crop, planes):
    floats = planes.float() / 255
    for tensor in (planes, planes[None], floats, floats[None], floats.double(), floats.clone().requires_grad_()):
        picture = as_picture(tensor)
        assert np.array_equal(picture.pixels, crop) and picture.mode == "RGB" and not picture.notes
    for channels, mode in ((1, "L"), (2, "LA"), (4, "RGBA")):
        assert as_picture(torch.zeros(channels, 5, 7)).mode == mode
    assert as_picture(planes[0]).mode == "L"
    assert as_picture(torch.rand(3, 4, 4).bfloat16()).pixels.shape == (4, 4, 3)


def test_floats_between_grey_levels_are_noted(codec):
    tensor = torch.full((3, 4, 4), 0.5)
    assert as_picture(tensor).notes == ["float samples are reduced to 8 bits"]
    with pytest.raises(LatError, match="cannot be kept exactly"):
        codec.encode(tensor, lossless=True)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(8, 3, 4, 4), "batch of 8"),
        (torch.zeros(0, 3, 4, 4), "batch of 0"),
        (torch.zeros(64, 64, 3, dtype=torch.uint8), "permute"),
        (torch.zeros(1, 1, 3, 4, 4), "need .C, H, W."),
        (torch.zeros(3), "need .C, H, W."),
        (torch.zeros(3, 0, 4), "no pixels"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "need uint8, or floats"),
        (torch.full((3, 4, 4), 255.0), "from 255 to 255"),
        (torch.full((3, 4, 4), -0.1), "scale or clamp"),
        (torch.full((3, 4, 4), float("nan")), "floats must be"),
    ],
)
def test_other_tensors_are_refused_in_words(tensor, message):
    with pytest.raises(LatError, match=message):
        as_picture(tensor)


def test_files_of_pictures_are_taken_by_path_as_bytes_and_open(crop, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(crop).save(path)
    data = path.read_bytes()
    with open(path, "rb") as file:
        for given in (path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data), file):
            assert np.array_equal(as_picture(given).pixels, crop)


def test_lat_files_are_taken_by_path_as_bytes_and_open(codec, crop, tmp_path):
    path = tmp_path / "a.lat"
    path.write_bytes(codec.encode(crop[:32, :48]))
    data, expected = path.read_bytes(), codec.decode(path).tobytes()
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for given in (str(path), data, bytearray(data), memoryview(data), io.BytesIO(data), file, mapped, parsed(data)):
            assert codec.decode(given).tobytes() == expected
            del given
    assert codec.decode_region(path, (3, 4, 20, 30)).size == (17, 26)
    assert Codec.for_file(path).name == codec.name


@pytest.mark.parametrize("given", [None, [[0, 1]], 5, {"a": 1}, (1, 2), object()])
def test_what_is_no_picture_or_file_is_a_type_error_that_names_it(codec, given):
    with pytest.raises(TypeError, match=f"got {type(given).__name__}"):
        codec.encode(given)
    with pytest.raises(TypeError, match=f"got {type(given).__name__}"):
        codec.decode(given)


def test_bad_files_are_one_sentence_with_their_name(codec, tmp_path):
    (tmp_path / "a.txt").write_text("no picture")
    for given, message in (
        (tmp_path / "none.png", "none.png: cannot be read: No such file"),
        (tmp_path, "cannot be read"),
        ("a\0b", "cannot be read"),
        (tmp_path / "a.txt", "a.txt: no image format"),
        (b"", "is empty"),
        (codec.encode(np.zeros((8, 8), np.uint8)), "Codec.decode reads it"),
    ):
        with pytest.raises(LatError, match=message):
            codec.encode(given)
    with pytest.raises(FormatError, match="a.txt: not a .lat file"):
        codec.decode(tmp_path / "a.txt")
    with pytest.raises(LatError, match="cannot be read"):
        codec.decode("none.lat")
    for method in (codec.encode, codec.decode):
        with open(tmp_path / "a.txt") as text, pytest.raises(TypeError, match="binary mode"):
            method(text)
    with pytest.raises(TypeError, match="got Tensor"):
        codec.decode(torch.zeros(4))


@pytest.mark.parametrize(
    "wrong",
    [
        {"quality": "50"}, {"quality": None}, {"quality": True}, {"quality": [50]}, {"quality": -1},
        {"effort": "3"}, {"effort": [3]}, {"effort": 2.5}, {"tune": 5}, {"tune": ["eye"]},
        {"threshold": "x"}, {"threshold": 2}, {"tile": "8"}, {"tile": 10},
    ],
)  # fmt: skip
def test_settings_of_other_types_and_values_are_one_sentence(wrong):
    with pytest.raises(LatError, match=f"{next(iter(wrong))} must be .*got "):
        Settings(**wrong)


def test_other_arguments_are_one_sentence(codec, crop):
    with pytest.raises(TypeError, match="progress must be a function"):
        codec.encode(crop, 50, 6)
    data = codec.encode(crop[:16, :16])
    for box in ((0, 0, 9), (0, 0, 9.5, 9), "0,0,9,9", None, 5):
        with pytest.raises(LatError, match="must be four whole numbers"):
            codec.decode_region(data, box)
    for name in (None, 5, ["fast"]):
        with pytest.raises(TypeError, match="weights must be a name or the path"):
            Codec.load(name)
    with pytest.raises(MissingModelError, match="no weights named"):
        Codec.load(Path("own.safetensors"))


def test_weights_are_taken_by_path():
    from codec import weights

    path = weights.locate("fast")
    assert weights.Weights.open(path).fingerprint == weights.Weights.open(str(path)).fingerprint
    assert weights.locate(Path("fast")) == path


def test_a_codec_pickles_by_the_name_of_its_weights(codec, crop):
    data = pickle.dumps(codec)
    assert len(data) < 500
    again, twice = pickle.loads(data), pickle.loads(data)
    assert again is twice and again.fingerprint == codec.fingerprint, "loaded once a process"
    assert again.encode(crop[:32, :32]) == codec.encode(crop[:32, :32])
    assert copy.copy(codec).name == copy.deepcopy(codec).name == codec.name


def test_weights_without_a_name_travel_with_their_codec(codec, crop):
    from dataclasses import replace

    own = Codec(replace(codec.weights, name="own", fingerprint=b"8 bytes!"), "onnxruntime", 1)
    again = pickle.loads(pickle.dumps(own))
    assert (again.name, again.fingerprint, again.engine.name) == ("own", b"8 bytes!", "onnxruntime")
    assert again.encode(crop[:16, :16]) == own.encode(crop[:16, :16])


SPAWNED = """
import multiprocessing
from codec import Codec
from PIL import Image

def work(codec):
    return len(codec.encode(Image.new("RGB", (16, 16), "teal")))

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(work, [Codec.load(threads=1)]))
"""


def test_a_codec_travels_to_spawned_workers(tmp_path, codec):
    script = tmp_path / "work.py"
    script.write_text(SPAWNED)
    done = run(str(script), text=True, env={"PYTHONPATH": str(Path(__file__).parent.parent)})
    size = len(codec.encode(Image.new("RGB", (16, 16), "teal")))
    assert done.stdout == f"[{size}]\n", done.stderr


def test_taking_a_path_needs_no_torch():
    code = (
        "import sys; from codec.arguments import as_picture, parsed\n"
        f"as_picture({str(PHOTO)!r})\n"
        "try: as_picture(5)\n"
        "except TypeError: print('torch' in sys.modules)"
    )
    assert run("-c", code, text=True).stdout == "False\n"


def test_what_only_looks_like_a_tensor_is_none():
    with pytest.raises(TypeError, match="got SimpleNamespace"):
        as_picture(SimpleNamespace(shape=(3, 4, 4), dtype="uint8", ndim=3))
