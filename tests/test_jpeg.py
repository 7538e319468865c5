"""What a JPEG declares and what of it is there: halves are refused, what lies beside the picture is named."""

import io
import struct
import warnings
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, ImageOps

from codec import LatError
from codec.picture import metadata, pictures
from codec.picture.declared import declare, jpeg
from codec.picture.image import Picture, from_pillow, open_image, to_pillow
from codec.picture.xmp import without_promises

EOI = b"\xff\xd9"
VARIANTS = {
    "baseline": {},
    "4:4:4, optimised": {"subsampling": "4:4:4", "optimize": True},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_blocks": 3},
    "progressive, restart markers": {"progressive": True, "restart_marker_blocks": 5, "optimize": True},
}


def opened(data: bytes, name: str = "a.jpg") -> Picture:
    return from_pillow(open_image(io.BytesIO(data), name), name)


def written(image: Image.Image | np.ndarray, **options) -> bytes:
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, "JPEG", **options)
    return out.getvalue()


def segment(number: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, 0xE0 + number, 2 + len(payload)) + payload


def with_segments(data: bytes, *segments: bytes) -> bytes:
    return data[:2] + b"".join(segments) + data[2:]


def xmp_segment(packet: bytes) -> bytes:
    return segment(1, b"http://ns.adobe.com/xap/1.0/\0" + packet)


def scan_data(data: bytes) -> tuple[int, int]:
    """Where the data of the first scan begin, and those of the last one end."""
    scans = jpeg.parse(data).scans
    return scans[0].start, scans[-1].end


# -- half a JPEG ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_is_cut_is_refused_whatever_stands_in_place_of_the_rest(crop, name, mode):
    data = written(Image.fromarray(crop).convert(mode), quality=85, **VARIANTS[name])
    assert opened(data).pixels.shape[:2] == (96, 128)
    start, end = scan_data(data)
    for share in (0.2, 0.5, 0.9):
        cut = start + int((end - start) * share)
        for rest in (EOI, bytes(end - cut) + EOI, b"\xff" * (end - cut) + EOI, b""):
            try:
                notes = opened(data[:cut] + rest).notes
            except LatError as error:
                assert any(word in str(error) for word in ("missing", "zero bytes", "broken data"))
            else:  # cut between two scans
                assert any("leave out" in note for note in notes)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_height_that_is_too_large_is_refused(crop, name):
    data = bytearray(written(crop, quality=85, **VARIANTS[name]))
    at = jpeg.parse(bytes(data)).height_at
    data[at : at + 2] = struct.pack(">H", 200)
    with pytest.raises(LatError, match="missing"):
        opened(bytes(data))


@pytest.mark.parametrize("colour", [(128, 128, 128), (255, 255, 255), (0, 0, 0), (127, 127, 127)])
@pytest.mark.parametrize("name", VARIANTS)
def test_flat_pictures_are_whole(colour, name):
    assert not opened(written(Image.new("RGB", (90, 70), colour), **VARIANTS[name])).notes


def test_zeros_behind_complete_data_and_bytes_before_markers_do_no_harm(crop):
    data = written(crop)
    padded = opened(data[:-2] + bytes(500) + EOI)
    filled = opened(data[:-2] + b"\xff\xff\xff" + EOI)
    assert (padded.pixels == opened(data).pixels).all() and (filled.pixels == padded.pixels).all()


def test_a_jpeg_that_pillow_shrinks_on_loading_is_whole(crop):
    with Image.open(io.BytesIO(written(crop, progressive=True))) as image:
        image.draft("L", (32, 24))
        assert from_pillow(image).pixels.shape == (24, 32, 1)


@pytest.mark.parametrize("rows", [{"restart_marker_rows": 1}, {"restart_marker_rows": 2, "progressive": True}])
@pytest.mark.parametrize("size", [(128, 96), (17, 33), (8, 8), (1, 50)])
def test_restart_markers_are_counted_as_the_scan_has_them(crop, rows, size):
    for mode in ("RGB", "L", "CMYK"):
        image = Image.fromarray(crop).convert(mode).crop((0, 0, *size))
        for subsampling in ("4:2:0", "4:2:2", "4:4:4"):
            for more in (rows, {"restart_marker_blocks": 1}):
                notes = opened(written(image, subsampling=subsampling, **more)).notes
                assert not [note for note in notes if "CMYK" not in note]


