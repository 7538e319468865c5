"""The `lat` command with a codec that takes no time, no torch and no care: `python -m tests.quick compress …`.

For tests of what is around a codec: names, damage, signals, workers.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from codec import container, loaded, weights
from codec.picture.image import to_pillow


class QuickCodec:
    """Writes .lat files with nothing in them, and reads them as black pictures."""

    def encode_picture(self, picture, settings, progress=None) -> bytes:
        header = container.Header(*picture.pixels.shape[1::-1], picture.mode, 64, bytes(8))
        tiles = [bytes(13) + picture.pixels.tobytes()[:64]] * (header.grid[0] * header.grid[1])
        return container.build(container.Container(header, tiles, picture.metadata))

    def decode(self, file, *args) -> Image.Image:
        header = file.header
        return to_pillow(np.zeros((header.height, header.width, len(header.mode)), np.uint8), file.metadata)


def install(put=setattr) -> None:
    """Instead of the real one, in the command and in bulk runs. `put`: setattr, or that of a monkeypatch."""
    put(loaded, "codec", lambda *args: QuickCodec())
    put(loaded, "codec_of", lambda *args: QuickCodec())
    put(weights, "name_for", lambda fingerprint: "quick")


if __name__ in ("__main__", "__mp_main__"):  # the second one is a worker's
    install()

if __name__ == "__main__":
    from codec.command.cli import entry

    entry()
