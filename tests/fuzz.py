"""Damaged .lat files by the thousand: `python -m tests.fuzz --count 100000 --seed 1`. SECURITY.md has the results.

Half of the files carry plain damage; the other half are forged: fields, sizes and tile bytes are changed and every
CRC is computed afresh, so that the decoder itself is reached. The one allowed outcome beside a picture of the
promised size is a LatError, within a second.

`--readers` has every reader there is read the same files: Python with both entropy coders, the one written from
FORMAT.md (`reference.py`) and the browser's, in Node. They must agree. The weights are those of `tiny.py`.
`--flips` flips single bits of a file that has all chunks: each must be noticed. `--weights` forges weights files.
"""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from unittest.mock import patch

import click
import numpy as np

from codec import Codec, LatError, container, plain_rans, rans
from codec.arguments import as_picture
from codec.container import Container, varint
from codec.errors import LimitError
from codec.lossless import ESTIMATE, patches
from codec.settings import Settings
from codec.weights import Weights
from tests import reference, tiny

MAX_PIXELS = 2**18
NODE = Path(__file__).with_name("verdicts.mjs")
SITE = Path(__file__).parent.parent / "codec" / "web" / "site" / "lat"


def seeds(codec: Codec, lossless: bool = False) -> list[bytes]:
    """Small files of all modes, with one tile and with several, with patches over some; or lossless everywhere."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 4), np.uint8)
    pixels[:, :, :3] = np.add.outer(np.arange(50), np.arange(70))[:, :, None] + pixels[:, :, :3] // 8
    files = []
    for channels in (1, 2, 3, 4):
        for tile in (4, 64):
            part, settings = pixels[:, :, :channels].copy(), Settings(30, tile=tile, lossless=lossless)
            if lossless:
                files.append(codec.encode_picture(part, settings))
                continue
            tiles = codec.learned.encode(as_picture(part), settings)
            over = patches(part, pixels[:, :, 0] > 100, ESTIMATE)
            files += [container.build(tiles), container.build(replace(tiles, patches=over))]
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


def assembled(file: Container, generator: random.Random, tiles: list[bytes]) -> bytes:
    """A file as its parts say, right or wrong, with right checksums."""
    index = b"".join(varint(len(t)) + struct.pack("<I", zlib.crc32(t)) for t in tiles)
    chunks = [container.chunk(b"HEAD", file.header.pack(file.minor))]
    if len(tiles) > 1:
        chunks.append(container.chunk(b"INDX", bent(index, generator) if generator.random() < 0.1 else index))
    chunks += [container.chunk(b"LOSS", patch.pack()) for patch in file.patches]
    chunks.append(container.chunk(b"DATA", b"".join(tiles)))
    match generator.randrange(30):
        case 0:
            generator.shuffle(chunks)
        case 1:
            chunks.insert(generator.randrange(len(chunks)), generator.choice(chunks))
        case 2:
            kind = generator.choice((b"newx", b"NEWX", b"____", b"te t", b"iccp", b"text"))
            chunks.insert(generator.randrange(len(chunks)), container.chunk(kind, generator.randbytes(5)))
    return container.MAGIC + b"".join(chunks)


def forged(data: bytes, generator: random.Random) -> bytes:
    """A file whose checksums are right and whose content is not."""
    file = container.parse(data)
    header, tiles, over = file.header, [bytes(t) for t in file.tiles], list(file.patches)
    match generator.choice((0, 1, *(2, 3, 4, 4) * bool(tiles), *(5, 6) * bool(over))):
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
            size = generator.choice((8, 12, 400, 4000, 10**5))
            stream = generator.choice((bytes(size), b"\xff" * size, generator.randbytes(size)))
            tiles[at] = generator.choice((b"", tiles[at][:5] + stream, tiles[at] + stream))
        case 4:
            at = generator.randrange(len(tiles))
            tiles[at] = with_alpha(tiles[at], generator) if header.has_alpha else bent(tiles[at], generator)
        case 5:
            over[0] = replace(over[0], stream=bent(bytes(over[0].stream), generator))
        case 6:
            place = generator.choice((0, 1, 60, 4096, 2**31 - 1))
            over[0] = replace(over[0], **{generator.choice(("left", "top")): place})
            over *= generator.choice((0, 1, 2))
    return assembled(replace(file, header=header, patches=over), generator, tiles)


def with_alpha(tile: bytes, generator: random.Random) -> bytes:
    """A tile with other alpha: too short, too long, without its end, with something behind it, damaged."""
    if not tile:
        return tile
    size, at = container.read_varint(tile, 5)
    samples = generator.choice((50 * 70, 64 * 50, 6 * 50, 2**22, 5))
    packed = zlib.compress(bytes(samples), generator.choice((0, 9)))
    dictionary = zlib.compressobj(zdict=bytes(9))
    other = [packed, packed[:-4], packed[:-1], packed + b"x", packed[:-4] + bytes(4), bent(packed, generator)]
    other += [tile[at : at + size][:-4], tile[at : at + size] + b"\0", b"", b"\x80", packed[2:-4]]
    other.append(dictionary.compress(bytes(samples)) + dictionary.flush())
    alpha = generator.choice(other)
    told = generator.choice((len(alpha),) * 9 + (2**32 - 1, generator.randrange(9)))
    return tile[:5] + varint(told) + alpha + tile[at + size :]


# -- one reader ------------------------------------------------------------------------------------------------------


def verdict(codec: Codec, data: bytes) -> str:
    """ "picture", or the name of a LatError. Raises whatever else comes."""
    try:
        image = codec.decode(data, max_pixels=MAX_PIXELS)
    except LatError as error:
        return type(error).__name__
    header = container.parse(data).header
    assert (image.size, image.mode) == ((header.width, header.height), header.mode)
    return "picture"


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
            outcome = verdict(codec, data)
        except BaseException:
            print(f"seed {seed}, file {number}: {data.hex()}", file=sys.stderr)
            raise
        seconds = time.perf_counter() - start
        outcomes["slowest_ms"] = max(outcomes.get("slowest_ms", 0), round(seconds * 1000))
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return outcomes


# -- all readers -----------------------------------------------------------------------------------------------------


def corpus(codec: Codec, count: int, seed: int) -> Iterator[bytes]:
    """Files that a reader may take or refuse. A third of the tiles that can be read has the right CRC of latents."""
    generator, tensors = random.Random(seed), tiny.tensors()
    good = seeds(codec)
    for number in range(count):
        data = generator.choice(good)
        if number % 3 == 0:
            yield bent(data, generator)
        elif number % 3 == 1:
            yield forged(data, generator)
        else:
            yield mended(data, generator, tensors)


def mended(data: bytes, generator: random.Random, tensors: dict[str, np.ndarray]) -> bytes:
    """Tiles of random streams, full of escapes, with the CRC of the latents that FORMAT.md says they have."""
    file = container.parse(data)
    tiles = [bytes(t) for t in file.tiles]
    for at, tile in enumerate(tiles):
        if not tile:
            continue
        start = 5
        if file.header.has_alpha:
            size, start = container.read_varint(tile, 5)
            start += size
        stream = generator.randbytes(4 * generator.choice((2, 3, 5, 20, 90)))
        kept = generator.choice((len(tile), start, start + 4 * generator.randrange(1, 9)))
        row = bytes([generator.randrange(2 * tiny.CONFIG.rates)])
        tiles[at] = row + tile[1:kept] + stream
        whole = container.build(replace(file, tiles=tiles))
        try:
            found = reference.File(whole, tensors, tiny.FINGERPRINT, tiny.CONFIG.rates).crc(at)
        except reference.Refused:
            continue
        tiles[at] = row + struct.pack("<I", found) + tiles[at][5:]
    return assembled(file, generator, tiles)


def in_node(codec: Codec, files: list[bytes]) -> list[str]:
    """Verdicts of the browser's reader. Raises: LatError where there is no Node or no runtime."""
    from codec.command import web
    from codec.engine import onnx_graphs

    runtime = web.runtime_folder()
    with tempfile.TemporaryDirectory() as folder:
        onnx_graphs.export(codec.weights, Path(folder), encoder=False)
        command = ["node", "--no-warnings", str(NODE), str(SITE), str(runtime), folder]
        framed = b"".join(struct.pack("<I", len(data)) + data for data in files)
        done = subprocess.run(command, input=framed, capture_output=True, check=True)
    return done.stdout.decode().splitlines()


