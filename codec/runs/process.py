"""What a process of this package owes to its surroundings: quiet threads, whole streams, an end with its parent.

Modules that take a while to import are imported where they are used: a thumbnail is made in no more time than that.
"""

from __future__ import annotations

import codecs
import os
import signal
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from codec.runs import claims
from codec.settings import MAX_PIXELS

ASCII = {"→": "->", "×": "x", "…": "...", "σ": "sigma", "λ": "lambda", "≤": "<=", "–": "-", "’": "'"}
DEADLINE = 3.0  # seconds
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
        import ctypes

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


_output: TextIO | None = None  # where the command writes while standard output is its own


def standard_output() -> TextIO | None:
    """Where the command's output goes; None where it is closed."""
    return _output or sys.stdout


@contextmanager
def own_standard_output() -> Iterator[None]:
    """Keep standard output for the command: what libraries print there, Python's or C's, goes to standard error."""
    global _output
    before = sys.stdout
    if before is None or _output:
        yield
        return
    before.flush()
    kept = None
    with suppress(OSError, ValueError):  # in tests it is none of the system's
        if before.fileno() == 1:
            kept = os.dup(1)
    _output = before
    if kept is not None:
        _output = os.fdopen(
            kept, "w", encoding=before.encoding, errors=before.errors, buffering=1 if before.line_buffering else -1
        )
        os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout, output, _output = before, _output, None
        if kept is not None:
            with suppress(OSError, ValueError):
                output.flush()
            os.dup2(kept, 1)
            with suppress(OSError, ValueError):
                output.close()


def discard(stream) -> None:
    """Send the rest of a stream that cannot be written nowhere; Python would try it again at its end."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def end(code: int) -> None:
    """End now, leaving no temporary file."""
    claims.abandon()
    os._exit(code)


def end_when_told(worker: bool = False) -> None:
    """End at once on SIGTERM and SIGHUP, in a worker on Ctrl-C too; what is ignored, as by `nohup`, stays so.

    Python hears of a signal when the call that it is in returns, and some calls take minutes: what is not answered
    within DEADLINE seconds, Ctrl-C too, ends the process from a thread of its own. Outputs are whole or not there.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    answered: set[int] = set()

    def interrupt(number: int, frame) -> None:
        answered.add(number)
        signal.default_int_handler(number, frame)

    def terminate(number: int, frame) -> None:
        end(128 + number)

    watched = set()
    for name in ("SIGTERM", "SIGHUP", "SIGINT"):
        number = getattr(signal, name, None)
        own = worker and name == "SIGINT"  # which it was started without
        if number is not None and (own or signal.getsignal(number) is not signal.SIG_IGN):
            signal.signal(number, interrupt if name == "SIGINT" and not worker else terminate)
            watched.add(number)
    import socket

    try:
        heard, told = socket.socketpair()
    except OSError:  # no more files may be open: then Python answers, or nobody
        return
    told.setblocking(False)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)

    def watch() -> None:
        while received := heard.recv(1):
            number = received[0]
            if number in watched:
                time.sleep(DEADLINE)
                if number not in answered:
                    end(128 + number)
                answered.discard(number)
        told.close()  # it has to live as long as this thread

    threading.Thread(target=watch, name="end when told", daemon=True).start()


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
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        end(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


def can_share() -> bool:
    """Whether processes can be given work: the semaphores that this takes need shared memory (/dev/shm on Linux)."""
    try:
        import multiprocessing

        multiprocessing.get_context("spawn").Lock()
    except (ImportError, OSError):  # ImportError: Python was built without them, as on Android
        return False
    return True


ALONE = "no shared memory (/dev/shm) for several processes: one does it all"
