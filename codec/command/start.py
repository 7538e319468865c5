"""Where the `lat` command starts: thumbnails at once, without what the other commands import."""

from __future__ import annotations

import sys


def entry() -> None:
    """The command as a process of its own."""
    if sys.argv[1:2] == ["thumbnail"]:
        from codec.command.parts import run_process
        from codec.command.thumbnail import thumbnail

        run_process(lambda: thumbnail(sys.argv[2:], prog_name="lat thumbnail"))
    else:
        from codec.command import cli

        cli.entry()
