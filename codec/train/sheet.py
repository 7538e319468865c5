"""What synthetic graphics are drawn on and with: paper and ink, fonts, words, parts of photographs.

The words are those of Python's own documentation and source. Fonts are what the machine has: of those that packages
usually bring (DejaVu, Liberation, Lato, Roboto …) every licence allows pictures made with them, and Pillow's own is
always there. Photographs are the caller's.
"""

from __future__ import annotations

import functools
import itertools
import os
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FONT_FOLDERS = ("/usr/share/fonts", "/Library/Fonts", "/System/Library/Fonts", "C:/Windows/Fonts")
SKIPPED_FONTS = ("emoji", "symbol", "math", "icon", "awesome", "keyboard")  # they lack letters
Rng = np.random.Generator
Colour = tuple[int, int, int]


def find_fonts(folders: list[Path]) -> list[str]:
    """Font files in folders, those of the system and those of matplotlib, in an order that does not depend on disks."""
    roots = [*folders, *map(Path, FONT_FOLDERS)]
    try:
        import matplotlib

        roots.append(Path(matplotlib.get_data_path()) / "fonts")
    except ImportError:
        pass
    found = {p for root in roots if root.is_dir() for p in root.rglob("*.[to]t[fc]")}
    return sorted(str(p) for p in found if not any(word in p.name.lower() for word in SKIPPED_FONTS))


@functools.lru_cache(maxsize=1024)
def font(path: str, size: int) -> ImageFont.FreeTypeFont:
    face = ImageFont.truetype(path, size) if path else ImageFont.load_default(size)
    assert isinstance(face, ImageFont.FreeTypeFont)  # the default one too, where a size is asked for
    return face


@functools.lru_cache(maxsize=1)
def prose() -> list[str]:
    return " ".join(" ".join(topics.values()).replace("*", "").replace("`", "").split()).split(" ")


@functools.lru_cache(maxsize=1)
def source() -> list[str]:
    files = sorted(Path(os.__file__).parent.glob("[a-h]*.py"))[:40]
    return [line for file in files for line in file.read_text("utf-8", "replace").expandtabs(4).splitlines()]


class Sheet:
    """A picture in the making: its pixels, its random choices, and what it may draw on."""

    def __init__(self, rng: Rng, size: int, fonts: list[str], photos: list[np.ndarray]):
        self.rng, self.size, self.fonts, self.photos = rng, size, fonts, photos
        self.subpixels = rng.random() < 0.25  # letters with coloured edges, as for screens of three stripes a pixel
        self.fill((255, 255, 255))

    def fill(self, colour: Colour) -> None:
        self.image = Image.new("RGB", (self.size, self.size), colour)
        self.draw = ImageDraw.Draw(self.image)

    def put(self, image: Image.Image) -> None:
        self.image = image
        self.draw = ImageDraw.Draw(image)

    def whole(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high))

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def colour(self, low: int = 0, high: int = 256) -> Colour:
        red, green, blue = self.rng.integers(low, high, 3).tolist()
        return red, green, blue

    def theme(self, dark: float = 0.3) -> tuple[Colour, Colour]:
        """Paper and ink: mostly black on white or nearly, sometimes the other way round, sometimes in colour."""
        greyish = self.colour(0, 25) if self.chance(0.5) else self.colour(0, 110)
        near_white = (255, 255, 255) if self.chance(0.5) else self.colour(215, 256)
        return (greyish, self.colour(170, 256)) if self.chance(dark) else (near_white, greyish)

    def face(self, size: int, kind: str = "") -> ImageFont.FreeTypeFont:
        fitting = [f for f in self.fonts if kind in Path(f).name.lower()] or self.fonts
        return font(str(self.rng.choice(fitting)), size)

    def words(self, count: int) -> str:
        at = self.whole(0, len(prose()) - count)
        return " ".join(prose()[at : at + count])

    def label(self) -> str:
        """A number, a word or two."""
        value = self.rng.normal(0, 10.0 ** self.whole(0, 4))
        return self.words(self.whole(1, 3))[:18] if self.chance(0.5) else f"{value:.{self.whole(0, 4)}f}"

    def photo(self, width: int, height: int) -> Image.Image:
        """Part of a photograph at about the size it would be shown at; noise of low frequency where there are none."""
        if not self.photos:
            small = self.rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        photo = Image.fromarray(self.photos[self.whole(0, len(self.photos))])
        scale = max(width / photo.width, height / photo.height, self.rng.uniform(0.4, 1))
        photo = photo.resize((max(width, round(photo.width * scale)), max(height, round(photo.height * scale))))
        left, top = self.whole(0, photo.width - width + 1), self.whole(0, photo.height - height + 1)
        return photo.crop((left, top, left + width, top + height))

    def text(self, at: tuple[float, float], text: str, face: ImageFont.FreeTypeFont, ink: Colour) -> None:
        """Text as this sheet's screen shows it."""
        if not self.subpixels:
            self.draw.text(at, text, fill=ink, font=face)
            return
        left, top = round(at[0]), round(at[1])
        width, height = min(int(face.getlength(text)) + 4, self.size - left), min(2 * int(face.size), self.size - top)
        if width < 1 or height < 1:
            return
        mask = Image.new("L", (3 * width, 3 * height))
        ImageDraw.Draw(mask).text((0, 0), text, fill=255, font=face.font_variant(size=3 * face.size))
        mask = mask.resize((3 * width, height), Image.Resampling.BOX).filter(ImageFilter.BoxBlur((1, 0)))
        alpha = np.asarray(mask, np.float32).reshape(height, width, 3) / 255
        box = (left, top, left + width, top + height)
        under = np.asarray(self.image.crop(box), np.float32)
        shown = under + (np.array(ink, np.float32) - under) * alpha
        self.image.paste(Image.fromarray((shown + 0.5).astype(np.uint8)), box)

    def paragraph(self, box: tuple[int, int, int, int], face: ImageFont.FreeTypeFont, ink: Colour) -> None:
        """Prose that fills a box."""
        left, top, right, bottom = box
        step = face.size * self.rng.uniform(1.15, 1.7)
        line, y = "", float(top)
        for word in itertools.chain.from_iterable(self.words(200).split(" ") for _ in itertools.count()):
            if line and face.getlength(f"{line} {word}") > right - left:
                if y + step > bottom:
                    return
                self.text((left, y), line, face, ink)
                line, y = "", y + step * (2 if self.chance(0.06) else 1)
            line = f"{line} {word}".strip()[:200]
