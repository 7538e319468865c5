"""Files written by earlier releases decode to what they were."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codec import Codec, weights
from tests.conftest import PHOTO
from tests.symbols import digest

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(GOLDEN.glob("*.lat"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_golden_files_decode_to_the_last_bit(path):
    data = path.read_bytes()
    codec = Codec.for_file(data)
    assert digest(codec, data) == json.loads((GOLDEN / "digests.json").read_text())[path.stem]
    decoded = codec.decode(data)
    with Image.open(path.with_suffix(".png")) as expected:
        assert decoded.mode == expected.mode
        assert np.abs(np.asarray(decoded).astype(int) - np.asarray(expected).astype(int)).max() <= 1


def test_there_are_golden_files():
    assert FILES


def write() -> None:
    """Files of the installed weights that have none yet."""
    digests = json.loads((GOLDEN / "digests.json").read_text()) if (GOLDEN / "digests.json").exists() else {}
    with Image.open(PHOTO) as photo:
        crop = photo.convert("RGB").crop((300, 100, 530, 270))
    cases = {
        "rgb-q10": (crop, 10, 64, 3),
        "rgb-q90": (crop, 90, 64, 3),
        "grey": (crop.convert("L"), 50, 64, 3),
        "tiles": (crop, 50, 4, 3),
        "effort": (crop, 20, 64, 7),  # takes the other set of tables
    }
    for name, (label, (image, quality, tile, effort)) in itertools.product(weights.cards(), cases.items()):
        path = GOLDEN / f"{name}-{label}.lat"
        if not path.exists():
            codec = Codec.load(name)
            data = codec.encode(image, quality, effort=effort, tile=tile)
            path.write_bytes(data)
            codec.decode(data).save(path.with_suffix(".png"))
            digests[path.stem] = digest(codec, data)
    (GOLDEN / "digests.json").write_text(json.dumps(digests, indent=1) + "\n")


if __name__ == "__main__":
    write()