def test_scans_that_are_not_there_are_a_note(crop):
    data = written(crop, progressive=True)
    last = jpeg.parse(data).scans[-1]
    header = data.rfind(b"\xff\xda", 0, last.start)
    assert opened(data[:header] + EOI).notes == ["its scans leave out 33% of its coefficients, or bits of them"]


@pytest.mark.parametrize("more", [1, 8])
def test_a_height_that_ends_one_row_into_missing_data_is_refused(crop, more):
    data = bytearray(written(crop, subsampling="4:2:0"))
    at = jpeg.parse(bytes(data)).height_at
    data[at : at + 2] = struct.pack(">H", 96 + more)
    with pytest.raises(LatError, match="missing"):
        opened(bytes(data))


FOREIGN = "data that are none of the picture's stand among them"


@pytest.mark.parametrize("name", VARIANTS)
def test_foreign_data_where_the_end_is_missing_are_a_note(crop, name):
    data = written(crop, quality=85, **VARIANTS[name])
    start, end = scan_data(data)
    cut = (start + end) // 2
    foreign = np.random.default_rng(1).integers(1, 255, 2 * (end - cut), dtype=np.uint8).tobytes()
    try:
        notes = opened(data[:cut] + foreign).notes
    except LatError as error:
        assert "missing" in str(error) or "broken data" in str(error)
    else:
        assert any(note == FOREIGN or "leave out" in note for note in notes)


def test_zeros_inside_the_scans_of_a_progressive_jpeg_do_not_pass_in_silence(crop):
    data = written(crop, quality=90, progressive=True)
    for scan in jpeg.parse(data).scans:
        start = scan.start + (scan.end - scan.start) // 4
        with suppress(LatError):
            assert opened(data[:start] + bytes(80) + data[start + 80 :]).notes


def test_a_refinement_without_the_scan_before_it_is_a_note(crop):
    data = written(crop, progressive=True)
    second, third = jpeg.parse(data).scans[1:3]
    without = data[: data.rfind(b"\xff\xc4", 0, second.start)] + data[data.rfind(b"\xff\xc4", 0, third.start) :]
    assert ["leave out" in blemish for blemish in declare(without).blemishes] == [True]


# -- blemishes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_a_jpeg_without_its_end_is_taken_with_a_note(crop, name):
    data = written(crop, **VARIANTS[name])
    for cut in (data[:-2], data[:-1]):
        picture = opened(cut)
        assert picture.notes == ["its end (EOI) is missing"] and (picture.pixels == opened(data).pixels).all()


def test_a_height_behind_the_scan_is_the_height(crop):
    data = bytearray(written(crop))
    at = jpeg.parse(bytes(data)).height_at
    data[at : at + 2] = bytes(2)
    with pytest.raises(LatError, match="JPEG: its height is 0"):
        opened(bytes(data))
    told = bytes(data[:-2]) + b"\xff\xdc\0\4" + struct.pack(">H", 96) + EOI
    assert opened(told).pixels.shape == (96, 128, 3)


def test_what_pillow_does_not_read_says_what_it_is(crop):
    data = written(crop)
    frame = data.find(b"\xff\xc0")
    twelve = data[: frame + 4] + b"\x0c" + data[frame + 5 :]
    lossless = data[: frame + 1] + b"\xc3" + data[frame + 2 :]
    for broken, sentence in (
        (twelve, "JPEG: its samples have 12 bits"),
        (lossless, "JPEG: it is lossless JPEG"),
        (data[: frame + 3], "JPEG: it is cut inside its header"),
        (data[:20] + EOI, "JPEG: it has no scan|JPEG: it is cut inside"),
        (data[:2], "JPEG: it is cut inside its header"),
    ):
        with pytest.raises(LatError, match=sentence):
            opened(broken)
    assert opened(data, "IMG_0001.HEIC").mode == "RGB"


