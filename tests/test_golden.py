"""Files written by earlier releases decode to what they were."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from codec import Codec, weights
from codec.settings import Settings
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
    """Files of the installed weights that have none yet, and those that need no weights."""
    digests = json.loads((GOLDEN / "digests.json").read_text()) if (GOLDEN / "digests.json").exists() else {}
    with Image.open(PHOTO) as photo:
        crop = photo.convert("RGB").crop((300, 100, 530, 270))
    page = crop.copy()
    ImageDraw.Draw(page).rectangle((60, 0, 230, 170), "white")
    for y in range(2, 170, 16):
        ImageDraw.Draw(page).text((66, y), "judge my vow, black quartz", "black", ImageFont.load_default(11))
    translucent = crop.convert("RGBA")
    translucent.putalpha(crop.getchannel("G"))
    cases = {
        "rgb-q10": (crop, {"quality": 10}),
        "rgb-q90": (crop, {"quality": 90}),
        "grey": (crop.convert("L"), {}),
        "tiles": (crop, {"tile": 4}),
        "effort": (crop, {"quality": 20, "effort": 7}),  # takes the other set of tables
        "page": (page, {"tile": 4}),  # a patch over learned tiles, and empty ones
    }
    files = {f"{name}-{label}": (name, *case) for name in weights.cards() for label, case in cases.items()}
    files["lossless-rgba"] = weights.DEFAULT, translucent, {"lossless": True}
    files["lossless-grey"] = weights.DEFAULT, page.convert("L"), {"lossless": True}
    for label, (name, image, options) in files.items():
        path = GOLDEN / f"{label}.lat"
        if not path.exists():
            codec = Codec.load(name)
            data = codec.encode_picture(image, Settings(**options))
            path.write_bytes(data)
            codec.decode(data).save(path.with_suffix(".png"))
            digests[path.stem] = digest(codec, data)
    (GOLDEN / "digests.json").write_text(json.dumps(digests, indent=1) + "\n")


if __name__ == "__main__":
    write()
