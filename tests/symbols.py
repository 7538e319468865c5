"""Child process: `python -m tests.symbols FILE ENGINE THREADS` prints a digest of a .lat file's latents."""

import hashlib
import sys

from codec import Codec, container


def digest(codec: Codec, data: bytes, order=None) -> str:
    parsed = container.parse(data)
    tiles = {}
    for i in order or range(len(parsed.tiles)):
        latents = codec.tile_coder.decode(parsed, i)
        tiles[i] = latents.z_hat.tobytes() + latents.y_hat.tobytes()
    return hashlib.sha256(b"".join(tiles[i] for i in sorted(tiles))).hexdigest()


if __name__ == "__main__":
    path, engine, threads = sys.argv[1:]
    with open(path, "rb") as file:
        print(digest(Codec.load(engine=engine, threads=int(threads)), file.read()))
