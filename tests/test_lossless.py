"""What is no photograph: coded losslessly where that costs less, on request everywhere, beside what is learned."""

import io
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from codec import ChecksumError, FormatError, LatError, container, graphics, lossless
from codec.arguments import as_picture
from codec.settings import Settings
from codec.tiles import tile_kinds
from tests.conftest import drawn, psnr, run
from tests.reference import patched


@pytest.fixture(scope="module")
def page() -> Image.Image:
    return drawn(208, 160)


@pytest.fixture(scope="module")
def mosaic(photo) -> Image.Image:
    """A photograph with text below it."""
    out = drawn(256, 320)
    out.paste(photo.crop((300, 100, 556, 260)), (0, 0))
    return out


@pytest.fixture(scope="module")
def mixed(codec, mosaic) -> bytes:
    return codec.encode_picture(mosaic, Settings(50, tile=8))


def kinds(data: bytes) -> dict[str, int]:
    return tile_kinds(container.parse(data))


def with_alpha(pixels: np.ndarray) -> np.ndarray:
    alpha = np.indices(pixels.shape[:2]).sum(0, dtype=np.uint8)
    return np.dstack([pixels, alpha])


@pytest.mark.parametrize("mode", ["1", "P", "L", "LA", "RGB", "RGBA"])
def test_lossless_gives_every_pixel_back(codec, page, crop, mode):
    for picture in (page, Image.fromarray(with_alpha(crop))):
        image = picture.convert("RGB").quantize(32) if mode == "P" else picture.convert(mode)
        data = codec.encode(image, lossless=True)
        kept = as_picture(image, exact=True)
        assert codec.decode(data).mode == kept.mode
        assert np.array_equal(np.asarray(codec.decode(data)).reshape(kept.pixels.shape), kept.pixels)
        assert np.array_equal(patched(data, np.zeros_like(kept.pixels)), kept.pixels)


def test_lossless_is_hardly_larger_than_webp(codec, page):
    out = io.BytesIO()
    page.save(out, "WEBP", lossless=True, method=6, quality=100)
    assert len(codec.encode(page, lossless=True)) <= 1.03 * out.tell() + 100


def test_colours_under_full_transparency_are_kept(codec, crop):
    hidden = np.dstack([crop, np.zeros(crop.shape[:2], np.uint8)])
    assert np.array_equal(np.asarray(codec.decode(codec.encode(hidden, lossless=True))), hidden)


def test_large_pictures_are_lossless_in_cells(codec):
    wide = np.zeros((3, 4099, 3), np.uint8)
    wide[:, ::7] = 200
    data = codec.encode(wide, lossless=True)
    assert [(p.left, p.width) for p in container.parse(data).patches] == [(0, 4096), (4096, 3)]
    assert np.array_equal(np.asarray(codec.decode(data)), wide)
    assert np.array_equal(np.asarray(codec.decode_region(data, (4090, 1, 4099, 3))), wide[1:3, 4090:4099])


@pytest.mark.parametrize("mode", ["I;16", "F", "CMYK"])
def test_samples_that_would_be_reduced_are_refused(codec, mode):
    with pytest.raises(LatError, match="cannot be kept exactly: "):
        codec.encode(Image.new(mode, (8, 8)), lossless=True)


