"""No network, no telemetry: nobody is called and nothing is left in the home folder, whatever is imported first."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from codec import engine, telemetry
from tests.conftest import ROOT

WATCHED = """
import os, subprocess, sys

def watch(event, args):  # forked children are watched too
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "subprocess.Popen"):
        with open(sys.argv[1], "a") as calls:
            print(event, args, file=calls)

sys.addaudithook(watch)
{first}
import numpy as np
from codec import Codec
{then}
pixels = np.zeros((16, 16, 3), np.uint8)
for name in {engines}:
    codec = Codec.load(engine=name, threads=1)
    codec.decode(codec.encode(pixels))
"""
NAMES = [name for name in engine.installed() if name != "torch"]
STRACE = shutil.which("strace")  # sees the calls of libraries too, which Python's audit hooks do not


def left_behind(tmp_path: Path, first: str = "", then: str = "", engines: list[str] = NAMES) -> tuple[list[str], str]:
    """Files in an empty home folder after a picture passed through these engines, and what was called meanwhile."""
    home, calls, trace = tmp_path / "home", tmp_path / "calls", tmp_path / "trace"
    home.mkdir()
    calls.touch()
    trace.touch()
    hidden = ("XDG_", "ORT_", "CI", "COV")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    environment |= {"HOME": str(home), "USERPROFILE": str(home), "LOCALAPPDATA": str(home)}
    code = WATCHED.format(first=first, then=then, engines=engines)
    watching = [STRACE, "-f", "-qq", "-e", "trace=connect,sendto", "-o", str(trace)] if STRACE else []
    command = [*watching, sys.executable, "-B", "-W", "ignore", "-c", code, str(calls)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    asked = [line for line in trace.read_text().splitlines() if "AF_INET" in line]
    return sorted(str(p.relative_to(home)) for p in home.rglob("*")), calls.read_text() + "\n".join(asked)


@pytest.mark.skipif(not NAMES, reason="needs openvino or onnxruntime")
@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("", ""),
        pytest.param(
            "import os; os.environ['ORT_DISABLE_TELEMETRY'] = '0'; import openvino_telemetry, codec",
            "import openvino, onnxruntime",
            marks=pytest.mark.skipif(len(NAMES) < 2, reason="needs both engines"),
        ),
    ],
    ids=["this package first", "reporter first, engines by the caller"],
)
def test_nobody_is_called_and_nothing_is_left_in_the_home_folder(tmp_path, first, then):
    assert left_behind(tmp_path, first, then) == ([], "")


def test_settings_of_the_caller_do_not_undo_the_silence(monkeypatch):
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.setitem(sys.modules, telemetry.REPORTER, sys)
    telemetry.disable()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(telemetry.REPORTER)
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
