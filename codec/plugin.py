"""Pillow plugin: after `import codec.plugin`, Pillow opens and saves .lat files.

Opening parses the container and runs no torch; pixels are decoded when they are first used.
"""

from __future__ import annotations

from typing import BinaryIO

from PIL import Image, ImageFile

from codec import container
from codec.errors import LatError

_METADATA = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}  # ours -> Pillow's


class LatImageFile(ImageFile.ImageFile):
    """A .lat file as a Pillow image. Damage is an OSError, as with Pillow's own formats."""

    format = "LAT"
    format_description = "lat learned image codec"

    def _open(self) -> None:
        try:
            self._parsed = container.parse(self.fp.read())
        except LatError as error:
            raise SyntaxError(str(error)) from None
        header = self._parsed.header
        self._mode, self._size = header.mode, (header.width, header.height)
        self.info = {_METADATA[k]: v for k, v in self._parsed.metadata.items() if k in _METADATA}
        self.tile = []  # nothing for Pillow's own decoders; see load

    def verify(self) -> None:
        """Check every checksum without decoding.

        Raises: OSError.
        """
        try:
            self._parsed.verify()
        except LatError as error:
            raise OSError(str(error)) from None
        super().verify()

    def load(self):
        """Decode the pixels, once.

        Raises: OSError.
        """
        if self._parsed is not None:
            from codec.coder import Codec

            header = self._parsed.header
            try:
                decoded = Codec.for_file(self._parsed).decode(self._parsed, max_pixels=header.width * header.height)
            except LatError as error:
                raise OSError(f"cannot decode .lat file: {error}") from None
            self.im = decoded.im
            self._parsed = None
            if self._exclusive_fp and self._close_exclusive_fp_after_loading:
                self.fp.close()
            self.fp = None
        return super().load()


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(container.MAGIC)


def _save(image: Image.Image, target: BinaryIO, filename: str | bytes) -> None:
    from codec import weights
    from codec.coder import Codec
    from codec.image import from_pillow
    from codec.settings import QUALITY

    options = image.encoderinfo
    quality = options.get("quality", QUALITY)
    if not isinstance(quality, (int, float)) or not 0 <= quality <= 100:
        raise ValueError(f"quality must be 0 … 100, got {quality!r}")
    picture = from_pillow(image)
    for ours, theirs in _METADATA.items():
        if theirs in options:
            value = options[theirs]
            picture.metadata.pop(ours, None)
            if value:
                picture.metadata[ours] = value.tobytes() if isinstance(value, Image.Exif) else bytes(value)
    target.write(Codec.load(options.get("model", weights.DEFAULT)).encode(picture, quality))


Image.register_open(LatImageFile.format, LatImageFile, _accept)
Image.register_save(LatImageFile.format, _save)
Image.register_extension(LatImageFile.format, ".lat")
Image.register_mime(LatImageFile.format, "image/x-lat")