def test_colours_of_16_bits_are_noticed(tmp_path):
    """Pillow has no such pictures, and says nothing where it reduces them."""
    path = tmp_path / "deep.png"
    rows = b"".join(b"\0" + bytes(range(12)) for _ in range(2))

    def chunk(kind: bytes, payload: bytes) -> bytes:
        crc = container.zlib.crc32(kind + payload)
        return len(payload).to_bytes(4, "big") + kind + payload + crc.to_bytes(4, "big")

    header = (2).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])
    body = chunk(b"IHDR", header) + chunk(b"IDAT", container.zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with Image.open(path) as image:
        assert as_picture(image).reduced == "16-bit samples are reduced to 8 bits"


def test_decoding_lossless_files_takes_no_torch(codec, page, tmp_path):
    path = tmp_path / "page.lat"
    path.write_bytes(codec.encode(page, lossless=True))
    code = (
        "import sys, codec.plugin; from PIL import Image; Image.open(sys.argv[1]).load(); "
        "from codec.command.cli import main; main(['decompress', sys.argv[1]], standalone_mode=False); "
        "assert not {'torch', 'codec.coder'} & set(sys.modules)"
    )
    result = run("-c", code, str(path), text=True)
    assert result.returncode == 0, result.stderr
    with Image.open(path.with_suffix(".png")) as back:
        assert back.tobytes() == page.tobytes()


def test_pages_become_lossless_and_photographs_stay_as_they_are(codec, page, crop):
    assert kinds(codec.encode(page, quality=50)) == {"learned": 0, "mixed": 0, "lossless": 1}
    plain = container.build(codec.learned.encode(as_picture(crop), Settings(quality=95)))
    assert codec.encode(crop, quality=95) == plain
    assert container.parse(plain).minor == 0


@pytest.mark.parametrize("kind", ["noise", "grey noise", "stars", "smooth"])
def test_what_only_resembles_graphics_stays_learned(kind):
    generator = np.random.default_rng(0)
    noise = generator.normal(128, 40, (128, 128, 3)).clip(0, 255).astype(np.uint8)
    sky = generator.normal(8, 2, (128, 128, 3)).clip(0, 255).astype(np.uint8)
    sky[generator.integers(0, 128, 40), generator.integers(0, 128, 40)] = 255
    smooth = np.add.outer(np.arange(128), np.arange(128)).astype(np.uint8)[..., None]
    pictures = {"noise": noise, "grey noise": noise[..., :1], "stars": sky, "smooth": smooth // 2}
    assert graphics.find(pictures[kind]) is None


def test_a_page_with_a_photograph_is_both(codec, mosaic, mixed):
    assert kinds(mixed) == {"learned": 2, "mixed": 2, "lossless": 2}
    plain = container.build(codec.learned.encode(as_picture(mosaic), Settings(quality=50, tile=8)))
    pixels, decoded, before = (np.asarray(x) for x in (mosaic, codec.decode(mixed), codec.decode(plain)))
    assert len(mixed) < 0.6 * len(plain)
    assert np.array_equal(decoded[160:], pixels[160:])
    assert psnr(decoded, pixels) > psnr(before, pixels)
    at_border = slice(152, 160)  # no worse than where there was text beside it
    assert psnr(decoded[at_border], pixels[at_border]) > psnr(before[at_border], pixels[at_border]) - 0.05


def test_the_independent_reader_puts_patches_where_they_belong(codec, mixed):
    file = container.parse(mixed)
    below = np.asarray(codec.decode(replace(file, patches=[])))
    assert np.array_equal(patched(mixed, below), np.asarray(codec.decode(mixed)))


def test_a_region_of_both_is_that_part_of_the_picture(codec, mixed):
    whole = np.asarray(codec.decode(mixed))
    for box in ((0, 0, 256, 320), (100, 140, 190, 200), (3, 200, 9, 300), (0, 0, 16, 16)):
        region = np.asarray(codec.decode_region(mixed, box))
        assert np.array_equal(region, whole[box[1] : box[3], box[0] : box[2]])


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_both_in_grey_and_with_alpha(codec, mosaic, channels):
    pixels = with_alpha(np.asarray(mosaic))
    pixels = pixels if channels == 4 else pixels[..., [1, 3][:channels]]
    data = codec.encode_picture(pixels, Settings(40, tile=8))
    decoded = np.asarray(codec.decode(data)).reshape(pixels.shape)
    assert container.parse(data).patches
    assert np.array_equal(decoded[160:], pixels[160:])
    if channels in (2, 4):
        assert np.array_equal(decoded[..., -1], pixels[..., -1])


def test_effort_and_targets_work_on_both(codec, mosaic):
    from codec.target import to_psnr, to_size

    small = mosaic.crop((0, 96, 128, 224))
    assert container.parse(codec.encode(small, effort=4)).patches
    assert len(to_size(codec, small, 4000).data) <= 4000
    assert to_psnr(codec, small, 38).value >= 38


def test_a_page_meets_targets_by_being_lossless(codec, page):
    from codec.target import to_psnr, to_size

    exact = codec.encode(page)
    assert to_psnr(codec, page, 40).data == exact
    assert to_size(codec, page, 10 * len(exact)).data == exact


def test_a_damaged_patch_is_found_and_can_be_ignored(codec, mixed, tmp_path):
    at = mixed.index(b"LOSS") + 200
    damaged = mixed[:at] + bytes([mixed[at] ^ 1]) + mixed[at + 1 :]
    with pytest.raises(ChecksumError, match="LOSS"):
        container.parse(damaged).verify()
    with pytest.raises(ChecksumError, match="LOSS"):
        codec.decode(damaged)
    reports = []
    picture = codec.decode(damaged, on_error=lambda tile, error: reports.append(tile))
    assert reports == [None]
    assert np.array_equal(np.asarray(picture)[:128], np.asarray(codec.decode(mixed))[:128])
    path = tmp_path / "damaged.lat"
    path.write_bytes(damaged)
    assert run("-m", "codec", "verify", str(path)).returncode == 1


def forged(data: bytes, **changes) -> bytes:
    file = container.parse(data)
    return container.build(replace(file, patches=[replace(file.patches[0], **changes)]))


@pytest.mark.parametrize(
    "changes",
    [
        {"left": 1},  # leaves the picture
        {"top": 2**31 - 1},
        {"masked": True},  # does not cover the picture
        {"stream": b""},
        {"stream": b"\x2f" + b"\xff" * 4 + bytes(50)},  # another version
        {"stream": b"\x2f\xff\xff\xff\x0f" + bytes(50)},  # 16,384 × 16,384 pixels
    ],
)
def test_impossible_patches_are_refused(codec, page, changes):
    with pytest.raises(FormatError):
        codec.decode(forged(codec.encode(page, lossless=True), **changes))


def test_two_patches_in_a_cell_are_refused(codec, page):
    file = container.parse(codec.encode(page, lossless=True))
    with pytest.raises(FormatError, match="out of order"):
        container.parse(container.build(replace(file, patches=file.patches * 2)))


def test_a_stream_of_nonsense_is_refused_or_reported(codec, page):
    data = codec.encode(page, lossless=True)
    stream = bytes(container.parse(data).patches[0].stream)
    bad = forged(data, stream=stream[:40])
    with pytest.raises(FormatError):
        codec.decode(bad)
    reports = []
    picture = codec.decode(bad, on_error=lambda tile, error: reports.append(tile))
    assert reports == [0] and set(picture.tobytes()) == {lossless.FLAT}


def test_latents_are_those_of_what_is_shown(codec, mosaic):
    from codec.latent.latents import Latents
    from codec.latent.similar import descriptor

    small = mosaic.crop((0, 100, 128, 228))
    exact, learned = codec.encode(small, lossless=True), codec.learned.encode(as_picture(small), Settings())
    assert np.array_equal(Latents.from_file(codec, exact).y_hat, Latents.from_file(codec, learned).y_hat)
    assert descriptor(codec, exact) @ descriptor(codec, container.build(learned)) > 0.999


def test_the_plugin_writes_lossless_files(page, tmp_path):
    import codec.plugin  # noqa: F401

    page.save(tmp_path / "page.lat", lossless=True)
    with Image.open(tmp_path / "page.lat") as back:
        assert back.tobytes() == page.tobytes()
    assert "codec.plugin" in sys.modules
