"""What the container of a picture declares is kept, put right, named or refused; Pillow alone would get it wrong."""

import io
import struct
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from codec import LatError, lossless
from codec.picture import icc, metadata, pictures
from codec.picture.declared import READERS, Declared, declare, keep
from codec.picture.image import frames, from_pillow, open_image, to_pillow
from tests.test_pictures import DISPLAY_P3, opened, png, primaries, written

GREY = (np.arange(32 * 24, dtype=np.uint32).reshape(24, 32) % 256).astype(np.uint8)
COLOUR = np.dstack([GREY, GREY[::-1], GREY[:, ::-1]])
DEEP = COLOUR.astype(np.uint16) * 257
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
CODES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "I", 7: "s", 12: "d"}


def tiff(samples: np.ndarray, tags: dict | None = None, end: str = "<", packed: bytes | None = None) -> bytes:
    """One strip a plane; `tags`: tag -> (type, values) that differ from those of plain grey or RGB."""
    planar = samples.ndim == 3 and samples.shape[0] == 3
    channels = 1 if samples.ndim == 2 else samples.shape[0] if planar else samples.shape[2]
    height, width = samples.shape[-2:] if planar or samples.ndim == 2 else samples.shape[:2]
    data = packed or samples.astype(samples.dtype.newbyteorder(end)).tobytes()
    strips = channels if planar else 1
    size = len(data) // strips
    all_tags = {256: (4, [width]), 257: (4, [height]), 258: (3, [8 * samples.itemsize] * channels)}
    all_tags |= {259: (3, [8 if packed else 1]), 262: (3, [2 if channels == 3 else 1]), 277: (3, [channels])}
    all_tags |= {273: (4, [8 + i * size for i in range(strips)]), 278: (4, [height]), 279: (4, [size] * strips)}
    all_tags |= {284: (3, [2 if planar else 1])} | (tags or {})
    kept = {tag: entry for tag, entry in sorted(all_tags.items()) if entry is not None}
    table, body, behind = b"", b"", 8 + len(data) + 2 + 12 * len(kept) + 4
    for tag, (kind, values) in kept.items():
        plain = kind in (2, 7)
        value = values if plain else struct.pack(f"{end}{len(values)}{CODES[kind]}", *values)
        count = len(values) // (2 if kind == 5 else 1)
        inline = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(end + "I", behind + len(body))
        table += struct.pack(end + "HHI", tag, kind, count) + inline
        body += value if len(value) > 4 else b""
    head = (b"II*\0" if end == "<" else b"MM\0*") + struct.pack(end + "I", 8 + len(data))
    return head + data + struct.pack(end + "H", len(kept)) + table + bytes(4) + body


def fits(samples: np.ndarray, bits: int, *cards: str) -> bytes:
    """`samples` from the lowest row on."""
    lines = ["SIMPLE  =                    T", f"BITPIX  = {bits:20d}", f"NAXIS   = {samples.ndim:20d}"]
    lines += [f"NAXIS{i + 1}  = {n:20d}" for i, n in enumerate(samples.shape[::-1])]
    head = "".join(line.ljust(80) for line in [*lines, *cards, "END"]).encode()
    data = samples.tobytes()
    return head.ljust(-(-len(head) // 2880) * 2880) + data.ljust(-(-len(data) // 2880) * 2880, b"\0")


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full(kind: bytes, *parts: bytes) -> bytes:
    return box(kind, bytes(4), *parts)


def heif(items: dict[int, tuple[bytes, int]], refers: list[tuple[bytes, int, list[int]]], *properties: bytes) -> bytes:
    """A file of items (number -> type, bytes of its data) that all have all properties; its pixels are zeros."""
    names = [box(b"infe", b"\2\0\0\0", struct.pack(">HH4s", n, 0, kind), b"\0") for n, (kind, _) in items.items()]
    places = b"".join(struct.pack(">HHHII", n, 0, 1, 0, size) for n, (_, size) in items.items())
    owned = b"".join(struct.pack(">HB", n, len(properties)) + bytes(range(1, len(properties) + 1)) for n in items)
    links = [box(kind, struct.pack(f">HH{len(to)}H", source, len(to), *to)) for kind, source, to in refers]
    meta = full(
        b"meta",
        full(b"pitm", struct.pack(">H", 1)),
        full(b"iinf", struct.pack(">H", len(items)), *names),
        full(b"iloc", b"\x44\0", struct.pack(">H", len(items)), places),
        full(b"iref", *links),
        box(b"iprp", box(b"ipco", *properties), full(b"ipma", struct.pack(">I", len(items)), owned)),
    )
    return box(b"ftyp", b"avif\0\0\0\0avifmif1") + meta + box(b"mdat", bytes(sum(size for _, size in items.values())))


def avif(primaries: int, transfer: int) -> bytes:
    data = written(Image.fromarray(COLOUR), "AVIF", quality=95)
    at = data.index(b"nclx") + 4
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) if crc is None else crc)
    )


