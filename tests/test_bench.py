"""Figures can be checked by hand."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from bench.metrics import bd_rate, ms_ssim, psnr
from tests.conftest import run


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


def test_a_run_keeps_every_row(tmp_path, crop):
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(crop).save(images / "a.png")
    out = tmp_path / "result.json"
    done = run("-m", "bench.run", "--images", str(images), "--codecs", "lat,jpeg", "--out", str(out), text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    rows = result["codecs"]["lat"]["rows"]
    assert len(rows) == 15 and all(r["bpp"] == 8 * r["bytes"] / (128 * 96) for r in rows)
    assert "jpeg" in result["bd_rate_psnr"]["lat"]


def test_a_stopped_run_goes_on(tmp_path, crop):
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(crop).save(images / "a.png")
    out = tmp_path / "result.json"
    args = ["-m", "bench.run", "--images", str(images), "--codecs", "jpeg", "--out", str(out)]
    assert run(*args).returncode == 0
    first = json.loads(out.read_text())
    first["codecs"]["jpeg"]["rows"] = first["codecs"]["jpeg"]["rows"][:5]
    first["codecs"]["jpeg"]["rows"][0]["psnr"] = 1234.5
    out.write_text(json.dumps(first))
    assert run(*args).returncode == 0
    rows = json.loads(out.read_text())["codecs"]["jpeg"]["rows"]
    assert len(rows) == 12 and rows[0]["psnr"] == 1234.5


def test_a_missing_rival_is_named_not_fatal(tmp_path, crop):
    from bench.codecs import CODECS

    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(crop).save(images / "a.png")
    code = (
        "import sys; sys.modules['pillow_jxl'] = None\n"
        "from bench.run import main; main(sys.argv[1:], standalone_mode=False)"
    )
    args = ["--images", str(images), "--codecs", "jxl,jpeg", "--out", str(tmp_path / "r.json")]
    done = run("-c", code, *args, text=True)
    assert done.returncode == 0 and "jxl: left out" in done.stderr, done.stderr
    assert all(len(c.settings) >= 8 for c in CODECS.values())


def test_the_page_says_what_the_run_measured(tmp_path, crop):
    from bench.report import bd_table

    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(np.tile(crop, (2, 2, 1))).save(images / "a.png")
    out, page = tmp_path / "r.json", tmp_path / "r.html"
    args = ["--images", str(images)]
    assert run("-m", "bench.run", *args, "--codecs", "lat,jpeg,jpeg420", "--out", str(out)).returncode == 0
    done = run("-m", "bench.report", *args, "--result", str(out), "--out", str(page), text=True)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    for row in bd_table(json.loads(out.read_text())):
        assert f"{row['psnr']['percent']:+.1f} %" in text
    assert "<script src" not in text and "<link" not in text  # nothing is fetched from elsewhere
    assert "@@" not in text.split("<script>")[0]


def test_lat_bench_is_the_same_command():
    done = run("-m", "codec.cli", "bench", "--help", text=True)
    assert done.returncode == 0 and "--quick" in done.stdout, done.stderr


def test_lat_bench_names_what_it_needs():
    code = "import sys; sys.modules['scipy.interpolate'] = None\nfrom codec.cli import main; main(['bench', '--quick'])"
    done = run("-c", code, text=True)
    assert done.returncode == 1 and "lat-codec[bench]" in done.stderr and "Traceback" not in done.stderr
