"""Figures can be checked by hand."""

import importlib.util
import json
import math
import re
import shutil
import subprocess
import sys

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from bench import card, ranges
from codec.bench import codecs
from codec.bench import report as report_command
from codec.bench import run as bench_run
from codec.bench.curves import compare, means, per_image
from codec.bench.metrics import METRICS, bd_rate, ms_ssim, psnr, psnr_y, scaled, ssimulacra2
from codec.bench.photos import spread
from codec.bench.run import main
from tests.conftest import InProcess, lat, run


def test_half_the_rate_is_minus_fifty_percent():
    rate, quality = [0.1, 0.2, 0.4, 0.8, 1.6], [28.0, 30.0, 33.0, 36.0, 39.0]
    percent, low, high = bd_rate(rate, quality, [r / 2 for r in rate], quality)
    assert percent == pytest.approx(-50)
    assert (low, high) == (28, 39)


def test_only_the_common_range_counts():
    """Straight lines in log rate: a doubles every 2 dB, b every 3 dB, from the same point at 30 dB."""
    a = ([1, 2, 4], [30, 32, 34])
    b = ([1, 2, 4], [30, 33, 36])
    percent, low, high = bd_rate(*a, *b)
    assert (low, high) == (30, 34)
    mean_log2 = (1 / 3 - 1 / 2) * 4 / 2  # average over 0 … 4 dB of the difference of slopes
    assert percent == pytest.approx((2**mean_log2 - 1) * 100, abs=1e-6)


def test_curves_that_do_not_meet_have_no_figure():
    assert math.isnan(bd_rate([1, 2], [30, 31], [1, 2], [40, 41])[0])


def test_a_part_of_the_common_range_may_be_asked_for(tmp_path):
    """Half the bytes below 31 dB, the same ones above."""
    quality = [28.0, 29.0, 30.0, 31.0, 32.0, 33.0, 34.0]
    rate = [0.1 * 2**i for i in range(7)]
    halved = [r / 2 if q < 31 else r for r, q in zip(rate, quality)]
    percent, low, high = bd_rate(rate, quality, halved, quality, (28, 29))
    assert percent == pytest.approx(-50) and (low, high) == (28, 29)
    curves = {"a": {"mean": {"bpp": rate, "psnr": quality}}, "b": {"mean": {"bpp": halved, "psnr": quality}}}
    paths = tmp_path / "run.json", tmp_path / "ranges.json"
    short = {"bpp": rate[:3], "psnr": quality[:3]}
    paths[0].write_text(json.dumps({"codecs": curves, "published": {"c": short}}))
    wanted = ["--against", "a", "--psnr", 28, 29, "--psnr", 32, 34, "--out", paths[1]]
    ran = CliRunner().invoke(ranges.main, [str(v) for v in (paths[0], *wanted)])
    assert ran.exit_code == 0, ran.output
    table = json.loads(paths[1].read_text())["curves"]
    assert table == {"a": [0, 0], "b": [-50, 0], "published c": [0, None]}
    unknown = CliRunner().invoke(ranges.main, [str(paths[0]), "--against", "d", "--psnr", "28", "30"])
    assert unknown.exit_code == 1 and "'published c'" in unknown.output


def test_a_card_gets_points_and_bytes_against_earlier_weights(tmp_path):
    after = {"setting": [0, 50, 100], "bpp": [0.1, 0.2, 0.4], "psnr": [28.0, 30.0, 33.0]}
    before = {"name": "old-1", "rd_points": {**after, "bpp": [0.2, 0.4, 0.8]}}
    run_of = {"codecs": {"lat": {"version": "lat 1, new-1, effort 3", "mean": after}}}
    paths = [tmp_path / name for name in ("run.json", "new.json", "old.json")]
    for path, content in zip(paths, (run_of, {"name": "new-1"}, before)):
        path.write_text(json.dumps(content))
    runner = CliRunner()
    assert runner.invoke(card.main, [str(paths[0]), str(paths[1]), "--before", str(paths[2])]).exit_code == 0
    points = json.loads(paths[1].read_text())["rd_points"]
    assert points["bpp"] == after["bpp"]
    assert points["against"] == {"weights": "old-1", "bd_rate_percent": -50.0, "psnr": [28.0, 33.0]}


