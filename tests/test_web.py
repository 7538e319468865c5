"""`lat web` in a real browser; skipped where there is no Chromium, or npm cannot fetch the runtime."""

import base64
import functools
import http.server
import io
import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from bench.browser import CHROMIUM, Page
from codec import weights
from codec.command import web
from codec.container import Container, build, parse
from codec.errors import LatError
from tests.conftest import run
from tests.test_attacks import ATTACKS
from tests.test_golden import FILES

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
GOLDEN_IDS = [path.stem for path in FILES]


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """What `lat web` writes, for all installed weights."""
    try:
        web.runtime_folder()
    except LatError as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("web") / "site"
    web.build(out, tuple(weights.cards()))
    return out


PRELUDE = """import("/lat/lat.js").then(m => { globalThis.lat = m;
  globalThis.one = new m.Decoder({ threads: 1 });
  globalThis.bytes = async name => (await fetch(`/${name}`, { cache: "no-store" })).arrayBuffer();
  globalThis.text = array => btoa(Array.from(array, b => String.fromCharCode(b)).join(""));
  globalThis.decoded = async (file, options) => {
    const p = await one.decode(await bytes(file), options);
    return { ...p, pixels: text(p.pixels), metadata: Object.keys(p.metadata) };
  }; })"""


def serving(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://localhost:{server.server_port}/"


@pytest.fixture(scope="module")
def address(site):
    server = web.server(site, 0)
    yield serving(server)
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def module(site, address, tmp_path_factory):
    """A page with lat.js loaded as `lat`, and `decoded(name, options)`."""
    with Page(tmp_path_factory.mktemp("profile")) as page:
        page.site = site
        page.open(address + "lat/errors.js")
        page.run(PRELUDE)
        yield page


def put(site: Path, data: bytes) -> str:
    """A file for `bytes` to fetch: its name."""
    (site / "file.lat").write_bytes(data)
    return json.dumps("file.lat")


def decode(page: Page, data: bytes, options: str = "{}") -> dict:
    """`Decoder.decode` in the browser; `array` (H, W, 4) are its pixels."""
    found = page.run(f"decoded({put(page.site, data)}, {options})")
    samples = np.frombuffer(base64.b64decode(found["pixels"]), np.uint8)
    return found | {"array": samples.reshape(found["height"], found["width"], 4)}


def assert_same(array: np.ndarray, image: Image.Image) -> None:
    """Within ±1 of what Python decodes, alpha exactly."""
    expected = np.asarray(image.convert("RGBA")).astype(int)
    assert array.shape == expected.shape
    assert np.abs(array.astype(int) - expected)[..., :3].max() <= 1
    assert np.array_equal(array[..., 3], expected[..., 3])


# -- the module ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=GOLDEN_IDS)
def test_golden_files_decode_in_the_browser(module, path):
    """That it decodes says that the CRC of its latents is right."""
    found = decode(module, path.read_bytes())
    with Image.open(path.with_suffix(".png")) as expected:
        assert found["mode"] == expected.mode
        assert_same(found["array"], expected)
        if parse(path.read_bytes()).header.lossless:
            assert np.array_equal(found["array"], np.asarray(expected.convert("RGBA")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_exact(module, codec, crop, mode):
    image = Image.fromarray(crop).convert(mode)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    for alpha in (None, 255, 7):
        if alpha is not None:
            image.putalpha(alpha)
        data = codec.encode(image, 30)
        assert_same(decode(module, data)["array"], codec.decode(data))


def test_a_region_is_that_crop_of_the_picture(module):
    data = next(path for path in FILES if "tiles" in path.stem).read_bytes()
    whole = decode(module, data)["array"]
    part = decode(module, data, "{ region: { left: 61, top: 3, right: 130, bottom: 70 } }")
    assert np.array_equal(part["array"], whole[3:70, 61:130])
    with pytest.raises(RuntimeError, match="LatError: region .* leaves the picture"):
        decode(module, data, "{ region: { left: 61, top: 3, right: 1300, bottom: 70 } }")


def test_tiles_come_one_by_one_and_can_be_stopped(module):
    data = next(path for path in FILES if "tiles" in path.stem).read_bytes()
    module.run("globalThis.seen = []; globalThis.area = 0")
    found = decode(
        module, data, "{ onProgress: (n, all) => seen.push(n / all), onTile: t => area += t.width * t.height }"
    )
    tiles = len(parse(data).tiles)
    assert module.run("seen") == pytest.approx([(i + 1) / tiles for i in range(tiles)])
    assert module.run("area") == found["width"] * found["height"]
    with pytest.raises(RuntimeError, match="AbortError"):
        decode(module, data, "(c => ({ signal: c.signal, onTile: () => c.abort() }))(new AbortController())")
    assert decode(module, data)["width"] == found["width"], "the next one is not disturbed"


def test_a_damaged_tile_is_painted_flat_where_that_is_wanted(module, codec):
    data = bytearray(next(path for path in FILES if "tiles" in path.stem).read_bytes())
    good = decode(module, bytes(data))["array"]
    data[-20] ^= 1
    with pytest.raises(RuntimeError, match="ChecksumError: tile 11: checksum mismatch"):
        decode(module, bytes(data))
    module.run("globalThis.damaged = []")
    found = decode(module, bytes(data), "{ onError: (tile, error) => damaged.push([tile, error.name]) }")["array"]
    assert module.run("damaged") == [[11, "ChecksumError"]]
    assert np.array_equal(found[:64, :64], good[:64, :64])


def test_attacks_get_the_errors_they_get_in_python(module, codec, crop):
    real = codec.encode(crop[:64, :64], quality=20)
    script = """async file => {
      try { await one.decode(await bytes(file), { maxPixels: 2 ** 26 }); return "none"; }
      catch (error) { return error instanceof lat.LatError ? error.name : String(error.stack); } }"""
    found = {name: module.run(f"({script})({put(module.site, make(real))})") for name, (make, _) in ATTACKS.items()}
    assert found == {name: error for name, (_, error) in ATTACKS.items()}


@pytest.mark.parametrize("cut", [0, 5, 30, 200, -1])
def test_cut_files_say_so(module, cut):
    with pytest.raises(RuntimeError, match="TruncatedError|not a .lat file"):
        decode(module, FILES[0].read_bytes()[:cut])


def test_metadata_goes_into_the_png_and_the_picture_stands_upright(module, codec, crop):
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    parsed = parse(codec.encode(crop[:48], 40))
    metadata = {"exif": exif.tobytes(), "icc": profile, "xmp": b"<x:xmpmeta/>"}
    data = build(Container(parsed.header, parsed.tiles, metadata))
    found = decode(module, data)
    assert found["orientation"] == 6 and set(found["metadata"]) == {"icc", "exif", "xmp"}
    png, size, corner = module.run(
        f"""(async () => {{
        const p = await one.decode(await bytes({put(module.site, data)}));
        const canvas = document.createElement("canvas");
        await lat.toCanvas(p, canvas);
        return [text(new Uint8Array(await (await lat.toPNG(p)).arrayBuffer())), [canvas.width, canvas.height],
                [...canvas.getContext("2d").getImageData(canvas.width - 1, 0, 1, 1).data]]; }})()"""
    )
    with Image.open(io.BytesIO(base64.b64decode(png))) as saved:
        assert saved.info["icc_profile"] == profile and saved.getexif()[0x0112] == 6
        assert saved.info["xmp"] == b"<x:xmpmeta/>"
        assert np.array_equal(np.asarray(saved), found["array"][..., :3])
    assert size == [48, 128]
    assert np.abs(np.array(corner, int) - found["array"][0, 0]).max() <= 2, (
        "top left of what is stored is now top right"
    )


def test_a_picture_that_no_canvas_holds_is_shown_smaller(module):
    script = """(async () => {
      const pixels = new Uint8ClampedArray(4 * 20000 * 3).map((_, k) => (k & 3) === 3 ? 255 : k & 4 ? 20 : 10);
      const canvas = document.createElement("canvas");
      await lat.toCanvas({ width: 20000, height: 3, pixels, mode: "RGB", metadata: {}, orientation: 1 }, canvas);
      return [canvas.width, canvas.height, ...canvas.getContext("2d").getImageData(9999, 0, 1, 1).data]; })()"""
    assert module.run(script) == [10000, 1, 15, 15, 15, 255]


@pytest.mark.campaign
def test_webgpu_gives_the_same_pixels(site, address, tmp_path):
    """By software in place of a GPU."""
    path = next(path for path in FILES if "fast" in path.stem and "grey" in path.stem)
    flags = ("--enable-unsafe-webgpu", "--enable-features=Vulkan", "--use-webgpu-adapter=swiftshader")
    with Page(tmp_path / "profile", flags=flags) as page:
        page.site = site
        page.open(address + "lat/errors.js")
        page.run(PRELUDE)
        if not page.run("navigator.gpu?.requestAdapter().then(Boolean) ?? false"):
            pytest.skip("this Chromium has no WebGPU")
        page.run("globalThis.one = new lat.Decoder({ threads: 1, gpu: true })")
        with Image.open(path.with_suffix(".png")) as expected:
            assert_same(decode(page, path.read_bytes())["array"], expected)


def test_our_own_code_is_small(site):
    sources = "".join(path.read_text(encoding="utf-8") for path in (site / "lat").glob("*.js"))
    without_comments = re.sub(r"/\*.*?\*/|^\s+", "", sources, flags=re.DOTALL | re.MULTILINE)
    assert len(without_comments) < 60_000


# -- the page --------------------------------------------------------------------------------------------------------


@pytest.fixture
def page(address, tmp_path):
    (tmp_path / "saved").mkdir()
    with Page(tmp_path / "profile", tmp_path / "saved") as page:
        page.screen(1000, 700)
        page.open(address)
        yield page


FACTS = "document.querySelector('#facts').innerText"
PICTURES = "document.querySelectorAll('.picture').length"


def test_the_page_by_drops_clicks_and_keys(page, tmp_path):
    lat = next(path for path in FILES if "rgb-q90" in path.stem)
    page.drop("main", lat)
    page.until(f"{PICTURES} === 1")
    assert f"{lat.name} 230 × 170 · {lat.stat().st_size:,} bytes" in page.run(FACTS)
    assert page.run("document.querySelector('#zoom').value") == "100 %"
    page.key("+"), page.key("+")
    assert page.run("document.querySelector('#zoom').value") == "156 %"
    page.wheel(500, 300, -1000)
    page.until("document.querySelector('#zoom').value === '1455 %'")
    assert page.run("document.querySelector('#plane').className") == "close", "pixels, not a blur"
    page.click("#fit")
    assert page.run("document.querySelector('#zoom').value") == "100 %"

    assert page.run("document.querySelector('#split').hidden")
    page.choose("#files", lat.with_suffix(".png"))
    page.until(f"{PICTURES} === 2")
    assert page.run("document.querySelector('#split').ariaValueNow") == "50"
    page.drag(page.place("#split"), (300, 300))
    assert page.run("document.querySelector('#split').ariaValueNow") == "30"
    page.run("document.querySelector('#split').focus()")
    page.key("ArrowRight")
    assert page.run("document.querySelector('#split').ariaValueNow") == "32"
    page.key("x")
    assert lat.with_suffix(".png").name in page.run(FACTS)
    page.key("n")
    page.key("s")
    saved = tmp_path / "saved" / f"{lat.stem}.png"
    page.until("!document.querySelector('#save').disabled")
    wait_for(saved)
    with Image.open(saved) as one, Image.open(lat.with_suffix(".png")) as other:
        assert np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)).max() <= 1
    page.key("Escape"), page.key("Escape")
    page.until("!document.querySelector('#welcome').hidden")


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        threading.Event().wait(0.05)
    raise TimeoutError(path)


def test_damaged_files_say_what_is_wrong_and_the_page_goes_on(page, tmp_path):
    good = FILES[0].read_bytes()
    (tmp_path / "cut.lat").write_bytes(good[:-30])
    (tmp_path / "notes.txt").write_text("no picture")
    forged = parse(good)
    (tmp_path / "forged.lat").write_bytes(build(Container(forged.header, [bytes(forged.tiles[0])[:5] + bytes(400)])))
    page.drop("main", *(tmp_path / name for name in ("cut.lat", "notes.txt", "forged.lat")))
    page.until("document.querySelectorAll('#errors p').length === 3")
    said = page.run("document.querySelector('#errors').innerText")
    for words in ("cut.lat chunk DATA", "past the end", "notes.txt neither a .lat file", "forged.lat decoded latents"):
        assert words in said
    assert page.run("document.querySelector('#progress').hidden")
    page.key("Escape")
    assert not page.run("document.querySelector('#errors').innerText")
    page.drop("main", FILES[0])
    page.until(f"{PICTURES} === 1")


def test_after_one_visit_to_any_static_server_it_works_offline_with_threads(site, tmp_path):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site))
    address = serving(server)
    with Page(tmp_path / "profile") as page:
        page.open(address)
        page.until("crossOriginIsolated")
        page.until("document.documentElement.dataset.offline === 'true'")
        server.shutdown()
        server.server_close()
        page.open(address)
        page.until("crossOriginIsolated")
        page.click("#sample")
        page.until(f"{PICTURES} === 1")
        assert "768 × 512" in page.run(FACTS)


