"""The benches of the latent tools run, on next to nothing."""

import importlib.util
import json

from bench import restore, retouch
from tests.conftest import PHOTO


def test_filled_holes_are_compared_with_opencv(tmp_path):
    args = ["--data", PHOTO.parent, "--count", 1, "--holes", 1, "--out", tmp_path / "fill.json"]
    retouch.main([str(a) for a in args], standalone_mode=False)
    found = json.loads((tmp_path / "fill.json").read_text())
    assert set(found["mean_psnr_in_hole"]["16"]) == {
        "lat", "mean of the surroundings", "OpenCV Telea", "OpenCV Navier-Stokes",
    }  # fmt: skip
    assert all(0.5 < ratio < 2 for ratio in found["grid"].values())


def test_restored_pictures_are_compared_and_a_run_goes_on(tmp_path, photo, monkeypatch):
    monkeypatch.setattr(restore.restore, "PLACES", [(4, 8)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # BM3D takes seconds
    for name in "ab":
        photo.crop((300, 200, 348, 232)).save(tmp_path / f"{name}.png")
    args = ["--images", str(tmp_path), "--out", str(tmp_path / "restore.json")]
    restore.main([*args[:1], str(tmp_path / "a.png"), *args[2:]], standalone_mode=False)
    before = json.loads((tmp_path / "restore.json").read_text())
    restore.main(args, standalone_mode=False)
    found = json.loads((tmp_path / "restore.json").read_text())
    assert set(found["rows"]) == {"a.png", "b.png"} and found["rows"]["a.png"] == before["rows"]["a.png"]
    assert found["tasks"]["noise σ 25"]["gain_on"]["fastNlMeans"]["pictures"] == 2