def test_psnr_by_hand():
    a = np.zeros((10, 10, 3), np.uint8)
    b = a.copy()
    b[0, 0] = 10  # mse = 100 / 100
    assert psnr(a, b) == pytest.approx(20 * math.log10(255))
    assert psnr(a, a) == 100


def test_ms_ssim_knows_its_limits(photo):
    a = np.asarray(photo)
    assert ms_ssim(a, a) == pytest.approx(1, abs=1e-5)
    assert ms_ssim(a[:160], a[:160]) is None


def test_a_point_that_more_bytes_do_not_improve_is_left_out():
    straight = bd_rate([1, 2, 4], [30, 32, 34], [0.5, 1, 2], [30, 32, 34])
    folded = bd_rate([1, 2, 4], [30, 32, 34], [0.5, 1, 1.5, 2], [30, 32, 31, 34])
    assert folded == pytest.approx(straight) and straight[0] == pytest.approx(-50)


def test_luma_by_hand():
    a = np.zeros((4, 4, 3), np.uint8)
    b = a + np.array([0, 10, 0], np.uint8)  # luma differs by 5.87 everywhere
    assert psnr_y(a, b) == pytest.approx(20 * math.log10(255 / 5.87))


def test_ssimulacra2_knows_its_limits(crop):
    assert ssimulacra2(crop, crop) == 100
    assert ssimulacra2(crop[:7], crop[:7]) is None


def test_ms_ssim_is_compared_in_decibels():
    assert scaled("ms_ssim", [0.9, 0.99]) == pytest.approx([10, 20])
    assert scaled("psnr", [30, 40]) == [30, 40]


def rows(image, rate):
    return [
        {"image": image, "setting": s, "bpp": rate * 2**s, "psnr": 30.0 + s, "psnr_y": 30.0 + s, "ms_ssim": None}
        | {"ssimulacra2": None}
        for s in range(4)
    ]


def test_rates_are_compared_on_means_and_picture_by_picture():
    ours, theirs = rows("a", 1) + rows("b", 1), rows("a", 2) + rows("b", 4)
    assert compare(means(theirs), means(ours), "psnr")["percent"] == pytest.approx(-66.67)  # mean rate 3 against 1
    each = per_image(theirs, ours, "psnr")
    assert each == {"mean": -62.5, "best": ["b", -75.0], "worst": ["a", -50.0], "pictures": 2}
    assert compare(means(theirs), means(ours), "ms_ssim") is None


def test_spread_takes_the_middle():
    assert spread(list(range(9)), 3) == [1, 4, 7] and spread([1, 2], 3) == [1, 2]