def test_a_line_of_html_shows_a_picture(site, address, tmp_path):
    lat = FILES[-1]
    (site / "a.lat").write_bytes(lat.read_bytes())
    (site / "broken.lat").write_bytes(lat.read_bytes()[:100])
    (site / "other.html").write_text(
        """<!doctype html><script type="module" src="lat/lat-image.js"></script>
        <lat-image id="a" src="a.lat" alt="a bird" style="width: 115px"></lat-image>
        <lat-image id="b" src="broken.lat"><p>no picture</p></lat-image>
        <script>for (const kind of ["load", "error"]) document.addEventListener(kind, e => {
          if (e.target.localName === "lat-image") e.target.dataset.is = e.detail?.name ?? kind; }, true)</script>"""
    )
    with Page(tmp_path / "profile") as page:
        page.open(address + "other.html")
        page.until("a.dataset.is && b.dataset.is")
        assert page.run("[a.dataset.is, b.dataset.is]") == ["load", "TruncatedError"]
        assert page.run("[a.offsetWidth, a.offsetHeight, a.picture.width]") == [115, 85, 230]
        assert page.run("a.shadowRoot.querySelector('canvas').ariaLabel") == "a bird"
        assert page.run("b.innerText.trim() && b.querySelector('p').offsetHeight > 0")


# -- the command -----------------------------------------------------------------------------------------------------


def test_lat_web_leaves_a_folder_alone_that_has_something_in_it(tmp_path):
    (tmp_path / "mine").write_text("")
    done = run("-m", "codec", "web", "--out", str(tmp_path), text=True)
    assert done.returncode == 1 and "is not empty; --overwrite" in done.stderr


def test_lat_web_says_what_it_needs(tmp_path):
    alone = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    done = run("-m", "codec", "web", "--out", str(tmp_path / "out"), env=alone, text=True)
    assert done.returncode == 1 and "install Node.js" in done.stderr and not (tmp_path / "out").exists()
