"""Pillow plugin: after `import codec.plugin`, Pillow opens and saves .lat files.

Opening parses the container and runs no torch; pixels are decoded when they are first used. Weights are loaded once a
process, whatever the number of pictures and threads.
"""

from __future__ import annotations

from threading import Lock
from typing import IO, Any

from PIL import Image, ImageFile, UnidentifiedImageError

from codec import container
from codec.errors import LatError


class LatImageFile(ImageFile.ImageFile):
    """A .lat file as a Pillow image. Damage is an OSError, as with Pillow's own formats."""

    format = "LAT"
    format_description = "lat learned image codec"
    _parsed: container.Container | None = None  # not after the pixels are there, nor in copies
    _loading = Lock()

    def _open(self) -> None:
        from codec.picture.metadata import to_info

        assert self.fp is not None  # Pillow opens it
        try:
            self._parsed = container.parse(self.fp.read())
        except LatError as error:
            raise UnidentifiedImageError(f"cannot read .lat file: {error}") from None  # a SyntaxError gets lost
        header = self._parsed.header
        self._mode, self._size = header.mode, (header.width, header.height)
        self.info = to_info(self._parsed.metadata)
        self.tile = []  # nothing for Pillow's own decoders; see load
        self._loading = Lock()

    def verify(self) -> None:
        """Check every checksum without decoding.

        Raises: OSError.
        """
        try:
            if self._parsed is not None:  # else the pixels are there, which says more
                self._parsed.verify()
        except LatError as error:
            raise OSError(str(error)) from None
        super().verify()

    def load(self):
        """Decode the pixels, once, whichever thread asks first.

        Raises: OSError, where the image was closed before too.
        """
        with self._loading:
            if self._parsed is not None:
                self._decode(self._parsed)
        return super().load()

    def draft(self, mode: str | None, size: tuple[int, int] | None):
        """Take the pixels of the preview, where there is one of at least this size; `mode` does not count."""
        if size is None:
            return None
        with self._loading:
            small = _preview(self._parsed) if self._parsed is not None else None
            if small is None or small.width < size[0] or small.height < size[1]:
                return None
            self._size = small.size
            self._take(small)
        return self.mode, (0, 0, *small.size)

    def thumbnail(self, size, resample=Image.Resampling.BICUBIC, reducing_gap: float | None = 2.0) -> None:
        """As of any image, from the preview where that is large enough: Pillow itself would ask for twice the size."""
        scale = min(size[0] / self.width, size[1] / self.height)
        if 0 < scale < 1:
            self.draft(None, (round(self.width * scale), round(self.height * scale)))
        super().thumbnail(size, resample, reducing_gap)

    def _decode(self, parsed: container.Container) -> None:
        try:
            decoded = _decoded(parsed)
        except LatError as error:
            raise OSError(f"cannot decode .lat file: {error}") from None
        self._take(decoded)

    def _take(self, decoded: Image.Image) -> None:
        """Have these pixels, and let go of the file."""
        self.im = decoded.im
        self._parsed = None
        if self._exclusive_fp and self._close_exclusive_fp_after_loading and self.fp:
            self.fp.close()
        self.fp = None

    def close(self) -> None:
        """Forget file and pixels."""
        self._parsed = None
        super().close()


def _decoded(file: container.Container) -> Image.Image:
    from codec import loaded, lossless

    header = file.header
    if header.lossless:
        return lossless.decode(file)
    return loaded.codec_for(header.model).decode(file, max_pixels=header.width * header.height)


def _preview(file: container.Container) -> Image.Image | None:
    """The preview of a file, turned as its pixels are stored; None where there is none of exactly this picture."""
    from codec import previews
    from codec.picture.metadata import orientation

    small = previews.decode(previews.of_container(file))
    if small is None:
        return None
    stored, whole = previews.as_stored(small, orientation(file.metadata)), (file.header.width, file.header.height)
    return stored if previews.is_reduced(stored.size, whole) else None


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(container.MAGIC)


def _save(image: Image.Image, target: IO[bytes], filename: str | bytes) -> None:
    """Write a .lat file. Options: quality, effort, tune, lossless and preview as for `Codec.encode`, model as for
    `Codec.load`; exact as for WebP; icc_profile, exif, xmp, dpi and comment as for JPEG.

    Without options, metadata come from the image; its EXIF orientation only from an image as it was opened, because
    others may have been turned since.
    Raises: ValueError.
    """
    from codec import loaded, lossless, previews, weights
    from codec.picture.image import from_pillow
    from codec.settings import EFFORT, QUALITY, Settings

    options = image.encoderinfo
    settings = Settings(
        options.get("quality", QUALITY),
        options.get("effort", EFFORT),
        options.get("tune"),
        lossless=bool(options.get("lossless")),
    )
    side = options.get("preview", 0)
    previews.check_side(side)
    picture = from_pillow(image, exact=settings.lossless or options.get("exact", False))
    _replace_metadata(picture.metadata, options)
    if settings.lossless:
        data = lossless.exact(picture, settings.effort)
    else:
        codec = loaded.codec(weights.newest(options.get("model", weights.DEFAULT), settings.tune))
        data = codec.encode_picture(picture, settings)
    target.write(previews.with_preview(data, picture, side))


def _replace_metadata(kept: dict[str, bytes], options: dict[str, Any]) -> None:
    """Put what the options of `save` say in the place of an image's own; None and nothing remove it.

    Raises: ValueError.
    """
    from codec.picture.metadata import INFO, update_words

    for ours, theirs in INFO.items():
        if theirs in options:
            value = options[theirs]
            kept.pop(ours, None)
            if value:
                kept[ours] = value.tobytes() if isinstance(value, Image.Exif) else bytes(value)
    words: dict[str, Any] = {}
    if "dpi" in options:
        words["dpi"] = _resolution(options["dpi"])
    if "comment" in options:
        comment = options["comment"] or ""
        words["comment"] = comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)
    if words:
        update_words(kept, words)


def _resolution(dpi: Any) -> list[float] | None:
    """Dots per inch across and down. Raises: ValueError."""
    if not dpi:
        return None
    try:
        across, down = (round(float(value), 2) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        raise ValueError(f"dpi must be two numbers, across and down, got {dpi!r}") from None
    if not (0 < across < 1e6 and 0 < down < 1e6):
        raise ValueError(f"dpi must be above 0 and below a million, got {dpi!r}")
    return [across, down]


def _save_all(image: Image.Image, target: IO[bytes], filename: str | bytes) -> None:
    """`_save`, where there is one picture to save.

    Raises: ValueError.
    """
    count = getattr(image, "n_frames", 1) + len(list(image.encoderinfo.get("append_images", ())))
    if count > 1:
        raise ValueError(f"a .lat file holds one picture, not {count}: save each into a file of its own")
    _save(image, target, filename)


Image.register_open(LatImageFile.format, LatImageFile, _accept)
Image.register_save(LatImageFile.format, _save)
Image.register_save_all(LatImageFile.format, _save_all)
Image.register_extension(LatImageFile.format, ".lat")
Image.register_mime(LatImageFile.format, "image/x-lat")
