"""Latents survive every trip to the last bit, and edits come back through the same decoder."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image, ImageOps

from codec.arguments import as_picture
from codec.command.cli import main
from codec.edit import paste
from codec.errors import FormatError, LatError, MissingModelError
from codec.latent import edit, generate, similar
from codec.latent.latents import Latents
from codec.picture import icc, pictures
from codec.picture.image import Picture, to_pillow
from tests.conftest import PHOTO, psnr, run


@pytest.fixture(scope="module")
def small(photo) -> Image.Image:
    return photo.crop((96, 64, 96 + 250, 64 + 170))


@pytest.fixture(scope="module")
def latents(codec, small) -> Latents:
    return Latents.from_image(codec, small, 60)


@pytest.fixture(scope="module")
def wide(codec, photo) -> bytes:
    """A file of two tiles."""
    return codec.encode(photo.resize((1100, 200)), 30)


def equal(a: Latents, b: Latents) -> bool:
    same = (a.row, a.width, a.height, a.model, a.mode) == (b.row, b.width, b.height, b.model, b.mode)
    return same and np.array_equal(a.y_hat, b.y_hat) and np.array_equal(a.z_hat, b.z_hat)


def test_latents_are_those_of_the_file(codec, small, latents):
    data = codec.encode(small, 60)
    assert equal(Latents.from_file(codec, data), latents)
    assert latents.to_file(codec) == data
    assert latents.y_hat.shape == (codec.cfg.latents, 11, 16) and latents.z_hat.shape == (codec.cfg.hyper, 3, 4)


def test_tiles_are_joined_and_cut_again(codec, wide):
    latents = Latents.from_file(codec, wide)
    assert latents.to_file(codec) == wide
    assert np.array_equal(np.asarray(latents.to_image(codec)), np.asarray(codec.decode(wide)))


def test_npz_and_back(codec, latents):
    file = io.BytesIO()
    latents.save(file)
    file.seek(0)
    assert equal(Latents.load(file), latents)


def test_grey_stays_grey(codec, small):
    data = codec.encode(small.convert("L"), 60)
    latents = Latents.from_file(codec, data)
    assert latents.to_image(codec).mode == "L" and latents.to_file(codec) == data


def profile(grey: bool = False) -> bytes:
    return icc.profile(icc.SRGB, 2.2, grey)


def with_all(image: Image.Image) -> Picture:
    """A picture with every kind of metadata, on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    kept = {
        "icc": profile(image.mode[0] == "L"),
        "exif": exif.tobytes(),
        "xmp": b"<x/>",
        "text": b'{"comment": "hello"}',
    }
    return replace(as_picture(image), metadata=kept)