def plain_png(*chunks: tuple[bytes, bytes]) -> bytes:
    return png(8, 2, [row.tobytes() for row in COLOUR], COLOUR.shape[1], *chunks)


# -- pictures that Pillow gets wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_a_tiff_whose_white_is_zero(kind, packed):
    top = 1 if kind == "f4" else np.iinfo(kind).max
    samples = (top - GREY / 255 * top).round(6 if kind == "f4" else 0).astype(kind)
    body = zlib.compress(samples.tobytes()) if packed else None
    tags = {262: (3, [0]), 339: (3, [3 if kind == "f4" else 1])}
    picture = opened(tiff(samples, tags, packed=body))
    assert np.abs(picture.pixels[:, :, 0].astype(int) - GREY).max() <= 1


def test_a_tiff_that_does_not_say_what_white_is_has_black_as_zero():
    assert (opened(tiff(GREY, {262: None})).pixels[:, :, 0] == GREY).all()


@pytest.mark.parametrize("end", "<>")
def test_planes_of_16_bits(end):
    picture = opened(tiff(DEEP.transpose(2, 0, 1), end=end))
    assert (picture.pixels == COLOUR).all() and picture.reduced == "16-bit samples are reduced to 8 bits"


@pytest.mark.parametrize(("kind", "sign"), [("f4", 3), ("i2", 2), ("i4", 2)])
def test_compressed_samples_whose_first_byte_is_the_highest(kind, sign):
    scale = 1 / 255 if kind == "f4" else np.iinfo(kind).max / 255
    samples = (GREY * scale).astype(kind)
    body = zlib.compress(samples.astype(samples.dtype.newbyteorder(">")).tobytes())
    found = opened(tiff(samples, {339: (3, [sign])}, ">", body)).pixels[:, :, 0]
    assert np.abs(found.astype(int) - GREY).max() <= 1


@pytest.mark.parametrize("scale", [1, 257])
def test_colour_maps_of_8_and_of_16_bits(scale):
    colours = np.random.default_rng(0).integers(0, 256, (3, 256))
    picture = opened(tiff(GREY, {262: (3, [3]), 320: (3, (colours * scale).ravel().tolist())}))
    assert (picture.pixels == colours[:, GREY].transpose(1, 2, 0)).all()


def test_signed_bytes_have_black_at_zero():
    picture = opened(tiff((GREY >> 1).astype(np.int8), {339: (3, [2])}))
    assert np.abs(picture.pixels[:, :, 0].astype(int) - GREY).max() <= 1
    with pytest.raises(LatError, match="8-bit signed samples are taken as 0 … 127"):
        lossless.exact(picture)


@pytest.mark.parametrize("kind", ["i1", "i2"])
def test_signed_samples_around_zero_are_refused(kind):
    samples = ((GREY.astype(int) - 128) * (1 if kind == "i1" else 256)).astype(kind)
    with pytest.raises(LatError, match="below 0: shift them to 0 and up first"):
        opened(tiff(samples, {339: (3, [2])}))


FITS = {
    "bytes": (lambda g: fits(g, 8)),
    "signed bytes": (lambda g: fits((g >> 1) ^ 0x80, 8, "BZERO   = -128")),
    "signed": (lambda g: fits((g.astype(int) << 7).astype(">i2"), 16)),
    "unsigned": (lambda g: fits((g.astype(int) * 257 - 32768).astype(">i2"), 16, "BZERO   =   32768.0 / unsigned")),
    "unsigned 32": (lambda g: fits((g * 16843009.0 - 2**31).astype(">i4"), 32, "BZERO   = 2147483648")),
    "float": (lambda g: fits((g / 255).astype(">f4"), -32)),
    "scaled": (lambda g: fits(g.astype(">i2"), 16, "BSCALE  = 3.9215686D-3")),
    "falling": (lambda g: fits((255 - g.astype(int)).astype(">i2"), 16, "BSCALE  = -3.9215686E-3", "BZERO   = 1")),
}


