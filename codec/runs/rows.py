"""What is said of each file of a run, for people, as JSON and in the log of a bulk run."""

from __future__ import annotations

import json
from collections import Counter
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


def json_text(fields: dict) -> str:
    """One line of JSON; names that are not UTF-8 (POSIX has such) are escaped, so that all of it can be written."""
    text = json.dumps(fields, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(fields)
    return text


def summary(rows: Iterable[Row]) -> list[str]:
    """What was lost or changed in the files of a run, by kind: "3 files: only the first of several frames is kept"."""
    counts = Counter(
        kind for r in rows if r.status != "kept" for kind in dict.fromkeys(map(kinds.kind_of_note, r.notes))
    )
    return [f"{count} {'file' if count == 1 else 'files'}: {kind}" for kind, count in counts.most_common()]
