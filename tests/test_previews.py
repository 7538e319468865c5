"""Previews in .lat files: made by the rule, read without networks, ignored where they are not what they should be."""

import io
import os
import struct

import numpy as np
import pytest
from PIL import Image

import codec.plugin  # noqa: F401
from codec import LatError, container, lossless, previews
from codec.command import thumbnail as thumbnails
from codec.picture.image import Picture, from_pillow
from tests import reference
from tests.conftest import lat, run


def scene(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Dark on the left, light on the right, green at the bottom: one sees which way up it is."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 255 // width, y * 255 // height, x * 0], 2).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def packed(image: Image.Image, side=64, **metadata) -> bytes:
    """A lossless file, which takes no time."""
    picture = from_pillow(image)
    picture.metadata |= metadata
    return previews.with_preview(lossless.exact(picture, 1), picture, side)


def with_payload(payload: bytes, image: Image.Image | None = None) -> bytes:
    """A file with these bytes as its preview."""
    return previews.add(packed(image or scene(200, 100), 0), payload)


def webp(image: Image.Image, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, "WEBP", **options)
    return out.getvalue()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a.convert("RGB"), float) - np.asarray(b.convert("RGB"), float)).mean())


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_preview_shows_the_picture_in_its_mode(mode):
    image = scene(200, 100, mode)
    small = codec.preview(packed(image))
    assert (small.mode, small.size) == (mode, (64, 32))
    assert difference(small, image.resize((64, 32), Image.Resampling.LANCZOS)) < 6


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (1, 700), (900, 2), (333, 333), (64, 63), (65, 64)])
def test_pictures_of_any_size_get_a_preview_that_is_accepted(size):
    small = codec.preview(packed(scene(*size)))
    assert small.size == previews.scaled(size, 64)


def test_the_first_kilobytes_hold_it_whatever_metadata_there_are():
    data = packed(scene(200, 100), xmp=b"x" * 100_000, icc=b"profile")
    assert codec.preview(data[:3000]).size == (64, 32)
    assert codec.preview(data).info == {"icc_profile": b"profile"}
    assert codec.preview(container.parse(data)).info == {"icc_profile": b"profile"}


