"""What is said of each file of a run, for people, as JSON and in the log of a bulk run."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from codec import kinds


@dataclass
class Row:
    """What became of one file.

    `status`: "done", "skipped", "kept" (as it is: no output, for it would not be smaller), "failed" or "damaged"
    (written, with tiles missing).
    """

    source: str
    target: str
    status: str = "done"
    bytes_in: int = 0
    bytes_out: int = 0
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    stamp: str = ""  # of a bulk run: the state of the source, as its place tells it
    digest: str = ""  # of the source: `files.digest` in hex
    settings: str = ""  # as options of the command
    remark: str = ""  # what the line of the file says beside its name, where that is no size


def json_text(fields: dict) -> str:
    """One line of JSON; names that are not UTF-8 (POSIX has such) are escaped, so that all of it can be written."""
    text = json.dumps(fields, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(fields)
    return text


def summary(rows: Iterable[Row]) -> list[str]:
    """What was lost or changed in the files of a run, by kind: "3 files: only the first of 2 … 9 frames is kept"."""
    counts: Counter[str] = Counter()
    numbers: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
    for row in rows:
        found = [kinds.kind_of_note(note) for note in row.notes if row.status != "kept"]
        counts.update({kind for kind, _ in found})
        for kind, own in found:
            numbers[kind].append(own)
    said = ((kinds.with_numbers(kind, numbers[kind]), count) for kind, count in counts.most_common())
    return [f"{count} {'file' if count == 1 else 'files'}: {text}" for text, count in said]
