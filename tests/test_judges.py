"""The panel of judges and the contact sheets, on tiny pictures and with judges that cost nothing."""

import json

import numpy as np
import pytest
from PIL import Image

import bench.judges
import bench.sheet
from bench import look, panel, tables
from bench.judges import derive, quality_at, rates_by_range, summary, thinned
from bench.panel import Judge
from tests.test_figures import measured


class Flat:
    """A codec whose files are as long as its setting says, and whose pictures are as far off as that lets them be."""

    tuned, settings, version = "nothing", (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100), "flat 1"
    calls = 0

    def __init__(self, waste: float = 1.0):
        self.waste = waste

    def encode(self, image, setting):
        Flat.calls += 1
        self.image = image
        return bytes(round(self.waste * image.width * image.height * (setting + 5) / 400)) or b"0"

    def decode(self, data):
        off = round(60 - 55 * min(1, len(data) / self.waste * 400 / (self.image.width * self.image.height) / 105))
        return Image.fromarray(np.asarray(self.image) // 2 + np.uint8(off))


def off():
    return lambda original, decoded: float(np.abs(original // 2 - decoded.astype(float)).mean()), "off 1"


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "pictures"
    place.mkdir()
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{i}.png")
    return place


@pytest.fixture
def stubs(monkeypatch):
    """Two codecs, three judges of which the first is trained on, and no smallest size."""

    def build(name, model, weights):
        if name == "absent":
            raise ImportError("not installed")
        return Flat(0.5 if name == "half" else 1.0)

    one = Judge("off", off, less_is_better=True)
    monkeypatch.setattr(bench.judges, "build", build)
    monkeypatch.setattr(panel, "JUDGES", {"trained": one, "a": one, "b": one})
    monkeypatch.setattr(bench.judges, "LOOK", {"contrast": Judge("kept", look.contrast_kept)})
    monkeypatch.setattr(panel, "SMALLEST", 8)
    Flat.calls = 0


def outcome(folder, out, *args) -> dict:
    codecs = "avif-s6,half,absent"
    measured("judges", "--images", folder, "--name", "tiny", "--codecs", codecs, "--out", out, *args)
    return json.loads(out.read_text())["sets"]["tiny"]


def test_half_the_bytes_are_half_the_bytes_for_every_judge_and_range(folder, tmp_path, stubs):
    found = outcome(folder, tmp_path / "out.json")
    entry = found["codecs"]["half"]
    assert found["pictures"] == ["0.png", "1.png"] and list(found["codecs"]) == ["avif-s6", "half"]
    assert entry["bd_rate"]["a"] == pytest.approx([-50, -50, -50], abs=3)
    assert [s["worst"] for s in entry["untrained"]] == pytest.approx([-50, -50, -50], abs=3)
    assert len(entry["contrast_kept"]) == len(bench.judges.RATES)


def test_a_run_that_was_stopped_goes_on_where_it_was(folder, tmp_path, stubs, monkeypatch):
    evaluate, done = bench.judges.evaluate, []

    def stopped(codec, path, *rest):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(path)
        return evaluate(codec, path, *rest)

    monkeypatch.setattr(bench.judges, "evaluate", stopped)
    out = tmp_path / "out.json"
    with pytest.raises(AssertionError):  # of `measured`: it was stopped
        outcome(folder, out)
    assert [len(c["rows"]) for c in json.loads(out.read_text())["sets"]["tiny"]["codecs"].values()] == [2, 1]
    monkeypatch.setattr(bench.judges, "evaluate", evaluate)
    Flat.calls = 0
    resumed = outcome(folder, out)
    assert Flat.calls == bench.judges.SETTINGS, "one picture was missing"
    (tmp_path / "whole.json").unlink(missing_ok=True)
    assert outcome(folder, tmp_path / "whole.json") == resumed
    Flat.calls = 0
    assert outcome(folder, out) == resumed and Flat.calls == 0


def test_rows_of_another_version_or_other_judges_are_dropped(folder, tmp_path, stubs, monkeypatch):
    out = tmp_path / "out.json"
    outcome(folder, out)
    Flat.calls = 0
    monkeypatch.setattr(Flat, "version", "flat 2")
    outcome(folder, out, "--settings", 3)
    assert Flat.calls == 2 * 2 * 3


def test_sets_of_pictures_stand_beside_each_other(folder, tmp_path, stubs):
    out = tmp_path / "out.json"
    outcome(folder, out)
    measured("judges", "--images", folder / "0.png", "--name", "other", "--codecs", "avif-s6", "--out", out)
    assert set(json.loads(out.read_text())["sets"]) == {"tiny", "other"}


def test_small_pictures_are_refused_by_name(folder, tmp_path, stubs, monkeypatch, capsys):
    monkeypatch.setattr(panel, "SMALLEST", 64)
    with pytest.raises(AssertionError):
        outcome(folder, tmp_path / "out.json")
    assert "0.png: judges need 64 pixels" in capsys.readouterr().err


def test_the_summary_leaves_out_what_was_trained_on_and_what_is_not_known(monkeypatch):
    found = {
        "psnr": [3.0, None, None],
        "ssimulacra2": [-40.0, -20.0, -5.0],
        "vif": [-1.0, 2.0, None],
        "wd_hand": [99] * 3,
    }
    first, second, third = summary(found, ["ssimulacra2"])
    assert first == {"median": 1.0, "worst": 3.0, "judge": "psnr"}
    assert second == {"median": 2.0, "worst": 2.0, "judge": "vif"} and third is None


def test_what_weights_were_trained_on_stands_on_their_card():
    assert panel.trained_on({"tune": "eye"}) == ["ssimulacra2"]
    assert panel.trained_on({"tune": "eye", "trained_on": ["ssimulacra2", "ms_ssim"]}) == ["ssimulacra2", "ms_ssim"]
    assert panel.trained_on({}) == ["psnr"]
    assert all(set(judges) <= set(panel.JUDGES) for judges in panel.TRAINED_ON.values())


def test_ranges_are_those_of_the_references_rate():
    bpp = np.array([0.05, 0.2, 0.8, 3.2])
    reference = {"p": [{"bpp": b, "psnr": 30 + np.log2(b)} for b in bpp]}
    other = {"p": [{"bpp": b * (1.1 if b > 0.4 else 0.9), "psnr": 30 + np.log2(b)} for b in bpp]}
    low, _, high = rates_by_range(reference, other, "psnr")
    assert low < 0 < high
    assert quality_at(bpp, np.log2(bpp), 0.4) == pytest.approx(np.log2(0.4))
    assert rates_by_range(reference, {"p": other["p"][:1]}, "psnr") == [None] * 3


def test_a_set_without_the_reference_has_no_rates():
    alone = {"codecs": {"lat": {"rows": {"p": []}, "judges": {}}}}
    derive(alone)
    assert set(alone["codecs"]["lat"]) == {"rows", "judges"}


def test_settings_are_thinned_evenly_with_both_ends():
    assert thinned((1, 2, 3, 4, 5), 3) == [1, 3, 5] and thinned((7, 8), 10) == [7, 8]


def test_wasserstein_distortion_sees_texture_where_squared_error_sees_noise():
    random = np.random.default_rng(0)
    original, other = (np.uint8(128 + random.normal(0, 20, (96, 96, 1)).clip(-99, 99)).repeat(3, 2) for _ in range(2))
    flat = np.full_like(original, 128)
    measure, _ = look.hand_made()
    assert measure(original, original) == 0
    assert measure(original, other) < measure(original, flat) / 3, "other grain looks alike, none does not"
    kept, _ = look.contrast_kept()
    assert kept(original, other) == pytest.approx(1, abs=0.05) and kept(original, flat) == 0


@pytest.mark.parametrize("name", ["psnr", "ssimulacra2", "ms_ssim"])
def test_judges_prefer_the_better_picture(name, photo):
    judge = panel.JUDGES[name]
    original, noise = np.asarray(photo)[:192, :192], np.random.default_rng(0).normal(size=(192, 192, 3))
    near, far = (np.uint8(np.clip(original + strength * noise, 0, 255)) for strength in (3, 20))
    measure, _ = judge.make()
    assert judge.quality(measure(original, near)) > judge.quality(measure(original, far))


def test_tables_of_the_panel(folder, tmp_path, stubs, monkeypatch):
    out = tmp_path / "judges.json"
    outcome(folder, out)
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    monkeypatch.setattr(tables, "JUDGES", panel.JUDGES)
    assert tables.judges("tiny").count("\n") == 2 + 3, "a head and a line for each range of the other codec"
    assert "0.1 … 0.4" in tables.judges("tiny") and "-50" in tables.untrained("tiny")
    assert "contrast" in tables.looks("tiny")
    assert tables.judges("other").count("\n") == 2, "nothing is measured yet"


def test_a_contact_sheet_has_a_row_for_each_rate(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench.sheet, "build", lambda name, model, weights: Flat())
    measured("sheet", "--images", folder, "--pictures", "2", "--bpp", 0.3, "--bpp", 0.6, "--out", tmp_path / "sheets")
    (sheet,) = (tmp_path / "sheets").iterdir()
    with Image.open(sheet) as drawn:
        assert drawn.size == (4 * 32 + 3 * bench.sheet.GAP, 2 * (32 + bench.sheet.CAPTION))
    with pytest.raises(AssertionError):
        measured("sheet", "--images", folder, "--pictures", "3", "--out", tmp_path / "sheets")
    assert "there are 2" in capsys.readouterr().err
