"""What a codec of the bench is: one class, which holds all that tables, charts and pages say about it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from PIL import Image

GREY = "#7d8590"  # of codecs that have no colour of their own


class Codec(ABC):
    """A codec under test. The constructor raises ImportError where a package is missing."""

    name = ""  # in commands and result files
    label = ""  # in tables and charts
    colour = GREY
    tuned = ""  # what the encoder spends its bits for
    settings: tuple = ()  # in order of rising quality
    suffix: str | None = None  # image/SUFFIX is what browsers call the format, where they show it
    quick = False  # part of `lat bench --quick`
    compared = False  # offered beside lat in the report's pictures, at lat's bytes
    version: str  # rows of another one are measured again

    @abstractmethod
    def __init__(self, model: str):
        """`model` names lat's weights; rivals need none."""

    @abstractmethod
    def encode(self, image: Image.Image, setting: int) -> bytes:
        """The file of an RGB picture."""

    @abstractmethod
    def decode(self, data: bytes) -> Image.Image:
        """The RGB picture of a file."""