@pytest.fixture(scope="module", autouse=True)
def at_once():
    """Workers in this process; `result` has real ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_run, "ProcessPoolExecutor", InProcess)
        yield


def measured(*args) -> Result:
    done = CliRunner().invoke(main, [*map(str, args), "--threads", "1"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory, crop):
    images = tmp_path_factory.mktemp("images")
    (images / "deep").mkdir()
    Image.fromarray(np.tile(crop, (2, 2, 1))).save(images / "a.png")
    Image.fromarray(crop).save(images / "deep/b.png")
    return images


@pytest.fixture(scope="module")
def result(tmp_path_factory, folder):
    """Of the command over two pictures, as real processes with one codec, and then in this one with two more."""
    out = tmp_path_factory.mktemp("bench") / "result.json"
    args = ["--images", str(folder), "--out", str(out), "-j", "2", "--repeats", "1", "--timed", "1"]
    done = run("-m", "codec.bench.run", *args, "--codecs", "jpeg", "--threads", "1", text=True)
    assert done.returncode == 0, done.stderr
    assert "lat against jpeg:" in measured(*args, "--codecs", "lat,jpeg420").stdout
    return out


def test_a_run_keeps_every_row(result):
    entry = json.loads(result.read_text())["codecs"]["lat"]
    sizes = {"a.png": 256 * 192, "deep/b.png": 128 * 96}
    assert len(entry["rows"]) == 2 * len(codecs.Lat.settings)
    assert all(r["bpp"] == 8 * r["bytes"] / sizes[r["image"]] and set(METRICS) < set(r) for r in entry["rows"])
    assert all(r["encode_s"] > 0 and r["repeats"] == [1, 1] for r in entry["speed"]) and len(entry["speed"]) == 3
    assert entry["memory"]["image"] == "a.png" and entry["encode_mp_per_s"] > 0


def test_a_stopped_run_goes_on(tmp_path, folder, result):
    """Rows that are there are not measured again."""
    out = tmp_path / "r.json"
    before = json.loads(result.read_text())
    entry = before["codecs"]["jpeg"]
    entry["rows"], entry["speed"] = entry["rows"][:5], entry["speed"][:1]
    entry["rows"][0]["psnr"] = 1234.5
    out.write_text(json.dumps(before))
    measured("--images", folder, "--codecs", "jpeg", "--out", out, "--timed", 1, "--repeats", 1)
    after = json.loads(out.read_text())["codecs"]["jpeg"]
    assert len(after["rows"]) == 2 * len(codecs.Jpeg.settings) and len(after["speed"]) == 3
    assert [r["psnr"] for r in after["rows"]].count(1234.5) == 1


def test_a_new_metric_is_measured_where_rows_lack_it(tmp_path, folder, result):
    """And nothing else: rows of other pictures stay as they are."""
    out = tmp_path / "r.json"
    before = json.loads(result.read_text())
    entry = before["codecs"]["jpeg"]
    for row in entry["rows"][:3]:
        del row["ssimulacra2"]
    entry["rows"].append(entry["rows"][0] | {"image": "gone.png"})
    out.write_text(json.dumps(before))
    measured("--images", folder, "--codecs", "jpeg", "--out", out, "--timed", 0)
    rows = json.loads(out.read_text())["codecs"]["jpeg"]["rows"]
    kept = [r for r in rows if r["image"] != "gone.png"]
    assert kept == json.loads(result.read_text())["codecs"]["jpeg"]["rows"] and len(rows) == len(kept) + 1


def test_speeds_of_another_machine_are_dropped_and_rates_are_kept(tmp_path, folder, result):
    out = tmp_path / "r.json"
    out.write_text(json.dumps(json.loads(result.read_text()) | {"processor": "another"}))
    for timed, speeds in ("0", (3, 3)), ("1", (0, 3)):
        measured("--images", folder, "--codecs", "jpeg", "--out", out, "--repeats", 1, "--timed", timed)
        after = json.loads(out.read_text())
        assert [len(after["codecs"][name]["speed"]) for name in ("lat", "jpeg")] == list(speeds)
        assert ("encode_mp_per_s" in after["codecs"]["lat"]) == (timed == "0") == (after["processor"] == "another")
    assert after["codecs"]["lat"]["rows"] == json.loads(result.read_text())["codecs"]["lat"]["rows"]


def test_a_missing_rival_is_named_not_fatal(tmp_path, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    out = tmp_path / "r.json"
    done = measured("--images", folder, "--codecs", "jxl,jpeg", "--out", out, "--timed", 0, "--quick")
    assert "jxl: left out" in done.stderr and list(json.loads(out.read_text())["codecs"]) == ["jpeg"]


def test_every_rival_has_enough_points():
    assert all(len(c.settings) >= 8 for c in codecs.CODECS.values())


def test_every_codec_says_what_it_is_tuned_for():
    assert codecs.build("lat-psnr", "fast", {}).tuned == "PSNR"
    assert all(c.tuned for name, c in codecs.CODECS.items() if not name.startswith("lat"))


def test_unknown_words_are_usage_errors(folder):
    with pytest.raises(click.UsageError, match="unknown codec nonsense"):
        main(["--images", str(folder), "--codecs", "nonsense"], standalone_mode=False)
    with pytest.raises(click.UsageError, match="MODEL:QUALITY=FILE"):
        main(["--images", str(folder), "--compressai", "mbt2018-mean"], standalone_mode=False)


def test_compressai_models_are_coded_to_bytes_and_back(tmp_path):
    """In a process of its own: importing all of CompressAI warns."""
    if not all(map(importlib.util.find_spec, ("torchvision", "torch_geometric"))):
        pytest.skip("CompressAI's models need all that it asks for: pip install -e '.[zoo]'")
    code = """
