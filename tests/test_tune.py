"""`tune` chooses weights, and what efforts refine for, in the command, in Python and in the plugin."""

import io
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

import codec.plugin  # noqa: F401
from codec import Codec, settings, weights
from codec.command.cli import main
from codec.runs import record
from codec.settings import Settings
from codec.weights import NEWEST, newest


@pytest.fixture
def eyes(monkeypatch) -> None:
    """As if best-6 were what `fast` has for the eye."""
    monkeypatch.setitem(NEWEST, "fast", NEWEST["fast"] | {"eye": "best-6"})


def weights_of(data: bytes) -> str:
    return Codec.for_file(data).name


def test_a_size_stands_for_its_newest_weights_for_a_metric(eyes, monkeypatch):
    monkeypatch.setattr(weights, "TUNE", "psnr")
    assert [newest("fast", tune) for tune in ("psnr", "eye", "ms-ssim", None)] == [
        "fast-6",
        "best-6",
        "fast-6",
        "fast-6",
    ]
    assert newest("fast-6", "eye") == "fast-6" and newest("a/b.safetensors", "eye") == "a/b.safetensors"
    monkeypatch.setattr(weights, "TUNE", "eye")
    assert newest("fast") == "best-6" and newest("best") == NEWEST["best"].get("eye", NEWEST["best"]["psnr"])


def test_every_size_has_weights_for_psnr_and_the_default_is_a_metric():
    assert all("psnr" in of_size for of_size in NEWEST.values())
    assert settings.TUNE in settings.TUNES
    for size, of_size in NEWEST.items():
        for tune, name in of_size.items():
            assert name.startswith(f"{size}-") and weights.Weights.open(name).tune == tune


def test_python_the_plugin_and_the_command_choose_alike(eyes, crop, tmp_path):
    image, source = Image.fromarray(crop), tmp_path / "a.png"
    image.save(source)
    for tune, name in (("eye", "best-6"), ("psnr", "fast-6")):
        assert Codec.load("fast", tune=tune).name == name
        saved, written = io.BytesIO(), tmp_path / f"{tune}.lat"
        image.save(saved, "LAT", tune=tune)
        assert weights_of(saved.getvalue()) == name
        ran = CliRunner().invoke(main, ["compress", str(source), "--tune", tune, "-o", str(written)])
        assert ran.exit_code == 0, ran.output
        assert record.remove(written.read_bytes()) == saved.getvalue()


def test_bulk_takes_it_along(eyes, monkeypatch, tmp_path):
    """To where its jobs are planned; there are none, so that no worker starts."""
    from codec.bulk import driver

    seen, planned = [], driver.missing

    def missing(plan, suffixes):
        seen.append(plan.options)
        return planned(plan, suffixes)

    monkeypatch.setattr(driver, "missing", missing)
    (tmp_path / "in").mkdir()
    ran = CliRunner().invoke(main, ["bulk", str(tmp_path / "in"), str(tmp_path / "out"), "--tune", "eye"])
    assert ran.exit_code == 3 and ran.exception.args == (3,), ran.output
    assert [(options.model, options.settings.tune) for options in seen] == [("best-6", "eye")]


def test_a_metric_that_would_change_nothing_is_refused():
    ran = CliRunner().invoke(main, ["compress", str(Path(__file__)), "--tune", "ms-ssim"])
    assert ran.exit_code == 2 and "needs an effort of at least 4" in ran.output


def test_efforts_refine_for_what_the_weights_are_trained_for(codec, crop):
    own = codec.encode(crop, 50, effort=4)
    assert own == codec.encode(crop, 50, effort=4, tune=codec.weights.tune)
    assert own != codec.encode(crop, 50, effort=4, tune="ms-ssim")
    with pytest.raises(ValueError, match="tune must be one of psnr, ms-ssim, eye"):
        Settings(tune="beauty")
