"""Child process: `python -m tests.symbols FILE [threads] [layout]` prints a digest of all latents of a .lat file."""

import hashlib
import sys

import torch

from codec import Codec, container, entropy_model


def digest(codec: Codec, data: bytes, order=None) -> str:
    parsed = container.parse(data)
    tiles = {}
    for i in order or range(len(parsed.tiles)):
        latents = codec.tiles.decode(parsed, i)
        tiles[i] = latents.z_hat.contiguous().numpy().tobytes() + latents.y_hat.contiguous().numpy().tobytes()
    return hashlib.sha256(b"".join(tiles[i] for i in sorted(tiles))).hexdigest()


if __name__ == "__main__":
    path, threads, layout = sys.argv[1:]
    torch.set_num_threads(int(threads))
    entropy_model.LAYOUT = getattr(torch, layout)
    with open(path, "rb") as file:
        print(digest(Codec.load(), file.read()))
