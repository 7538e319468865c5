"""Every command of `python -m bench` runs once, on two small pictures."""

import contextlib
import json
import re
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import bench.bulk
import bench.distributed
import bench.effort
import bench.engines
import bench.everyday
import bench.graphics
import bench.latents
import bench.pitfalls
import bench.situations
import bench.web
from bench import pages, tables
from bench.__main__ import FIGURES, main
from bench.browser import CHROMIUM
from bench.published import PAIRS
from codec import weights
from codec.command import web
from codec.errors import LatError
from codec.train import loop
from tests.conftest import PHOTO, ROOT, drawn, lat

WITHOUT_NETWORKS = {"fill", "grid", "published"}  # tables
ELSEWHERE = {"judges", "sheet", "run", "ranges", "heldout", "retouch", "restore", "patterns"}  # test_judges, …


@pytest.fixture(scope="module")
def images(tmp_path_factory, photo):
    """Two pictures of 288 × 272 in a folder."""
    folder = tmp_path_factory.mktemp("images")
    for i, corner in enumerate(((96, 200), (430, 90))):
        photo.crop((*corner, corner[0] + 288, corner[1] + 272)).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def run_result(tmp_path_factory):
    """As `bench.run` leaves it, with the codecs that others are compared with, and published curves of all of them."""
    curve = {"bpp": [0.1, 0.5, 1.0, 5.0], "psnr": [25.0, 32.0, 36.0, 45.0], "ms_ssim": [0.9, 0.97, 0.98, 0.99]}
    curve["ssimulacra2"] = [10.0, 60.0, 80.0, 95.0]
    row = {"image": "0.png", "setting": 1, "bpp": 0.5, "ssimulacra2": 60.0}
    entry = {"version": "x 1, tiny-1, effort 3", "rows": [row], "mean": curve | {"setting": [1, 2, 3, 4]}}
    names = {*PAIRS, *PAIRS.values(), "lat", "webp", "avif-s6"}
    folder = tmp_path_factory.mktemp("run")
    (folder / "run.json").write_text(json.dumps({"codecs": dict.fromkeys(names, entry), "published": {}}))
    (folder / "anchors").mkdir()
    for name in names:
        (folder / "anchors" / f"{name}.json").write_text(json.dumps({"results": curve}))
    return folder


def measured(name: str, *args) -> None:
    """One command, through the door that people take."""
    with pytest.raises(SystemExit) as left:
        main([*name.split(), *map(str, args)])
    assert left.value.code == 0


def outcome(out, name: str, *args) -> dict:
    measured(name, *args, "--out", out)
    return json.loads(out.read_text())


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.json"


def test_effort(images, out, monkeypatch):
    monkeypatch.setattr(bench.effort, "QUALITIES", (20, 80))
    found = outcome(out, "effort", "--images", images, "--settings", "3,4 psnr", "--every", 2)
    assert found["pictures"] == 1 and found["settings"]["3"]["bd_rate_psnr_percent"] == 0
    assert found["settings"]["4 psnr"]["bd_rate_psnr_percent"] < 0


def test_targets(images, out):
    found = outcome(out, "targets", "--images", images)
    assert found["size"]["exceeded"] == found["psnr"]["undershot"] == found["ssimulacra2"]["undershot"] == 0
    assert len(found["rows"]) == 18 and found["ssimulacra2"]["most_encodes"] <= 4


def test_exactness(images, out):
    found = outcome(out, "exactness", "--images", images)
    assert abs(found["total_percent"]) < 5 and len(found["rows"]) == 8


def test_published(images, run_result, out):
    args = ["--images", images, "--result", run_result / "run.json", "--anchors", run_result / "anchors"]
    found = outcome(out, "published", *args)
    assert set(PAIRS) < set(found) and set(found["jpeg"]["db"]) == {0}


def test_seams(images, out):
    found = outcome(out, "everyday seams", "--images", images)
    assert all(abs(row["seam_db"]) < 1 for row in found["by_quality"].values())


def test_corpus(out, monkeypatch):
    monkeypatch.setattr(bench.everyday, "SIZES", ((1, 1), (640, 480)))
    monkeypatch.setattr(bench.everyday, "FORMATS", {"L": ("PNG",), "RGB": ("PNG", "JPEG")})
    for package in ("skimage", "sklearn"):
        monkeypatch.setitem(sys.modules, package, None)  # whose pictures are taken too
    found = outcome(out, "everyday corpus")
    assert found["counts"]["done"] >= 6 + 4 and found["counts"]["failed"] >= 4