@pytest.mark.parametrize("kind", FITS)
def test_fits_samples_mean_what_zero_and_scale_say(kind):
    picture = opened(FITS[kind](GREY[::-1]))
    assert np.abs(picture.pixels[:, :, 0].astype(int) - GREY).max() <= 1


def test_fits_cubes_are_no_grey_pictures():
    with pytest.raises(LatError, match="three planes of colour"):
        opened(fits(np.stack([GREY] * 3), 8))
    assert opened(fits(np.stack([GREY] * 4), 8)).notes == [f"dropped 3 further pictures ({3 * GREY.size:,} bytes)"]


def test_deep_colours_of_a_jpeg_2000_are_refused():
    data = written(Image.fromarray(COLOUR), "JPEG2000")
    at = data.index(b"\xff\x4f\xff\x51") + 42  # depths of three components
    deep = data[:at] + b"\x0f\1\1" * 3 + data[at + 9 :]
    with pytest.raises(LatError, match="JPEG 2000: its colours have 16 bits a sample"):
        opened(deep)
    grey = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert (opened(written(grey, "JPEG2000")).pixels[:, :, 0] == GREY).all()


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ((box(b"cdef", struct.pack(">10H", 3, 0, 0, 3, 1, 0, 2, 2, 0, 1)),), "not in the order red, green, blue"),
        ((box(b"colr", b"\1\0\0", struct.pack(">I", 14)),), "CIELab"),
    ],
)
def test_other_channels_of_a_jpeg_2000_are_refused(boxes, message):
    data = written(Image.fromarray(COLOUR), "JPEG2000")
    at = data.index(b"jp2h") - 4
    size = struct.unpack_from(">I", data, at)[0]
    inside = (
        data[at + 8 : at + size].replace(b"colr", b"free") if boxes[0][4:8] == b"colr" else data[at + 8 : at + size]
    )
    with pytest.raises(LatError, match=message):
        opened(data[:at] + box(b"jp2h", inside, *boxes) + data[at + size :])


def test_inks_and_planes_that_pillow_takes_for_others_are_refused():
    four = np.dstack([COLOUR, GREY])
    with pytest.raises(LatError, match="4 inks are not cyan"):
        opened(tiff(four, {262: (3, [5]), 332: (3, [2])}))
    with pytest.raises(LatError, match="chroma is subsampled"):
        opened(tiff(COLOUR, {262: (3, [6])}))


def test_a_loaded_tiff_is_put_right_as_far_as_that_is_possible(tmp_path):
    path, again = tmp_path / "a.tif", tmp_path / "b.tif"
    path.write_bytes(tiff(65535 - GREY.astype(np.uint16) * 257, {262: (3, [0])}))
    again.write_bytes(tiff(255 - GREY, {262: (3, [0])}))
    for name in (path, again):
        with Image.open(name) as image:
            image.load()
            assert (from_pillow(image).pixels[:, :, 0] == GREY).all()
            assert (from_pillow(image).pixels[:, :, 0] == GREY).all()
    path.write_bytes(tiff(DEEP.transpose(2, 0, 1)))
    with Image.open(path) as image:
        assert (from_pillow(image).pixels == COLOUR).all() and (from_pillow(image).pixels == COLOUR).all()
    with Image.open(path) as image:
        image.load()
        with pytest.raises(LatError, match="Pillow has decoded it, and wrongly"):
            from_pillow(image)


# -- lossless that is, refusals that are right -----------------------------------------------------------------------


def test_ten_bit_avif_says_so_and_is_not_lossless():
    data = written(Image.fromarray(COLOUR), "AVIF")
    at = data.index(b"av1C") + 6
    assert declare(data).bits == 8
    for flags, bits in ((0x40, 10), (0x60, 12)):
        assert declare(data[:at] + bytes([data[at] | flags]) + data[at + 1 :]).bits == bits
    image = Image.open(io.BytesIO(data))
    keep(image, Declared("AVIF", 10))
    picture = from_pillow(image)
    assert picture.notes == ["10-bit samples are reduced to 8 bits"]
    with pytest.raises(LatError, match="cannot be kept exactly: 10-bit samples"):
        lossless.exact(picture)


