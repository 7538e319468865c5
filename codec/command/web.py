"""`lat web`: a folder that opens .lat files in any browser, on its own page and on others. Manual: codec/web/WEB.md."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click

from codec import weights
from codec.command.parts import LatCommand, say
from codec.errors import LatError

SOURCES = Path(__file__).parent.parent / "web"
PACKAGE = ("package.json", "package-lock.json")
RUNTIME = {  # of onnxruntime-web 1.30.0: for any browser, and for those where g_s runs on WebGPU; with their SHA-256
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    "ort.jspi.bundle.min.mjs": "07ec090355e11b342c95436db54da2d0c2bd5b1d319745bfd3337e6bdcf170ac",
    "ort-wasm-simd-threaded.jspi.wasm": "a54c76f86b0f0d9572380cf1c6292a7b3903716ffcbcd6b0e5c7050bf430eb93",
}
ON_DEMAND = [*RUNTIME][2:]  # what a browser does not keep for offline use before it has asked for it
MODELS, RUNTIMES = "lat/models", "lat/ort"
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-cache",  # a folder that was written anew shows at once
}


@click.command(cls=LatCommand)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write.")
@click.option("-m", "--model", "models", multiple=True, help="Weights to bring along.  [default: all installed]")
@click.option("--serve", "port", type=click.IntRange(0, 65535), metavar="PORT", help="Then serve it on this machine.")
@click.option("--overwrite", is_flag=True, help="Write into a folder that is not empty.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
def web(out: Path, models: tuple[str, ...], port: int | None, overwrite: bool, quiet: bool) -> None:
    """Write a page that opens .lat files in any browser.

    DIR is a static site: any web server can serve it, and its folder lat/ is a JavaScript module for other pages.
    The first time, npm fetches the runtime of the networks (onnxruntime-web).
    """
    build(out, models or tuple(weights.cards()), overwrite)
    if not quiet:
        megabytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6
        say(f"{out}: {megabytes:.0f} MB, for any static web server", err=True)
    if port is not None:
        with server(out, port) as running:
            say(f"http://localhost:{running.server_port}/ (Ctrl-C ends it)", err=True)
            try:
                running.serve_forever()
            except KeyboardInterrupt:
                say("", err=True)


def build(out: Path, models: tuple[str, ...], overwrite: bool = False) -> None:
    """Write the site: the page and its module, the runtime, graphs and tables of these weights.

    Raises: LatError.
    """
    if not overwrite and out.is_dir() and any(out.iterdir()):
        raise LatError(f"{out}: is not empty; --overwrite writes into it all the same")
    try:
        from codec.engine import onnx_graphs
    except ModuleNotFoundError as error:
        raise LatError(f"{error.name} is missing: pip install onnx") from None
    found = [weights.Weights.open(name) for name in models]
    runtime = runtime_folder()
    try:
        shutil.copytree(SOURCES / "site", out, dirs_exist_ok=True)
        for folder in (RUNTIMES, MODELS):
            shutil.rmtree(out / folder, ignore_errors=True)
        shutil.copytree(runtime, out / RUNTIMES)
        for one in found:
            onnx_graphs.export(one, out / MODELS / one.fingerprint.hex(), encoder=False)
        _list_files(out, {one.fingerprint.hex(): one.name for one in found})
    except OSError as error:
        raise LatError(f"{out}: cannot be written: {error.strerror or error}") from None


def runtime_folder() -> Path:
    """Where the RUNTIME files of the pinned onnxruntime-web are: fetched by npm once, and kept in the user's cache.

    They are checked whenever they are used; what is damaged there is fetched again.
    Raises: LatError.
    """
    lock = hashlib.sha256((SOURCES / PACKAGE[1]).read_bytes()).hexdigest()[:16]
    kept = cache() / f"onnxruntime-web-{lock}"
    try:
        if kept.is_dir() and _digests(kept) == RUNTIME:
            return kept
        shutil.rmtree(kept, ignore_errors=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            chosen = _fetched(Path(folder))
            if not kept.is_dir():  # another run may have been faster
                chosen.rename(kept)
    except OSError as error:
        raise LatError(f"{kept.parent}: the runtime cannot be kept there: {error.strerror or error}") from None
    return kept


def _fetched(folder: Path) -> Path:
    """A folder with the RUNTIME files and nothing else, by npm. Raises: LatError, OSError."""
    npm = shutil.which("npm")
    if npm is None:
        raise LatError(
            "npm fetches the runtime of the networks once, and is not installed: install Node.js 20 or newer"
        )
    for name in PACKAGE:
        shutil.copyfile(SOURCES / name, folder / name)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    done = subprocess.run([*command, "--cache", str(folder / "npm")], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise LatError(f"npm cannot fetch onnxruntime-web: {(done.stderr.strip() or 'no reason given')[-500:]}")
    chosen = folder / "chosen"
    chosen.mkdir()
    for name in RUNTIME:
        (folder / "node_modules/onnxruntime-web/dist" / name).rename(chosen / name)
    if _digests(chosen) != RUNTIME:
        raise LatError("npm fetched other files than those of the onnxruntime-web that this release was tested with")
    return chosen


def cache() -> Path:
    """The user's cache of this program."""
    base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return Path(base or Path.home() / ".cache") / "lat"


def _list_files(out: Path, names: dict[str, str]) -> None:
    """lat/models/index.json, for the decoder, and files.js, for the service worker: what there is, and its SHA-256.

    names: of the weights, by fingerprint.
    """
    models = {
        fingerprint: {"name": name, "files": _digests(out / MODELS / fingerprint)}
        for fingerprint, name in names.items()
    }
    (out / MODELS / "index.json").write_text(json.dumps(models, indent=1) + "\n")
    digests = {name: sha for name, sha in _digests(out).items() if name not in ("sw.js", "files.js")}
    small = [name for name in digests if not name.startswith((MODELS, RUNTIMES))]
    listed = {
        "version": hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16],
        "page": ["./", *small, f"{MODELS}/index.json"],
        "large": [f"{RUNTIMES}/{name}" for name in RUNTIME if name not in ON_DEMAND],
        "models": models,
    }
    (out / "files.js").write_text(f"self.LAT = {json.dumps(listed, indent=1)};\n")


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


class _Handler(SimpleHTTPRequestHandler):
    """Static files, cross-origin isolated so that the networks may use threads."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".webmanifest": "application/manifest+json",
    }

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *args) -> None:
        pass


def server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A web server for this machine alone; port 0 takes any that is free.

    Raises: LatError.
    """
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, directory=folder))
    except OSError as error:
        raise LatError(f"port {port} cannot be had: {error.strerror}; --serve 0 takes a free one") from None
