"""Look at an output before it counts: decode what the disk has, compare it with its source, and only then delete that.

`lat compress --check N` and `--remove-source`. A source is deleted where no step leaves a doubt:

    written ─► flushed ─► read back ─► decoded ─► compared ─► named ─► read again ─► source as it was ─► deleted
"""

from __future__ import annotations

import os
import re
import stat
from importlib.util import find_spec
from typing import TYPE_CHECKING

from codec import container, weights
from codec.errors import LatError, MissingModelError
from codec.runs import files
from codec.runs.files import Source, shown
from codec.runs.plan import Job

if TYPE_CHECKING:
    from codec.runs.job import Options

LEAST = 70.0  # of SSIMULACRA 2, below which `--remove-source` deletes nothing unless --check says so: "high quality"
HARMLESS = re.compile(  # notes on what nobody would keep a source for; every other note is a doubt
    r"quality chosen: .*|kept without loss, .*|dropped PNG chunks (tIME|bKGD|hIST|maDE)(, (tIME|bKGD|hIST|maDE))* .*"
)


def refuse_impossible(options: Options) -> None:
    """Raise LatError where what is asked for cannot be checked here, before anything is done."""
    wanted = options.check is not None or options.remove_source
    if wanted and not options.settings.lossless and find_spec("torch") is None:
        raise LatError("--check and --remove-source need SSIMULACRA 2, which needs PyTorch: pip install torch")


class Check:
    """Compares an output with its source; remembers both, and why the source should stay."""

    def __init__(self, job: Job, options: Options):
        self.job, self.options = job, options
        self.least = LEAST if options.check is None else options.check
        self.data, self.source = b"", Source("-", b"")
        self.doubts: list[str] = []
        self.note = ""

    def __call__(self, data: bytes, source: Source) -> None:
        """Decode the bytes of an output and compare them with its source.

        Raises: LatError where they are further apart than was asked for.
        """
        from codec.runs import compare
        from codec.runs.job import opened

        name = shown(self.job.source)
        original = opened(source.data, name, self.options, self.job.page)
        try:
            file = container.parse(data)
            file.verify()
            back = compare.picture_of(file, self.options, self._weights(file.header) or self.options.model)
            found = compare.compare(original, back, not self.options.settings.lossless)
        except LatError as error:
            raise type(error)(f"{name}: what was written does not come back: {error}; {self._advice()}") from None
        if found.metadata or not found.same_alpha:
            raise LatError(f"{name}: what was written does not come back: {found.describe()}; {self._advice()}")
        if self.options.settings.lossless and not found.identical:
            raise LatError(f"{name}: what was written does not come back: pixels differ; {self._advice()}")
        if not found.identical and (found.ssimulacra2 is None or not found.ssimulacra2 >= self.least):
            score = f"{found.ssimulacra2:.1f}" if found.ssimulacra2 is not None else "unknown"
            asked = "of --check" if self.options.check is not None else "that --remove-source asks for without --check"
            raise LatError(f"{name}: SSIMULACRA 2 is {score}, below the {self.least:g} {asked}; {self._advice()}")
        self.note = f"checked: {found.describe()}"
        self.data, self.source = data, source
        self.doubts = [note for note in original.notes if not HARMLESS.fullmatch(note)]
        if self.job.page:
            self.doubts.append(f"it has {self.job.page[1]} frames, in files of their own")
        if self._weights(file.header) is None:
            self.doubts.append("its weights are not installed, so nobody else can decode its output")

    def _weights(self, header: container.Header) -> str | None:
        """The name of the weights of an output; None where they are the caller's own."""
        try:
            return weights.name_for(header.model)
        except MissingModelError:
            return None

    def _advice(self) -> str:
        if os.path.lexists(self.job.target):
            return f"{self.job.target} is left as it was"
        return "nothing is written; a higher -q helps, or --lossless"


def remove_source(checked: Check) -> str:
    """Delete the source of an output that passed its check, unless there is a doubt; a note on what was done.

    Between the last look at the source and its deletion lie microseconds, as with gzip and xz.
    """
    path = checked.job.source
    doubt = find_doubt(checked)
    if doubt:
        return f"source not removed: {doubt}"
    try:
        os.unlink(path)
    except OSError as error:
        return f"source not removed: {files.describe(error)}"
    files.flush_folders([path])
    return "source removed"


def find_doubt(checked: Check) -> str:
    """Why a source must stay; empty where nothing speaks for it. Everything on disk is looked at again."""
    if checked.doubts:
        return checked.doubts[0]
    job, source = checked.job, checked.source
    if source.state is None or files.is_stream(job.target):
        return "it or its output is no regular file"
    try:
        if (reason := source_doubt(source)) or (reason := output_doubt(job.target, checked.data)):
            return reason
        files.flush_folder(job.target)
        return source_doubt(source)
    except OSError as error:
        return files.describe(error)


def source_doubt(source: Source) -> str:
    """What is odd about a source now. Raises: OSError."""
    now = os.lstat(source.path)
    if stat.S_ISLNK(now.st_mode):
        return "it is a symbolic link"
    if now.st_nlink > 1:
        return "it has more than one hard link"
    if source.state is None or not files.is_same_state(source.state, now):
        return "it changed since it was read"
    return ""


def output_doubt(target: str, data: bytes) -> str:
    """Whether an output is on disk under its own name, byte for byte. Raises: OSError."""
    if not stat.S_ISREG(os.lstat(target).st_mode):
        return "its output is no regular file"
    with open(target, "rb" if os.name == "posix" else "r+b") as file:
        os.fsync(file.fileno())
        if files.read_from_disk(file) != data:
            return "its output is not what was checked"
    return ""