def test_paths_and_open_files_have_previews_too(tmp_path):
    path = tmp_path / "a.lat"
    path.write_bytes(packed(scene(200, 100)))
    with path.open("rb") as file:
        assert codec.preview(path).size == codec.preview(str(path)).size == codec.preview(file).size == (64, 32)
    with pytest.raises(LatError, match="not a .lat file"):
        codec.preview(b"no picture")
    with pytest.raises(LatError, match="missing.lat: cannot be read"):
        codec.preview(tmp_path / "missing.lat")
    with pytest.raises(TypeError, match="a file must be"):
        codec.preview(3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_previews_are_upright_and_drafts_are_as_stored(orientation):
    image, tag = scene(200, 100), exif(orientation)
    data = packed(image, exif=tag)
    image.info["exif"] = tag
    image.format = "LAT"
    upright = Image.open(io.BytesIO(data))
    small = codec.preview(data)
    assert small.size == ((32, 64) if orientation > 4 else (64, 32))
    upright.thumbnail((64, 64))
    assert upright.size == (64, 32) and upright.getexif()[0x0112] == orientation
    assert difference(upright, image.resize((64, 32))) < 6
    turn = previews.as_stored(small, orientation)
    assert difference(turn, upright) < 6


def test_without_a_preview_files_stay_byte_for_byte_what_they_are(codec, crop):
    plain = codec.encode(crop)
    with_it = codec.encode(crop, preview=32)
    assert codec.encode(crop, preview=0) == codec.encode(crop, preview="auto") == plain
    assert previews.remove(with_it) == plain and previews.remove(plain) == plain
    assert codec.decode(with_it).tobytes() == codec.decode(plain).tobytes()
    for wrong in (-1, 1025, "small", True, 3.5, None):
        with pytest.raises(LatError, match="preview must be"):
            codec.encode(crop, preview=wrong)


def test_a_reader_that_knows_nothing_of_previews_skips_them():
    plain, data = packed(scene(40, 30), 0), packed(scene(40, 30), 16)
    assert len(data) > len(plain)
    assert reference.read_chunks(data)[1] == reference.read_chunks(plain)[1]


def test_the_rule_takes_the_largest_side_within_its_share():
    noise = np.random.default_rng(0).integers(0, 256, (800, 1200, 3)).astype(np.uint8)
    picture = Picture(noise, "RGB")
    chosen = [previews.make(picture, "auto", size) for size in range(10_000, 1_200_000, 90_000)]
    sides = [max(previews.webp_size(made)) if made else 0 for made in chosen]
    assert sides == sorted(sides) and {0, *previews.SIDES} == {*sides}
    for made, size in zip(chosen, range(10_000, 1_200_000, 90_000)):
        assert not made or len(previews.chunk(made)) <= previews.SHARE * size
    assert previews.make(picture, "auto", 20_000) == b""


ANIMATED = webp(scene(64, 32), save_all=True, append_images=[scene(64, 32).transpose(Image.Transpose.ROTATE_180)])
GOOD = webp(scene(64, 32))
CUT = GOOD[:4] + struct.pack("<I", 52) + GOOD[8:60]  # of a stream that says that it is longer


@pytest.mark.parametrize(
    ("payload", "note"),
    [
        (b"", "cut, or"),
        (bytes(2**20 + 1), "more than"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "no WebP"),
        (ANIMATED, "no WebP of one frame"),
        (GOOD[:-10], "no WebP"),
        (GOOD + b"more", "no WebP"),
        (CUT, "ignored"),
        (webp(scene(32, 32)), "32 × 32 pixels"),
        (webp(scene(400, 200)), "400 × 200 pixels"),
        (webp(scene(64, 36)), "64 × 36 pixels"),
        (GOOD[:26] + struct.pack("<HH", 0x3FFF, 0x3FFF) + GOOD[30:], "16383 × 16383"),
    ],
)
def test_a_hostile_preview_is_ignored_with_a_note(payload, note, tmp_path):
    path = tmp_path / "a.lat"
    path.write_bytes(with_payload(payload))
    assert codec.preview(path) is None
    done = lat("thumbnail", path, "-s", 50, "-o", tmp_path / "a.png")
    assert done.returncode == 0 and note in done.stderr
    with Image.open(tmp_path / "a.png") as small:
        assert difference(small, scene(200, 100).resize((50, 25))) < 6
    assert payload == CUT or note in lat("info", path).stderr
    with Image.open(path) as image:
        image.thumbnail((50, 50))
        assert image.size == (50, 25)


def test_a_preview_with_a_wrong_checksum_is_ignored_and_the_file_is_damaged():
    data = bytearray(packed(scene(200, 100)))
    data[data.index(b"RIFF") + 50] ^= 1
    assert codec.preview(bytes(data)) is None
    with pytest.raises(LatError, match="chunk prev"):
        container.parse(bytes(data))


def test_only_the_first_preview_and_the_first_chunks_count():
    one, other = GOOD, webp(Image.new("RGB", (64, 32), "red"))
    data = previews.add(packed(scene(200, 100), 0), one)
    place = previews.front(io.BytesIO(data)).place
    twice = data[:place] + previews.chunk(one) + previews.chunk(other) + data[place:]
    assert codec.preview(twice).tobytes() == codec.preview(data).tobytes()
    late = data[:place] + container.chunk(b"many", b"") * 100 + data[place:]
    assert codec.preview(late) is None


def test_draft_takes_the_preview_where_it_is_large_enough_and_only_then():
    data = packed(scene(200, 100))
    with Image.open(io.BytesIO(data)) as image:
        assert image.draft(None, (65, 33)) is None and image.size == (200, 100)
        assert image.draft("L", (64, 32)) == ("RGB", (0, 0, 64, 32)) and image.size == (64, 32)
        assert image.draft(None, (1, 1)) is None
        assert image.load()[0, 0]
    with Image.open(io.BytesIO(data)) as image:
        image.thumbnail((100, 100))
        assert difference(image, scene(200, 100).resize((100, 50))) < 3
    with Image.open(io.BytesIO(data)) as image:
        image.thumbnail((500, 500))
        assert image.size == (200, 100)


def test_the_plugin_writes_previews_where_they_are_asked_for():
    out = io.BytesIO()
    scene(200, 100).save(out, "LAT", lossless=True, preview=50)
    assert codec.preview(out.getvalue()).size == (50, 25)
    with pytest.raises(ValueError, match="preview must be"):
        scene(9, 9).save(io.BytesIO(), "LAT", lossless=True, preview="big")


# -- commands --------------------------------------------------------------------------------------------------------


def test_compress_writes_the_preview_that_is_asked_for(tmp_path, quick_codec):
    scene(200, 100).save(tmp_path / "a.png")
    for options, size in (
        ((), None),
        (("--preview", 40), (40, 20)),
        (("--no-preview",), None),
        (("--preview", 0), None),
    ):
        assert lat("compress", tmp_path / "a.png", "--overwrite", *options).returncode == 0
        small = codec.preview(tmp_path / "a.lat")
        assert (small and small.size) == size
    assert lat("compress", tmp_path / "a.png", "--preview", 2000).returncode == 2
    assert lat("compress", tmp_path / "a.png", "--preview", 9, "--no-preview").returncode == 2


def test_a_target_of_bytes_counts_the_preview(tmp_path, photo):
    image = photo.resize((96, 64))
    image.save(tmp_path / "a.png")
    assert lat("compress", tmp_path / "a.png", "--target-size", "6k", "--preview", 60).returncode == 0
    assert codec.preview(tmp_path / "a.lat").size == (60, 40)
    assert (tmp_path / "a.lat").stat().st_size <= 6000
    done = lat("compress", tmp_path / "a.png", "--target-size", 300, "--preview", 96, "--overwrite")
    assert done.returncode == 1 and "--no-preview" in done.stderr


def test_a_thumbnail_of_a_preview_decodes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.lat"
    path.write_bytes(packed(scene(200, 100), icc=b"profile"))
    monkeypatch.setattr(thumbnails, "of_pixels", None)
    for name, format in (("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.webp", "WEBP"), ("a", "PNG")):
        assert lat("thumbnail", path, "-s", 50, "-o", tmp_path / name).returncode == 0
        with Image.open(tmp_path / name) as small:
            assert (small.format, small.size, small.info["icc_profile"]) == (format, (50, 25), b"profile")
    assert "exists" in lat("thumbnail", path, "-o", tmp_path / "a.png", "-s", 9).stderr
    assert "written as .png" in lat("thumbnail", path, "-o", tmp_path / "a.tif", "-s", 9).stderr


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_a_thumbnail_without_a_preview_is_decoded_upright(tmp_path, mode):
    path = tmp_path / "a.lat"
    path.write_bytes(packed(scene(200, 100, mode), 0, exif=exif(6)))
    for name, result in (("a.png", mode), ("a.jpg", mode[:-1])):
        assert lat("thumbnail", path, "-s", 50, "-o", tmp_path / name).returncode == 0
        with Image.open(tmp_path / name) as small:
            assert (small.size, small.mode) == ((25, 50), result) and not small.getexif()
    assert "more than 100 pixels" in lat("thumbnail", path, "--max-pixels", 100, "-o", tmp_path / "b.png").stderr


def test_a_thumbnail_needs_no_numpy(tmp_path):
    path = tmp_path / "a.lat"
    path.write_bytes(packed(scene(200, 100)))
    code = "import sys; from codec.command.start import entry\ntry: entry()\nfinally: print('numpy' in sys.modules)"
    done = run("-c", code, "thumbnail", str(path), "-s", "64", "-o", str(tmp_path / "a.png"), text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


def test_old_files_get_previews_and_keep_everything_else(tmp_path):
    path = tmp_path / "sub" / "a.lat"
    path.parent.mkdir()
    plain = packed(scene(200, 100), 0, exif=exif(6))
    path.write_bytes(plain)
    os.utime(path, ns=(10**18, 10**18 + 1))
    path.chmod(0o640)
    (tmp_path / "link.lat").symlink_to(path)
    assert lat("preview", "-r", tmp_path / "sub", "-s", 40).returncode == 0
    data, about = path.read_bytes(), path.stat()
    assert codec.preview(data).size == (20, 40) and previews.remove(data) == plain
    assert (about.st_mtime_ns, about.st_mode & 0o777) == (10**18 + 1, 0o640)
    assert lat("preview", "-r", tmp_path / "sub").returncode == 3, "they have one"
    assert lat("preview", tmp_path / "link.lat", "-s", 30, "--overwrite").returncode == 0
    assert (tmp_path / "link.lat").is_symlink() and codec.preview(path).size == (15, 30)
    assert lat("preview", path, "-s", 0).returncode == 0 and path.read_bytes() == plain
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.lat"]


def test_a_file_that_a_preview_would_make_much_larger_is_kept(tmp_path):
    path = tmp_path / "a.lat"
    path.write_bytes(plain := packed(scene(20, 10), 0))
    done = lat("preview", path)
    assert done.returncode == 0 and "gets no preview" in done.stderr and path.read_bytes() == plain


def test_a_damaged_file_gets_no_preview(tmp_path):
    path = tmp_path / "a.lat"
    data = bytearray(packed(scene(200, 100), 0))
    data[-20] ^= 1
    path.write_bytes(data)
    assert lat("preview", path, "-s", 9).returncode == 1 and path.read_bytes() == bytes(data)
    assert lat("preview", "-", "-s", 9, input=b"").returncode == 1