@pytest.mark.parametrize(
    ("fields", "bits", "kind"),
    [
        ("1", 8, "unsigned"),  # all as usual
        ("0 0 0 10", 10, "unsigned"),  # no further fields, no floats, the second of four choices
        ("0 0 0 11 111100", 16, "unsigned"),
        ("0 1 000 0 0 0 0 01", 12, "unsigned"),  # further fields, none of them there
        ("0 0 1 00 0001", 32, "float"),
    ],
)
def test_the_depth_of_a_jpeg_xl(fields, bits, kind):
    size = "1 11000 111"  # in steps of 8: 1 + 3 rows; ratio 7
    stream = b"\xff\x0a" + int((size + fields).replace(" ", "")[::-1], 2).to_bytes(8, "little")
    found = declare(stream)
    assert (found.format, found.bits, found.kind) == ("JPEG XL", bits, kind)
    boxed = box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl ") + box(b"jhgm", bytes(9)) + box(b"jxlc", stream)
    assert declare(boxed).bits == bits and declare(boxed).extras == (("gain map", 9),)


def bmp(depth: int, masks: tuple[int, ...], pixels: bytes, width: int, header: bytes = b"") -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40 + len(header), width, 1, 1, depth, 3 if masks else 0, len(pixels), 0, 0, 0, 0)
    info += header or struct.pack(f"<{len(masks)}I", *masks)
    start = 14 + len(info)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + info + pixels


def test_bmp_pixels_of_16_bits_have_samples_of_6():
    picture = opened(bmp(16, (0xF800, 0x7E0, 0x1F), struct.pack("<HH", 0xF800, 0x07E0), 2))
    assert picture.pixels[0].tolist() == [[255, 0, 0], [0, 255, 0]] and not picture.notes
    assert lossless.exact(picture)
    assert declare(bmp(16, (), bytes(4), 2)).bits == 5
    assert declare(bmp(32, (0x3FF00000, 0xFFC00, 0x3FF), bytes(4), 1)).bits == 10


# -- colours ---------------------------------------------------------------------------------------------------------


def test_code_points_of_an_avif_become_a_profile():
    assert np.abs(primaries(opened(avif(12, 13)).metadata["icc"]) - DISPLAY_P3).max() < 0.001
    assert b"cicp\0\0\0\0\x09\x10\0\1" in opened(avif(9, 16)).metadata["icc"]
    for srgb in ((1, 13), (2, 2), (1, 1), (1, 6)):
        picture = opened(avif(*srgb))
        assert "icc" not in picture.metadata and not picture.notes
    assert opened(avif(10, 8)).notes == ["colours of an unknown kind (CICP 10/8/0/1) are taken as sRGB"]


def test_chromaticities_of_a_tiff_become_a_profile():
    white, colours = (3127, 10000, 3290, 10000), (680, 1000, 320, 1000, 265, 1000, 690, 1000, 150, 1000, 60, 1000)
    picture = opened(tiff(COLOUR, {318: (5, white), 319: (5, colours)}))
    assert np.abs(primaries(picture.metadata["icc"]) - DISPLAY_P3).max() < 0.001
    broken = opened(tiff(COLOUR, {318: (5, (0, 0, 0, 0)), 319: (5, colours)}))
    assert "icc" not in broken.metadata


def with_profile(format: str) -> bytes:
    """A file that holds `SRGB` where Pillow does not look."""
    data = written(Image.fromarray(COLOUR).quantize(8) if format == "GIF" else Image.fromarray(COLOUR), format)
    if format == "GIF":
        at = 13 + (3 << (data[10] & 7) + 1)
        blocks = b"".join(bytes([len(p)]) + p for p in (SRGB[i : i + 255] for i in range(0, len(SRGB), 255)))
        return data[:at] + b"\x21\xff\x0bICCRGBG1012" + blocks + b"\0" + data[at:]
    if format == "JPEG2000":
        at = data.index(b"jp2h") - 4
        size = struct.unpack_from(">I", data, at)[0]
        inside = data[at + 8 : at + size] + box(b"colr", b"\2\0\0", SRGB)
        return data[:at] + box(b"jp2h", inside) + data[at + size :]
    header = bytes(16) + b"DEBM" + bytes(48) + struct.pack("<IIII", 0, 124 + COLOUR.size, len(SRGB), 0)
    header = header[: 124 - 40]
    rows = COLOUR[::-1, :, ::-1].tobytes()
    info = struct.pack("<IiiHHIIiiII", 124, COLOUR.shape[1], COLOUR.shape[0], 1, 24, 0, len(rows), 0, 0, 0, 0) + header
    return b"BM" + struct.pack("<IHHI", 138 + len(rows) + len(SRGB), 0, 0, 138) + info + rows + SRGB


