"""What a process of this package owes to its surroundings: quiet threads, whole streams, an end with its parent."""

from __future__ import annotations

import codecs
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from codec import files
from codec.settings import MAX_PIXELS

ASCII = {"→": "->", "×": "x", "…": "...", "σ": "sigma", "λ": "lambda", "≤": "<=", "–": "-", "’": "'"}
TEXT_LIMIT = 64 * 2**20  # bytes of one text or profile in a picture file; Pillow's own limit is 1 MB


def wait_passively() -> None:
    """Have OpenMP threads sleep at barriers. Works before torch is imported; what the user has set stays.

    They spin by default: on a machine with more threads than cores each one then waits for a time slice of the others.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # GNU, in torch for Linux
    os.environ.setdefault("KMP_BLOCKTIME", "0")  # LLVM and Intel: macOS, Windows


_engines: weakref.WeakSet = weakref.WeakSet()


def survive_fork(engine) -> None:
    """Have an engine work in forked children of this process, which have none of its threads.

    There torch computes with one thread, because it would wait for the others for ever; what ONNX Runtime and OpenVINO
    made is never destroyed, because that waits for their threads, or crashes.
    """
    _engines.add(engine)


def _in_child() -> None:
    for engine in _engines:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def own(max_pixels: int = MAX_PIXELS) -> None:
    """Set up a process that runs nothing but `lat`: Pillow's limit is --max-pixels, inside of files too."""
    from PIL import Image, PngImagePlugin

    wait_passively()
    warnings.filterwarnings("ignore", module="PIL")  # of odd metadata: no lines of source on a terminal
    Image.MAX_IMAGE_PIXELS = -(-max_pixels // 2)  # it warns from there on, and refuses twice as many
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = TEXT_LIMIT


def own_streams() -> None:
    """Make standard streams of the command safe: closed ones stay unused, and every text can be written to them."""
    for descriptor in (0, 1, 2):  # or the next file that is opened becomes standard output
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error("lat", spelled)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            with suppress(OSError, ValueError):
                stream.reconfigure(errors="lat")


def spelled(error: UnicodeError) -> tuple[str, int]:
    """An error handler for codecs: what a console cannot show, spelled in ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in bad), error.end


def discard(stream) -> None:
    """Send the rest of a stream that cannot be written nowhere; Python would try it again at its end."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def end(code: int) -> None:
    """End now, leaving no temporary file."""
    files.abandon()
    os._exit(code)


def end_at_once_when_told() -> None:
    """On SIGTERM and SIGHUP; workers see it and end too."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and threading.current_thread() is threading.main_thread():
            signal.signal(number, lambda received, frame: end(128 + received))


@contextmanager
def uninterrupted_children() -> Iterator[None]:
    """Processes started meanwhile ignore Ctrl-C, from their first moment on: what it means is their parent's affair."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def end_with_parent() -> None:
    """End this worker when the process that started it ends, however that ends."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        end(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()
