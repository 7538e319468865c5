import os
import subprocess
import sys
from pathlib import Path

# Most pictures here are tiny: threads that wait for each other cost more than they do. Child processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from codec import Codec
from codec.command.cli import main

ROOT = Path(__file__).parent.parent
PHOTO = ROOT / "tests" / "photos" / "kodim23.png"


@pytest.fixture(scope="session")
def codec() -> Codec:
    return Codec.load()


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A real photograph, 768 × 512."""
    with Image.open(PHOTO) as image:
        return image.convert("RGB")


@pytest.fixture(scope="session")
def crop(photo) -> np.ndarray:
    """(96, 128, 3) of it."""
    return np.asarray(photo)[200:296, 300:428].copy()


@pytest.fixture
def tree(tmp_path, crop):
    """Five pictures in two folders, one broken, one text file."""
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    image = Image.fromarray(crop)
    for name in ("a.png", "b.jpg", "sub/c.png", "sub/same.png", "sub/same.jpg"):
        image.save(source / name)
    (source / "broken.jpg").write_bytes((source / "b.jpg").read_bytes()[:300])
    (source / "notes.txt").write_text("no picture")
    return source


def lat(*args, text: bool = True, input: bytes | None = None) -> subprocess.CompletedProcess:
    """The `lat` command in this process, answered as if it were a child; what it does not catch fails the test.

    A child process takes two seconds to load torch: `run` is for tests of what only a process has.
    """
    threads = torch.get_num_threads()
    try:
        done = CliRunner().invoke(main, [str(a) for a in args], input=input, prog_name="lat", catch_exceptions=False)
    finally:
        torch.set_num_threads(threads)
    out, err = (done.stdout, done.stderr) if text else (done.stdout_bytes, done.stderr_bytes)
    return subprocess.CompletedProcess(args, done.exit_code, out, err)


def run(*args: str, env: dict | None = None, **kwargs) -> subprocess.CompletedProcess:
    """A Python process in the checkout's root."""
    return subprocess.run(
        [sys.executable, *args], cwd=ROOT, env=os.environ | (env or {}), capture_output=True, timeout=300, **kwargs
    )


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2))