def test_large(images, out, monkeypatch):
    monkeypatch.setattr(bench.everyday, "REGION", (100, 100, 64, 64))

    def measured(*args):
        assert lat(*args).returncode == 0
        return {"seconds": 0.0, "peak_mb": 0}

    monkeypatch.setattr(bench.everyday, "measured", measured)
    found = outcome(out, "everyday large", "--images", images, "--megapixels", 0.1)
    assert found["region_psnr"] > 25 and found["bytes"] > 1000


def test_mosaic(images, tmp_path):
    measured("everyday mosaic", "--images", images, "--megapixels", 1, "--out", tmp_path / "m.jpg")
    with Image.open(tmp_path / "m.jpg") as made:
        assert made.width * made.height == pytest.approx(1e6, rel=0.01)


def test_graphics(out, photo, monkeypatch):
    small = photo.crop((300, 100, 428, 228))
    made = {"half photograph, half text": bench.graphics.mosaic(small, drawn(128, 128)), "page": drawn(128, 96)}
    monkeypatch.setattr(bench.graphics, "corpus", lambda photo: made)
    monkeypatch.setattr(bench.graphics, "rivals", lambda image: {"webp lossless": {"bytes": 10**6}})
    monkeypatch.setattr(bench.graphics, "QUALITIES", (50, 90))
    found = outcome(out, "graphics", "--images", PHOTO)
    assert found["pictures"]["page"]["lat"]["q50"]["lossless"]
    assert set(found["pictures"]) == set(made) and found["seam"]


def test_engines(images, out, monkeypatch):
    pytest.importorskip("openvino", reason="one of the engines that are compared")

    def run(command, check):
        assert lat(*command[3:]).returncode == 0

    monkeypatch.setattr(bench.engines, "measured", lambda *args, **environment: bench.engines.row(*args))
    monkeypatch.setattr(bench.engines, "busy", lambda processes: contextlib.nullcontext())
    monkeypatch.setattr(bench.engines, "subprocess", SimpleNamespace(run=run))
    args = ["--megapixels", 0.02, "--best-megapixels", 0.02, "--largest", 0.03, "--repeats", 1, "--threads", 1]
    found = outcome(out, "engines", "--images", images, *args)
    variants, in_float32 = len(found["busy"]), len(found["busy"]) - 1
    assert len(found["idle"]) == 3 * variants + in_float32 + 1 and "chosen" in found["processes_768x512"]


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
def test_web(images, out, monkeypatch):
    try:
        web.runtime_folder()
    except LatError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(bench.web, "CASES", (("fast", 0.05, 2),))
    monkeypatch.setattr(bench.web, "THREADS", (1,))
    found = outcome(out, "web", "--images", images)
    assert [row["decodes"] for row in found["rows"]] == [1]


def test_bulk(images, out, monkeypatch):
    """Without Ray, and without the murder of a worker: `test_bulk` has both."""
    monkeypatch.setattr(bench.bulk, "ENGINES", ("local",))
    monkeypatch.setattr(bench.bulk, "killed", lambda source, target, engine: {"engine": engine})

    def start(source, target, engine, workers):
        done = lat("bulk", source, target, "--on", engine, "--workers", workers)
        return SimpleNamespace(communicate=lambda: (None, done.stderr))

    monkeypatch.setattr(bench.bulk, "start", start)
    found = outcome(out, "bulk", "--data", images, "--count", 2)
    assert [(row["workers"], row["pictures"]) for row in found["runs"]] == [(1, 2), (2, 2)]


def test_distributed(images, out, monkeypatch, capsys):
    """Its processes one after the other in this one: `test_train` has them under torchrun."""
    monkeypatch.setattr(torch, "rand_like", torch.rand_like)  # what a run changes in its own process
    for name in ("CHECKPOINT_SECONDS", "CLOCK_STEPS"):
        monkeypatch.setattr(loop, name, getattr(loop, name))
    monkeypatch.setattr(loop, "SHORTCUT_CROPS", 50)
    monkeypatch.setattr(bench.distributed, "EVERY", 2)

    def run(command, **options):
        bench.distributed.main(
            [str(a) for a in command[command.index("bench.distributed") + 1 :]], standalone_mode=False
        )
        return SimpleNamespace(stdout=capsys.readouterr().out)

    monkeypatch.setattr(bench.distributed, "subprocess", SimpleNamespace(run=run))
    found = outcome(out, "distributed", "--data", images, "--minutes", 1e-6)
    assert found["steps"] == [2] and all(len(found[name]) == 1 for name in bench.distributed.RUNS)


def test_sample(images, out, monkeypatch):
    monkeypatch.setattr(bench.latents, "SIDE", 64)
    found = outcome(out, "latents sample", "--data", images, "--count", 1)
    assert set(found["by_quality"]) == {"10", "30", "60"}


