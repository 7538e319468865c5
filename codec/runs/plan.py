"""Which files a run takes and where each output goes, decided before anything is written. FILES.md has the rules.

    sources ──find──► Found (files, each with the folder it was found from; what was passed over) ──plan──► a Job each

The map from inputs to outputs is one to one: inputs whose outputs would be the same file become jobs with an error.
"""

from __future__ import annotations

import glob
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePath
from secrets import token_hex
from typing import TypeVar

from codec import kinds

AnyPath = TypeVar("AnyPath", bound=PurePath)


@dataclass(frozen=True)
class Job:
    """One input and its output (none: ""). With an `error`, nothing is done and the error is what becomes of it.

    `stamp`: the state of the input, where its place has told it. `page`: (number, of how many) where the input has
    several, and each is written by a job of its own.
    """

    source: str
    target: str
    error: str | None = None
    stamp: str = ""
    page: tuple[int, int] | None = None


@dataclass
class Found:
    """Files, each with the folder it was found from; kinds of what was passed over; folders that cannot be read."""

    files: dict[Path, Path] = field(default_factory=dict)
    passed_over: list[str] = field(default_factory=list)
    failed: list[Job] = field(default_factory=list)


def find(sources: Iterable[str], recursive: bool, suffixes: set[str]) -> Found:
    """Files, folders and glob patterns -> the files meant: of a folder, those with one of `suffixes`."""
    found = Found()
    for source in sources:
        path = Path(source)
        if path.is_dir():
            if not recursive:
                found.failed.append(Job(source, "", f"{source}: is a folder; -r takes everything in it"))
            else:
                search(path, suffixes, found)
        elif os.path.lexists(path):
            found.files.setdefault(path, path.parent)
        else:
            matches = [Path(m) for m in sorted(glob.glob(source, recursive=True))] if is_pattern(source) else []
            if not matches:
                found.failed.append(Job(source, "", f"{source}: no such file"))
            base = fixed_part(path)
            for match in matches:
                if match.is_file() or not match.exists():
                    found.files.setdefault(match, base)
                elif not match.is_dir():
                    found.passed_over.append("no regular file")
    return found


def is_pattern(source: str) -> bool:
    return glob.has_magic(source) and not os.path.lexists(source)


def fixed_part(pattern: Path) -> Path:
    """The folder that a pattern starts from: photos/*/a*.jpg -> photos."""
    parts = pattern.parts[:-1]
    count = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[:count])


def search(folder: Path, suffixes: set[str], found: Found) -> None:
    """Everything in a folder and below, by the rule of `kinds`."""

    def unreadable(error: OSError) -> None:
        found.failed.append(Job(str(error.filename), "", f"{error.filename}: cannot be listed: {error.strerror}"))

    inside: list[Path] = []
    for where, folders, names in os.walk(folder, onerror=unreadable):
        inside += (Path(where, name) for name in names)
        found.passed_over += ("linked folder" for name in folders if os.path.islink(Path(where, name)))
    for path in sorted(inside):
        place = path.relative_to(folder)
        if kinds.is_hidden(place) or not (place.suffix.lower() in suffixes or kinds.is_misnamed(path)):
            found.passed_over.append(kinds.passed_over(place))
        elif path.exists() and not path.is_file():
            found.passed_over.append("no regular file")
        else:  # a link to nowhere too: it is a failure, not nothing
            found.files.setdefault(path, folder)


