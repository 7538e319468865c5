"""Retouching of pixels, without the codec: small holes, margins, and patches without a seam."""

from codec.edit.membrane import fill, outpaint, paste

__all__ = ["fill", "outpaint", "paste"]
