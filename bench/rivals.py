"""The tools of WebP, AVIF and JPEG XL, and lat, as people run them first: no options but the names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image

Command = list[str | Path]
TOOLS: dict[str, Callable[[Path, Path], Command]] = {
    "lat": lambda source, target: [sys.executable, "-m", "codec", "compress", source, "-o", target],
    "cwebp": lambda source, target: ["cwebp", source, "-o", target],
    "avifenc": lambda source, target: ["avifenc", source, target],
    "cjxl": lambda source, target: ["cjxl", source, target],
}
SUFFIX = {"lat": ".lat", "cwebp": ".webp", "avifenc": ".avif", "cjxl": ".jxl"}


def pack(tool: str, source: Path) -> tuple[Path | None, str]:
    """The file that a tool makes of another one (None where it fails), and what it prints."""
    target = source.with_name(source.name + SUFFIX[tool])
    done = subprocess.run(TOOLS[tool](source, target), capture_output=True)
    printed = (done.stdout + done.stderr).decode(errors="replace")
    return target if done.returncode == 0 and target.exists() else None, printed


def packed(tool: str, source: Path) -> Path | None:
    return pack(tool, source)[0]


def pack_half(tool: str, source: Path) -> str:
    """What a tool does with half a JPEG."""
    target, printed = pack(tool, source)
    if target is None:
        return "refused"
    warned = any(word in printed.lower() for word in ("corrupt", "premature", "extraneous"))
    return f"half grey, {'a warning, ' if warned else ''}exit 0"


def restored(path: Path) -> Path:
    """The picture in a packed file, as a file that Pillow reads."""
    back = path.with_name(f"back{'.jpg' if path.stem.endswith('.jpg') else '.png'}")  # djxl restores a JPEG as a JPEG
    commands: dict[str, Command] = {
        ".lat": [sys.executable, "-m", "codec", "decompress", path, "-o", back],
        ".jxl": ["djxl", path, back],
    }
    if path.suffix not in commands:
        return path
    subprocess.run(commands[path.suffix], check=True, capture_output=True)
    return back


def decoded(path: Path) -> Image.Image:
    """The picture in a packed file, with its metadata."""
    image = Image.open(restored(path))
    image.load()
    return image


def version(tool: str) -> str:
    asked = {"lat": [sys.executable, "-m", "codec", "--version"], "cwebp": ["cwebp", "-version"]}
    command = asked.get(tool, [tool, "--version"])
    said = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[0]
    return " ".join(said.split()[:4]).split(" (")[0].removesuffix(",")
