"""What becomes of pictures that are not plain 8-bit RGB: the right picture, or a refusal; what is lost is said."""

import io
import json
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageDraw, ImageFilter, ImageOps, PngImagePlugin, TiffImagePlugin

from codec import LatError, container, lossless
from codec.picture import metadata, pictures
from codec.picture.image import Picture, from_pillow, open_image, to_pillow
from codec.settings import Settings
from tests.conftest import psnr

GREY = np.tile(np.arange(256, dtype=np.uint8), (4, 1))


def opened(data: bytes, name: str = "picture") -> Picture:
    return from_pillow(open_image(io.BytesIO(data), name), name)


def written(image: Image.Image, format: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def png(bits: int, colour: int, rows: list[bytes], width: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG that Pillow could not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [chunk(b"IHDR", head), *(chunk(*c) for c in chunks), chunk(b"IDAT", body), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# -- samples of more than 8 bits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", [1.0005, np.inf, 300.0, -7.0, np.nan])
def test_one_odd_float_sample_changes_nothing_but_itself(odd):
    samples = (GREY / 255).astype(np.float32)
    samples[0, 0] = odd
    picture = opened(written(Image.fromarray(samples), "TIFF"))
    assert np.abs(picture.pixels[1:, :, 0].astype(int) - GREY[1:]).max() == 0
    assert picture.notes == ["float samples are reduced to 8 bits", "1 samples beyond the range 0 … 1 are clipped"]


def test_float_ranges():
    assert (from_pillow(Image.fromarray(GREY).convert("F")).pixels[:, :, 0] == GREY).all()  # Pillow's own range
    overshoot = np.linspace(-0.05, 1.05, 1000, dtype=np.float32)[None]
    assert from_pillow(Image.fromarray(overshoot)).pixels[0, 500, 0] in (127, 128)
    for samples in (np.linspace(0, 3, 100), np.linspace(0, 1e6, 100), np.full(100, np.nan)):
        with pytest.raises(LatError, match="scale them to 0 … 1 first"):
            from_pillow(Image.fromarray(samples[None].astype(np.float32)))


def test_a_pfm_of_0_to_3_is_refused():
    samples = np.linspace(0, 3, 64, dtype="<f4")
    with pytest.raises(LatError, match="float samples from 0 to 3"):
        opened(b"Pf\n8 8\n-1.0\n" + samples.tobytes())


def test_a_dark_16_bit_pgm_stays_dark():
    samples = np.tile(np.arange(200, dtype=">u2"), (2, 1))
    picture = opened(b"P5\n200 2\n65535\n" + samples.tobytes())
    assert picture.pixels.max() == 0 and picture.notes == ["16-bit samples are reduced to 8 bits"]
    half = opened(b"P5\n2 1\n1023\n" + np.array([512, 1023], ">u2").tobytes())
    assert half.pixels.ravel().tolist() == [128, 255]


def test_tiff_depths_are_taken_as_declared():
    def tiff(samples: np.ndarray, bits: int, kind: int, packed: bytes | None = None) -> bytes:
        """One strip, little-endian."""
        data = packed or samples.tobytes()
        tags = {256: 200, 257: len(samples), 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: len(samples)}
        tags |= {279: len(data), 339: kind}
        entries = b"".join(
            struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags.items()
        )
        return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)

    ramp = np.tile(np.linspace(0, 1, 200), (2, 1))
    expected = (ramp[0] * 255).astype(int)
    for dtype, bits, kind, top in (("<u4", 32, 1, 2**32 - 1), ("<i4", 32, 2, 2**31 - 1), ("<i2", 16, 2, 2**15 - 1)):
        found = opened(tiff((ramp * top).astype(dtype), bits, kind)).pixels[0, :, 0].astype(int)
        assert np.abs(found - expected).max() <= 1, dtype
    values = (ramp * 4095).astype(int)
    pairs = values.reshape(-1, 2)
    packed = bytes(b for a, c in pairs for b in (a >> 4, (a & 15) << 4 | c >> 8, c & 255))
    twelve = opened(tiff(values, 12, 1, packed))
    assert np.abs(twelve.pixels[0, :, 0].astype(int) - expected).max() <= 1
    with pytest.raises(LatError, match="scale them to 16 bits first"):
        opened(tiff((ramp * 65535).astype("<u4"), 32, 1))


def test_in_memory_32_bit_samples():
    assert (from_pillow(Image.fromarray(GREY.astype(np.int32))).pixels[:, :, 0] == GREY).all()
    assert (from_pillow(Image.fromarray(GREY.astype(np.int32) * 257)).pixels[:, :, 0] == GREY).all()
    with pytest.raises(LatError, match="32-bit samples"):
        from_pillow(Image.fromarray(GREY.astype(np.int32) * 100000))


@pytest.mark.parametrize(("bits", "scale"), [(1, 255), (2, 85), (4, 17), (8, 1), (16, 1 / 257)])
def test_the_transparent_value_of_grey_pngs_of_any_depth(bits, scale):
    count, top = 8, 2**bits - 1
    values = [i * top // 7 for i in range(count)]
    if bits == 16:
        row = np.array(values, ">u2").tobytes()
    else:
        row = int("".join(f"{v:0{bits}b}" for v in values), 2).to_bytes(count * bits // 8, "big")
    picture = opened(png(bits, 0, [row], count, (b"tRNS", struct.pack(">H", values[0]))))
    assert picture.mode == "LA"
    assert picture.pixels[0, :, 1].tolist() == [0 if v == values[0] else 255 for v in values]
    assert abs(picture.pixels[0, -1, 0] - top * scale) <= 1


def test_16_bit_colour_says_so_and_keeps_its_transparency():
    row = np.array([0x1234, 0x5678, 0x9ABC, 0xFFFF, 0, 0], ">u2").tobytes()
    plain = opened(png(16, 2, [row], 2))
    assert plain.notes == ["16-bit samples are reduced to 8 bits"] and plain.pixels[0, 0].tolist() == [18, 86, 154]
    clear = opened(png(16, 2, [row], 2, (b"tRNS", row[:6])))
    assert clear.mode == "RGBA" and clear.pixels[0, :, 3].tolist() == [0, 255]
    ppm = opened(b"P6\n1 1\n65535\n" + row[:6])
    assert ppm.notes == plain.notes


# -- thumbnails -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tags", [{254: 1}, {50706: b"\1\4\0\0"}, {}])
def test_the_thumbnail_of_a_raw_photograph_is_no_photograph(tags):
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        info[tag] = value
    data = written(Image.new("RGB", (16, 10)), "TIFF", tiffinfo=info)
    with pytest.raises(LatError, match="raw photograph.*16 × 10 is only a preview"):
        opened(data, "a.tif" if tags else "a.NEF")


# -- orientation ----------------------------------------------------------------------------------------------------


def with_orientation(image: Image.Image, value: int, format: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    exif[0x010F] = "maker"
    return written(image, format, exif=exif, xmp=b'<x tiff:Orientation="%d"/>' % value)


def seen(image: Image.Image) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("value", range(1, 9))
def test_stripping_exif_turns_the_pixels(crop, value):
    picture = opened(with_orientation(Image.fromarray(crop), value, "WEBP"))
    stripped = picture.without(("exif",))
    assert "exif" not in stripped.metadata and metadata.orientation(stripped.metadata) == 1
    expected = seen(to_pillow(picture.pixels, picture.metadata))
    assert (seen(to_pillow(stripped.pixels, stripped.metadata)) == expected).all()


def test_a_picture_turned_with_pillow_is_not_turned_again(codec, crop):
    with Image.open(io.BytesIO(with_orientation(Image.fromarray(crop), 6))) as image:
        kept = codec.decode(codec.encode(image))
        turned = codec.decode(codec.encode(image.rotate(-90, expand=True)))
        assert kept.getexif()[0x0112] == 6
        assert turned.getexif()[0x0112] == 1 and turned.getexif()[0x010F] == "maker"
        assert seen(turned).shape == seen(kept).shape == (128, 96, 3)


@pytest.mark.parametrize("value", range(1, 9))
def test_a_decoded_picture_keeps_its_orientation_and_words_through_another_encoding(value):
    exif = Image.Exif()
    exif[0x0112], words = value, b'{"comment": "hello", "dpi": [300, 300]}'
    first = lossless.exact(Picture(np.zeros((6, 9, 3), np.uint8), "RGB", {"exif": exif.tobytes(), "text": words}))
    decoded = lossless.decode(container.parse(first))
    assert lossless.exact(from_pillow(decoded)) == first
    region = lossless.decode(container.parse(first), (0, 0, 4, 5))
    assert metadata.orientation(from_pillow(region).metadata) == value
    derived = from_pillow(decoded.convert("L"))
    assert metadata.orientation(derived.metadata) == 1
    assert any("may have been turned" in note for note in derived.notes) == (value != 1)


@pytest.mark.parametrize("name", sorted(metadata.OTHERS - {"dpi", "interlace"}))
def test_a_text_of_a_png_passes_for_nothing_else(name):
    info = PngImagePlugin.PngInfo()
    info.add_text(name, "yes")
    picture = opened(written(Image.new("RGB", (4, 4), "teal"), "PNG", pnginfo=info))
    assert picture.mode == "RGB" and picture.metadata.keys() == {"text"}
    old = picture.metadata | {"text": json.dumps({name: "yes"}).encode()}  # as files of before have it
    for kept in (picture.metadata, old):
        assert from_pillow(to_pillow(picture.pixels, kept)).metadata == picture.metadata
        assert not pictures.encode(to_pillow(picture.pixels, kept), "PNG")[1]


@pytest.mark.parametrize("before", range(1, 9))
@pytest.mark.parametrize("after", range(1, 9))
def test_pixels_of_one_orientation_become_those_of_another(before, after):
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    stored = metadata.reorient(pixels, before, after)
    assert np.array_equal(metadata.turned(stored, after), metadata.turned(pixels, before))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM"])
def test_every_format_shows_the_picture_upright(crop, format):
    image = to_pillow(crop, opened(with_orientation(Image.fromarray(crop), 6)).metadata)
    data, notes = pictures.encode(image, format)
    with Image.open(io.BytesIO(data)) as again:
        assert seen(again.convert("RGB") if format == "GIF" else again).shape == (128, 96, 3)
    assert any("EXIF" in note for note in notes) == (format in ("BMP", "GIF", "PPM"))


# -- transparency ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sprite(photo):
    """A photograph in a soft disc, and noise where nobody sees it."""
    colour = np.asarray(photo.crop((100, 60, 356, 252))).copy()
    mask = Image.new("L", (256, 192), 0)
    ImageDraw.Draw(mask).ellipse((50, 20, 206, 172), fill=255)
    alpha = np.asarray(mask.filter(ImageFilter.GaussianBlur(1)))
    noise = np.random.default_rng(0).integers(0, 256, colour.shape, dtype=np.uint8)
    return np.dstack([np.where(alpha[:, :, None] == 0, noise, colour), alpha])


def test_hidden_colours_cost_nothing_and_do_not_bleed(codec, sprite):
    image = Image.fromarray(sprite)
    clean = codec.encode(from_pillow(image))
    exact = container.build(codec.learned.encode(from_pillow(image, exact=True), Settings()))  # not without loss
    assert codec.encode(image) == clean and len(clean) < len(exact) / 3

    def edge(data: bytes) -> float:
        """dB over black, where the picture is neither clear nor opaque."""
        decoded, alpha = np.asarray(codec.decode(data)), sprite[:, :, 3:] / 255
        partly = (sprite[:, :, 3] > 0) & (sprite[:, :, 3] < 255)
        return psnr((decoded[:, :, :3] * alpha)[partly], (sprite[:, :, :3] * alpha)[partly])

    assert edge(clean) > edge(exact) + 1.5


def test_visible_colours_are_never_touched(sprite):
    picture = from_pillow(Image.fromarray(sprite))
    visible = sprite[:, :, 3] > 0
    assert (picture.pixels[visible] == sprite[visible]).all() and (picture.pixels[:, :, 3] == sprite[:, :, 3]).all()
    assert (from_pillow(Image.fromarray(sprite), exact=True).pixels == sprite).all()
    for pixels in (sprite * 0, sprite[:1], sprite[:, :1], sprite[:7, :5]):
        assert from_pillow(Image.fromarray(pixels)).pixels.shape == pixels.shape


# -- metadata -------------------------------------------------------------------------------------------------------


def primaries(profile: bytes) -> np.ndarray:
    """X, Y, Z of red, green and blue under D50, as LittleCMS reads them."""
    found = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
    return np.array([c[0] for c in (found.red_primary, found.green_primary, found.blue_primary)])


ADOBE_RGB = [[0.6097, 0.3111, 0.0195], [0.2053, 0.6257, 0.0609], [0.1492, 0.0632, 0.7446]]  # in their own profiles
DISPLAY_P3 = [[0.5151, 0.2412, -0.0011], [0.2920, 0.6922, 0.0419], [0.1571, 0.0666, 0.7841]]


def test_colours_of_a_png_become_a_profile():
    row = bytes(3)
    chrm = struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
    adobe = opened(png(8, 2, [row], 1, (b"gAMA", struct.pack(">I", 45455)), (b"cHRM", chrm)))
    assert np.abs(primaries(adobe.metadata["icc"]) - ADOBE_RGB).max() < 0.001
    p3 = opened(png(8, 2, [row], 1, (b"cICP", bytes([12, 13, 0, 1]))))
    assert np.abs(primaries(p3.metadata["icc"]) - DISPLAY_P3).max() < 0.001
    linear = opened(png(8, 0, [b"\0"], 1, (b"gAMA", struct.pack(">I", 100000))))
    assert ImageCms.ImageCmsProfile(io.BytesIO(linear.metadata["icc"])).profile.xcolor_space == "GRAY"
    for chunks in (
        [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 45455))],
        [(b"cICP", bytes([1, 13, 0, 1]))],
        [(b"gAMA", struct.pack(">I", 45455))],
        [],
    ):
        assert "icc" not in opened(png(8, 2, [row], 1, *chunks)).metadata
    hdr = opened(png(8, 2, [row], 1, (b"cICP", bytes([9, 16, 0, 1]))))
    assert b"cicp\0\0\0\0\x09\x10\0\1" in hdr.metadata["icc"] and primaries(hdr.metadata["icc"]).shape == (3, 3)


def test_a_linear_profile_means_what_gamma_meant(crop):
    linear = opened(png(8, 2, [bytes([55, 55, 55])], 1, (b"gAMA", struct.pack(">I", 100000))))
    image = Image.new("RGB", (1, 1), (55, 55, 55))
    srgb = ImageCms.createProfile("sRGB")
    shown = ImageCms.profileToProfile(image, ImageCms.ImageCmsProfile(io.BytesIO(linear.metadata["icc"])), srgb)
    assert abs(shown.getpixel((0, 0))[1] - 128) <= 2  # 55 / 255 of the light is the middle grey of sRGB


def test_words_resolution_and_credits_are_kept_in_every_format_that_can(crop):
    words = PngImagePlugin.PngInfo()
    words.add_text("Copyright", "© somebody")
    words.add_text("Comment", "a bridge")
    words.add_itxt("Title", "橋")
    picture = opened(written(Image.fromarray(crop), "PNG", pnginfo=words, dpi=(300, 300)))
    assert json.loads(picture.metadata["text"])["dpi"] == [300, 300] and not picture.notes
    image = to_pillow(crop, picture.metadata)
    with Image.open(io.BytesIO(pictures.encode(image, "PNG")[0])) as again:
        again.load()
        assert again.text == {"Copyright": "© somebody", "Comment": "a bridge", "Title": "橋"}
        assert round(again.info["dpi"][0]) == 300
    for format in ("JPEG", "WEBP", "TIFF"):
        data, notes = pictures.encode(image, format)
        with Image.open(io.BytesIO(data)) as again:
            assert again.getexif()[0x8298].encode("latin-1").decode() == "© somebody", format
            if format != "WEBP":
                assert again.info["dpi"] == (300, 300)
    assert any("resolution" in note for note in pictures.encode(image, "WEBP")[1])


def test_a_jpeg_comment_and_its_resolution(crop):
    picture = opened(written(Image.fromarray(crop), "JPEG", comment="grüße", dpi=(200, 200)))
    assert json.loads(picture.metadata["text"]) == {"comment": "grüße", "dpi": [200, 200]}
    with Image.open(io.BytesIO(pictures.encode(to_pillow(crop, picture.metadata), "JPEG")[0])) as again:
        assert again.info["comment"].decode() == "grüße" and again.info["dpi"] == (200, 200)


def test_tags_of_a_tiff(crop):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[33432], tags[315], tags[306] = "© A".encode(), "B", "2026:01:02 03:04:05"
    picture = opened(written(Image.fromarray(crop), "TIFF", tiffinfo=tags, dpi=(300, 300)))
    exif = metadata.loaded(picture.metadata["exif"])
    assert dict(exif) == {33432: "© A".encode().decode("latin-1"), 315: "B", 306: "2026:01:02 03:04:05"}
    assert json.loads(picture.metadata["text"]) == {"dpi": [300, 300]}


def test_iptc_credits_stay_and_the_rest_is_named(crop):
    fields = b"".join(
        b"\x1c\x02" + bytes([n]) + struct.pack(">H", len(v)) + v
        for n, v in ((116, b"\xc2\xa9 C"), (80, b"D"), (120, b"E"), (25, b"key"))
    )
    resource = (
        b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(fields)) + fields + b"\0" * (len(fields) % 2)
    )
    segment = b"\xff\xed" + struct.pack(">H", len(resource) + 2) + resource
    plain = written(Image.fromarray(crop), "JPEG")
    picture = opened(plain[:2] + segment + plain[2:])
    assert json.loads(picture.metadata["text"]) == {"Copyright": "© C", "Author": "D", "Description": "E"}
    assert picture.notes == ["IPTC is dropped but for title, author, copyright and description"]


def test_exif_and_xmp_that_imagemagick_hides_in_text(crop):
    exif = Image.Exif()
    exif[0x8298] = "F"
    raw = exif.tobytes()
    words = PngImagePlugin.PngInfo()
    words.add_text("Raw profile type exif", f"\nexif\n{len(raw):8}\n{raw.hex()}\n", zip=True)
    words.add_text("Raw profile type xmp", f"\nxmp\n{4:8}\n{b'<x/>'.hex()}\n", zip=True)
    picture = opened(written(Image.fromarray(crop), "PNG", pnginfo=words))
    assert picture.metadata == {"exif": raw, "xmp": b"<x/>"}


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
def test_xmp_reaches_every_format_that_holds_it(crop, format):
    data, notes = pictures.encode(to_pillow(crop, {"xmp": b"<x:xmpmeta/>", "icc": b"profile" * 20}), format)
    with Image.open(io.BytesIO(data)) as again:
        assert again.info["xmp"] == b"<x:xmpmeta/>" and again.info["icc_profile"] == b"profile" * 20
    assert not notes


def test_what_a_format_cannot_hold_is_named(crop):
    image = to_pillow(crop, {"xmp": b"<x/>", "icc": b"profile", "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"})
    for format in ("BMP", "GIF", "PPM"):
        assert "ICC profile, EXIF, XMP" in pictures.encode(image, format)[1][-1]


def test_exif_that_is_too_long_for_a_jpeg_keeps_what_is_short(crop):
    exif = Image.Exif()
    exif[0x8298] = "G"
    exif.get_ifd(ExifTags.IFD.Exif)[37500] = bytes(70000)  # the maker's notes
    data, notes = pictures.encode(to_pillow(crop, {"exif": exif.tobytes()}), "JPEG")
    with Image.open(io.BytesIO(data)) as again:
        assert again.getexif()[0x8298] == "G"
    assert "large parts of EXIF" in notes[0]
    data, notes = pictures.encode(to_pillow(crop, {"xmp": bytes(70000)}), "JPEG")
    assert "XMP" in notes[0]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize(
    "exif", [b"garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\1" * 60]
)
def test_garbage_exif_costs_no_picture(crop, format, exif):
    warnings.simplefilter("ignore")  # Pillow's, of reading it again
    data, _ = pictures.encode(to_pillow(crop, {"exif": exif}), format)
    with Image.open(io.BytesIO(data)) as again:
        assert again.size == (128, 96)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF"])
def test_lossy_outputs_are_good_by_default_and_take_a_quality(crop, format):
    image = Image.fromarray(crop)
    usual, small = pictures.encode(image, format)[0], pictures.encode(image, format, 30)[0]
    assert len(small) < len(usual)
    with Image.open(io.BytesIO(usual)) as again:
        assert psnr(np.asarray(again), crop) > 38


def test_a_picture_too_wide_for_a_format_is_one_sentence():
    for format in ("AVIF", "WEBP", "GIF", "JPEG"):
        with pytest.raises(LatError, match=f"cannot be written as {format}"):
            pictures.encode(Image.new("RGB", (70000, 1)), format)


# -- what is no picture ---------------------------------------------------------------------------------------------


def test_pictures_without_pixels_and_closed_ones_are_refused(codec, crop):
    for size in ((0, 5), (5, 0), (0, 0)):
        with pytest.raises(LatError, match="no pixels"):
            codec.encode(Image.new("RGB", size))
    for image in (Image.fromarray(crop), Image.open(io.BytesIO(written(Image.fromarray(crop), "PNG")))):
        image.close()
        with pytest.raises(LatError):
            codec.encode(image)


def test_numpy_numbers_are_numbers(codec, crop):
    assert codec.encode(crop, quality=np.int64(50)) == codec.encode(crop, quality=np.float32(50)) == codec.encode(crop)
