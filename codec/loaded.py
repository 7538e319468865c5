"""Codecs that are loaded already: each set of weights once a process, whichever thread asks first.

Loading takes ten times as long as decoding a small picture. Nothing here imports torch before a codec is asked for.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from importlib.util import find_spec
from typing import TYPE_CHECKING

from codec import process, weights

if TYPE_CHECKING:
    from codec.coder import Codec
    from codec.weights import Weights

KEPT = 4  # sets of weights

_codecs: OrderedDict[tuple, Codec] = OrderedDict()
_lock = threading.RLock()


def _unlock() -> None:
    """In a forked child: the thread that held the lock, if one did, stayed behind."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)


def codec(
    name: str | os.PathLike[str] = weights.DEFAULT,
    threads: int | None = None,
    engine: str | None = None,
    float32: bool = False,
) -> Codec:
    """`Codec.load`; a file of weights is read again where it has changed.

    Raises: MissingModelError, FormatError, LatError.
    """
    path = weights.locate(name)  # an error now, not after all that is imported
    about = os.stat(path)
    key = str(path), about.st_mtime_ns, about.st_size, threads, engine, float32
    process.wait_passively()
    from codec.coder import Codec

    with _lock:  # the others wait: two that load at once would take twice the memory
        if key not in _codecs:
            _codecs[key] = Codec.load(name, engine, threads, float32)
        _codecs.move_to_end(key)
        while len(_codecs) > KEPT:
            _codecs.popitem(last=False)
        return _codecs[key]


def codec_for(model: bytes) -> Codec:
    """The codec of the installed weights with a fingerprint, as a file's header has it.

    Raises: FormatError, MissingModelError.
    """
    return codec(weights.name_for(model))


def rebuild(own: str | Weights, engine: str | None, threads: int | None, float32: bool, device: str | None) -> Codec:
    """A codec that was pickled: by the name of its weights, once a process, or of weights that travelled themselves.

    Raises: MissingModelError, FormatError, LatError.
    """
    if isinstance(own, str) and device is None:
        return codec(own, threads, engine, float32)
    process.wait_passively()
    from codec.coder import Codec
    from codec.weights import Weights

    found = Codec(Weights.open(own) if isinstance(own, str) else own, engine, threads, float32)
    return found.to(device) if device else found


def codec_of(own: Weights) -> Codec:
    """A codec of these weights for a worker: with one thread, because each core has a worker; on a GPU if there is one.

    Raises: FormatError, LatError.
    """
    process.wait_passively()
    from codec.coder import Codec

    found = Codec(own, threads=1)
    if find_spec("torch"):
        import torch

        if torch.cuda.is_available():
            found.to("cuda")
    return found
