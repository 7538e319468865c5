"""Which files of a folder are pictures: the one rule, for every command that takes folders. FILES.md has it for users.

The rule goes by the name, so that it is the same in a folder and in a bucket; a picture that turns out to be something
else is a failure by name, not something passed over. Only in folders, a JPEG or PNG with the suffix of a picture that
cannot be opened is seen to be one.
"""

from __future__ import annotations

import importlib
import io
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePath

# Formats of Pillow that are no pictures of pixels (or need a program, such as Ghostscript, to become some).
NO_PICTURES = {"BUFR", "EPS", "GBR", "GRIB", "HDF5", "IM", "IPTC", "LAT", "MPEG", "PDF", "WMF"}
PLUGINS = {  # suffix -> package and module that teach Pillow to open it
    ".avif": ("pillow-avif-plugin", "pillow_avif"),
    ".avifs": ("pillow-avif-plugin", "pillow_avif"),
    ".heic": ("pillow-heif", "pillow_heif"),
    ".heics": ("pillow-heif", "pillow_heif"),
    ".heif": ("pillow-heif", "pillow_heif"),
    ".heifs": ("pillow-heif", "pillow_heif"),
    ".hif": ("pillow-heif", "pillow_heif"),
    ".jxl": ("pillow-jxl-plugin", "pillow_jxl"),
}
RAW = re.compile(
    r"\.(3fr|arw|cr[23w]|dcr|dng|erf|fff|iiq|k25|kdc|mef|mos|mrw|nef|nrw|orf|pef|ra[fw]|rw[2l]|sr[2fw]|x3f)",
    re.IGNORECASE,
)
DEVELOP = "a raw photograph: develop it first (darktable, RawTherapee, dcraw), into a .tif or .png"
SKIPPED_FOLDERS = {"@eaDir", "__MACOSX"}  # thumbnails of a Synology disk, resource forks in a zip


@lru_cache(maxsize=1)
def register_plugins() -> None:
    """Teach Pillow the formats of installed plugins that it does not know yet; once a process."""
    from PIL import Image

    Image.init()
    known = Image.registered_extensions()
    for suffix, (_, module) in PLUGINS.items():
        if known.get(suffix) not in Image.OPEN:
            with suppress(Exception):  # not installed, or built for another Pillow: then its files are passed over
                plugin = importlib.import_module(module)
                if module == "pillow_heif":
                    plugin.register_heif_opener()
                known = Image.registered_extensions()


def picture_formats() -> list[str]:
    """Pillow's names of the formats that are tried on a file, whatever its suffix says."""
    from PIL import Image

    register_plugins()
    return [format for format in Image.OPEN if format not in NO_PICTURES]


def picture_suffixes() -> set[str]:
    """Suffixes of the pictures that can be opened here."""
    from PIL import Image

    register_plugins()
    known = {*Image.OPEN, "MPO"}  # which Pillow opens as JPEG
    return {s for s, f in Image.registered_extensions().items() if f in known and f not in NO_PICTURES}


def is_other_format(name: str) -> bool:
    """Whether a file is named as a picture, or another file that Pillow knows, that is not a .lat file."""
    from PIL import Image

    register_plugins()
    suffix = PurePath(name).suffix.lower()
    known = suffix in Image.registered_extensions() or suffix in PLUGINS or RAW.fullmatch(suffix) is not None
    return known and suffix != ".lat"


def is_hidden(place: PurePath) -> bool:
    """Whether a name, below the folder that was asked for, is one of those that people do not see."""
    return any(part.startswith(".") or part in SKIPPED_FOLDERS for part in place.parts)


def is_misnamed(path: Path) -> bool:
    """Whether a JPEG or PNG has the suffix of another kind of picture, which phones and messengers give it."""
    if path.suffix.lower() not in PLUGINS or not path.is_file():
        return False
    with suppress(OSError), path.open("rb") as file:
        return file.read(8).startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))
    return False


def passed_over(place: PurePath) -> str:
    """What a file is that is not taken: "hidden", or its suffix with what can be done about it."""
    if is_hidden(place):
        return "hidden"
    suffix = place.suffix.lower()
    if RAW.fullmatch(suffix):
        return f"{suffix} ({DEVELOP})"
    if suffix in PLUGINS:
        return f"{suffix} (needs a plugin: pip install {PLUGINS[suffix][0]})"
    return suffix or "without suffix"


def may_be_picture(head: bytes) -> bool:
    """Whether a file that begins so, with more to come, could be a picture that Pillow opens."""
    from PIL import Image, UnidentifiedImageError

    register_plugins()
    unsure = []  # formats that have to see more than the first bytes
    for name, (_, accept) in Image.OPEN.items():
        if accept is None:
            unsure.append(name)
            continue
        with suppress(Exception):  # what a plugin raises says nothing
            found = accept(head[:16])
            if found and not isinstance(found, str):  # a text says why it cannot be opened
                return True
    try:
        Image.open(io.BytesIO(head), formats=unsure).close()
    except UnidentifiedImageError:
        return False
    except Exception:
        return True
    return True


def is_compressed(data: bytes) -> bool:
    """Whether a picture is in a format that is for small files: JPEG, WebP, AVIF, HEIC, JPEG XL or JPEG 2000."""
    if data[4:8] == b"ftyp":  # brands are four letters each, the main one first; Pillow knows these containers too
        return any(brand in data[8:64] for brand in (b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1"))
    is_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    boxed = data[4:12] in (b"JXL \r\n\x87\n", b"jP  \r\n\x87\n")
    return is_webp or boxed or data.startswith((b"\xff\xd8\xff", b"\xff\x0a", b"\xff\x4f\xff\x51"))


def unknown(name: str) -> str:
    """What to say of a file that Pillow does not know."""
    suffix = PurePath(name).suffix.lower()
    if RAW.fullmatch(suffix):
        return f"is {DEVELOP}"
    if suffix in PLUGINS:
        return f"no image format that Pillow knows without a plugin: pip install {PLUGINS[suffix][0]}"
    return "no image format that Pillow knows"


def passed_over_line(kinds: Iterable[str]) -> str:
    """ "passed over: 3 .txt, 1 hidden"; empty where there was nothing."""
    counts = Counter(kinds)
    return f"passed over: {', '.join(f'{n} {kind}' for kind, n in counts.most_common())}" if counts else ""


NUMBER = re.compile(r"[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?")


def kind_of_note(note: str) -> tuple[str, tuple[str, ...]]:
    """What notes of many files have in common, and their numbers: "the first of 3" -> ("the first of {}", ("3",))."""
    text = note.partition(":")[0]
    return NUMBER.sub("{}", text.replace("{", "(").replace("}", ")")), tuple(NUMBER.findall(text))


def with_numbers(kind: str, numbers: list[tuple[str, ...]]) -> str:
    """A kind of note with the numbers of all of them: one, or from the least to the largest."""
    places = (sorted(set(place), key=lambda n: float(n.replace(",", ""))) for place in zip(*numbers))
    return kind.format(*(p[0] if len(p) == 1 else f"{p[0]} … {p[-1]}" for p in places))
