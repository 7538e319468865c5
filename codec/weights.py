"""Installed weights: `<name>.safetensors` with a `<name>.json` card beside it, and what is in such a file.

A file holds the networks as half-precision floats, under their names in model.py; under "exact." the whole numbers
of the entropy model (entropy_model.py); under "tables." the frequency tables (rans.py); name and configuration as
metadata. No torch here.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from codec.config import Config
from codec.container import FINGERPRINT_BYTES, NO_WEIGHTS
from codec.errors import FormatError, MissingModelError, reason
from codec.settings import TUNE

if TYPE_CHECKING:
    import numpy as np

DEFAULT, BEST = "fast", "best"  # sizes
NEWEST = {  # what a size stands for, by the metric that its weights are trained for
    "fast": {"psnr": "fast-6", "eye": "fast-8"},
    "best": {"psnr": "best-6", "eye": "best-8"},
}
FOR_PIXELS = NEWEST["fast"]["psnr"]  # what the tools on latents start with: they count squared errors


@dataclass(frozen=True)
class Weights:
    """One set of weights, as its file has it."""

    name: str
    fingerprint: bytes
    config: Config
    networks: dict[str, np.ndarray]  # float16
    exact: dict[str, np.ndarray]
    tables: dict[str, np.ndarray]
    tune: str = "psnr"  # the metric that they are trained for

    def __post_init__(self) -> None:
        """Raises: FormatError where they are not sound."""
        from codec.check_weights import check  # here, because a file is described and checked without numpy

        check(self)

    @classmethod
    def parse(cls, data: bytes, fingerprint: bytes = bytes(FINGERPRINT_BYTES)) -> Weights:
        """The contents of a weights file.

        Raises: FormatError.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            tensors = load(data)
            length = struct.unpack_from("<Q", data)[0]
            described = json.loads(data[8 : 8 + length])["__metadata__"]
            config, name = Config(**json.loads(described["config"])), described["name"]
        except (SafetensorError, KeyError, TypeError, ValueError, RecursionError, struct.error) as error:
            raise FormatError(f"no weights of this codec: {error}") from None

        def part(prefix: str) -> dict[str, np.ndarray]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        networks = {k: v for k, v in tensors.items() if not k.startswith(("exact.", "tables."))}
        tune = described.get("tune", "psnr")
        return cls(name, fingerprint, config, networks, part("exact."), part("tables."), tune)

    @classmethod
    def open(cls, name: str | os.PathLike[str]) -> Weights:
        """Installed weights by name, or a path to a .safetensors file.

        Raises: MissingModelError, FormatError.
        """
        path = locate(name)
        try:
            return cls.parse(*read(path))
        except FormatError as error:
            raise FormatError(f"{path}: {error}") from None


def folder() -> Path:
    """Where the weights lie: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "weights"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "weights"


def cards() -> dict[str, dict]:
    """Cards of all installed weights, by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder().glob("*.json"))}


def name_of(fingerprint: bytes) -> str | None:
    """Name of the installed weights with this fingerprint, if there are such."""
    for name, card in cards().items():
        if card["sha256"].startswith(fingerprint.hex()):
            return name
    return None


def name_for(fingerprint: bytes) -> str:
    """Name of the installed weights that a file was written with; the default ones for a file that needs none.

    Raises: MissingModelError.
    """
    if fingerprint == NO_WEIGHTS:
        return DEFAULT
    if name := name_of(fingerprint):
        return name
    raise MissingModelError(
        f"written with weights {fingerprint.hex()}, which are not installed; "
        f"installed: {', '.join(cards()) or 'none'}; a newer release may have them"
    )


def newest(name: str | os.PathLike[str], tune: str | None = None) -> str:
    """The newest weights of a size, trained for a metric (default: `settings.TUNE`); another name stands for itself.

    Where none are trained for it, those for PSNR: an effort refines latents for any metric.
    Raises: TypeError for what is no name.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise TypeError(f"weights must be a name or the path of a .safetensors file, got {type(name).__name__}")
    name = os.fsdecode(name)
    if name not in NEWEST:
        return name
    return NEWEST[name].get(tune or TUNE, NEWEST[name]["psnr"])


def locate(name: str | os.PathLike[str]) -> Path:
    """Path of installed weights by name or size; a path to a .safetensors file stands for itself.

    Raises: MissingModelError.
    """
    name = newest(name)
    path = Path(name) if name.endswith(".safetensors") else folder() / f"{name}.safetensors"
    if not path.is_file():
        raise MissingModelError(f"no weights named {name}; installed: {', '.join(cards()) or 'none'}")
    return path


def read(path: Path) -> tuple[bytes, bytes]:
    """Contents of a weights file and its fingerprint, checked against its card where there is one.

    Raises: MissingModelError.
    """
    card = path.with_suffix(".json")
    try:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        written = json.loads(card.read_text(encoding="utf-8"))["sha256"] if card.is_file() else digest
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise MissingModelError(f"{path}: it or its card cannot be read: {reason(error)}") from None
    if written != digest:
        raise MissingModelError(f"{path}: does not match the SHA-256 on its card; install it again")
    return data, bytes.fromhex(digest)[:FINGERPRINT_BYTES]
