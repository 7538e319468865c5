"""Hostile and odd input where nothing is decoded by the networks: a LatError, or the picture; never anything else."""

import io
import json
import struct

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

import codec.plugin  # noqa: F401
from codec import LatError, container, lossless
from codec.arguments import from_array
from codec.container import chunk
from codec.picture import metadata, pictures
from codec.picture.image import from_pillow, open_image
from codec.settings import Settings
from codec.tiles import box_within, region_box

SMALL = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)


def with_text(text: bytes) -> bytes:
    """A .lat file with a text chunk of these bytes."""
    file = lossless.encode(from_array(SMALL), 1)
    file.metadata["text"] = text
    return container.build(file)


def decoded(data: bytes) -> Image.Image:
    return lossless.decode(container.parse(data))


TEXTS = {
    "200,000 brackets": b"[" * 200_000,
    "200,000 objects": b'{"a":' * 200_000,
    "a lone surrogate": b'{"comment":"\\ud800", "\\udfff": "x"}',
    "infinite dpi": b'{"dpi":[1e999,1e999]}',
    "dpi that is no number": b'{"dpi":[NaN,NaN]}',
    "a huge dpi": b'{"dpi":[1e300,70000]}',
    "a number of 5,000 digits": b'{"dpi":[' + b"9" * 5000 + b",1]}",
    "words that mean something to Pillow": json.dumps(
        dict.fromkeys([*metadata.TYPES, *metadata.OTHERS, "comment"], "x")
    ).encode(),
    "a zero byte in a keyword": b'{"a\\u0000b":"c\\u0000d", "\\u0001":"e", "": "f"}',
    "no UTF-8": b'{"comment":"\xff\xfe"}',
    "no object": b"12",
}


@pytest.mark.parametrize("name", TEXTS)
def test_no_text_chunk_costs_a_picture(name):
    data = with_text(TEXTS[name])
    image = decoded(data)
    assert (np.asarray(image) == SMALL).all()
    image.getexif()
    assert image.convert("RGBA").mode == "RGBA"
    assert lossless.exact(from_pillow(image))
    with Image.open(io.BytesIO(data)) as again:
        again.getexif()
        assert lossless.exact(from_pillow(again))
    for format in ("PNG", "JPEG", "TIFF", "WEBP", "GIF"):
        with Image.open(io.BytesIO(pictures.encode(image, format)[0])) as written:
            assert written.size == (16, 16)


def test_words_keep_their_names_where_pillow_would_take_them_for_its_own():
    image = decoded(with_text(b'{"gamma": "bright", "version": "7"}'))
    assert image.info == {"text:gamma": "bright", "text:version": "7"}
    with Image.open(io.BytesIO(pictures.encode(image, "PNG")[0])) as written:
        written.load()
        assert written.text == {"gamma": "bright", "version": "7"}
        assert json.loads(from_pillow(written).metadata["text"]) == {"gamma": "bright", "version": "7"}


@pytest.mark.parametrize("keyword", ["transparency", "gamma", "chromaticity", "dpi", "icc_profile", "aspect", "exif"])
def test_a_png_may_have_any_keyword(keyword):
    words = PngImagePlugin.PngInfo()
    words.add_text(keyword, "x")
    out = io.BytesIO()
    Image.fromarray(SMALL).save(out, "PNG", pnginfo=words)
    picture = from_pillow(open_image(io.BytesIO(out.getvalue()), "a.png"))
    assert (picture.pixels == SMALL).all() and picture.mode == "RGB"
    assert json.loads(picture.metadata["text"]) == {keyword: "x"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("transparency", "x"),
        ("transparency", (1, 2)),
        ("gamma", "x"),
        ("chromaticity", (1, 2)),
        ("icc_profile", 5),
        ("exif", 5),
        ("exif", {}),
        ("xmp", 5),
        ("dpi", float("nan")),
        ("dpi", (float("nan"), float("inf"))),
        ("dpi", "300"),
        ("aspect", 1),
        ("comment", 5),
        ("cicp", "x"),
    ],
)
def test_foreign_values_in_info_are_passed_over_or_refused(key, value):
    image = Image.fromarray(SMALL)
    image.info[key] = value
    try:
        picture = from_pillow(image)
    except LatError:
        assert key == "transparency"
    else:
        assert (picture.pixels[:, :, :3] == SMALL).all() and not picture.metadata
    assert image.info == {key: value}


@pytest.mark.parametrize("fraction", [(0, 0), (1, 0), (0, 1), (2**32 - 1, 1)])
def test_a_tiff_without_a_usable_resolution_is_a_picture(fraction):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    out = io.BytesIO()
    Image.fromarray(SMALL).save(out, "TIFF", tiffinfo=tags, resolution_unit=2, x_resolution=1, y_resolution=1)
    data = bytearray(out.getvalue())
    ifd = struct.unpack_from("<I", data, 4)[0]
    for i in range(struct.unpack_from("<H", data, ifd)[0]):
        tag, _, _, at = struct.unpack_from("<HHII", data, ifd + 2 + 12 * i)
        if tag in (282, 283):
            struct.pack_into("<II", data, at, *fraction)
    picture = from_pillow(open_image(io.BytesIO(bytes(data)), "a.tif"))
    assert (picture.pixels == SMALL).all() and "text" not in picture.metadata


WRONG_BOXES = [
    (0, 0, 1),
    (0, 0, 1.0, 1.0),
    (0, 0, float("nan"), 1),
    None,
    5,
    "0123",
    (0, 0, None, 1),
    (-1, 0, 1, 1),
    (0, 0, 17, 1),
    (1, 1, 1, 1),
]


@pytest.mark.parametrize("box", WRONG_BOXES)
def test_a_region_of_the_wrong_kind_is_one_sentence(box):
    with pytest.raises(LatError, match="four whole numbers|is empty or leaves"):
        region_box(container.parse(with_text(b"")).header, box)
    assert box_within(np.array([0, 1, 2, 3]), 16, 16).bottom == 3


@pytest.mark.parametrize("wrong", [float("nan"), -5, 1e9, "0.7", None, [0.7]])
@pytest.mark.parametrize("name", ["threshold", "quality", "effort", "tile"])
def test_settings_are_numbers_of_their_range(name, wrong):
    with pytest.raises(LatError, match=f"{name} must be"):
        Settings(**{name: wrong})


@pytest.mark.parametrize("limit", [1, 60, 200])
def test_pillow_s_own_limit_is_no_other_error(limit, monkeypatch):
    data, noise = with_text(b""), io.BytesIO()
    Image.fromarray(SMALL).save(noise, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    for attempt in (
        lambda: lossless.decode(container.parse(data)),
        lambda: lossless.decode(container.parse(data), (0, 0, 1, 1)),
        lambda: from_pillow(open_image(io.BytesIO(noise.getvalue()), "a.png")),
    ):
        try:
            attempt()
        except LatError as error:
            assert "MAX_IMAGE_PIXELS" in str(error) or limit == 200


def test_a_text_chunk_of_many_megabytes_is_not_parsed():
    text = b"[" + b"[]," * metadata.TEXT_LIMIT + b"1]"
    assert metadata.words_of(text) == {"comment": text.decode()}
    assert chunk(b"text", text)[:4] == b"text"