def test_any_bytes_behind_a_start_are_an_error_and_no_other(crop):
    data = written(crop[:16, :16], progressive=True, restart_marker_blocks=1)
    random = np.random.default_rng(1)
    for _ in range(400):
        broken = bytearray(data)
        for at in random.integers(2, len(data), 4):
            broken[at] = random.integers(256)
        declare(bytes(broken[: random.integers(2, len(data))]))
        with suppress(LatError):
            opened(bytes(broken))


def test_the_pass_over_segments_is_linear(monkeypatch):
    bare = b"\xff\xd8" + b"\xff\xd8\xff" * 50_000 + b"\xff\xda\0\2" * 50_000
    assert declare(bare).format == "JPEG"
    assert len(declare(written(Image.new("L", (8, 8))) + b"\xff\xd8\xff\xd9" * 20_000).extras) == 1


# -- what vanishes ----------------------------------------------------------------------------------------------------

HDRGM = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"'
    b' xmlns:Container="c" xmlns:Item="i" xmlns:dc="d" dc:title="t" hdrgm:Version="1.0"><Container:Directory><rdf:Seq>'
    b'<rdf:li Container:Item="x"><Container:Item Item:Semantic="GainMap" Item:Length="99"/></rdf:li></rdf:Seq>'
    b"</Container:Directory></rdf:Description></rdf:RDF></x:xmpmeta>"
)
ISO = b"urn:iso:std:iso:ts:21496:-1\0" + bytes(4)
APPLE = b'<rdf:Description xmlns:HDRGainMap="http://ns.apple.com/HDRGainMap/1.0/" HDRGainMap:HDRGainMapVersion="1"/>'


@pytest.mark.parametrize("mark", [xmp_segment(HDRGM), segment(2, ISO), xmp_segment(APPLE)])
def test_a_gain_map_is_named_and_no_longer_announced(crop, mark):
    data = with_segments(written(crop), xmp_segment(HDRGM))
    map = with_segments(written(crop[:24, :32, 0]), mark)
    picture = opened(data + map)
    assert f"dropped gain map ({len(map):,} bytes)" in picture.notes
    assert b"GainMap" not in picture.metadata["xmp"] and b"hdrgm" not in picture.metadata["xmp"]
    assert b'dc:title="t"' in picture.metadata["xmp"]
    assert any("no longer announces" in note for note in picture.notes)
    again = pictures.encode(to_pillow(picture.pixels, picture.metadata), "JPEG")[0]
    assert b"GainMap" not in again and b"hdrgm" not in again


def test_video_trailers_and_further_pictures_are_named_with_their_sizes(crop):
    data, other = written(crop), written(crop[:32])
    video = struct.pack(">I", 24) + b"ftypmp42" + bytes(500)
    assert opened(data + video).notes == ["dropped video behind the picture (512 bytes)"]
    assert opened(data + b"SEFT" + bytes(9)).notes == ["dropped data behind the picture (13 bytes)"]
    assert opened(data + b"MotionPhoto_Data" + video).notes == [
        "dropped data behind the picture (16 bytes)",
        "dropped video behind the picture (512 bytes)",
    ]
    assert opened(data + other).notes == [f"dropped further picture ({len(other):,} bytes)"]
    assert opened(data + other + other).notes == [f"dropped 2 further pictures ({2 * len(other):,} bytes)"]
    assert not opened(data + bytes(2000) + b"\r\n").notes


def test_pictures_of_an_mpo_are_named_once(crop):
    out = io.BytesIO()
    shots = [Image.fromarray(part) for part in (crop, crop[:32], crop[32:])]
    shots[0].save(out, "MPO", save_all=True, append_images=shots[1:])
    notes = opened(out.getvalue()).notes
    assert len(notes) == 1 and notes[0].startswith("dropped 2 further pictures (")


def test_segments_that_nothing_reads_are_named_with_their_sizes(crop):
    extension = b"http://ns.adobe.com/xmp/extension/\0" + bytes(200)
    data = with_segments(
        written(crop), segment(1, extension), segment(4, b"QVCI\0" + bytes(95)), segment(1, b"FLIR\0" + bytes(45))
    )
    assert opened(data).notes == [
        "dropped extended XMP (235 bytes)",
        "dropped JPEG segment APP4 QVCI (100 bytes)",
        "dropped JPEG segment APP1 FLIR (50 bytes)",
    ]
    comments = b"".join(struct.pack(">BBH", 0xFF, 0xFE, 2 + len(c)) + c for c in (b"one", b"two"))
    assert opened(with_segments(written(crop), comments)).notes == ["dropped further comments (3 bytes)"]


