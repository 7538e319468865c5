"""Which files a run takes and where each output goes: distinct outputs for all inputs, or failures by name."""

import io
import os
import random
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pytest
from PIL import Image

from codec import kinds
from codec.bulk import driver, worker
from codec.runs import batch, plan
from codec.runs.job import Options
from tests.conftest import lat

pytestmark = pytest.mark.usefixtures("quick_codec")


def picture(path: Path, shade: int = 0, time: int | None = None) -> Path:
    """A picture of one pixel that nothing else looks like; all of one time if one is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    out = io.BytesIO()
    Image.new("RGB", (1, 1), (shade // 65536, shade // 256 % 256, shade % 256)).save(out, "PNG")  # whatever the suffix
    path.write_bytes(out.getvalue())
    os.utime(path, ns=(1, time or 10**18 + shade * 10**9))
    return path


@pytest.fixture
def cased(tmp_path) -> None:
    """For pictures whose names differ in case alone."""
    if plan.folds_case(tmp_path / "a"):
        pytest.skip("this file system does not tell case")


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_two_folders_with_one_name_are_two_failures(tmp_path, overwrite):
    picture(tmp_path / "d1/IMG_1.jpg", 1)
    picture(tmp_path / "d2/IMG_1.jpg", 2)
    picture(tmp_path / "d2/IMG_2.jpg", 3)
    done = lat("compress", "-r", tmp_path / "d1", tmp_path / "d2", "--out-dir", tmp_path / "out", *overwrite)
    assert done.returncode == 1 and "1 done, 2 failed" in done.stderr
    assert str(tmp_path / "d1/IMG_1.jpg") in done.stderr and str(tmp_path / "d2/IMG_1.jpg") in done.stderr
    assert files(tmp_path / "out") == ["IMG_2.lat"]


def test_names_that_look_like_outputs_of_others(tmp_path, cased):
    for shade, name in enumerate(("a.jpg", "a.png", "a.jpg.png", "a.tar.gz.png", "A.JPG")):
        picture(tmp_path / "in" / name, shade)
    for command in (("compress", "-r", tmp_path / "in"), ("compress", *sorted((tmp_path / "in").iterdir()))):
        out = tmp_path / f"out{len(command)}"
        done = lat(*command, "--out-dir", out)
        assert done.returncode == 0, done.stderr
        assert files(out) == ["A.lat", "a.jpg.lat", "a.jpg.png.lat", "a.png.lat", "a.tar.gz.lat"]


def test_patterns_keep_the_tree_below_their_fixed_part(tmp_path):
    for shade, name in enumerate(("x/a.png", "y/a.png", "y/z/a.png")):
        picture(tmp_path / "in" / name, shade)
    assert lat("compress", f"{tmp_path}/in/**/*.png", "--out-dir", tmp_path / "out").returncode == 0
    assert files(tmp_path / "out") == ["x/a.lat", "y/a.lat", "y/z/a.lat"]


def test_decompress_of_two_folders(tmp_path):
    for n in (1, 2):
        picture(tmp_path / f"d{n}/a.png", n)
    assert lat("compress", "-r", tmp_path / "d1", tmp_path / "d2").returncode == 0
    done = lat("decompress", "-r", tmp_path / "d1", tmp_path / "d2", "--out-dir", tmp_path / "out")
    assert done.returncode == 1 and "2 failed" in done.stderr and not files(tmp_path / "out")


def test_one_file_under_two_names_is_one_job(tmp_path):
    path = picture(tmp_path / "d/a.png")
    again = tmp_path / "d/../d/a.png"
    done = lat("compress", path, again, "--out-dir", tmp_path / "out")
    assert done.returncode == 0 and "1 done" in done.stderr


def test_a_rerun_goes_on_only_with_outputs_of_its_own_inputs(tmp_path):
    picture(tmp_path / "d1/a.jpg", 1)
    picture(tmp_path / "d2/a.jpg", 2)
    out = tmp_path / "out"
    assert lat("compress", "-r", tmp_path / "d1", "--out-dir", out).returncode == 0
    before = (out / "a.lat").read_bytes()
    done = lat("compress", "-r", tmp_path / "d2", "--out-dir", out)
    assert done.returncode == 1 and "made from another file" in done.stderr and "--overwrite" in done.stderr
    assert (out / "a.lat").read_bytes() == before
    assert lat("compress", "-r", tmp_path / "d1", "--out-dir", out).returncode == 3
    picture(tmp_path / "d1/a.jpg", 3)
    assert lat("compress", "-r", tmp_path / "d1", "--out-dir", out).returncode == 1  # the photograph was edited
    assert lat("compress", "-r", tmp_path / "d1", "--out-dir", out, "--overwrite").returncode == 0
    assert (out / "a.lat").read_bytes() != before


def test_a_file_system_without_case_is_asked_before_anything_is_written(tmp_path, monkeypatch, cased):
    for shade, name in enumerate(("IMG.jpg", "img.jpg", "Img.png", "other.jpg")):
        picture(tmp_path / "in" / name, shade)
    monkeypatch.setattr(plan, "_folds_case", lambda folder: True)
    done = lat("compress", "-r", tmp_path / "in", "--out-dir", tmp_path / "out")
    assert done.returncode == 1 and "2 done, 2 failed" in done.stderr
    assert files(tmp_path / "out") == ["Img.png.lat", "other.lat"]
    listed = lat("compress", "-r", tmp_path / "in", "--out-dir", tmp_path / "out2", "--dry-run")
    assert listed.returncode == 1 and len(listed.stdout.splitlines()) == 2


def test_composed_and_decomposed_accents_are_one_name_to_macos():
    folds = ["Caf\u00e9.png", "Cafe\u0301.png"]
    paths = [PurePosixPath(name) for name in folds]
    assert len(set(plan.named(paths, ".lat", lambda p: False))) == 2
    jobs = plan.distinct(folds, plan.named(paths, ".lat", lambda p: True), lambda p: True)
    assert all(job.error for job in jobs)


def test_a_picture_missing_among_others_is_a_row(tmp_path):
    picture(tmp_path / "a.png")
    done = lat("compress", tmp_path / "a.png", tmp_path / "none.png")
    assert done.returncode == 1 and "1 done, 1 failed" in done.stderr and "none.png: no such file" in done.stderr


def test_a_folder_that_cannot_be_read_is_a_failure(tmp_path, monkeypatch):
    picture(tmp_path / "in/a.png")
    (tmp_path / "in/closed").mkdir()
    real = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for done in (
        lat("compress", "-r", tmp_path / "in", "--out-dir", tmp_path / "out"),
        lat("bulk", tmp_path / "in", tmp_path / "bulk", "--workers", 1),
    ):
        assert done.returncode == 1 and "1 done, 1 failed" in done.stderr and "closed" in done.stderr


TAKEN = ("a.JPG", "b.png", "c.tif", "d.avif", "e.webp")
HIDDEN = ("._IMG.JPG", ".thumbnails/x.png", "@eaDir/a.jpg")
OTHERS = ("m.mpeg", "h.h5", "i.im", "g.gbr", "r.grib", "v.eps", "t.txt", "p.nef", "q.DNG", "noname")


def test_a_folder_run_takes_pictures_and_counts_the_rest(tmp_path):
    for shade, name in enumerate(TAKEN + HIDDEN + OTHERS):
        picture(tmp_path / "in" / name, shade)
    os.mkfifo(tmp_path / "in/pipe.png") if hasattr(os, "mkfifo") else None
    for done in (
        lat("compress", "-r", tmp_path / "in", "--out-dir", tmp_path / "out"),
        lat("bulk", tmp_path / "in", tmp_path / "bulk", "--workers", 1),
    ):
        assert done.returncode == 0 and f"{len(TAKEN)} done" in done.stderr, done.stderr
        for said in ("3 hidden", "1 .nef (a raw photograph: develop it first", "1 .txt", "1 .eps", "1 without suffix"):
            assert said in done.stderr
    assert files(tmp_path / "out") == sorted(f"{name.split('.')[0]}.lat" for name in TAKEN)


def test_formats_of_installed_plugins_are_taken(tmp_path, crop):
    kinds.register_plugins()
    Image.fromarray(crop).save(tmp_path / "a.png")
    for suffix in {".jxl", ".heic", ".avif"} & Image.registered_extensions().keys():
        Image.fromarray(crop).save(tmp_path / f"b{suffix}")
    done = lat("compress", "-r", tmp_path, "--out-dir", tmp_path / "out")
    assert done.returncode == 0 and f"{len(list(tmp_path.glob('*.*')))} done" in done.stderr, done.stderr


def test_formats_of_plugins_are_named(tmp_path, monkeypatch):
    kinds.register_plugins()
    known = {s: f for s, f in Image.registered_extensions().items() if s not in kinds.PLUGINS}
    monkeypatch.setattr(Image, "registered_extensions", lambda: known)
    picture(tmp_path / "a.png")
    (tmp_path / "b.heic").write_bytes(b"\0\0\0\x18ftypheic")
    done = lat("compress", "-r", tmp_path, "--out-dir", tmp_path / "out")
    assert "1 .heic (needs a plugin: pip install pillow-heif)" in done.stderr
    assert "pip install pillow-heif" in lat("compress", tmp_path / "b.heic").stderr


def test_bulk_counts_whose_output_is_whose(tmp_path):
    picture(tmp_path / "d1/a.jpg", 1)
    picture(tmp_path / "d2/a.jpg", 77777)
    for shards in ((), ("--shards",)):
        out = tmp_path / f"out{len(shards)}"
        assert lat("bulk", tmp_path / "d1", out, "--workers", 1, *shards).returncode == 0
        before = files(out)
        done = lat("bulk", tmp_path / "d2", out, "--workers", 1, *shards)
        assert done.returncode == 1 and "made from another file" in done.stderr
        assert files(out) == before
        assert lat("bulk", tmp_path / "d1", out, "--workers", 1, *shards).returncode == 3


def test_bulk_into_an_object_store_knows_its_own(tmp_path):
    import fsspec

    fs = fsspec.filesystem("memory")
    picture(tmp_path / "a.png", 5)
    fs.pipe_file("/own/a.png", (tmp_path / "a.png").read_bytes())
    job_plan = worker.Plan("memory://own", "memory://kept", Options())
    todo = driver.missing(job_plan, {".png"})
    assert [[row.status for row in rows] for rows in driver.run(job_plan, todo.jobs, "local", 1, 32)] == [["done"]]
    fs.rm("/kept/log.jsonl")  # as if its worker had been killed before it was logged
    assert driver.missing(job_plan, {".png"}).done == 1
    fs.rm("/kept", recursive=True)
    fs.pipe_file("/kept/a.lat", b"somebody else's")
    assert "made from another file" in driver.missing(job_plan, {".png"}).failed[0].error


@pytest.mark.parametrize("name", ["x.jpg", "x.PNG", "x.jxl", "x.heic", "x.nef", "x.lat.tif"])
def test_compress_writes_no_file_that_is_named_as_another_format(tmp_path, name):
    picture(tmp_path / "a.png")
    for extra in ((), ("--overwrite",), ("--dry-run",)):
        done = lat("compress", tmp_path / "a.png", "-o", tmp_path / name, *extra)
        assert done.returncode == 2 and f"{name} is named as one of another format" in done.stderr
    assert files(tmp_path) == ["a.png"]


@pytest.mark.parametrize("name", ["x.lat", "x.LAT", "x", "x.jpg.lat", "x.part", ".lat"])
def test_compress_writes_to_other_names(tmp_path, name):
    picture(tmp_path / "in/a.png")
    assert lat("compress", tmp_path / "in/a.png", "-o", tmp_path / name).returncode == 0
    assert (tmp_path / name).is_file()


@pytest.mark.parametrize("name", ["new/", "d", "d/", "d/.", "d/x.lat/", "linked"])
def test_a_folder_is_no_output(tmp_path, name):
    picture(tmp_path / "a.png")
    lat("compress", tmp_path / "a.png")
    (tmp_path / "d").mkdir()
    os.symlink(tmp_path / "d", tmp_path / "linked")
    before = files(tmp_path)
    for command in (
        ("compress", tmp_path / "a.png", "--overwrite"),
        ("decompress", tmp_path / "a.lat"),
        ("edit", "fill", tmp_path / "a.png", "--box", "0,0,2,2"),
        ("latent", "sample"),
        ("latent", "anomaly", tmp_path / "a.png"),
    ):
        done = lat(*command, "-o", f"{tmp_path}/{name}")
        wanted = "name a file in it" if command[0] in ("edit", "latent") else "--out-dir writes into it"
        assert done.returncode == 2 and wanted in done.stderr, command
    assert files(tmp_path) == before


def test_an_empty_name_and_a_folder_that_is_not_there_are_no_outputs(tmp_path):
    picture(tmp_path / "a.png")
    done = lat("compress", tmp_path / "a.png", "-o", "")
    assert done.returncode == 2 and "name a file" in done.stderr
    done = lat("compress", tmp_path / "a.png", "-o", tmp_path / "none/x.lat")
    assert done.returncode == 1 and f"{tmp_path / 'none'} is no folder that is there" in done.stderr
    done = lat("compress", tmp_path / "a.png", "-o", tmp_path / "a.png/x.lat")
    assert done.returncode == 1 and "is no folder that is there" in done.stderr
    assert files(tmp_path) == ["a.png"]


NAMES = ["a", "A", "b", "a.jpg", "IMG_1", "img_1"]
SUFFIXES = [".jpg", ".png", ".PNG", ".jpeg", ".tif"]
FOLDERS = ["", "x", "y", "x/x", "X"]


def random_tree(root: Path, generator: random.Random) -> list[Path]:
    roots = [root / f"d{i}" for i in range(generator.randint(1, 3))]
    paths = {
        r / generator.choice(FOLDERS) / (generator.choice(NAMES) + generator.choice(SUFFIXES))
        for r in roots
        for _ in range(generator.randint(1, 10))
    }
    for r in roots:
        r.mkdir()
    return [picture(path, shade) for shade, path in enumerate(sorted(paths))]


@pytest.mark.parametrize("seed", range(12))
def test_no_input_vanishes(tmp_path, seed, monkeypatch, cased):
    """Distinct outputs for all inputs, or an exit code other than 0 and the lost ones by name; on every way in."""
    generator = random.Random(seed)
    inputs = random_tree(tmp_path / "in", generator) if (tmp_path / "in").mkdir() is None else []
    roots = sorted((tmp_path / "in").iterdir())
    folds = generator.random() < 0.5
    monkeypatch.setattr(plan, "_folds_case", lambda folder: folds)
    overwrite = ["--overwrite"] * generator.randint(0, 1)
    monkeypatch.setattr(batch, "ProcessPoolExecutor", lambda workers, *_: ThreadPoolExecutor(workers))  # at once, quick
    ways = {
        "folders": ["compress", "-r", "-j", generator.randint(1, 2), *roots],
        "names": ["compress", *inputs],
        "pattern": ["compress", f"{tmp_path}/in/**/*.*"],
        "bulk": ["bulk", tmp_path / "in"],
        "shards": ["bulk", tmp_path / "in"],
    }
    for way, command in ways.items():
        out = tmp_path / way
        where = [out, "--workers", 1, *["--shards"] * (way == "shards")] if command[0] == "bulk" else ["--out-dir", out]
        done = lat(*command, *where, *overwrite)
        made = members(out) if way == "shards" else [str(p.relative_to(out)) for p in out.rglob("*.lat")]
        assert len(set(map(str.casefold if folds and way != "shards" else str, made))) == len(made)
        if len(made) < len(inputs):
            assert done.returncode == 1
            lost = len(inputs) - len(made)
            named = [
                p
                for p in inputs
                if f"lat: {p if command[0] != 'bulk' else p.relative_to(tmp_path / 'in')}:" in done.stderr
            ]
            assert len(named) == lost, done.stderr
        else:
            assert done.returncode == 0, done.stderr
        again = lat(*command, *where)
        assert again.returncode == (1 if len(made) < len(inputs) else 3), again.stderr
        if way == "folders":
            back = lat("decompress", "-r", out, "--out-dir", tmp_path / "back")
            assert back.returncode == 0 or not made
            assert len(list((tmp_path / "back").rglob("*.png"))) == len(made)


def members(folder: Path) -> list[str]:
    found = []
    for shard in folder.glob("*.tar"):
        with tarfile.open(shard) as tar:
            found += tar.getnames()
    return found