@pytest.mark.parametrize("format", ["GIF", "JPEG2000", "BMP"])
def test_profiles_where_pillow_does_not_look_are_kept_byte_for_byte(format):
    assert opened(with_profile(format)).metadata["icc"] == SRGB


def test_the_calibrated_colours_of_a_bmp_become_a_profile():
    places = [
        struct.pack("<3I", *(round(v * 2**30) for v in row)) for row in [[0.486, 0.229, 0], [0.266, 0.692, 0.045]]
    ]
    places.append(struct.pack("<3I", *(round(v * 2**30) for v in [0.198, 0.079, 1.044])))
    header = (
        struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0) + bytes(4) + b"".join(places) + struct.pack("<3I", *[144179] * 3)
    )
    profile = opened(bmp(24, (), bytes(4), 1, header)).metadata["icc"]
    assert np.abs(primaries(profile) - DISPLAY_P3).max() < 0.01


def test_an_unreadable_profile_of_a_png_is_named():
    for body in (b"name\0\0junk", b"name\0\5", b"no end"):
        picture = opened(plain_png((b"iCCP", body)))
        assert (picture.pixels == COLOUR).all() and "icc" not in picture.metadata
        assert picture.notes == [f"the ICC profile cannot be read and is left out ({len(body)} bytes)"]


def space(data: bytes) -> tuple[str, bytes]:
    with Image.open(io.BytesIO(data)) as image:
        return image.mode, image.info.get("icc_profile", bytes(20))[16:20]


def test_profiles_fit_the_pixels_that_they_are_written_beside():
    grey_profile = icc.profile(icc.SRGB, 2.2, True)
    assert grey_profile is not None
    grey, coloured = to_pillow(GREY[:, :, None], {"icc": SRGB}), to_pillow(COLOUR, {"icc": grey_profile})
    for format in ("PNG", "TIFF", "JPEG"):
        data, notes = pictures.encode(grey, format)
        assert space(data) == ("L", b"GRAY") and notes == [
            "the ICC profile is for RGB: one for grey with the same tones is written"
        ]
        data, notes = pictures.encode(coloured, format)
        assert space(data) == ("RGB", bytes(4)) and "dropped: it is for GRAY and the pixels are RGB" in notes[0]
    for format in ("WEBP", "AVIF"):
        data, notes = pictures.encode(to_pillow(GREY[:, :, None], {"icc": grey_profile}), format)
        assert space(data) == ("RGB", b"RGB ") and "same tones" in notes[0]


