import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Most pictures here are tiny: threads that wait for each other cost more than they do. Child processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image, ImageDraw, ImageFont

from codec import Codec
from codec.command.cli import main
from codec.concurrency import AtOnce
from tests import quick

# Runners in the background ignore some signals, and child processes would inherit that.
for name in ("SIGINT", "SIGHUP"):
    if (number := getattr(signal, name, None)) and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)

ROOT = Path(__file__).parent.parent
PHOTO = ROOT / "tests" / "photos" / "kodim23.png"

QUICK = {  # files that a person runs before each commit (-m quick): the format, the entropy path, metadata, pages
    "alpha", "arguments", "container", "docs", "edit", "entropy_model", "golden", "jpeg", "kept", "learned",
    "rans", "ssimulacra2", "text_chunks", "tune", "types",
}  # fmt: skip


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if item.path.stem.removeprefix("test_") in QUICK:
            item.add_marker(pytest.mark.quick)


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
def quick_codec(monkeypatch) -> None:
    """The command and bulk runs of this process with a codec that takes no time."""
    quick.install(monkeypatch.setattr)


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


class InProcess(AtOnce):
    """Stands for a ProcessPoolExecutor: every one of its processes would load torch."""

    def __init__(self, workers, context=None, initializer=None, initargs=()):
        initializer(*initargs)


def run(*args: str, env: dict | None = None, **kwargs) -> subprocess.CompletedProcess:
    """A child process in the checkout's root."""
    return subprocess.run(
        [sys.executable, *args], cwd=ROOT, env=os.environ | (env or {}), capture_output=True, timeout=300, **kwargs
    )


@dataclass
class Done:
    """What became of a command."""

    returncode: int
    stdout: str | bytes
    stderr: str | bytes


def lat(*args, input: bytes | None = None, binary: bool = False) -> Done:
    """The `lat` command in this process: no start of Python and torch for each.

    Exceptions that it lets through fail the test.
    """
    threads, limit = torch.get_num_threads(), Image.MAX_IMAGE_PIXELS
    try:
        done = CliRunner().invoke(main, [str(a) for a in args], input=input, prog_name="lat", catch_exceptions=False)
    finally:
        torch.set_num_threads(threads)
        Image.MAX_IMAGE_PIXELS = limit
    if binary:
        return Done(done.exit_code, done.stdout_bytes, done.stderr_bytes)
    return Done(done.exit_code, done.stdout, done.stderr)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b.astype(float)) ** 2)))


WORDS = "Sphinx of black quartz, judge my vow; pack my box with five dozen liquor jugs. " * 3


def drawn(width: int, height: int) -> Image.Image:
    """A page of text."""
    page = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for y in range(2, height, 18):
        draw.text((4, y), WORDS[y // 6 :][: width // 6], fill=(20, 24, 30), font=font)
    return page
