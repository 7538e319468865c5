"""Pages and frames: all of them come back, or the exit code is 1, unless the first was asked for."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from codec import container, lossless
from codec.picture import frames
from codec.picture.image import open_image
from codec.runs import plan
from tests.conftest import lat

KINDS = {
    "pages.tif": {},
    "big.tif": {"big_tiff": True},
    "film.gif": {"duration": 80},
    "film.webp": {"duration": 80, "lossless": True},
    "film.png": {"duration": 80},
    "two.mpo": {"quality": 95},
}


def shade(number: int, size: tuple[int, int] = (24, 16)) -> Image.Image:
    """A picture of one grey, darker from page to page: what each page is can be told after any format."""
    return Image.new("RGB", size, (200 - 60 * number,) * 3)


def save(path, count: int = 3):
    first, *others = (shade(i) for i in range(count))
    first.save(path, save_all=True, append_images=others, **KINDS[path.name])
    return path


def pixels_of(path) -> np.ndarray:
    return np.asarray(lossless.decode(container.parse(path.read_bytes())))


@pytest.mark.parametrize("name", KINDS)
def test_several_frames_come_back_all_or_the_run_fails(tmp_path, name):
    path = save(tmp_path / name)
    for options in ((), ("-r",)):
        refused = lat("compress", *options, tmp_path if options else path, "--lossless")
        assert refused.returncode == 1 and "has 3 frames" in refused.stderr and "--all-frames" in refused.stderr
        assert "--first-frame" in refused.stderr and [p.name for p in tmp_path.iterdir()] == [name]
    first = lat("compress", path, "--lossless", "--first-frame", "-o", tmp_path / "first.lat")
    assert first.returncode == 0 and abs(int(pixels_of(tmp_path / "first.lat").mean()) - 200) < 3
    assert lat("compress", path, "--lossless", "--all-frames", "--out-dir", tmp_path / "out").returncode == 0
    made = sorted((tmp_path / "out").iterdir())
    assert [p.name for p in made] == [f"{path.stem}-00{i}.lat" for i in (1, 2, 3)]
    for number, each in enumerate(made):
        assert abs(int(pixels_of(each)[..., :3].mean()) - (200 - 60 * number)) < 3
    again = lat("compress", path, "--lossless", "--all-frames", "--out-dir", tmp_path / "out")
    assert again.returncode == 3
    assert lat("compare", tmp_path, tmp_path / "out").returncode == 0


@pytest.mark.parametrize("name", ["a.ico", "b.png", "c.jpg", "d.gif"])
def test_one_picture_is_one(tmp_path, name):
    shade(0).save(path := tmp_path / name)
    assert lat("compress", path, "--lossless", "--all-frames").returncode == 0
    assert path.with_suffix(".lat").exists()


def test_an_icon_counts_as_one(tmp_path):
    shade(0, (32, 32)).save(path := tmp_path / "a.ico", sizes=[(32, 32), (16, 16)])
    assert lat("compress", path, "--lossless").returncode == 0


def tiff_of(kinds: list[int]) -> bytes:
    """A TIFF of grey pages with these values of NewSubfileType."""
    data, links = bytearray(b"II*\0\0\0\0\0"), [4]
    for number, kind in enumerate(kinds):
        at = len(data)
        struct.pack_into("<I", data, links[-1], at)
        tags = [(254, 4, kind), (256, 3, 2), (257, 3, 2), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
        tags += [(273, 4, at + 2 + 12 * 9 + 4), (277, 3, 1), (279, 4, 4)]
        data += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", t, k, 1, v) for t, k, v in tags)
        links.append(len(data))
        data += bytes(4) + bytes([number * 50] * 4)
    return bytes(data)


def test_smaller_copies_and_masks_of_a_page_are_no_pages(tmp_path):
    for kinds, pages in (([0, 1], 1), ([0, 4, 1], 1), ([2, 2, 1, 2], 3)):
        data = tiff_of(kinds)
        image = open_image(io.BytesIO(data), "a.tif")
        assert frames.count(image, data, "a.tif") == pages
    third = frames.read_page(data, "a.tif", 3)
    assert third.pixels.max() == third.pixels.min() == 150


def test_directories_that_go_in_a_circle_end():
    data = bytearray(tiff_of([0, 0]))
    struct.pack_into("<I", data, len(data) - 8, 8)
    assert len(frames.tiff_pages(bytes(data))) == 2
    assert frames.tiff_pages(bytes(data[:30])) == []


def test_names_of_frames_meet_no_other_output(tmp_path):
    save(tmp_path / "pages.tif")
    shade(0).save(tmp_path / "pages-002.png")
    done = lat("compress", "-r", tmp_path, "--lossless", "--all-frames")
    assert done.returncode == 1 and done.stderr.count("would be that of") >= 2, done.stderr
    assert {p.name for p in tmp_path.glob("*.lat")} == {"pages-001.lat", "pages-003.lat"}


def test_the_plan_shows_all_frames(tmp_path):
    path = save(tmp_path / "film.gif")
    shown = lat("compress", path, "--all-frames", "--dry-run")
    assert shown.returncode == 0 and shown.stdout.count("→") == 3 and "film-003.lat" in shown.stdout
    assert len(plan.name_pages(path, 1200)) == 1200 and plan.name_pages(path, 1200)[0][0].name == "film-0001.gif"


def test_all_frames_need_names(tmp_path):
    path = save(tmp_path / "film.gif")
    assert lat("compress", path, "--all-frames", "-o", tmp_path / "x.lat").returncode == 2
    assert lat("compress", "-", "--all-frames", input=path.read_bytes()).returncode == 2
    assert lat("compress", path, "--all-frames", "--first-frame").returncode == 2


def test_a_gain_map_or_a_preview_is_no_page(tmp_path):
    save(path := tmp_path / "two.mpo", 2)
    data = bytearray(path.read_bytes())
    at = data.index(b"MPF\0") + 4
    entries = data.index(struct.pack("<HHI", 0xB002, 7, 32), at)
    place = at + struct.unpack_from("<I", data, entries + 8)[0] + 16
    struct.pack_into("<I", data, place, 0x010002)  # a large thumbnail, as cameras write it
    path.write_bytes(data)
    done = lat("compress", path, "--lossless")
    assert done.returncode == 0 and "dropped further picture" in done.stderr, done.stderr
