"""What is published: the wheel, built, installed where there is no checkout, and used."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import ROOT

pytest.importorskip("hatchling", reason="it builds the wheel")
pytest.importorskip("pip", reason="it installs the wheel")
SCRIPTS = "Scripts" if sys.platform == "win32" else "bin"


def called(*command, cwd: Path) -> subprocess.CompletedProcess:
    """Without the checkout on the path."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built by this environment's hatchling: nothing is fetched."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet", "--wheel-dir", folder]
    called(sys.executable, "-m", "pip", "wheel", *options, ROOT, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def scripts(wheel, tmp_path_factory) -> Path:
    """Programs of a fresh environment with the wheel in it; packages that it needs are those of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=sys.platform != "win32")
    python = folder / SCRIPTS / "python"
    called(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    paths = {"base": str(folder), "platbase": str(folder)}
    own, theirs = sysconfig.get_path("purelib", vars=paths), sysconfig.get_paths()
    (Path(own) / "needed.pth").write_text("\n".join({theirs["purelib"], theirs["platlib"]}))
    return folder / SCRIPTS


@pytest.mark.campaign
def test_the_installed_wheel_codes_a_photograph(scripts, crop, tmp_path):
    where = called(scripts / "python", "-c", "import codec; print(codec.__file__)", cwd=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(scripts.parent)
    Image.fromarray(crop).save(tmp_path / "a.jpg")
    called(scripts / "lat", "compress", "a.jpg", cwd=tmp_path)
    called(scripts / "lat", "decompress", "a.lat", "-o", "back.png", cwd=tmp_path)
    with Image.open(tmp_path / "back.png") as image:
        assert image.size == (128, 96)
    assert "--quick" in called(scripts / "lat", "bench", "--help", cwd=tmp_path).stdout


@pytest.mark.campaign
def test_the_wheel_holds_what_runs_and_no_more(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    weights = {f"codec/weights/{path.name}" for path in (ROOT / "weights").iterdir()}
    assert weights <= names and "codec/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "codec/bench/results", "bench/"))]