def test_a_profile_for_grey_has_the_tones_of_the_one_for_colours():
    found = ImageCms.ImageCmsProfile(io.BytesIO(icc.fitting(SRGB, True)))
    shown = ImageCms.profileToProfile(Image.fromarray(GREY), found, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert np.abs(np.asarray(shown)[:, :, 0].astype(int) - GREY).max() <= 1
    assert icc.fitting(b"profile" * 30, True) == b"profile" * 30  # what is none is nobody's business


# -- what is dropped is named ----------------------------------------------------------------------------------------


def test_chunks_and_trailers_of_a_png_are_named_with_their_sizes():
    data = plain_png((b"prVt", bytes(500)), (b"mDCV", bytes(24)), (b"caBX", bytes(70))) + b"video"
    assert opened(data).notes == [
        "dropped PNG chunks prVt, mDCV, caBX (594 bytes)",
        "dropped data behind the PNG (5 bytes)",
    ]


def test_further_pictures_of_a_ppm_and_an_ico_are_named():
    two = b"P6\n# x\n1 1\n255\nabc" + b"P5 1 1 65535\nde"
    assert opened(two).notes == ["dropped comment (2 bytes)", "dropped further picture (15 bytes)"]
    assert frames(open_image(io.BytesIO(two), "two.ppm")) == 2
    assert opened(b"P6\n1 1\n255\nabcdef").notes == ["dropped data behind the picture (3 bytes)"]
    assert not opened(b"P6\n1 1\n255\nabc\n").notes
    icon = written(Image.new("RGB", (64, 64)), "ICO", sizes=[(16, 16), (32, 32), (64, 64)])
    (note,) = opened(icon).notes
    assert note.startswith("dropped 2 further pictures (")


def test_tags_and_channels_of_a_tiff_are_named():
    geo = {33550: (12, [1.0, 1.0, 0.0]), 34735: (3, [1, 1, 0, 0]), 42113: (2, b"nan\0"), 65000: (7, bytes(99))}
    assert opened(tiff(COLOUR, geo)).notes == [
        "dropped GeoTIFF tags (32 bytes)",
        "dropped GDAL's value for no data (4 bytes)",
        "dropped TIFF tags 65000 (99 bytes)",
    ]
    five = opened(tiff(np.dstack([COLOUR, GREY, GREY]), {262: (3, [2]), 338: (3, [0, 0])}))
    assert five.notes == [f"dropped 2 channels beyond the colours ({2 * GREY.size:,} bytes)"]


def test_what_lies_beside_the_primary_picture_of_a_heif_is_named():
    depth = full(b"auxC", b"urn:mpeg:hevc:2015:auxid:2\0")
    data = heif({1: (b"av01", 9), 2: (b"av01", 70)}, [(b"auxl", 2, [1])], depth, box(b"clli", bytes(4)))
    assert declare(data).extras == (("depth map", 70), ("brightness of the screen (clli)", 4))
    apple = full(b"auxC", b"urn:com:apple:photo:2020:aux:hdrgainmap\0")
    assert declare(heif({1: (b"hvc1", 9), 2: (b"hvc1", 70)}, [(b"auxl", 2, [1])], apple)).extras == (("gain map", 70),)
    alpha = full(b"auxC", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
    assert declare(heif({1: (b"av01", 9), 2: (b"av01", 70)}, [(b"auxl", 2, [1])], alpha)).extras == ()
    tone_map = {1: (b"av01", 9), 2: (b"av01", 70), 3: (b"tmap", 20), 4: (b"Exif", 5)}
    assert declare(heif(tone_map, [(b"dimg", 3, [1, 2])])).extras == (("gain map", 90),)
    found = declare(heif({1: (b"av01", 9), 2: (b"av01", 70), 3: (b"av01", 8)}, [(b"thmb", 3, [1])]))
    assert found.pictures == 2 and found.extras == (("thumbnail", 8), ("further picture", 70))
    grid = {1: (b"grid", 8), 2: (b"hvc1", 70), 3: (b"hvc1", 80)}
    assert declare(heif(grid, [(b"dimg", 1, [2, 3])])).extras == ()
    assert declare(heif({1: (b"av01", 9)}, []) + box(b"mpvd", bytes(100))).extras == (("video", 100),)


def test_apertures_and_pixels_that_are_not_square_are_named():
    found = declare(heif({1: (b"av01", 9)}, [], box(b"clap", bytes(32)), box(b"pasp", struct.pack(">II", 2, 1))))
    assert found.blemishes == ("its clean aperture (clap) is not cut out", "pixels that are not square become square")
    assert declare(heif({1: (b"av01", 9)}, [], box(b"pasp", struct.pack(">II", 1, 1)))).blemishes == ()


def test_extensions_chunks_and_boxes_of_other_formats_are_named():
    gif = written(Image.fromarray(GREY), "GIF")
    at = 13 + (3 << (gif[10] & 7) + 1)
    more = gif[:at] + b"\x21\xff\x0bFOOBAR  1.0\3abc\0" + gif[at:] + b"xy"
    assert opened(more).notes == [
        "dropped GIF extension FOOBAR  1.0 (5 bytes)",
        "dropped data behind the GIF (2 bytes)",
    ]
    webp = written(Image.fromarray(COLOUR), "WEBP") + bytes(7)
    assert opened(webp).notes == ["dropped data behind the WebP (7 bytes)"]
    jp2 = written(Image.fromarray(COLOUR), "JPEG2000") + box(b"uuid", bytes(40))
    assert opened(jp2).notes == ["dropped JPEG 2000 box uuid (40 bytes)"]


def test_xmp_of_a_gif_is_kept():
    gif = written(Image.fromarray(GREY), "GIF")
    at = 13 + (3 << (gif[10] & 7) + 1)
    magic = b"\1" + bytes(range(255, -1, -1)) + b"\0"
    assert opened(gif[:at] + b"\x21\xff\x0bXMP DataXMP" + b"<x/>" + magic + gif[at:]).metadata["xmp"] == b"<x/>"


# -- orientation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", "<>")
@pytest.mark.parametrize(
    ("kind", "values"), [(3, [6]), (4, [6]), (1, [6]), (3, [6, 6]), (3, [6, 1, 1]), (4, [6, 6]), (12, [6])]
)
def test_an_orientation_of_any_type_of_number_turns_the_picture(kind, values, end):
    value = struct.pack(f"{end}{len(values)}{CODES[kind]}", *values)
    inline = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(end + "I", 26)
    head = (b"II*\0" if end == "<" else b"MM\0*") + struct.pack(end + "I", 8)
    exif = b"Exif\0\0" + head + struct.pack(end + "HHHI", 1, 0x0112, kind, len(values)) + inline + bytes(4) + value
    picture = opened(written(Image.fromarray(COLOUR), "JPEG", exif=exif))
    assert metadata.orientation(picture.metadata) == 6
    assert picture.without(("exif",)).pixels.shape == (32, 24, 3)
    assert metadata.orientation(metadata.upright(picture.metadata)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of two values where one is expected
        data, _ = pictures.encode(to_pillow(picture.pixels, picture.metadata), "BMP")
    assert Image.open(io.BytesIO(data)).size == (24, 32)


# -- what is wrong with a file ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [b"tEXt", b"iTXt", b"prVt", b"tIME", b"gAMA"])
@pytest.mark.parametrize("behind", [False, True])
def test_a_png_with_a_damaged_ancillary_chunk_is_taken_with_a_note(kind, behind):
    whole, bad = plain_png(), chunk(kind, b"Title\0bridge", crc=7)
    data = whole[:-12] + bad + whole[-12:] if behind else whole[:33] + bad + whole[33:]
    picture = opened(data)
    assert (picture.pixels == COLOUR).all()
    assert picture.notes == [f"PNG chunk {kind.decode()} is damaged and left out"]


def test_a_png_whose_checksums_alone_are_wrong_is_taken_with_a_note():
    whole = plain_png()
    at = whole.index(b"IDAT")
    size = struct.unpack_from(">I", whole, at - 4)[0]
    body = bytearray(whole[at + 4 : at + 4 + size])
    body[-1] ^= 1
    for data, note in (
        (whole[: at - 4] + chunk(b"IDAT", bytes(body)) + whole[-12:], "the Adler-32 of the pixels is wrong"),
        (whole[: at + 4 + size] + bytes(4) + whole[-12:], "the CRC of the pixels is wrong"),
        (whole[:-12], "it ends too early (no IEND)"),
    ):
        picture = opened(data)
        assert (picture.pixels == COLOUR).all() and picture.notes == [note]
    with pytest.raises(LatError, match="damaged image"):  # both: nothing says that the pixels are right
        opened(whole[: at + 4] + bytes(body) + whole[at + 4 + size :])
    for kind, bad in (
        ("IHDR", whole[:29] + bytes(4) + whole[33:]),
        ("tRNS", whole[:33] + chunk(b"tRNS", bytes(6), crc=5) + whole[33:]),
    ):
        with pytest.raises(LatError, match=f"PNG: chunk {kind} is damaged"):
            opened(bad)


def test_a_webp_that_is_cut_behind_its_pixels_is_taken_with_a_note():
    data = written(Image.fromarray(COLOUR), "WEBP", lossless=True, xmp=b"<x/>" * 10)
    picture = opened(data[:-3])
    assert (picture.pixels == COLOUR).all() and picture.notes == [f"it is cut: 3 of {len(data):,} bytes are missing"]


MESSAGES = {
    "empty": (b"", "is empty"),
    "zeros": (bytes(100), "is nothing but zeros"),
    "PDF": (b"%PDF-1.7", "is a PDF"),
    "page": (b"\n <!DOCTYPE html>", "is a web page"),
    "video": (b"\0\0\0\x20ftypisom" + bytes(20), "is a video"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "lat": (b"\x8eLAT\r\n\x1a\n" + bytes(40), "is a .lat file already"),
    "png as text": (b"\x89PNG\n\x1a\n" + bytes(40), "line ends were changed"),
    "png header": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "PNG: it ends within its header"),
    "float tiff": (tiff(COLOUR.astype("f4"), {339: (3, [3])}), "TIFF of 3 float samples of 32 bits"),
    "psd": (
        b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 4, 4, 16, 3) + bytes(20),
        "PSD: its samples have 16 bits",
    ),
    "cut avif": (written(Image.fromarray(COLOUR), "AVIF")[:-9], "it is cut: 9 of"),
    "cut webp": (written(Image.fromarray(COLOUR), "WEBP")[:-9], "WebP: it is cut: 9 of"),
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_refusal_says_what_the_file_is_and_what_is_wrong_with_it(kind):
    data, message = MESSAGES[kind]
    with pytest.raises(LatError, match=message):
        opened(data, "photo.jpg")


def test_a_heic_without_its_plugin_says_which_one(monkeypatch):
    from codec import kinds

    monkeypatch.setattr(kinds, "register_plugins", lambda: None)
    monkeypatch.setattr(Image, "OPEN", {k: v for k, v in Image.OPEN.items() if k != "HEIF"})
    monkeypatch.setattr(Image, "ID", [k for k in Image.ID if k != "HEIF"])
    with pytest.raises(LatError, match="is HEIC: pip install pillow-heif"):
        opened(box(b"ftyp", b"heic\0\0\0\0mif1heic") + bytes(40), "photo.jpg")


def test_a_jpeg_is_one_whatever_its_suffix(tmp_path):
    from codec.runs import plan

    jpeg = written(Image.fromarray(COLOUR), "JPEG")
    for name in ("a.HEIC", "b.jxl", "c.NEF"):
        (tmp_path / name).write_bytes(jpeg)
        assert opened(jpeg, name).pixels.shape == COLOUR.shape
    (tmp_path / "d.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "e.txt").write_bytes(jpeg)
    found = plan.find([str(tmp_path)], True, {".jpg"})
    assert [path.name for path in found.files] == ["a.HEIC", "b.jxl"] and len(found.passed_over) == 3


# -- hostile input ---------------------------------------------------------------------------------------------------


def samples_of_every_format() -> dict[str, bytes]:
    image = Image.fromarray(COLOUR)
    found = {
        f: written(image, f) for f in ("PNG", "TIFF", "AVIF", "JPEG2000", "BMP", "WEBP", "PPM", "ICO", "SGI", "JPEG")
    }
    found |= {"GIF": written(Image.fromarray(GREY), "GIF"), "FITS": fits(GREY, 8), "JXL": b"\xff\x0a" + bytes(20)}
    found["HEIC"] = heif({1: (b"hvc1", 9), 2: (b"hvc1", 7)}, [(b"auxl", 2, [1])], full(b"auxC", b"x\0"))
    return found


def test_forged_and_cut_files_declare_something_or_nothing_and_never_raise():
    rng = np.random.default_rng(0)
    for data in samples_of_every_format().values():
        for _ in range(60):
            forged = bytearray(data[: int(rng.integers(0, len(data) + 1))])
            for place in rng.integers(0, max(1, min(len(forged), 200)), 4):
                forged[place : place + 1] = bytes([rng.integers(256)])[: len(forged) - place]
            assert declare(bytes(forged)).pictures >= 0
    for offset, signature, *_ in READERS:
        for rest in (b"", b"\xff" * 64, bytes(64)):
            declare(bytes(offset) + signature + rest)


def test_many_kinds_of_chunks_make_a_short_note():
    parts = b"".join(chunk(b"a" + bytes([97 + i // 26, 65 + i % 26, 97]), b"x") for i in range(200))
    whole = plain_png()
    assert opened(whole[:33] + parts + whole[33:]).notes == [
        "dropped PNG chunks aaAa, aaBa, aaCa, aaDa, aaEa, aaFa, 194 further kinds (200 bytes)"
    ]


def test_headers_without_end_cost_no_memory():
    tracemalloc.start()
    for data in (b"P6" + b" " * 2**20, b"P6 " + b"#\n" * 2**19):
        declare(data)
    assert tracemalloc.get_traced_memory()[1] < 2**22  # the data themselves, and little more
    tracemalloc.stop()