def plan(
    found: Found,
    out_dir: str | None,
    suffix: str | Callable[[Path], str],
    pages_of: Callable[[str], int] = lambda source: 1,
) -> list[Job]:
    """Where each output goes: beside its source, or at the same place below `out_dir`; nowhere without a suffix.

    `suffix`: of all, or of each source. `pages_of`: how many outputs a source has; several are name-001.lat …
    """
    if not suffix:
        return [Job(str(source), "") for source in found.files] + found.failed
    places = [Path(out_dir) / f.relative_to(base) if out_dir else f for f, base in found.files.items()]
    suffixes = [suffix if isinstance(suffix, str) else suffix(source) for source in found.files]
    pages: dict[tuple[str, str], tuple[int, int] | None] = {}
    for source, target in zip(map(str, found.files), named(places, suffixes, folds_case)):
        pages |= {(source, str(name)): page for name, page in name_pages(target, pages_of(source))}
    jobs = distinct([source for source, _ in pages], [Path(target) for _, target in pages], folds_case)
    return [replace(job, page=pages[job.source, job.target]) for job in jobs] + found.failed


def name_pages(target: Path, count: int) -> list[tuple[Path, tuple[int, int] | None]]:
    """(Output, page) for each of so many pages: name-001.lat …; the output itself for a single one."""
    if count == 1:
        return [(target, None)]
    digits = max(3, len(str(count)))
    return [
        (target.with_name(f"{target.stem}-{number:0{digits}}{target.suffix}"), (number, count))
        for number in range(1, count + 1)
    ]


def named(places: Sequence[AnyPath], suffix: str | Sequence[str], folds: Callable[[AnyPath], bool]) -> list[AnyPath]:
    """Paths with another suffix, one for all or one each; those that would be one keep their own.

    a.jpg, a.png -> a.jpg.lat, a.png.lat
    """
    suffixes = [suffix] * len(places) if isinstance(suffix, str) else suffix
    chosen = [place.with_suffix(suffix) for place, suffix in zip(places, suffixes)]
    longer = [place.with_name(place.name + suffix) for place, suffix in zip(places, suffixes)]
    while True:
        on_disk = keys(chosen, folds)
        count = Counter(on_disk)
        again = [long if count[key] > 1 else now for now, long, key in zip(chosen, longer, on_disk)]
        if again == chosen:
            return chosen
        chosen = again


def distinct(sources: list[str], targets: Sequence[AnyPath], folds: Callable[[AnyPath], bool]) -> list[Job]:
    """A job for each source; those that share a target get an error that names another one.

    One file that was given under two names is one job.
    """
    jobs = {i: Job(source, str(target)) for i, (source, target) in enumerate(zip(sources, targets))}
    sharing = defaultdict(list)
    for i, key in enumerate(keys(targets, folds)):
        sharing[key].append(i)
    for group in sharing.values():
        first = group[0]
        others = [i for i in group if not same_file(sources[i], sources[first])]
        for i in group[1:] if not others else ():
            del jobs[i]
        for i in group if others else ():
            other = sources[others[0] if i == first or i not in others else first]
            said = f"its output {targets[i]} would be that of {other} too; rename one, or use another --out-dir for it"
            jobs[i] = replace(jobs[i], error=f"{sources[i]}: {said}")
    return list(jobs.values())


def keys(targets: Sequence[AnyPath], folds: Callable[[AnyPath], bool]) -> list[str]:
    """What tells targets apart: their names, or where the file system does not tell case, what is left of these."""
    folded = [unicodedata.normalize("NFC", str(t)).casefold() for t in targets]
    count = Counter(folded)
    return [f if count[f] > 1 and folds(t) else str(t) for t, f in zip(targets, folded)]


def same_file(a: str, b: str) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return a == b


def folds_case(target: PurePath) -> bool:
    """Whether the place of an output takes "a" and "A" for one name, as Windows and macOS do."""
    folder = Path(target).parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return _folds_case(str(folder))


@lru_cache(maxsize=1024)
def _folds_case(folder: str) -> bool:
    """Tried with a file: that says it for every system, disk and network."""
    probe = Path(folder, f".lat-probe-{token_hex(4)}a")
    try:
        probe.touch(exist_ok=False)
    except OSError:
        return False  # nothing can be written here anyway
    try:
        return probe.with_name(probe.name[:-1] + "A").exists()
    finally:
        probe.unlink(missing_ok=True)
