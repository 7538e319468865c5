"""Two runs into one folder, killed at any moment and resumed: `python -m tests.kills --count 40 --seed 1`.

SECURITY.md has the results. Beside the pictures lies a file of somebody else, which has to stay.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from PIL import Image

LAT = [sys.executable, "-W", "ignore", "-m", "codec"]
OPTIONS = ["--lossless", "-e", "1", "--quiet"]
FOREIGN = "notes.txt"
PAIRS = (
    ("compress", "compress"),
    ("bulk", "bulk"),
    ("compress", "bulk"),
    ("bulk", "compress"),
    ("decompress", "decompress"),
)
COUNT = 40  # pictures
PATIENCE = 600  # seconds for a run, and for the children of a killed one


def command(kind: str, sources: Path, packed: Path, out: Path) -> list[str]:
    """A run of this kind into `out`: from pictures, or back from what they became."""
    if kind == "bulk":
        return [*LAT, "bulk", str(sources), str(out), "--workers", "1", "--batch", "3", *OPTIONS]
    if kind == "compress":
        return [*LAT, "compress", "-r", str(sources), "--out-dir", str(out), *OPTIONS]
    return [*LAT, "decompress", "-r", str(packed), "--out-dir", str(out), "--quiet"]


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder that is no log and no temporary file."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".part")
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in found
        if not path.relative_to(folder).parts[0].startswith("log.")
    }


def make_pictures(folder: Path, generator: random.Random) -> None:
    noise = np.random.default_rng(generator.randrange(2**32))
    for number in range(COUNT):
        pixels = noise.integers(0, 40, (generator.randrange(20, 100), generator.randrange(20, 100), 3), np.uint8)
        path = folder / f"{'sub/' * (number % 3 == 0)}{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    (folder / FOREIGN).write_text("no picture")


def kill_some(pair: list[subprocess.Popen], out: Path, wanted: int, generator: random.Random) -> None:
    """Kill one of two runs or both, alone or with their workers, once there are so many outputs; wait for the rest."""
    start = time.monotonic()
    while time.monotonic() - start < PATIENCE and any(p.poll() is None for p in pair):
        if sum(1 for path in out.rglob("*") if path.suffix in (".lat", ".png")) >= wanted:
            break
        time.sleep(0.005)
    time.sleep(generator.random() * 0.1)
    for process in pair if generator.random() < 0.5 else pair[:1]:
        if process.poll() is None:
            (os.killpg if generator.random() < 0.5 else os.kill)(process.pid, signal.SIGKILL)
    for process in pair:
        process.wait(PATIENCE)
        while _is_alive(process.pid):  # its workers
            if time.monotonic() - start > 2 * PATIENCE:
                raise AssertionError("workers of a killed run live on")
            time.sleep(0.02)


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill_and_resume(kinds: tuple[str, str], folders: tuple[Path, Path, Path], generator: random.Random) -> int:
    """Kill two runs of these kinds, and resume both. Returns how many outputs there were. Raises: AssertionError."""
    sources, packed, out = folders
    out.mkdir()
    (out / FOREIGN).write_text("somebody else's")
    before, foreign = digests(sources), {FOREIGN: digests(out)[FOREIGN]}
    wanted = digests(packed if kinds[0] != "decompress" else packed.with_name("restored")) | foreign
    commands = [command(kind, *folders) for kind in kinds]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    kill_some([subprocess.Popen(c, **quiet) for c in commands], out, generator.randrange(COUNT), generator)
    survived = digests(out)
    assert survived.items() <= wanted.items(), "a half or wrong file"
    again = [subprocess.Popen(c, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for c in commands]
    for process in again:
        errors = process.communicate(timeout=PATIENCE)[1]
        assert process.returncode in (0, 3), f"resumed with {process.returncode}: {errors[-300:]}"
    assert digests(out) == wanted, "resumed to something else"
    assert digests(sources) == before, "a source was changed"
    left = [path.name for path in out.rglob("*.part")]
    assert not left, f"{left} are left"
    return len(survived) - 1


@click.command()
@click.option("--count", default=40, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(count: int, seed: int) -> None:
    """Print a line for each kill; fail where something was lost."""
    generator = random.Random(seed)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        sources, packed, restored = (root / name for name in ("sources", "packed", "restored"))
        make_pictures(sources, generator)
        for kind, out in (("compress", packed), ("decompress", restored)):
            subprocess.run(command(kind, sources, packed, out), check=True)
        for number in range(count):
            kinds = PAIRS[number % len(PAIRS)]
            there = kill_and_resume(kinds, (sources, packed, root / f"out-{number}"), generator)
            click.echo(f"{number}: {' and '.join(kinds)}, killed with {there} of {COUNT} there, resumed")


if __name__ == "__main__":
    main()
