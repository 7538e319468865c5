"""Codecs that are loaded already: each set of weights once a process, whichever thread asks first.

Loading takes ten times as long as decoding a small picture. Nothing here imports torch before a codec is asked for.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from codec import process, weights

if TYPE_CHECKING:
    from codec.coder import Codec

KEPT = 4  # sets of weights

_codecs: OrderedDict[tuple, Codec] = OrderedDict()
_lock = threading.RLock()


def _unlock() -> None:
    """In a forked child: the thread that held the lock, if one did, stayed behind."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)


def codec(name: str = weights.DEFAULT, threads: int | None = None) -> Codec:
    """Installed weights by name, or a path to a .safetensors file, read again where the file has changed.

    `threads` is what torch uses in this process from now on.
    Raises: MissingModelError, FormatError.
    """
    path = weights.locate(name)  # an error now, not after the second that torch takes
    about = os.stat(path)
    key = str(path), about.st_mtime_ns, about.st_size
    process.wait_passively()
    import torch

    from codec.coder import Codec

    if threads:
        torch.set_num_threads(threads)
    with _lock:  # the others wait: two that load at once would take twice the memory
        if key not in _codecs:
            _codecs[key] = Codec.load(name)
        _codecs.move_to_end(key)
        while len(_codecs) > KEPT:
            _codecs.popitem(last=False)
        return _codecs[key]


def codec_for(model: bytes) -> Codec:
    """The codec of the installed weights with a fingerprint, as a file's header has it.

    Raises: FormatError, MissingModelError.
    """
    return codec(weights.name_for(model))
