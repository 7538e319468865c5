"""Why Pillow does not open a file: what it is, and what is wrong with it."""

from __future__ import annotations

import io

from PIL import Image

from codec import kinds
from codec.errors import reason
from codec.picture.declared import Declared, others

PILLOW = {"HEIC": "HEIF", "JPEG 2000": "JPEG2000", "JPEG XL": "JXL", "WebP": "WEBP"}  # its names, where they differ
PLUGINS = {"HEIC": ".heic", "JPEG XL": ".jxl", "AVIF": ".avif"}  # suffixes in `kinds.PLUGINS`
LAYOUTS = ("unknown pixel mode", "unknown data organization", "not identified by this driver")  # Pillow's words


def why(data: bytes, said: Declared, name: str, cause: str = "") -> str:
    """One clause for a message, to stand behind the name of the file. `cause`: what Pillow said, where it did."""
    format = said.format
    if not format and cause:
        return f"cannot be read: {cause}"
    if not format:
        found = others.name(data)
        return f"is {found}" if found else kinds.unknown(name)
    if format in PLUGINS and PILLOW.get(format, format) not in Image.OPEN:
        return f"is {format}: pip install {kinds.PLUGINS[PLUGINS[format]][0]}"
    if said.fault or said.blemishes:
        return f"{format}: {said.fault or '; '.join(said.blemishes)}"
    cause = cause or of_plugin(data, PILLOW.get(format, format))
    if said.channels and (cause in LAYOUTS or not cause):
        return (
            f"{format} of {layout(said)}, a layout that Pillow does not read; "
            "convert it to unsigned samples of 8 or 16 bits, black as 0, least byte first"
        )
    return f"{format} that cannot be read: {cause or 'Pillow does not know this kind'}"


def of_plugin(data: bytes, format: str) -> str:
    """What the plugin of a format says, which `Image.open` keeps to itself."""
    Image.init()
    try:
        Image.OPEN[format][0](io.BytesIO(data), "")
    except Exception as error:  # as each plugin likes
        return reason(error)
    return ""


def layout(said: Declared) -> str:
    """ "3 float samples of 32 bits" """
    kind = "" if said.kind == "unsigned" else f"{said.kind} "
    return f"{said.channels} {kind}sample{'s' * (said.channels > 1)} of {said.bits} bits"