import sys, torch
from pathlib import Path
from PIL import Image
from codec.bench.codecs import build
from codec.bench.compressai import complete_torchvision
complete_torchvision()
from compressai.zoo import bmshj2018_factorized
torch.manual_seed(0)
path = Path(sys.argv[1])
torch.save(bmshj2018_factorized(1, pretrained=False).state_dict(), path)
codec = build("bmshj2018-factorized", "", {"bmshj2018-factorized": {1: path}})
image = Image.open("tests/photos/kodim23.png").convert("RGB").crop((0, 0, 100, 70))
data = codec.encode(image, 1)
print(codec.decode(data).size, len(data) > 13, codec.decode(data) == codec.decode(bytes(data)))
"""
    done = run("-c", code, str(tmp_path / "w.pth"), text=True)
    assert done.stdout == "(100, 70) True True\n", done.stderr


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
PROBE = """<script>
const seen = {}, click = label => [...document.querySelectorAll("button")].find(b => b.textContent === label).click();
const lines = () => [...document.querySelectorAll("#rd .scatterlayer .trace path.js-line")].length;
setTimeout(() => {
  seen.lines = lines(); seen.bars = document.querySelectorAll("#bytes .bars .point").length;
  seen.marks = document.querySelectorAll("#speed .scatterlayer .points path").length;
  seen.before = $("over").style.clipPath;
  $("slider").value = 250; $("slider").dispatchEvent(new Event("input"));
  seen.after = $("over").style.clipPath; seen.width = $("over").naturalWidth;
  seen.ys = $("rd").data.find(t => t.name === "lat").y;
  click("PSNR of RGB, dB"); click("3 × zoom"); window.dispatchEvent(new Event("resize"));
  setTimeout(() => {
    seen.title = $("rd").layout.yaxis.title.text; seen.zoomed = $("frame").style.width;
    seen.heights = ["bytes", "rd", "speed"].map(id => $(id).querySelector("svg").getBoundingClientRect().height);
    seen.table = $("bd").innerText; seen.error = window.failed || "";
    document.body.innerHTML = "<pre id=seen>" + JSON.stringify(seen).replaceAll("<", "&lt;") + "</pre>";
  }, 700);
}, 800);
</script>"""


@pytest.fixture(scope="module")
def report(tmp_path_factory, folder, result):
    out = tmp_path_factory.mktemp("page") / "report.html"
    args = ["--result", result, "--images", folder, "--pictures", 1, "--out", out]
    report_command.main([str(a) for a in args], standalone_mode=False)
    return out


def test_the_page_needs_no_network(report):
    text = report.read_text()
    assert "<script src" not in text and "<link" not in text and "@@" not in text.split("<script>")[0]


def test_the_page_says_what_the_run_measured(report, result):
    rates = json.loads(result.read_text())["bd_rate"]
    text = report.read_text()
    for metric in ("psnr", "psnr_y", "ssimulacra2"):
        for rival in ("jpeg", "jpeg420"):
            assert f"{rates[metric]['lat'][rival]['percent']:+.1f} %" in text


@pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine")
def test_the_page_works_in_a_browser(report, result):
    """Curves, bars and marks are drawn, the slider and the buttons move, numbers are those of the JSON."""
    page = report.with_name("probe.html")
    watch = "<script>window.onerror = m => { window.failed = m; };</script>"
    page.write_text(report.read_text().replace("<body>", "<body>" + watch).replace("</body>", PROBE + "</body>"))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120)
    seen = json.loads(re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S)[1])
    measured = json.loads(result.read_text())
    assert seen["error"] == ""
    assert min(seen["heights"]) > 150, "plots keep their size when the window changes"
    assert seen["lines"] == 3 and seen["bars"] == 3 and seen["marks"] == 6
    assert seen["ys"] == pytest.approx(measured["codecs"]["lat"]["mean"]["ssimulacra2"])
    assert (seen["before"], seen["after"]) == ("inset(0px 50% 0px 0px)", "inset(0px 75% 0px 0px)")
    assert seen["width"] == 128 and seen["zoomed"] == "384px" and seen["title"] == "PSNR of RGB, dB"
    assert f"{measured['bd_rate']['psnr']['lat']['jpeg']['percent']:+.1f} %" in seen["table"]


def test_lat_bench_is_the_same_command():
    done = lat("bench", "--help")
    assert done.returncode == 0 and "--quick" in done.stdout, done.stderr


def test_lat_bench_names_what_it_needs():
    code = "import sys; sys.modules['scipy.interpolate'] = None\n"
    code += "from codec.command.cli import main; main(['bench', '--quick'])"
    done = run("-c", code, text=True)
    assert done.returncode == 1 and ".[bench]" in done.stderr and "Traceback" not in done.stderr
