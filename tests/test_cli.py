"""The `lat` command."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import codec
from codec.weights import DEFAULT, newest
from tests import conftest
from tests.conftest import PHOTO, ROOT, run


def size_of(path):
    with Image.open(path) as image:
        return image.size


def lat(*args, **kwargs):
    return conftest.lat(*args, binary=True, **kwargs)


@pytest.fixture
def small(tmp_path, crop):
    path = tmp_path / "small.png"
    Image.fromarray(crop).save(path)
    return path


@pytest.fixture
def small_lat(small, crop, codec):
    path = small.with_suffix(".lat")
    path.write_bytes(codec.encode(crop))
    return path


def test_there_and_back(small):
    done = lat("compress", small, "-q", "70")
    assert done.returncode == 0, done.stderr
    packed = small.with_suffix(".lat")
    assert packed.stat().st_size < small.stat().st_size
    again = lat("decompress", packed, "-o", small.with_name("back.png"))
    assert again.returncode == 0, again.stderr
    assert size_of(small.with_name("back.png")) == size_of(small)


def test_standard_input_and_output(small):
    """Of real processes: whoever starts them decides what these are."""
    packed = run("-m", "codec", "compress", "-", "-o", "-", input=small.read_bytes())
    assert packed.returncode == 0 and packed.stdout[1:4] == b"LAT"
    unpacked = run("-m", "codec", "decompress", "-", input=packed.stdout)
    assert Image.open(io.BytesIO(unpacked.stdout)).format == "PNG"


def test_an_existing_output_is_refused_unless_told(small):
    target = small.with_suffix(".lat")
    target.write_bytes(b"precious")
    refused = lat("compress", small)
    assert refused.returncode == 1 and b"--overwrite" in refused.stderr
    assert target.read_bytes() == b"precious"
    assert lat("compress", small, "--overwrite").returncode == 0
    assert target.read_bytes()[1:4] == b"LAT"


def test_the_input_is_never_touched(small):
    before = small.read_bytes()
    refused = lat("compress", small, "-o", small, "--overwrite")
    assert refused.returncode == 1 and b"input itself" in refused.stderr
    assert small.read_bytes() == before


def test_nothing_is_left_behind_on_failure(small):
    before = sorted(small.parent.iterdir())
    assert lat("compress", small, "-o", small.parent / "no" / "such.lat").returncode == 1
    broken = small.with_name("broken.png")
    broken.write_bytes(small.read_bytes()[:500])
    failed = lat("compress", broken)
    assert failed.returncode == 1 and b"broken.png" in failed.stderr and b"Traceback" not in failed.stderr
    broken.unlink()
    assert sorted(small.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["compress", "no-such.jpg"], 1, b"no such file"),
        (["compress", PHOTO, "-q", "101", "-o", "-"], 2, b"101"),
        (["compress", ROOT / "pyproject.toml", "-o", "-"], 1, b"no image format"),
        (["compress", PHOTO, "-m", "nothing", "-o", "-"], 1, b"no weights named nothing"),
        (["compress", PHOTO, "--max-pixels", "1000", "-o", "-"], 1, b"--max-pixels"),
        (["decompress", PHOTO, "-o", "-"], 1, b"not a .lat file"),
        (["verify", PHOTO], 1, b"not a .lat file"),
        (["frobnicate"], 2, b"No such command"),
    ],
)
def test_mistakes_get_one_line_and_the_right_exit_code(args, code, words):
    result = lat(*args)
    assert result.returncode == code
    assert words in result.stderr and b"Traceback" not in result.stderr


def test_info_and_verify(small_lat):
    described = json.loads(lat("info", small_lat, "--json").stdout)
    assert (described["width"], described["height"], described["mode"]) == (128, 96, "RGB")
    assert described["bytes"] == small_lat.stat().st_size
    assert described["model"] == newest(DEFAULT)
    assert DEFAULT.encode() in lat("info", small_lat).stdout
    assert b"good" in lat("verify", small_lat).stdout
    damaged = bytearray(small_lat.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    small_lat.write_bytes(damaged)
    result = lat("verify", small_lat)
    assert result.returncode == 1 and b"checksum" in result.stderr


@pytest.mark.parametrize("args", [["info"], ["verify"], ["--help"]])
def test_describing_a_file_needs_no_torch(small_lat, args):
    files = [] if args == ["--help"] else [str(small_lat)]
    code = (
        "import sys; from codec.command.cli import main; main(sys.argv[1:], standalone_mode=False)\n"
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    assert run("-c", code, *args, *files, text=True).stdout.endswith("False False\n")


def test_region(small_lat):
    part = small_lat.with_name("part.png")
    assert lat("decompress", small_lat, "--region", "10,20,30,40", "-o", part).returncode == 0
    assert size_of(part) == (30, 40)
    for bad, code in (("1,2,3", 2), ("-1,0,2,2", 2), ("0,0,500,2", 1)):
        result = lat("decompress", small_lat, f"--region={bad}", "-o", "-")
        assert result.returncode == code and b"Traceback" not in result.stderr


def test_a_file_of_unknown_weights_says_so(small_lat):
    from codec.container import Container, Header, build, parse

    parsed = parse(small_lat.read_bytes())
    header = Header(parsed.header.width, parsed.header.height, "RGB", parsed.header.tile, bytes(8))
    small_lat.write_bytes(build(Container(header, parsed.tiles)))
    result = lat("decompress", small_lat, "-o", "-")
    assert result.returncode == 1 and b"not installed" in result.stderr


def test_a_damaged_weights_file_is_named(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "mine.safetensors"
    for write in (lambda: path.write_bytes(b"nothing"), lambda: save_file({"a": np.zeros(3)}, path)):
        write()
        result = lat("compress", PHOTO, "-o", tmp_path / "x.lat", "-m", path)
        assert result.returncode == 1 and b"no weights of this codec" in result.stderr, result.stderr


def test_import_is_cheap_and_lazy():
    assert run("-c", "import sys, codec; print('torch' in sys.modules)", text=True).stdout == "False\n"
    assert set(codec.__all__) >= {"Codec", "LatError"}
    with pytest.raises(AttributeError):
        codec.nonsense  # noqa: B018