def disagreements(count: int, seed: int, node: bool) -> tuple[Counter[str], list[str]]:
    """How many files had which verdict, and where readers disagree: verdicts and the file in hexadecimal digits."""
    codec = Codec(tiny.weights(), "onnxruntime", 1)
    files = list(corpus(codec, count, seed))
    browser = in_node(codec, files) if node else [""] * count
    outcomes, differ, tensors = Counter[str](), [], tiny.tensors()
    for data, in_browser in zip(files, browser):
        first = verdict(codec, data)
        with patch.object(rans, "_coder", lambda: plain_rans):
            second = verdict(codec, data)
        accepted = first == "picture"
        if first != LimitError.__name__:
            accepted = reference.accepts(data, tensors, tiny.FINGERPRINT, tiny.CONFIG.rates)
        outcomes[first] += 1
        # what is in a VP8L stream is read by libwebp; neither Node nor the reference has one
        unread = first == "FormatError" and "picture" in (in_browser, *["picture"] * accepted) and b"LOSS" in data
        if not unread and (first != second or (node and first != in_browser) or accepted != (first == "picture")):
            differ.append(f"{first}, {second}, {in_browser}, {accepted}: {data.hex()}")
    return outcomes, differ


# -- flips and weights -----------------------------------------------------------------------------------------------