def translucent(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_alpha_and_metadata_take_every_way(codec, small, mode, tmp_path):
    image = small.crop((0, 0, 50, 40)).convert(mode[0] if mode[0] == "L" else "RGB")
    picture = with_all(translucent(image) if "A" in mode else image)
    data = codec.encode(picture, 60)
    latents = Latents.from_image(codec, picture, 60)
    latents.save(tmp_path / "a.npz")
    for same in (latents, Latents.from_file(codec, data), Latents.load(tmp_path / "a.npz")):
        assert same.to_file(codec) == data
        shown, decoded = same.to_image(codec), codec.decode(data)
        assert (shown.mode, shown.info) == (mode, decoded.info) and shown.tobytes() == decoded.tobytes()
    edited = latents * 1.1
    assert edited.to_image(codec).info == codec.decode(edited.to_file(codec)).info == codec.decode(data).info
    if "A" in mode:
        grown, part = latents.pad(1, 2, 0, 1), latents[1:3, 1:4]
        assert grown.to_image(codec).getchannel("A").size == (80, 96)
        assert np.array_equal(part.alpha, picture.pixels[16:40, 16:50, -1])
        assert Latents.from_file(codec, edited.to_file(codec)).alpha.tobytes() == latents.alpha.tobytes()


def test_alpha_of_another_size_is_no_latents(codec, latents, tmp_path):
    replace(latents, alpha=np.zeros((4, 4), np.uint8)).save(tmp_path / "x.npz")
    with pytest.raises(FormatError, match="no latents"):
        Latents.load(tmp_path / "x.npz")


def test_the_file_of_edited_latents_holds_the_nearest_that_can_be_coded(codec, latents):
    edited = latents * 1.07 + 0.3
    coded = edited.coded(codec)
    assert edited.z_hat is None and edited.to_file(codec) == coded.to_file(codec)
    assert equal(Latents.from_file(codec, edited.to_file(codec)), coded)
    assert np.abs(coded.y_hat - edited.y_hat).mean() < 0.3
    assert psnr(np.asarray(edited.to_image(codec)), np.asarray(coded.to_image(codec))) > 30


def test_thread_counts_agree(codec, latents, tmp_path):
    path = tmp_path / "a.npz"
    latents.save(path)
    code = (
        "import sys, zlib; from codec import Codec\n"
        "from codec.latent import generate; from codec.latent.latents import Latents\n"
        "codec = Codec.load(threads=int(sys.argv[1])); a = Latents.load(sys.argv[2])\n"
        "b = generate.sample(codec, 300, 200, 7)\n"
        "print(zlib.crc32(a.to_file(codec)), zlib.crc32(a.coded(codec).y_hat.tobytes()), zlib.crc32(b.y_hat.tobytes()))"
    )
    answers = {run("-c", code, str(threads), str(path), text=True).stdout for threads in (1, 2, 3)}
    assert len(answers) == 1 and answers != {""}


@pytest.mark.parametrize("damage", ["no zip", "missing", "shape", "pickle", "nan"])
def test_what_is_no_latents_is_refused(latents, tmp_path, damage):
    path = tmp_path / "x.npz"
    latents.save(path)
    with np.load(path) as a:
        arrays = dict(a)
    if damage == "missing":
        del arrays["row"]
    if damage == "shape":
        arrays["y_hat"] = arrays["y_hat"][:, 1:]
    if damage == "pickle":
        arrays["size"] = np.array([object()])
    if damage == "nan":
        arrays["y_hat"] = arrays["y_hat"] * np.nan
    np.savez(path, **arrays)
    if damage == "no zip":
        path.write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(FormatError, match="no latents"):
        Latents.load(path)


def test_slices_pads_and_units(codec, latents):
    part = latents[2:6, 3:16]
    assert (part.width, part.height) == (250 - 48, 64) and np.array_equal(part.y_hat, latents.y_hat[:, 2:6, 3:16])
    assert part.to_image(codec).size == (202, 64)
    grown = latents.pad(left=1, bottom=2)
    assert (grown.width, grown.height) == (17 * 16, 13 * 16) and grown.to_image(codec).size == (272, 208)
    there_and_back = latents.at_row(codec, 5).at_row(codec, latents.row)
    assert np.allclose(there_and_back.y_hat, latents.y_hat, atol=1e-3)
    with pytest.raises(LatError, match="steps of 1"):
        latents[::2, :]


def test_latents_that_do_not_go_together(codec, latents):
    for other in (latents[0:2, 0:2], replace(latents, row=1), replace(latents, model=bytes(8))):
        with pytest.raises(LatError, match="do not go with"):
            latents + other
    with pytest.raises(MissingModelError):
        replace(latents, model=bytes(8)).to_image(codec)


# Generation


def test_samples_repeat_and_cost_what_the_model_expects(codec):
    from bench.latents import own_entropy

    a, b, c = (generate.sample(codec, 256, 256, seed, 20) for seed in (1, 1, 2))
    assert equal(a, b) and not np.array_equal(a.y_hat, c.y_hat)
    assert equal(a.coded(codec), a), "what is drawn is what a file restores"
    many = [generate.sample(codec, 512, 512, seed, 20) for seed in range(4)]
    bits = sum(8 * len(s.to_file(codec)) for s in many)
    assert bits == pytest.approx(sum(own_entropy(codec, s) for s in many), rel=0.05)


def test_temperature_zero_has_no_chance_in_it(codec):
    assert np.array_equal(*(generate.sample(codec, 64, 64, seed, temperature=0).y_hat for seed in (1, 2)))
    with pytest.raises(ValueError, match="temperature"):
        generate.sample(codec, 64, 64, temperature=-1)


# Edits


def test_blends_meet_their_ends(codec, latents, photo):
    other = Latents.from_image(codec, photo.crop((400, 200, 650, 370)), 30)
    assert np.allclose(edit.blend(codec, latents, other, 0).y_hat, latents.y_hat)
    assert np.allclose(edit.blend(codec, latents, other, 1).natural(codec), other.natural(codec), atol=1e-3)


def test_a_blend_keeps_what_the_first_picture_has(codec, small):
    first = with_all(small.crop((0, 0, 48, 32)))
    upright = small.crop((100, 60, 132, 108))
    a, b = Latents.from_image(codec, first, 60), Latents.from_image(codec, translucent(upright), 60)
    half, end = edit.blend(codec, a, b, 0.5), edit.blend(codec, a, b, 1)
    assert half.metadata == first.metadata and half.to_image(codec).mode == "RGBA"
    seen = np.asarray(ImageOps.exif_transpose(end.to_image(codec)).convert("RGB"))
    assert psnr(seen, np.asarray(upright)) > 28, "as upright as it came, although the first is stored on its side"
    alpha = ImageOps.exif_transpose(half.to_image(codec)).getchannel("A")
    expected = 127.5 + np.asarray(translucent(upright).getchannel("A"), float) / 2
    assert np.abs(np.asarray(alpha) - expected).max() <= 0.5
    grey = replace(as_picture(small.crop((0, 0, 48, 32)).convert("L")), metadata={"icc": profile(True)})
    coloured = edit.blend(codec, Latents.from_image(codec, grey, 60), replace(a, metadata={}), 0.5)
    assert coloured.mode == "RGB" and coloured.metadata == {}
    with pytest.raises(LatError, match="make them one size"):
        edit.blend(codec, a, latents_of(codec, small, 47), 0.5)


def latents_of(codec, image: Image.Image, width: int) -> Latents:
    return Latents.from_image(codec, image.crop((0, 0, width, 32)), 60)


def test_directions_do_what_they_are_called(codec, latents):
    from bench.latents import ATTRIBUTE_OF, attributes

    known = edit.load(edit.directions_file(codec))
    assert set(known) == set(ATTRIBUTE_OF)
    for name in ("brighten", "contrast", "saturate", "sharpen", "warm"):
        moved = [edit.apply(codec, latents, known[name], s).to_image(codec) for s in (-0.5, 0, 0.5, 1)]
        values = [attributes(np.asarray(m))[ATTRIBUTE_OF[name]] for m in moved]
        assert values == sorted(values) and len(set(values)) == 4, name


def test_a_direction_found_from_pairs_is_the_change_of_the_pairs(codec, photo):
    from PIL import ImageEnhance

    crops = [photo.crop((x, y, x + 128, y + 128)) for x in (0, 300, 600) for y in (0, 300)]
    pairs = [(np.asarray(c), np.asarray(ImageEnhance.Brightness(c).enhance(0.7))) for c in crops]
    darker = edit.fit(codec, pairs)
    test = photo.crop((200, 200, 328, 328))
    made = edit.apply(codec, Latents.from_image(codec, test, 90), darker, 1).to_image(codec)
    assert psnr(np.asarray(made), np.asarray(ImageEnhance.Brightness(test).enhance(0.7))) > 30
    with pytest.raises(LatError, match="no pairs"):
        edit.fit(codec, [])


# Search


def test_duplicates_are_found_and_others_are_not(codec, photo):
    crops = [photo.crop((x, y, x + 384, y + 384)) for x in (0, 384) for y in (0, 128)]
    originals = np.stack([similar.descriptor(codec, codec.encode(c, 50)) for c in crops])
    for quality, size in ((25, 384), (50, 192)):
        copies = [similar.descriptor(codec, codec.encode(c.resize((size, size)), quality)) for c in crops]
        for i, copy in enumerate(copies):
            order, values = similar.nearest(copy, originals)
            assert order[0] == i and values[0] > similar.DUPLICATE > values[1]


def test_a_flat_picture_has_a_descriptor(codec):
    vector = similar.descriptor(codec, codec.encode(Image.new("RGB", (20, 20), "teal"), 50))
    assert np.isfinite(vector).all()


# The command


def group(command: str) -> str:
    return "edit" if command in ("fill", "outpaint", "paste") else "latent"


def lat(*args) -> str:
    result = CliRunner().invoke(main, [group(args[0]), *map(str, args)])
    assert result.exit_code == 0, result.output
    return result.output


def test_commands_from_picture_to_picture(tmp_path, small, photo):
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    small.save(a)
    photo.crop((300, 200, 550, 370)).save(b)
    lat("convert", a, "-o", tmp_path / "a.npz")
    lat("convert", tmp_path / "a.npz", "-o", tmp_path / "a.lat")
    lat("convert", tmp_path / "a.lat", "-o", tmp_path / "again.lat")
    assert (tmp_path / "a.lat").read_bytes() == (tmp_path / "again.lat").read_bytes()
    lat("sample", "--size", "64x48", "-n", 2, "-o", tmp_path / "s-{seed}.png")
    lat("fill", a, "--box", "100,60,16,16", "-o", tmp_path / "f.png")
    lat("outpaint", a, "--by", 10, "-o", tmp_path / "o.png")
    lat("blend", a, b, "-t", 0.3, "-o", tmp_path / "m.png")
    lat("blend", a, b, "--frames", 3, "-o", tmp_path / "m.webp")
    lat("paste", a, b, "--box", "0,0,64,64", "--at", "80,32", "-o", tmp_path / "p.png")
    lat("edit", a, "--direction", "sharpen", "--strength", 0.6, "-o", tmp_path / "e.lat")
    assert "sharpen" in lat("directions")
    sizes = {"s-0": (64, 48), "s-1": (64, 48), "f": (250, 170), "o": (270, 190), "m": (250, 170), "p": (250, 170)}
    for name, size in sizes.items():
        with Image.open(tmp_path / f"{name}.png") as made:
            assert made.size == size, name
    with Image.open(tmp_path / "m.webp") as animation:
        assert animation.n_frames == 3
    found = json.loads(lat("anomaly", a, "--json", "-o", tmp_path / "h.png"))
    assert found["measure"] == "surprise" and len(found["map"]) == 11
    found = json.loads(lat("anomaly", a, "--json", "--error"))
    assert found["measure"] == "error" and len(found["map"]) == 11 and len(found["map"][0]) == 16
    listed = lat("similar", tmp_path, a)
    assert "duplicate" in listed and str(tmp_path / "a.lat") in listed
    assert lat("similar", tmp_path).count("duplicate") == 3, "a, again and e are one picture"


SIDEWAYS = [
    ("restore", "--noise", 10),
    ("restore", "--upscale", 2),
    ("restore", "--deblock"),
    ("fill", "--box", "20,10,8,8"),
    ("outpaint", "--by", 3),
    ("edit", "--direction", "warm"),
    ("convert",),
    ("anomaly",),
]


@pytest.mark.parametrize("command", SIDEWAYS, ids=lambda command: " ".join(map(str, command)))
def test_pictures_on_their_side_come_back_upright_with_their_metadata(tmp_path, photo, command):
    picture, source = with_all(photo.crop((300, 200, 348, 232))), tmp_path / "a.jpg"
    source.write_bytes(pictures.encode(to_pillow(picture.pixels, picture.metadata), "JPEG")[0])
    names = (
        ["x.png"] if command[0] == "anomaly" else ["x.lat", "x.webp", *["x.npz"] * (command[0] in ("edit", "convert"))]
    )
    for name in names:
        lat(command[0], source, *command[1:], "-o", tmp_path / name)
        if name == "x.npz":
            lat("convert", tmp_path / name, "-o", tmp_path / "y.lat")
            name = "y.lat"
        if name.endswith(".lat"):
            assert CliRunner().invoke(main, ["decompress", str(tmp_path / name), "--overwrite"]).exit_code == 0
        with Image.open((tmp_path / name).with_suffix(".png" if name.endswith(".lat") else Path(name).suffix)) as made:
            assert made.height < made.width and ImageOps.exif_transpose(made).height > made.height
            assert made.info["xmp"] and (command[0] == "anomaly" or made.info["icc_profile"] == profile())


def test_what_is_pasted_stands_upright_and_is_seen_through_where_it_is_transparent(photo):
    base, patch = photo.crop((0, 0, 60, 40)), Image.new("RGB", (20, 10), "black")
    patch.paste("white", (1, 1, 19, 5))
    turned = paste(with_all(base), patch, (30, 10))
    seen = np.asarray(ImageOps.exif_transpose(turned).convert("L"), int)
    left, top = 40 - 10 - 20, 30
    inside = seen[top + 1 : top + 9, left + 1 : left + 19].mean(1)
    assert turned.size == (60, 40) and inside[1] - inside[-2] > 100, "its white upper edge is above as it is seen"
    patch.putalpha(Image.new("L", patch.size, 0))
    assert paste(base, patch, (30, 10)).tobytes() == base.tobytes()
    clear = base.copy()
    clear.putalpha(0)
    patch.putalpha(255)
    alpha = np.asarray(paste(clear, patch, (30, 10)).getchannel("A"))
    assert alpha[10:20, 30:50].min() == 255 and alpha.sum() == 255 * 200


def test_an_animated_blend_keeps_metadata_or_names_them(tmp_path, photo):
    picture = with_all(photo.crop((300, 200, 348, 232)))
    (tmp_path / "a.png").write_bytes(pictures.encode(to_pillow(picture.pixels, picture.metadata), "PNG")[0])
    photo.crop((100, 100, 132, 148)).save(tmp_path / "b.png")
    said = lat("blend", tmp_path / "a.png", tmp_path / "b.png", "--frames", 2, "-o", tmp_path / "m.webp")
    assert "b.png: its colours are not converted to the ICC profile" in said
    with Image.open(tmp_path / "m.webp") as film:
        assert film.n_frames == 2 and film.info["icc_profile"] == profile()
        assert ImageOps.exif_transpose(film).size == (32, 48)
    said = lat("blend", tmp_path / "a.png", tmp_path / "b.png", "--frames", 2, "-o", tmp_path / "m.gif")
    assert "dropped, because GIF cannot hold it: ICC profile, EXIF, XMP, Comment" in said
    with Image.open(tmp_path / "m.gif") as film:
        assert film.size == (32, 48)


def test_what_is_lost_on_reading_is_named(tmp_path, photo):
    photo.crop((0, 0, 32, 32)).convert("CMYK").save(tmp_path / "a.tif")
    for command in (("fill", "--box", "1,1,4,4"), ("edit", "--direction", "warm"), ("convert",), ("anomaly",)):
        said = lat(command[0], tmp_path / "a.tif", *command[1:], "-o", tmp_path / f"{command[0]}.png")
        assert "a.tif: CMYK is converted to RGB" in said, command


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["fill", PHOTO, "--box", "760,0,64,64", "-o", "x.png"], "leaves the picture"),
        (["paste", PHOTO, PHOTO, "--box", "700,0,99,9", "--at", "0,0", "-o", "x.png"], "leaves the picture"),
        (["outpaint", PHOTO, "-o", "x.nonsense"], "no picture format"),
        (["edit", PHOTO, "--direction", "nonsense", "-o", "x.png"], "no direction nonsense; there are brighten"),
        (["sample", "--size", "big", "-o", "x.png"], "is not WxH"),
        (["sample", "-n", "2", "-o", "x.png"], "put {seed} into -o"),
        (["convert", PHOTO, "-o", "x.nonsense"], "no picture format"),
        (["similar", "tests/photos"], "no pictures"),
    ],
)
def test_mistakes_are_one_sentence(args, message):
    result = CliRunner().invoke(main, [group(args[0]), *map(str, args)])
    assert result.exit_code in (1, 2) and message in result.output and "Traceback" not in result.output


def test_random_state_of_the_caller_stays(codec, latents):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    generate.sample(codec, 32, 32)
    assert torch.equal(before, torch.random.get_rng_state())
