"""What no photograph looks like never takes more bytes than it does without loss; photographs are not held up."""

import numpy as np
import pytest
from PIL import Image

from bench.patterns import BYTES, DRAWINGS, FACTOR, family, lossless_webp
from codec import container, estimate, lossless, mixed
from codec.arguments import as_picture
from codec.settings import Settings

SHOWN = (
    "checkerboard 1",
    "checkerboard 1, faint",
    "checkerboard with alpha",
    "gradient, colour",
    "noise, one tile repeated",
    "photograph and checkerboard",
    "photograph, one tile repeated",
    "pixel art × 1",
    "stripes 5, slanted",
    "tall",
    "zone plate",
    "photograph of 1 × 1",
    "checkerboard of 3 × 3",
    "noise of 17 × 31",
)


@pytest.fixture(scope="module")
def pictures(photo) -> dict[str, np.ndarray]:
    return family(np.asarray(photo))


@pytest.mark.parametrize("name", SHOWN)
def test_no_quality_takes_more_than_lossless(codec, pictures, name):
    pixels = pictures.get(name, np.random.default_rng(0).integers(0, 256, (31, 17, 3), dtype=np.uint8))
    limit = FACTOR * lossless_webp(as_picture(pixels).pixels) + BYTES
    for quality in (5, 50, 100):
        assert len(codec.encode(pixels, quality)) <= limit, quality


@pytest.mark.parametrize("name", ["noise 20", "noise 60, colour", "speckle", "zone plate, off centre"])
def test_what_costs_less_without_loss_is_kept_so_from_quality_90_on(codec, pictures, name):
    pixels = pictures[name]
    for quality in (90, 100):
        data = codec.encode(pixels, quality)
        assert container.parse(data).header.lossless
        assert np.array_equal(np.asarray(codec.decode(data)), pixels)


@pytest.mark.parametrize("quality", [0, 50, 90, 100])
def test_photographs_are_told_by_a_sample(codec, photo, monkeypatch, quality):
    """No decoding, no lossless coding of all of it: what is looked at is counted in pixels."""
    coded, synthesised = [], []
    webp, engine = lossless.webp, codec.engine.transforms
    monkeypatch.setattr(lossless, "webp", lambda pixels, effort: coded.append(pixels.size) or webp(pixels, effort))
    monkeypatch.setattr(mixed, "distortion", lambda *args: pytest.fail("decoded"))
    monkeypatch.setattr(
        engine, "synthesise", lambda y, row, of=engine.synthesise: synthesised.append(y[0, 0].size) or of(y, row)
    )
    for size in ((768, 512), (300, 200), (96, 128)):
        coded.clear(), synthesised.clear()
        picture = as_picture(photo.crop((0, 0, *size)))
        made = mixed.encode(codec.learned, picture, Settings(quality))
        assert made.patches == [] and not made.header.lossless
        most = max(size[0] * size[1] / 40, estimate.LEAST * 1.2)
        assert sum(coded) / 3 <= 2 * most and 256 * sum(synthesised) <= most
        assert quality > 0 or not synthesised


def test_samples_come_from_all_over_and_small_pictures_are_taken_whole(photo):
    pixels = np.asarray(photo)
    assert estimate.sample(pixels[:50, :60]).shape == (50, 60, 3)
    assert estimate.sample(np.zeros((3, 5000, 1), np.uint8)).shape[0] == 3
    large = np.broadcast_to(np.arange(2000, dtype=np.uint8)[None, :, None], (3000, 2000, 1))
    seen = estimate.sample(large)
    assert large.size / 60 <= seen.size <= large.size / 40 and len(np.unique(seen)) > 200


def test_what_is_found_twice_is_counted_once(photo):
    pixels = np.ascontiguousarray(np.asarray(photo)[:128, :256])
    flat = np.full_like(pixels, 255)
    assert estimate.distinct(pixels) > 0.98
    assert estimate.distinct(np.concatenate([flat, pixels, flat])) > 0.98
    for twice in (np.concatenate([pixels, pixels[::-1]]), np.concatenate([pixels, pixels], 1)):
        assert 0.45 < estimate.distinct(twice) < 0.55


def test_every_picture_is_drawn_the_same_again(photo):
    pixels = np.asarray(photo)
    for name, draw in DRAWINGS.items():
        first, again = (draw(np.random.default_rng(3), pixels) for _ in range(2))
        assert first.dtype == np.uint8 and np.array_equal(first, again), name
        Image.fromarray(first)