def flips(count: int, seed: int) -> Counter[str]:
    """Single bits of files with all chunks: whether parsing and `verify` notice. Raises: AssertionError."""
    codec, generator = Codec(tiny.weights(), "onnxruntime", 1), random.Random(seed)
    good = [container.parse(data) for data in seeds(codec)]
    extra = {"metadata": {"icc": b"i" * 40, "exif": b"e" * 40, "xmp": b"x" * 9, "text": b"{}"}}
    files = [container.build(replace(file, **extra, ancillary=[(b"newx", b"n" * 20)])) for file in good]
    outcomes = Counter[str]()
    for _ in range(count):
        data = bytearray(generator.choice(files))
        at = generator.randrange(8 * len(data))
        data[at // 8] ^= 1 << at % 8
        try:
            container.parse(bytes(data)).verify()
        except LatError as error:
            outcomes[type(error).__name__] += 1
        else:
            raise AssertionError(f"bit {at} of {bytes(data).hex()} went unnoticed")
    return outcomes


def forged_weights(generator: random.Random) -> bytes:
    """A weights file of which one thing is wrong, or a few bytes, or nothing that matters."""
    tensors = tiny.tensors()
    name = generator.choice(sorted(tensors))
    array = tensors[name].copy()
    limits = (
        (np.nan, np.inf, 65504) if array.dtype.kind == "f" else (np.iinfo(array.dtype).min, np.iinfo(array.dtype).max)
    )
    flat = array.reshape(-1)
    match generator.randrange(9):
        case 0:
            flat[generator.randrange(len(flat))] = generator.choice(limits)
        case 1:
            flat[:] = generator.choice((*limits, 0, 1))
        case 2:
            array = array[: generator.randrange(len(array))]
        case 3:
            array = array.astype(generator.choice((np.float32, np.int64, np.uint8, np.bool_)))
        case 4:
            array = generator.choice((flat, array[None], array[::-1].copy(), array.T.copy()))
        case 5:
            return bent(tiny.data(), generator)
        case 6:
            del tensors[name]
            return tiny.save(tensors, tiny.described())
        case 7:
            field = generator.choice(sorted(asdict(tiny.CONFIG)))
            value = generator.choice((0, -1, 1, 3, 10**9, 4.0, "x", None, True, [], float("nan"), float("inf"), 1e-9))
            return tiny.data(config=json.dumps(asdict(tiny.CONFIG) | {field: value}))
        case 8:
            field = generator.choice(("name", "tune", "config"))
            return tiny.data(
                **{field: generator.choice(("", "x" * 10**5, "\x1b[31m", "[" * 10**5, "null", "{}", "../.."))}
            )
    return tiny.data(changed={name: np.ascontiguousarray(array)})


def read_weights(count: int, seed: int) -> Counter[str]:
    """Weights that are taken have to code a picture. Raises whatever is no LatError."""
    generator = random.Random(seed)
    outcomes = Counter[str]()
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), np.uint8)
    for _ in range(count):
        try:
            codec = Codec(Weights.parse(forged_weights(generator), tiny.FINGERPRINT), "onnxruntime", 1)
            outcome = verdict(codec, container.build(codec.learned.encode(as_picture(pixels), Settings())))
        except LatError as error:
            outcome = f"{type(error).__name__}: {str(error)[:24]} …"
        outcomes[outcome.partition(":")[0]] += 1
    return outcomes


@click.command()
@click.option("--count", default=10_000, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--lossless", is_flag=True, help="Files that are lossless everywhere, twenty times as fast.")
@click.option("--readers", is_flag=True, help="All readers on the same files.")
@click.option("--flips", "flipped", is_flag=True, help="Single bits.")
@click.option("--weights", is_flag=True, help="Weights files.")
def main(count: int, seed: int, lossless: bool, readers: bool, flipped: bool, weights: bool) -> None:
    """Print the outcomes; fail where one is not allowed."""
    if readers:
        outcomes, differ = disagreements(count, seed, node=True)
        click.echo("\n".join(map(str, [dict(outcomes), *differ])))
        sys.exit(bool(differ))
    run: Callable[[int, int], dict] = flips if flipped else read_weights if weights else fuzz
    click.echo(dict(run(count, seed) if flipped or weights else fuzz(count, seed, lossless)))


if __name__ == "__main__":
    main()
