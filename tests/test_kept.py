"""Sources that would hardly become smaller stay as they are, with exit code 0; what was asked for by name is made."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from codec import container, kinds
from codec.arguments import as_picture
from codec.command.cli import main
from tests import quick

pytestmark = pytest.mark.usefixtures("quick_codec")
FORMATS = {"JPEG": "jpg", "WEBP": "webp", "AVIF": "avif", "JPEG2000": "jp2"}


def lat(*args) -> tuple[int, str]:
    done = CliRunner().invoke(main, [*map(str, args)])
    return done.exit_code, done.output


@pytest.fixture(autouse=True)
def files_of(monkeypatch):
    """Sets how many bytes of tiles the codec makes; at first more than any source here has."""
    size = [60_000]

    def encode(self, picture, settings, progress=None) -> bytes:
        header = container.Header(*picture.pixels.shape[1::-1], picture.mode, 64, bytes(8))
        return container.build(container.Container(header, [bytes(13 + size[0])], picture.metadata))

    monkeypatch.setattr(quick.QuickCodec, "encode_picture", encode)
    return lambda count: size.__setitem__(0, count)


@pytest.fixture
def photo_file(tmp_path, crop):
    path = tmp_path / "a.jpg"
    Image.fromarray(crop).save(path, quality=80)
    return path


@pytest.mark.parametrize("format", FORMATS)
def test_a_compressed_source_stays_as_it_is(tmp_path, crop, format):
    source = tmp_path / f"a.{FORMATS[format]}"
    try:
        Image.fromarray(crop).save(source, format)
    except (OSError, KeyError):
        pytest.skip(f"this Pillow writes no {format}")
    before = source.read_bytes()
    code, said = lat("compress", source)
    assert code == 0 and "kept as it is" in said and "--even-if-larger" in said, said
    assert [path.name for path in tmp_path.iterdir()] == [source.name] and source.read_bytes() == before
    assert lat("compress", source, "--even-if-larger")[0] == 0 and source.with_suffix(".lat").exists()


def test_others_are_made_whatever_their_size(tmp_path, crop):
    for format in ("PNG", "TIFF", "GIF", "BMP"):
        Image.fromarray(crop).save(tmp_path / f"a.{format.lower()}", format)
        assert lat("compress", tmp_path / f"a.{format.lower()}", "-o", tmp_path / f"{format}.lat")[0] == 0
        assert (tmp_path / f"{format}.lat").exists()


def test_five_percent_are_enough(photo_file, files_of):
    size = photo_file.stat().st_size
    files_of(int(0.95 * size))
    assert "kept as it is" in lat("compress", photo_file)[1]
    files_of(int(0.95 * size) - 200)
    assert lat("compress", photo_file)[0] == 0 and photo_file.with_suffix(".lat").exists()


def test_what_was_asked_for_by_name_is_made(photo_file, tmp_path, monkeypatch):
    from codec import target

    made = quick.QuickCodec().encode_picture(as_picture(Image.open(photo_file)), None)
    monkeypatch.setattr(target, "to_size", lambda *args: target.Found(made, len(made), 50, 1))
    for i, wish in enumerate((["--lossless"], ["--target-size", "90k"])):
        code, said = lat("compress", photo_file, "-o", tmp_path / f"{i}.lat", *wish)
        assert code == 0 and (tmp_path / f"{i}.lat").exists(), said


def test_pipes_get_their_bytes(photo_file):
    done = CliRunner().invoke(main, ["compress", str(photo_file), "-o", "-"])
    assert done.exit_code == 0 and done.stdout_bytes.startswith(container.MAGIC)


def test_nothing_stale_stays_beside_a_source(photo_file, files_of):
    packed = photo_file.with_suffix(".lat")
    files_of(100)
    assert lat("compress", photo_file)[0] == 0
    files_of(70_000)
    assert lat("compress", photo_file, "-q", 90, "--overwrite")[0] == 0
    assert packed.stat().st_size > 70_000


def test_a_folder_run_counts_them_and_is_no_failure(photo_file, tmp_path, crop):
    Image.fromarray(crop).save(tmp_path / "b.png")
    Image.fromarray(crop[:90]).save(tmp_path / "c.webp")
    for _ in range(2):  # the same again
        code, said = lat("compress", tmp_path, "-r")
        assert code == 0 and "2 kept as they were" in said, said
        assert {path.name for path in tmp_path.glob("*.lat")} == {"b.lat"}
    code, said = lat("compress", tmp_path, "-r", "--json")
    rows = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    kept = [row for row in rows if row["status"] == "kept"]
    assert code == 0 and len(kept) == 2 and not any(row["target"] or row["bytes_out"] for row in kept)


def test_nothing_but_kept_files_is_no_failure(photo_file, tmp_path):
    code, said = lat("compress", tmp_path, "-r", "--out-dir", tmp_path / "out")
    assert code == 0 and "1 kept as it was" in said and "a.lat" not in said, said


def test_the_kinds_are_told_by_their_bytes(tmp_path, crop):
    for format in FORMATS:
        path = tmp_path / format
        try:
            Image.fromarray(crop).save(path, format)
        except (OSError, KeyError):
            continue
        assert kinds.is_compressed(path.read_bytes()), format
    for head in (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n", b"\0\0\0\x1cftypheic\0\0\0\0mif1heic"):
        assert kinds.is_compressed(head)
    for head in (b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"\0\0\0\x18ftypmp42", b"RIFF\0\0\0\0AVI "):
        assert not kinds.is_compressed(head)


def test_bulk_runs_keep_them_and_know(photo_file, tmp_path):
    from codec.bulk import driver, worker
    from codec.runs.job import Options
    from codec.weights import DEFAULT, Weights

    source, target = photo_file.parent, tmp_path / "out"

    def work(**options):
        chosen = Options(**options)
        plan = worker.Plan(str(source), str(target), chosen, settings=chosen.describe_encoding())
        jobs = driver.missing(plan, {".jpg"}).jobs
        if jobs:
            rows = worker.Worker(plan, Weights.open(DEFAULT)).run(worker.Batch("batch", tuple(jobs)))
            driver.close_log(driver.Store(str(target)))
            return [row.status for row in rows]
        return "nothing to do"

    assert work() == ["kept"] and not list(target.glob("*.lat"))
    row = json.loads((target / "log.jsonl").read_text())
    assert row["status"] == "kept" and not row["target"] and row["notes"]
    assert work() == "nothing to do"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(source / "a.jpg")
    assert work() == ["kept"]  # it is another picture now
    assert work(even_if_larger=True) == ["done"] and (target / "a.lat").exists()
    assert work() == "nothing to do"
