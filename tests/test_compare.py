"""`lat compare`, `lat info` of many files, other formats than PNG, and names typed as with cp."""

import json

import numpy as np
import pytest
from PIL import Image

from codec.command.parts import parse_bytes
from codec.kinds import kind_of_note, with_numbers
from codec.picture.image import Picture
from codec.runs import compare
from codec.runs.record import Record, add, find
from codec.runs.rows import Row, summary
from tests.conftest import lat


def noise(seed: int = 0, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (20, 30, channels), np.uint8)


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.tif", "sub/c.bmp", "sub/a.png", "d.png", "d.gif")):
        Image.fromarray(noise(number)).save(tmp_path / "in" / name)
    return tmp_path / "in"


@pytest.fixture
def packed(photos):
    out = photos.with_name("out")
    assert lat("compress", "-r", photos, "--lossless", "--out-dir", out).returncode == 0
    return out


# -- lat compare -----------------------------------------------------------------------------------------------------


def test_folders_are_compared_by_name(photos, packed):
    done = lat("compare", photos, packed, "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and len(rows) == 6 and all(row["identical"] for row in rows)
    assert all(row["ssimulacra2"] == 100 and row["psnr"] is None and row["metadata"] == "kept" for row in rows)
    (packed / "sub" / "c.lat").unlink()
    (packed / "more.lat").write_bytes((packed / "a.lat").read_bytes())
    done = lat("compare", photos, packed)
    assert done.returncode == 1 and "nothing of it" in done.stderr and "1 without an original" in done.stderr


def test_a_folder_is_compared_with_itself(photos):
    assert lat("compress", "-r", photos, "--lossless").returncode == 0
    done = lat("compare", photos, photos)
    assert done.returncode == 0 and "6 compared, 0 failed" in done.stderr, done.stderr


def test_any_two_pictures_are_compared(tmp_path, photos):
    Image.fromarray(noise(0)).save(tmp_path / "a.jpg", quality=90)
    one = json.loads(lat("compare", photos / "a.png", tmp_path / "a.jpg", "--json").stdout)
    assert not one["identical"] and 10 < one["psnr"] < 60 and one["ssimulacra2"] < 100
    assert lat("compare", photos / "a.png", tmp_path / "a.jpg", "--check", 99).returncode == 1
    assert lat("compare", photos / "a.png", photos / "a.png", "--check", 99).returncode == 0
    Image.fromarray(noise(0)[:9]).save(tmp_path / "small.png")
    other = lat("compare", photos / "a.png", tmp_path / "small.png")
    assert other.returncode == 1 and "different sizes" in other.stderr


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["in/a.png", "no.lat"], 1, "no such file"),
        (["in", "in/a.png"], 2, "two files, or two folders"),
        (["in/a.png", "text.lat"], 1, "text.lat"),
    ],
)
def test_mistakes_are_named(tmp_path, photos, args, code, words):
    (tmp_path / "text.lat").write_text("no picture")
    done = lat("compare", *(tmp_path / arg for arg in args))
    assert done.returncode == code and words in done.stderr


def test_without_torch_psnr_is_told_alone(photos, packed, monkeypatch):
    monkeypatch.setattr(compare, "ssimulacra2", lambda a, b: None)
    Image.fromarray(noise(0) ^ 1).save(photos.with_name("other.png"))
    done = lat("compare", photos / "a.png", photos.with_name("other.png"))
    assert done.returncode == 0 and "PSNR only" in done.stderr and "SSIMULACRA 2 needs PyTorch" in done.stderr
    assert lat("compare", photos / "a.png", photos.with_name("other.png"), "--check", 1).returncode == 1


def test_what_is_invisible_counts_for_identity_alone():
    a = noise(channels=4)
    a[:10, :, 3] = 0
    b = a.copy()
    b[:10, :, :3] = 7
    found = compare.compare(Picture(a, "RGBA"), Picture(b, "RGBA"))
    assert not found.identical and found.ssimulacra2 == 100 and found.same_alpha
    b[0, 0, 3] = 255
    assert not compare.compare(Picture(a, "RGBA"), Picture(b, "RGBA")).same_alpha


def test_grey_beside_colour_and_turned_beside_upright_are_the_same():
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = noise(channels=1)
    turned = Picture(grey, "L", {"exif": exif.tobytes()})
    upright = Picture(np.repeat(np.rot90(grey, -1), 3, 2), "RGB")
    found = compare.compare(turned, upright)
    assert found.identical and found.metadata == ("EXIF is missing",)


def test_the_smallest_pictures_have_a_score_too():
    pixel = np.zeros((1, 1, 3), np.uint8)
    found = compare.compare(Picture(pixel, "RGB"), Picture(pixel + 90, "RGB"))
    assert found.ssimulacra2 is not None and found.ssimulacra2 < 90


# -- lat info --------------------------------------------------------------------------------------------------------


