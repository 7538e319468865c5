"""What lat and the tools of WebP, AVIF and JPEG XL do in situations that lose pictures, or parts of them.

python -m bench.situations --out bench/results/situations.json

Each tool is run as people run it first: no options but the names. Those that are not installed are left out.
"""

from __future__ import annotations

import io
import json
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from bench import pitfalls
from bench.everyday import scene
from bench.rivals import SUFFIX, TOOLS, Command, decoded, pack_half, packed, version
from codec import weights


def collision(tool: str, folder: Path) -> str:
    """d1/a.png and d2/a.png into one folder."""
    if tool != "lat":
        return "takes one file"
    for n in (1, 2):
        (folder / f"d{n}").mkdir()
        scene(40, 30 + n).save(folder / f"d{n}/a.png")
    command: Command = [sys.executable, "-m", "codec", "compress", "-r", folder / "d1", folder / "d2"]
    done = subprocess.run([*command, "--out-dir", folder / "out"], capture_output=True)
    return "refused by name" if done.returncode else "one is lost"


def cut(tool: str, folder: Path) -> str:
    """A JPEG without its second half."""
    scene(300, 200).save(folder / "whole.jpg")
    data = (folder / "whole.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(data[: len(data) // 2])
    return pack_half(tool, folder / "cut.jpg")


def existing(tool: str, folder: Path) -> str:
    """The output is there already."""
    scene(40, 30).save(folder / "a.png")
    target = folder / f"a.png{SUFFIX[tool]}"
    target.write_bytes(b"precious")
    subprocess.run(TOOLS[tool](folder / "a.png", target), capture_output=True)
    return "refused" if target.read_bytes() == b"precious" else "replaced"


def private(tool: str, folder: Path) -> str:
    """A photograph that its owner alone may read."""
    scene(40, 30).save(folder / "a.png")
    (folder / "a.png").chmod(0o600)
    target = packed(tool, folder / "a.png")
    return f"{stat.S_IMODE(target.stat().st_mode):04o}" if target else "fails"


def hidden(tool: str, folder: Path) -> str:
    """Noise in all colours that transparency hides: bytes, against black in their place."""
    colour = np.asarray(scene(300, 200))
    alpha = np.zeros(colour.shape[:2], np.uint8)
    alpha[50:150, 75:225] = 255
    sizes = []
    for name, under in (("noise", np.random.default_rng(0).integers(0, 256, colour.shape, np.uint8)), ("black", 0)):
        pixels = np.dstack([np.where(alpha[:, :, None] > 0, colour, under).astype(np.uint8), alpha])
        Image.fromarray(pixels).save(folder / f"{name}.png")
        target = packed(tool, folder / f"{name}.png")
        if target is None:
            return "fails"
        sizes.append(target.stat().st_size)
    return f"× {sizes[0] / sizes[1]:.1f}"


def turned(tool: str, folder: Path) -> str:
    """A photograph taken with the camera on its side (EXIF orientation 6)."""
    exif = Image.Exif()
    exif[0x0112] = 6
    scene(300, 200).save(folder / "a.jpg", exif=exif)
    target = packed(tool, folder / "a.jpg")
    return "upright" if target and ImageOps.exif_transpose(decoded(target)).size == (200, 300) else "on its side"


def copyright_text(tool: str, folder: Path) -> str:
    """A copyright in the text of a PNG."""
    words = PngInfo()
    words.add_text("Copyright", "somebody at large")
    scene(300, 200).save(folder / "a.png", pnginfo=words)
    target = packed(tool, folder / "a.png")
    return "kept" if target and b"somebody at large" in target.read_bytes() else "dropped"


def linear(tool: str, folder: Path) -> str:
    """A PNG whose samples are linear light (gAMA 1.0)."""
    out = io.BytesIO()
    scene(300, 200).save(out, "PNG")
    data = out.getvalue()
    chunk = b"gAMA" + struct.pack(">I", 100000)
    chunk = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (folder / "a.png").write_bytes(data[:33] + chunk + data[33:])
    target = packed(tool, folder / "a.png")
    if target is None:
        return "fails"
    info = decoded(target).info
    return "kept" if "icc_profile" in info or abs(info.get("gamma", 0.45455) - 1) < 0.01 else "dropped"


def grey16(tool: str, folder: Path) -> str:
    """A 16-bit grey PNG with a transparent sample value."""
    samples = np.tile(np.arange(256, dtype=np.uint16) * 257, (64, 1))
    Image.fromarray(samples).save(folder / "a.png", transparency=257 * 40)
    target = packed(tool, folder / "a.png")
    if target is None:
        return "refused"
    image = decoded(target)
    return "kept" if "A" in image.mode or "transparency" in image.info else "dropped"


def long_name(tool: str, folder: Path) -> str:
    """A target name of 255 bytes."""
    source = folder / ("a" * (255 - len(SUFFIX[tool])))
    scene(40, 30).save(source, "PNG")
    return "works" if packed(tool, source) else "fails"


SITUATIONS = (
    *(collision, existing, cut, private, turned, hidden, grey16, linear, copyright_text, long_name),
    *pitfalls.SITUATIONS,
)


@click.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(out: Path) -> None:
    """Print and store what each tool does."""
    tools = [tool for tool in TOOLS if tool == "lat" or shutil.which(tool)]
    rows: dict[str, dict[str, str]] = {}
    for situation in SITUATIONS:
        row = rows.setdefault(str(situation.__doc__).rstrip("."), {})
        for tool in tools:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    row[tool] = situation(tool, Path(folder))
                except subprocess.CalledProcessError:  # of its decoder
                    row[tool] = "cannot be decoded"
        click.echo(f"{situation.__doc__} {row}")
    versions = {tool: version(tool) for tool in tools}
    result = {"weights": weights.newest(weights.DEFAULT), "versions": versions, "rows": rows}
    text = json.dumps(result, indent=1, ensure_ascii=False)
    out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
