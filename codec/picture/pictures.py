"""Decoded pictures as files of other formats: with all the metadata that a format can carry, and a word on the rest."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from codec import kinds
from codec.errors import LatError, reason
from codec.picture import icc, metadata
from codec.runs.files import is_stream

QUALITY = 95  # of lossy formats: some 0.3 dB below what was decoded, where Pillow's own 75 costs 5 dB
LOSSY: dict[str, dict[str, Any]] = {
    "JPEG": {"subsampling": "4:4:4"},
    "MPO": {"subsampling": "4:4:4"},
    "WEBP": {},
    "AVIF": {"subsampling": "4:4:4"},
    "HEIF": {"chroma": 444},
    "JXL": {},
}
WITHOUT_GREY = {"WEBP", "AVIF"}  # formats whose pixels are always colours
BLOCKS: tuple[str, ...] = ("icc_profile", "exif", "xmp", "dpi")  # of Pillow's `info`
CARRIES = {  # of these, and of its words
    "PNG": {"icc_profile", "exif", "xmp", "dpi", "words"},
    "JPEG": {"icc_profile", "exif", "xmp", "dpi", "words"},
    "MPO": {"icc_profile", "exif", "xmp", "dpi", "words"},
    "TIFF": {"icc_profile", "exif", "xmp", "dpi", "words"},
    "WEBP": {"icc_profile", "exif", "xmp", "words"},
    "AVIF": {"icc_profile", "exif", "xmp", "words"},
    "HEIF": {"icc_profile", "exif", "xmp", "words"},
    "JXL": {"icc_profile", "exif", "xmp", "words"},
    "BMP": {"dpi"},
}
SUFFIXES = {  # of formats as `declared` calls them
    "JPEG": ".jpg",
    "TIFF": ".tif",
    "WebP": ".webp",
    "AVIF": ".avif",
    "HEIC": ".heic",
    "JPEG XL": ".jxl",
    "JPEG 2000": ".jp2",
    "GIF": ".gif",
    "BMP": ".bmp",
    "PPM": ".ppm",
}
EXIF_TAGS = {"Description": 270, "Make": 271, "Model": 272, "Software": 305, "Author": 315, "Copyright": 33432}
JPEG_SEGMENT = 65533 - 29  # bytes of metadata in one segment
SMALL = 1024  # bytes of an EXIF value that is kept where not all can be


def output_format(target: str) -> str:
    """Pillow's name for the format of an output file.

    Raises: LatError.
    """
    kinds.register_plugins()
    suffix = Path(target).suffix.lower()
    format = "PNG" if is_stream(target) and not suffix or target == "-" else Image.registered_extensions().get(suffix)
    if format is None or format not in Image.SAVE or format in kinds.NO_PICTURES:
        raise LatError(f"{target}: no picture format that can be written has this suffix; use .png")
    return format


def suffix_of(format: str) -> str:
    """The suffix for files of a format that `declared.format_of` tells; .png where it cannot be written here."""
    suffix = SUFFIXES.get(format, ".png")
    kinds.register_plugins()
    return suffix if Image.registered_extensions().get(suffix) in Image.SAVE else ".png"


def is_named(name: str, suffix: str) -> bool:
    """Whether a name ends in a suffix of the same format."""
    known = Image.registered_extensions()
    return known.get(Path(name).suffix.lower()) == known.get(suffix, "")


def encode(image: Image.Image, format: str, quality: float | None = None) -> tuple[bytes, list[str]]:
    """(The bytes of a picture file, notes on what it could not carry). `quality` 0 … 100 is that of lossy formats.

    Raises: LatError.
    """
    options = dict(LOSSY.get(format, {}))
    notes: list[str] = []
    if format in LOSSY:
        options["quality"] = QUALITY if quality is None else round(quality)
    if format == "PNG":
        options["compress_level"] = 1  # level 6 takes longer than decoding and saves a few percent of a large file
    carried, dropped = carriable(image, format)
    notes += fit_profile(carried, image.mode in ("L", "LA"), format)
    if "exif" not in CARRIES.get(format, ()):
        image = upright(image)
    bare = Image.fromarray(np.asarray(image))  # Pillow would take what it likes from `info`
    if format == "GIF":
        notes.append("colours are reduced to 256")
    try:
        return saved(bare, format, options | carried), notes + said(dropped, format)
    except LatError:
        everything = [str(key) for key in image.info if key in BLOCKS] + dropped
        if not carried:
            raise
        data = saved(Image.fromarray(np.asarray(upright(image))), format, options)
        return data, notes + said(everything, format)


def encode_animation(frames: list[Image.Image], format: str, duration: int) -> tuple[bytes, list[str]]:
    """(The bytes of an animated WebP, GIF or PNG with the metadata of the first frame, notes as `encode` has them).

    `duration` of each frame in milliseconds.
    Raises: LatError.
    """
    carried, dropped = carriable(frames[0], format)
    if "exif" not in CARRIES.get(format, ()):
        frames = [upright(frame) for frame in frames]
    first, *others = (Image.fromarray(np.asarray(frame)) for frame in frames)
    options = carried | {"save_all": True, "append_images": others, "duration": duration, "loop": 0}
    notes = ["colours are reduced to 256"] if format == "GIF" else []
    return saved(first, format, options), notes + said(dropped, format)


def fit_profile(options: dict, grey: bool, format: str) -> list[str]:
    """Make the profile one for the pixels that it is written beside, or take it out; a note where something changes."""
    found = options.get("icc_profile")
    if found is None:
        return []
    to_grey = grey and format not in WITHOUT_GREY
    fits = icc.fitting(found, to_grey)
    if fits == found:
        return []
    kind = found[16:20].decode("ascii", "replace").strip()
    if fits is None or not grey:
        del options["icc_profile"]
        return [f"the ICC profile is dropped: it is for {kind} and the pixels are {'grey' if to_grey else 'RGB'}"]
    options["icc_profile"] = fits
    return [f"the ICC profile is for {kind}: one for {'grey' if to_grey else 'RGB'} with the same tones is written"]


def saved(image: Image.Image, format: str, options: dict) -> bytes:
    """Raises: LatError."""
    out = io.BytesIO()
    try:
        image.save(out, format, **options)
    except Exception as error:  # struct.error, KeyError, RuntimeError …: each plugin has its own
        raise LatError(f"cannot be written as {format}: {reason(error)}; .png can hold it") from None
    return out.getvalue()


def said(dropped: list[str], format: str) -> list[str]:
    """A note on metadata that a format cannot hold."""
    names = {"icc_profile": "ICC profile", "exif": "EXIF", "xmp": "XMP", "dpi": "resolution"}
    return (
        [f"dropped, because {format} cannot hold it: {', '.join(names.get(k, k) for k in dropped)}"] if dropped else []
    )


def carriable(image: Image.Image, format: str) -> tuple[dict, list[str]]:
    """(What a format takes of the metadata in `info`, as Pillow's options; names of the rest.)"""
    can, info = CARRIES.get(format, set()), image.info
    options: dict[str, Any] = {key: info[key] for key in BLOCKS if key in info and key in can}
    dropped = [key for key in BLOCKS if key in info and key not in can]
    texts = {key: value for key, value in info.items() if isinstance(key, str) and isinstance(value, str)}
    words = {metadata.keyword(key): value for key, value in texts.items() if key not in metadata.INFO.values()}
    if words and "words" not in can:
        dropped += words
        words = {}
    if format == "PNG":
        options["pnginfo"] = png_text(words, options.pop("xmp", None))
    elif format in ("JPEG", "MPO"):
        dropped += fit_into_segments(options)
    if format != "PNG" and words:
        dropped += put_words(options, words, format)
    if format == "TIFF" and options.keys() & {"xmp", "exif"}:
        options["exif"] = tiff_tags(options.pop("exif", b""), options.pop("xmp", None))
    return options, dropped


def png_text(words: dict[str, str], xmp: bytes | None) -> PngInfo:
    """Keywords of at most 79 Latin-1 bytes as the format wants them; other ones become part of a comment."""
    info = PngInfo()
    if xmp:
        info.add_itxt(metadata.XMP_KEY, xmp.decode("utf-8", "replace"))
    for key, value in words.items():
        printable = "".join(c for c in key if c.isprintable())
        name = printable.encode("latin-1", "replace")[:79].decode("latin-1").strip() or "comment"
        info.add_itxt("Comment" if name == "comment" else name, value.replace("\0", " "))
    return info


def fit_into_segments(options: dict) -> list[str]:
    """Shorten what is too long for a JPEG; names of what was dropped."""
    dropped = []
    if len(options.get("xmp", b"")) > JPEG_SEGMENT:
        del options["xmp"]
        dropped.append("xmp")
    if len(options.get("exif", b"")) > JPEG_SEGMENT:
        options["exif"] = small_exif(options["exif"])
        dropped.append("large parts of EXIF")
    return dropped


def small_exif(exif: bytes) -> bytes:
    """The same less thumbnail, maker notes and other large values."""
    full, kept = metadata.loaded(exif), Image.Exif()
    for tag, value in full.items():
        if not isinstance(value, dict) and len(str(value)) <= SMALL and tag not in metadata.TIFF_IFDS:
            kept[tag] = metadata.as_bytes(value)
    for ifd in metadata.TIFF_IFDS:
        inside = {tag: metadata.as_bytes(v) for tag, v in full.get_ifd(ifd).items() if len(str(v)) <= SMALL}
        if inside:
            kept.get_ifd(ifd).update(inside)
    try:
        return kept.tobytes()
    except Exception:  # values that Pillow reads and cannot write
        return b""


def put_words(options: dict, words: dict[str, str], format: str) -> list[str]:
    """Texts as EXIF, where there is none yet, or as the comment of a JPEG; names of those that found no place."""
    rest = dict(words)
    if "exif" not in options:
        exif = Image.Exif()
        for name, tag in EXIF_TAGS.items():
            if name in rest:
                exif[tag] = rest.pop(name).encode()
        if len(exif):
            options["exif"] = exif.tobytes()
    if format in ("JPEG", "MPO") and rest:
        comment = rest["comment"] if list(rest) == ["comment"] else "\n".join(f"{k}: {v}" for k, v in rest.items())
        if len(encoded := comment.encode()) <= JPEG_SEGMENT:
            options["comment"] = encoded
            return []
    return list(rest)


def tiff_tags(exif: bytes, xmp: bytes | None) -> Image.Exif:
    """EXIF and XMP as the tags of a TIFF, which is how Pillow takes them."""
    tags = metadata.loaded(exif)
    for tag, value in list(tags.items()):
        tags[tag] = metadata.as_bytes(value)
    if xmp:
        tags[700] = xmp
    return tags


def upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says, for formats that cannot say it."""
    turn = metadata.orientation({"exif": image.info.get("exif", b""), "xmp": image.info.get("xmp", b"")})
    if turn == 1:
        return image
    pixels = np.asarray(image)
    turned = metadata.turned(pixels if pixels.ndim == 3 else pixels[:, :, None], turn)
    result = Image.fromarray(turned if pixels.ndim == 3 else turned[:, :, 0])
    result.info |= image.info
    return result