@pytest.mark.parametrize(
    "promise",
    [
        b'GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1"',
        b'GCamera:MicroVideo="1" GCamera:MicroVideoOffset="99"',
        b"xmpNote:HasExtendedXMP='0123'",
        b'hdrgm:Version = "1.0"',
    ],
)
def test_words_on_what_is_dropped_leave_the_xmp(promise):
    packet = b'<rdf:Description xmlns:GCamera="g" dc:title="t" ' + promise + b' dc:creator="c"></rdf:Description>'
    kept, note = without_promises(packet)
    assert note and promise.split(b":")[1][:6] not in kept
    assert b'dc:title="t"' in kept and b'dc:creator="c"' in kept
    assert without_promises(kept) == (kept, None)


def test_xmp_without_promises_stays_byte_for_byte():
    packet = b'<rdf:Description crs:Version="1" dc:title="a hdrgm: of Container:s"/>'
    assert without_promises(packet)[0] == packet
    assert len(without_promises(b"<Container:Directory>" * 100_000)[0]) == 0


# -- orientation ------------------------------------------------------------------------------------------------------


def exif(kind: int, value: bytes, count: int = 1, endian: str = "<", more: bytes = b"") -> bytes:
    """EXIF with an orientation of any type; `value`: four bytes as they stand in the entry."""
    start = b"II*\0" if endian == "<" else b"MM\0*"
    entry = struct.pack(f"{endian}HHI", 0x0112, kind, count) + value
    return b"Exif\0\0" + start + struct.pack(f"{endian}IH", 8, 1) + entry + bytes(4) + more


ORIENTATIONS = {
    "SHORT": exif(3, struct.pack("<HH", 6, 0)),
    "LONG": exif(4, struct.pack("<I", 6)),
    "LONG, big-endian": exif(4, struct.pack(">I", 6), endian=">"),
    "two SHORTs": exif(3, struct.pack("<HH", 6, 1), 2),
    "BYTE": exif(1, b"\6\0\0\0"),
    "SSHORT": exif(8, struct.pack("<hh", 6, 0)),
    "SLONG": exif(9, struct.pack("<i", 6)),
    "two LONGs": exif(4, struct.pack("<I", 26), 2, more=struct.pack("<II", 6, 1)),
    "RATIONAL": exif(5, struct.pack("<I", 26), more=struct.pack("<II", 12, 2)),
}


@pytest.mark.parametrize("name", ORIENTATIONS)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_is_one_whatever_its_type(crop, name, format):
    warnings.simplefilter("ignore")  # Pillow's, of two values
    found = {"exif": ORIENTATIONS[name]}
    assert metadata.orientation(found) == 6 and metadata.orientation(metadata.upright(found)) == 1
    out = io.BytesIO()
    Image.fromarray(crop).save(out, format, exif=ORIENTATIONS[name])
    with Image.open(io.BytesIO(out.getvalue())) as image:
        picture = from_pillow(image)
        assert picture.without(("exif",)).pixels.shape == (128, 96, 3)
        shown = to_pillow(picture.pixels, picture.metadata)
        with Image.open(io.BytesIO(pictures.encode(shown, "BMP")[0])) as again:
            assert again.size == (96, 128)
        turned = from_pillow(image.rotate(-90, expand=True))
        seen = ImageOps.exif_transpose(to_pillow(turned.pixels, turned.metadata))
        assert seen.size == (96, 128)


@pytest.mark.parametrize(
    ("kind", "value"), [(4, b"\t\0\0\0"), (3, bytes(4)), (2, b"6\0\0\0"), (5, bytes(4)), (12, b"6789")]
)
def test_an_impossible_orientation_is_none(kind, value):
    assert metadata.orientation({"exif": exif(kind, value)}) == 1
