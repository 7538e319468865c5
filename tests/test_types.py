"""A type checker knows what a program does with the package: right ones pass `mypy --strict`, wrong lines are named."""

import re

from tests.conftest import run

CONFIG = """
[mypy]
[mypy-codec.*]
follow_imports = silent
[mypy-torch.*,onnx.*,onnxruntime.*,openvino.*,safetensors.*]
follow_imports = skip
ignore_missing_imports = true
"""  # what is not about these programs takes a minute

RIGHT = """
from pathlib import Path

import numpy as np
from PIL import Image

from codec import Codec, LatError

codec = Codec.load("fast", tune="psnr")
data: bytes = codec.encode(np.zeros((8, 8), np.uint8), quality=3, effort=2)
for picture in ("photo.jpg", Path("photo.jpg"), b"bytes"):
    codec.encode(picture)
image: Image.Image = codec.decode(data)
codec.decode(Path("photo.lat"))
try:
    codec.decode_region(data, (0, 0, 4, 4))
except LatError as error:
    print(error)
Codec.load(Path("own.safetensors")).encode(image)
"""

WRONG = """
import numpy as np
import codec
from codec import Codec
from codec import Codecs  # wrong

array = np.zeros((8, 8), np.uint8)
one = Codec.load()
one.encode(array, qualty=3)  # wrong
one.encode(array, quality="3")  # wrong
one.encode([1, 2])  # wrong
one.encode(array, tile=8)  # wrong
text: str = one.encode(array)  # wrong
one.decode(5)  # wrong
one.decode_region(b"", (0, 0, 9))  # wrong
Codec.load(5)  # wrong
codec.nothing  # wrong
"""


def test_programs_are_checked_with_real_types(tmp_path):
    (tmp_path / "mypy.ini").write_text(CONFIG)
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    options = ("--strict", "--config-file", tmp_path / "mypy.ini", "--cache-dir", tmp_path / "cache", "--no-pretty")
    done = run("-m", "mypy", *map(str, options), str(tmp_path / "right.py"), str(tmp_path / "wrong.py"), text=True)
    found = {(file, int(line)) for file, line in re.findall(r"(\w+)\.py:(\d+): error", done.stdout)}
    expected = {("wrong", n) for n, line in enumerate(WRONG.splitlines(), 1) if line.endswith("# wrong")}
    assert found == expected, done.stdout + done.stderr