def test_edit(images, out):
    found = outcome(out, "latents edit", "--data", images, "--count", 2)
    assert found["photographs"] == 2 and found["directions"]["brighten"]["monotone"] == 1


def test_gallery(tmp_path):
    measured("latents gallery", "--images", PHOTO, "--second", PHOTO, "--out", tmp_path / "g.png")
    assert (tmp_path / "g.png").exists()


def test_similarity(images, out):
    found = outcome(out, "similarity", "--data", images, "--count", 2)
    assert found["photographs"] == 2 and found["halved"]["best threshold"]["recall"] == 1


def test_anomalies(images, out, tmp_path):
    tiles = tmp_path / "tiles"
    for name in ("normal", "test_normal", "blowhole", "fray"):
        (tiles / name).mkdir(parents=True)
        for i in range(2):
            with Image.open(images / f"{i}.png") as opened:
                opened.crop((0, 0, 96, 80)).save(tiles / name / f"{i}.jpg")
                mask = np.zeros((80, 96), np.uint8)
                mask[20:40, 20:40] = 255
                if name in ("blowhole", "fray"):
                    Image.fromarray(mask).save(tiles / name / f"{i}.png")
    found = outcome(out, "anomalies", "--images", images, "--tiles", tiles)
    assert found["synthetic"]["photographs"] == 2 and set(found["magnetic tiles"]["auroc"]) == {"blowhole", "fray"}


def test_figures(run_result, images, tmp_path):
    measured("figures", "--result", run_result / "run.json", "--images", images, "--out", tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"kodak-rd.svg", "kodak-rd.png", "comparison.png"}


def test_pages_are_what_their_command_writes(tmp_path, monkeypatch):
    for name in pages.PAGES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    measured("pages")
    assert all((tmp_path / name).read_text("utf-8") == (ROOT / name).read_text("utf-8") for name in pages.PAGES)


def test_every_result_is_listed_and_in_a_table_or_a_picture():
    committed = {path.name for path in tables.RESULTS.iterdir() if path.suffix != ".html"}
    listed = {name for figure in FIGURES for name in figure.result.split(", ") if name}
    in_tables = {f"{name}.json" for table in pages.TABLES.values() for name in table.results}
    assert committed <= listed
    assert {name for name in committed if name.endswith(".json")} <= in_tables


def test_every_table_is_of_shipped_weights_and_says_so():
    text = "".join((ROOT / name).read_text("utf-8") for name in pages.PAGES)
    shown = set(re.findall(r"<!-- table: ([\w-]+) -->", text))
    assert shown == set(pages.TABLES)
    for name, table in pages.TABLES.items():
        if all((tables.RESULTS / f"{of}.json").exists() for of in table.results):
            assert set(table.weights()) <= set(weights.cards()), name
            assert table.weights() or name in WITHOUT_NETWORKS, name
            assert all(of in table.text().splitlines()[-1] for of in table.weights()), name


def test_the_list_names_every_figure_and_none_goes_untested(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert all(f"python -m bench {figure.module} " in printed for figure in FIGURES)
    names = {figure.module.split()[-1] for figure in FIGURES} - ELSEWHERE
    assert {f"test_{name}" for name in names} <= set(globals())
    assert main(["nonsense"]) == 2


def test_inputs_are_checked(tmp_path, monkeypatch, capsys):
    (tmp_path / "a").write_bytes(b"right")
    known = {"x": {"what": "", "source": "", "sha256": {"a": bench.__main__.digest(tmp_path / "a")}}}
    monkeypatch.setattr(bench.__main__, "known_inputs", lambda: known)
    assert main(["inputs", str(tmp_path)]) == 0
    (tmp_path / "a").write_bytes(b"wrong")
    assert main(["inputs", str(tmp_path)]) == 1 and "not the input" in capsys.readouterr().out


def test_situations(out, monkeypatch):
    tried = (bench.situations.collision, bench.situations.private, bench.pitfalls.jpeg_name)
    monkeypatch.setattr(bench.situations, "SITUATIONS", tried)
    monkeypatch.setattr(bench.situations.shutil, "which", lambda tool: None)
    rows = outcome(out, "situations")["rows"]
    assert [row["lat"] for row in rows.values()] == ["refused by name", "0600", "refused"]


def test_the_table_of_situations_has_all_of_them():
    rows = tables.result("situations")["rows"]
    assert list(rows) == [situation.__doc__.rstrip(".") for situation in bench.situations.SITUATIONS]
    for row in rows.values():
        assert set(row) == {"lat", "cwebp", "avifenc", "cjxl"} and "exit 0" not in row["lat"]
