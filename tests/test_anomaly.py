"""What does not fit is found: in a picture alone, beside shots of a scene, beside other pieces of a surface."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from codec.errors import LatError
from codec.latent import anomaly
from codec.latent.surface import Surface
from tests.test_latents import lat


@pytest.fixture(scope="module")
def small(photo) -> Image.Image:
    return photo.crop((96, 64, 96 + 250, 64 + 170))


def test_a_scratch_is_surprising(codec, photo):
    wide = photo.crop((0, 64, 768, 64 + 170))
    scratched = wide.copy()
    ImageDraw.Draw(scratched).line([(660, 20), (710, 60)], fill=(240, 240, 240), width=2)
    before, after = (anomaly.features(codec, im).surprise for im in (wide, scratched))
    touched = np.zeros(before.shape, bool)
    touched[1:4, 41:45] = True
    assert after[touched].mean() > before[touched].mean() + 0.1
    assert np.abs(after - before)[:, :8].max() < 0.05, "far away nothing changes"


def test_a_fixed_camera_finds_a_stain(codec, small):
    random = np.random.default_rng(0)

    def shot(image):
        noisy = np.asarray(image) * random.uniform(0.97, 1.03) + random.normal(0, 2, (170, 250, 3))
        return np.clip(noisy, 0, 255).astype(np.uint8)

    normal = [anomaly.features(codec, shot(small)) for _ in range(6)]
    stained = np.asarray(small).copy()
    stained[64:96, 128:160] = stained[64:96, 128:160] * 0.6
    reference = anomaly.Scene(normal)
    values = reference.distance(anomaly.features(codec, shot(Image.fromarray(stained))))
    assert np.unravel_index(values.argmax(), values.shape) in [(4, 8), (4, 9), (5, 8), (5, 9)]
    limit = anomaly.threshold(anomaly.Scene, normal, 0.05)
    assert anomaly.score(values) > limit
    with pytest.raises(LatError, match="shots of one scene"):
        reference.distance(anomaly.features(codec, small.crop((0, 0, 64, 64))))


def brushed(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A grey surface with streaks, grain and light of its own, and darker borders."""
    x = random.uniform(70, 150) + random.normal(0, 8, width)[None] + random.normal(0, 4, (height, width))
    x = x + np.linspace(0, random.uniform(-30, 30), width)
    x[:, :6] *= 0.6
    return np.clip(x, 0, 255).astype(np.uint8)


def test_a_hole_in_a_surface_is_found_beside_pieces_of_other_sizes(codec):
    random = np.random.default_rng(0)
    normal = [Surface.measure(codec, brushed(random, 120 + 8 * i, 140 - 8 * i)) for i in range(6)]
    pierced = brushed(random, 130, 122)
    rows, columns = np.mgrid[:122, :130]
    pierced[np.hypot(rows - 70, columns - 60) < 6] = 30
    values = Surface(normal).distance(Surface.measure(codec, pierced))
    assert values.shape == (16, 17) and (values >= 0).all()
    y, x = np.unravel_index(values.argmax(), values.shape)
    assert np.hypot(8 * y + 4 - 70, 8 * x + 4 - 60) < 16
    limit = anomaly.threshold(Surface, normal, 0.05)
    assert anomaly.score(values) > limit
    with pytest.raises(LatError, match="at least two"):
        Surface(normal[:1])
    with pytest.raises(LatError, match="at least four"):
        anomaly.threshold(Surface, normal[:3], 0.05)


def test_pictures_smaller_than_a_latent_have_a_map(codec):
    random = np.random.default_rng(0)
    normal = [Surface.measure(codec, brushed(random, 8 + i, 5)) for i in range(3)]
    assert np.isfinite(Surface(normal).distance(normal[0])).all()


def test_anomaly_with_a_reference(tmp_path, small):
    folder = tmp_path / "normal"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(5):
        noisy = np.clip(np.asarray(small) + random.normal(0, 2, (170, 250, 3)), 0, 255)
        Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{i}.png")
    small.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "odd.png")
    found = json.loads(lat("anomaly", tmp_path / "odd.png", "--reference", folder, "--json"))
    assert found["anomalous"] is True and found["score"] > found["threshold"]


def test_the_command_takes_pieces_of_several_sizes(tmp_path):
    folder, random = tmp_path / "normal", np.random.default_rng(0)
    folder.mkdir()
    for i in range(5):
        Image.fromarray(brushed(random, 80 + 8 * i, 64)).save(folder / f"{i}.png")
    odd = brushed(random, 90, 70)
    odd[30:40, 40:52] = 20
    Image.fromarray(odd).save(tmp_path / "odd.png")
    found = json.loads(lat("anomaly", tmp_path / "odd.png", "--reference", folder, "--json", "-o", tmp_path / "h.png"))
    assert found["anomalous"] is True and found["cell"] == 8
    with Image.open(tmp_path / "h.png") as heat:
        assert heat.size == (90, 70)
