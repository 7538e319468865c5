"""Pillow plugin: after `import codec.plugin`, Pillow opens and saves .lat files.

Opening parses the container and runs no torch; pixels are decoded when they are first used. Weights are loaded once a
process, whatever the number of pictures and threads.
"""

from __future__ import annotations

from numbers import Real
from threading import Lock
from typing import IO

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

    def _decode(self, parsed: container.Container) -> None:
        try:
            decoded = _decoded(parsed)
        except LatError as error:
            raise OSError(f"cannot decode .lat file: {error}") from None
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


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(container.MAGIC)


def _save(image: Image.Image, target: IO[bytes], filename: str | bytes) -> None:
    """Options: quality 0 … 100, model, icc_profile, exif, xmp, and exact and lossless, as for WebP.

    Without options, metadata come from the image; its EXIF orientation only from an image as it was opened, because
    others may have been turned since.
    """
    from codec import loaded, lossless, weights
    from codec.picture.image import from_pillow
    from codec.picture.metadata import INFO
    from codec.settings import EFFORT, QUALITY, Settings

    options = image.encoderinfo
    quality = options.get("quality", QUALITY)
    if not isinstance(quality, Real) or not 0 <= float(quality) <= 100:
        raise ValueError(f"quality must be 0 … 100, got {quality!r}")
    exactly = bool(options.get("lossless"))
    picture = from_pillow(image, exact=exactly or options.get("exact", False))
    for ours, theirs in INFO.items():
        if theirs in options:
            value = options[theirs]
            picture.metadata.pop(ours, None)
            if value:
                picture.metadata[ours] = value.tobytes() if isinstance(value, Image.Exif) else bytes(value)
    if exactly:
        target.write(lossless.exact(picture))
        return
    tune = options.get("tune")
    settings = Settings(float(quality), options.get("effort", EFFORT), tune)
    codec = loaded.codec(weights.newest(options.get("model", weights.DEFAULT), tune))
    target.write(codec.encode_picture(picture, settings))


Image.register_open(LatImageFile.format, LatImageFile, _accept)
Image.register_save(LatImageFile.format, _save)
Image.register_extension(LatImageFile.format, ".lat")
Image.register_mime(LatImageFile.format, "image/x-lat")
