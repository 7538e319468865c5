"""Text chunks of anybody's files never stop a picture, in Pillow neither."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import codec.plugin  # noqa: F401
from codec import container, lossless
from codec.arguments import as_picture
from codec.picture import pictures
from codec.picture.image import to_pillow
from codec.picture.metadata import to_info, words_of

TEXTS = {
    "brackets without end": b"[" * 200_000,
    "objects without end": b'{"a":' * 200_000,
    "a lone surrogate": b'{"comment":"\\ud800"}',
    "a keyword of surrogates": b'{"\\udfff\\ud800":"x"}',
    "infinite resolution": b'{"dpi":[1e999,1e999]}',
    "resolution that is no number": b'{"dpi":[NaN,72]}',
    "negative resolution": b'{"dpi":[-1,0]}',
    "resolution of truth": b'{"dpi":[true,true]}',
    "huge resolution": b'{"dpi":[' + b"9" * 400 + b",1]}",
    "a number of 5000 digits": b'{"a":' + b"9" * 5000 + b"}",
    "names that mean something": b'{"transparency":"x","gamma":"x","duration":"y","loop":"z","aspect":"1","srgb":"x"}',
    "bytes that are text": b'{"exif":"x","icc_profile":"y","xmp":"z","XML:com.adobe.xmp":"q","photoshop":"p","mp":"1"}',
    "ImageMagick's profiles": b'{"Raw profile type exif":"\\nexif\\n 4\\nzz","Raw profile type xmp":"q"}',
    "empty names, zeros": b'{"":"","\\u0000":"\\u0000"}',
    "no object": b"[1]",
    "no text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_picture_with_any_text_is_decoded_converted_and_coded_again(name):
    pixels = np.zeros((8, 8, 3), np.uint8)
    file = lossless.encode(as_picture(pixels), 1)
    data = container.build(replace(file, metadata={"text": TEXTS[name]}))
    image = Image.open(io.BytesIO(data))
    assert image.convert("RGBA").size == (8, 8)
    image.getexif()
    decoded = to_pillow(pixels, container.parse(data).metadata)
    lossless.exact(as_picture(decoded))
    for format in ("PNG", "JPEG", "TIFF"):
        pictures.encode(decoded, format, None)


def test_good_texts_are_kept():
    info = to_info({"text": '{"Copyright":"© me","dpi":[300,299.5]}'.encode()})
    assert info == {"Copyright": "© me", "dpi": (300, 299.5)}
    assert words_of(b"plain") == {"comment": "plain"}
