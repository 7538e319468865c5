"""Damaged .lat files by the thousand: `python -m tests.fuzz --count 100000 --seed 1`.

Half of the files carry plain damage; the other half are forged: fields, sizes and tile bytes are changed and every
CRC is computed afresh, so that the decoder itself is reached. The one allowed outcome beside a picture of the
promised size is a LatError, within a second.
"""

import random
import struct
import sys
import time
import zlib
from dataclasses import replace

import click
import numpy as np

from codec import Codec, LatError, container
from codec.lossless import ESTIMATE, patches
from codec.settings import Settings

MAX_PIXELS = 2**18


def seeds(codec: Codec, lossless: bool = False) -> list[bytes]:
    """Small files of all modes, with one tile and with several, with patches over some; or lossless everywhere."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 4), np.uint8)
    pixels[:, :, :3] = np.add.outer(np.arange(50), np.arange(70))[:, :, None] + pixels[:, :, :3] // 8
    files = []
    for channels in (1, 2, 3, 4):
        for tile in (4, 64):
            files.append(
                codec.encode_picture(pixels[:, :, :channels].copy(), Settings(30, tile=tile, lossless=lossless))
            )
            if not lossless:
                tiles = container.parse(files[-1])
                over = patches(pixels[:, :, :channels], pixels[:, :, 0] > 100, ESTIMATE)
                files.append(container.build(replace(tiles, patches=over)))
    return files


def bent(data: bytes, generator: random.Random) -> bytes:
    """One to eight bytes flipped, replaced, removed, inserted, or the rest cut off."""
    out = bytearray(data)
    for _ in range(generator.choice((1, 1, 2, 8))):
        at = generator.randrange(len(out)) if out else 0
        match generator.randrange(5):
            case 0 if out:
                out[at] ^= 1 << generator.randrange(8)
            case 1 if out:
                out[at] = generator.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del out[at : at + generator.randrange(1, 9)]
            case 3:
                out[at:at] = generator.randbytes(generator.randrange(1, 9))
            case 4 if generator.random() < 0.3:
                del out[at:]
    return bytes(out)


def forged(data: bytes, generator: random.Random) -> bytes:
    """A file whose checksums are right and whose content is not."""
    parsed = container.parse(data)
    header, tiles, over = parsed.header, [bytes(t) for t in parsed.tiles], list(parsed.patches)
    match generator.choice((0, 1, *(2, 3) * bool(tiles), *(4, 4, 5) * bool(over))):
        case 0:
            side = generator.choice((0, 1, 16, 64, 65, 1000, 65535, 2**31 - 1, generator.randrange(2**20)))
            header = replace(header, **{generator.choice(("width", "height")): side})
        case 1:
            header = replace(header, mode=generator.choice(container.MODES), tile=4 * generator.randrange(1, 17))
        case 2:
            at = generator.randrange(len(tiles))
            tiles[at] = bent(tiles[at], generator)
        case 3:
            at = generator.randrange(len(tiles))
            size = generator.choice((8, 12, 400))
            tiles[at] = tiles[at][:5] + generator.choice((bytes(size), b"\xff" * size, generator.randbytes(size)))
        case 4:
            over[0] = replace(over[0], stream=bent(bytes(over[0].stream), generator))
        case 5:
            place = generator.choice((0, 1, 60, 4096, 2**31 - 1))
            over[0] = replace(over[0], **{generator.choice(("left", "top")): place})
            over *= generator.choice((0, 1, 2))
    index = b"".join(container.varint(len(t)) + struct.pack("<I", zlib.crc32(t)) for t in tiles)
    chunks = [container.chunk(b"HEAD", header.pack(parsed.minor))]
    if len(tiles) > 1:
        chunks.append(container.chunk(b"INDX", bent(index, generator) if generator.random() < 0.1 else index))
    chunks += [container.chunk(b"LOSS", patch.pack()) for patch in over]
    chunks.append(container.chunk(b"DATA", b"".join(tiles)))
    return container.MAGIC + b"".join(chunks)


def fuzz(count: int, seed: int, lossless: bool = False) -> dict[str, int]:
    """Outcomes by name. Raises whatever is no LatError."""
    codec, generator = Codec.load(), random.Random(seed)
    good = seeds(codec, lossless)
    outcomes: dict[str, int] = {}
    for number in range(count):
        data = generator.choice(good)
        data = forged(data, generator) if number % 2 else bent(data, generator)
        start = time.perf_counter()
        try:
            image = codec.decode(data, max_pixels=MAX_PIXELS)
            header = container.parse(data).header
            assert (image.size, image.mode) == ((header.width, header.height), header.mode)
            outcome = "picture"
        except LatError as error:
            outcome = type(error).__name__
        except BaseException:
            print(f"seed {seed}, file {number}: {data.hex()}", file=sys.stderr)
            raise
        seconds = time.perf_counter() - start
        outcomes["slowest_ms"] = max(outcomes.get("slowest_ms", 0), round(seconds * 1000))
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return outcomes


@click.command()
@click.option("--count", default=10_000, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--lossless", is_flag=True, help="Files that are lossless everywhere, twenty times as fast.")
def main(count: int, seed: int, lossless: bool) -> None:
    click.echo(fuzz(count, seed, lossless))


if __name__ == "__main__":
    main()