def test_many_files_are_a_table(packed):
    done = lat("info", "-r", packed)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 7 and lines[0].split()[0] == "file"
    assert all("30 × 20" in line and "lossless" in line and "none needed" in line for line in lines[1:])
    rows = [json.loads(line) for line in lat("info", packed / "a.lat", packed / "b.lat", "--json").stdout.splitlines()]
    assert [row["made_of"] for row in rows] == ["PNG", "TIFF"]
    (packed / "bad.lat").write_bytes(b"nothing")
    done = lat("info", "-r", packed)
    assert done.returncode == 1 and len(done.stdout.splitlines()) == 7 and "bad.lat" in done.stderr


def test_info_tells_the_quality_that_was_asked_for(tmp_path, quick_codec):
    Image.fromarray(noise()).save(tmp_path / "a.png")
    assert lat("compress", tmp_path / "a.png", "-q", "62.5").returncode == 0
    said = lat("info", tmp_path / "a.lat").stdout
    assert "62.5" in said and "rate row" not in said


# -- lat decompress --format -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["jpg", "webp", "png", "tif"])
def test_a_folder_comes_back_in_any_format(packed, tmp_path, format):
    back = tmp_path / "back"
    assert lat("decompress", "-r", packed, "--out-dir", back, "--format", format).returncode == 0
    names = {path.name for path in back.rglob("*") if path.is_file()}
    assert names == {f"{name}.{format}" for name in ("a", "b", "c", "d.png", "d.gif")}


def test_each_comes_back_as_what_it_was(packed, tmp_path):
    back = tmp_path / "back"
    for code in (0, 3):
        assert lat("decompress", "-r", packed, "--out-dir", back, "--format", "original").returncode == code
    for name, format in (("a.png", "PNG"), ("b.tif", "TIFF"), ("sub/c.bmp", "BMP"), ("d.png", "PNG"), ("d.gif", "GIF")):
        with Image.open(back / name) as image:
            assert image.format == format
    assert sum(path.is_file() for path in back.rglob("*")) == 6


def test_a_format_and_a_name_are_not_said_twice(packed, tmp_path):
    one = packed / "a.lat"
    assert lat("decompress", one, "-o", tmp_path / "x.jpg", "--format", "png").returncode == 2
    assert lat("decompress", one, "-o", "-", "--format", "jpg", binary=True).stdout.startswith(b"\xff\xd8")
    assert lat("decompress", one, "--format", "original").returncode == 0 and one.with_suffix(".png").exists()


def test_records_tell_the_format_and_old_ones_none(packed):
    data = (packed / "b.lat").read_bytes()
    assert find(data).format == "TIFF" and find(data).settings == "--lossless"
    plain = Record(5, bytes(8), "-q 50")
    from codec.runs.record import remove

    assert find(add(remove(data), plain)) == plain


# -- typed as people type it -----------------------------------------------------------------------------------------


def test_a_second_name_that_ends_in_lat_and_is_new_is_the_output(photos, tmp_path):
    out = tmp_path / "out.lat"
    assert lat("compress", photos / "a.png", out, "--lossless").returncode == 0 and out.exists()
    assert not (photos / "a.lat").exists()
    again = lat("compress", photos / "a.png", out, "--lossless")
    assert again.returncode == 1 and f"-o {out} --overwrite" in again.stderr and not (photos / "a.lat").exists()
    assert lat("compress", photos, tmp_path / "x.lat", "-r", "--lossless").returncode == 1
    assert not (tmp_path / "x.lat").exists()


@pytest.mark.parametrize(
    ("text", "size"),
    [("20KB", 20_000), ("20 kB", 20_000), ("200k", 200_000), ("1.5M", 1_500_000), ("1MiB", 2**20), ("1ki", 1024)]
    + [("50,000", 50_000), ("5000b", 5000), ("5000 bytes", 5000), (".5MB", 500_000), ("1GB", 10**9), ("70000", 70_000)],
)
def test_sizes_are_spelled_as_people_do(text, size):
    assert parse_bytes(None, None, text) == size


@pytest.mark.parametrize("text", ["", "k", "20XB", "-5k", "1e3", "0", "0.1", "20ib", "nan", "١k"])
def test_what_is_no_size_is_refused(text):
    import click

    with pytest.raises(click.BadParameter):
        parse_bytes(None, None, text)


def test_options_are_listed_in_groups():
    said = lat("compress", "--help").stdout
    places = [said.index(f"\n{title}:") for title in ("Quality", "What is kept", "Which files", "Safety", "Speed")]
    assert places == sorted(places) and "--remove-source" in said


def test_summaries_keep_their_numbers():
    deep = "12-bit samples are reduced to 8 bits"
    rows = [Row("a", "", notes=[deep]), Row("b", "", notes=[deep])]
    assert summary(rows) == [f"2 files: {deep}"]
    rows += [Row("c", "", notes=["16-bit samples are reduced to 8 bits", "{odd} 1,200: 5"])]
    assert summary(rows) == ["3 files: 12 … 16-bit samples are reduced to 8 bits", "1 file: (odd) 1,200"]
    assert with_numbers(*(lambda kind, own: (kind, [own, ("1,900",)]))(*kind_of_note("2 of x"))) == "2 … 1,900 of x"
