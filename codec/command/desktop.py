"""`lat desktop`: the files by which a desktop knows .lat pictures, makes thumbnails and opens them (DESKTOP.md).

Some are ours alone; two are shared with the user's own entries, in which ours stand between two marked lines.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import click

from codec.command.parts import LatCommand, say
from codec.errors import LatError
from codec.runs import files

BEGIN, END = "lat desktop: begin", "lat desktop: end"
MIME = r"""<?xml version="1.0" encoding="UTF-8"?>
<mime-info xmlns="http://www.freedesktop.org/standards/shared-mime-info">
  <mime-type type="image/x-lat">
    <comment>lat picture</comment>
    <generic-icon name="image-x-generic"/>
    <magic priority="60"><match type="string" value="\x8eLAT\r\n\x1a\n" offset="0"/></magic>
    <glob pattern="*.lat"/>
  </mime-type>
</mime-info>
"""
THUMBNAILER = """[Thumbnailer Entry]
TryExec={path}
Exec={program} thumbnail --overwrite -s %s -o %o %i
MimeType=image/x-lat;
"""
APPLICATION = """[Desktop Entry]
Type=Application
Name=lat
GenericName=Picture opener
Comment=Decodes .lat pictures and shows them
TryExec={path}
Exec={program} open %f
Icon=image-x-generic
Terminal=false
NoDisplay=true
MimeType=image/x-lat;
Categories=Graphics;
"""
MAGIC = r"""0	string	\x8eLAT\r\n\x1a\n	lat picture
!:mime	image/x-lat
"""
DELEGATE = """  <delegate decode="lat" command="{shell} decompress --quiet -o - &quot;%i&quot; &gt; &quot;%o&quot;"/>
"""
DELEGATES = '<?xml version="1.0" encoding="UTF-8"?>\n<delegatemap>\n</delegatemap>\n'
UPDATES = (("update-mime-database", "mime"), ("update-desktop-database", "applications"))


@dataclass(frozen=True)
class Places:
    """Where the files of a user, or of a machine, lie."""

    data: Path
    magic: Path
    delegates: tuple[Path, ...]

    @classmethod
    def of_user(cls) -> Places:
        home = Path.home()
        data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
        settings = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        return cls(data, home / ".magic", (settings / "ImageMagick/delegates.xml",))

    @classmethod
    def of_machine(cls, root: Path = Path("/")) -> Places:
        delegates = sorted(root.glob("etc/ImageMagick-*/delegates.xml"))
        return cls(root / "usr/local/share", root / "etc/magic", tuple(delegates))

    def own(self) -> dict[Path, str]:
        """Files that are ours alone, and what is in them, to be completed with a program."""
        return {
            self.data / "mime/packages/lat.xml": MIME,
            self.data / "thumbnailers/lat.thumbnailer": THUMBNAILER,
            self.data / "applications/lat.desktop": APPLICATION,
        }


@click.group()
def desktop() -> None:
    """Have the desktop know .lat pictures: type, thumbnails, double click, ImageMagick and file."""


system_option = click.option("--system", is_flag=True, help="For all users of this machine; needs to be run by root.")


@desktop.command(cls=LatCommand)
@system_option
def install(system: bool) -> None:
    """Write the files, in the place of earlier ones."""
    refuse_other_systems()
    places, path = Places.of_machine() if system else Places.of_user(), program()
    for line in install_files(places, path) + update(places) + warnings(path):
        say(line, err=True)


@desktop.command(cls=LatCommand)
@system_option
def remove(system: bool) -> None:
    """Take the files away again, and nothing else."""
    refuse_other_systems()
    places = Places.of_machine() if system else Places.of_user()
    for line in remove_files(places) + update(places):
        say(line, err=True)


def refuse_other_systems() -> None:
    """Raise LatError where desktops have other ways to know files."""
    if sys.platform in ("win32", "darwin"):
        raise LatError("these files are for the desktops of Linux and BSD; lat web makes a page for all the others")


def program() -> Path:
    """The `lat` program that runs, or that of its environment. Raises: LatError."""
    scripts = {sysconfig.get_path("scripts"), sysconfig.get_path("scripts", f"{os.name}_user")}
    found = [Path(sys.argv[0]), Path(sys.executable).with_name("lat"), *(Path(folder) / "lat" for folder in scripts)]
    found += [Path(path) for path in [shutil.which("lat")] if path]
    for path in found:
        if path.name == "lat" and path.is_file() and os.access(path, os.X_OK):
            return path.absolute()
    raise LatError("no program `lat` lies beside this Python: install the package (pip install .) and run it again")


# -- files -----------------------------------------------------------------------------------------------------------


def install_files(places: Places, path: Path) -> list[str]:
    """Write all files; a line on each. Raises: LatError, before anything is written where the path is impossible."""
    if not str(path).isprintable():
        raise LatError(f"{path}: a desktop file cannot name a program with a line break or a control character")
    delegate = DELEGATE.format(shell=xml(shell_word(str(path))))
    words = {"path": key_value(str(path)), "program": key_value(exec_word(str(path)))}
    for file, text in places.own().items():
        write(file, text if text is MIME else text.format(**words))
    shared(places.magic, MAGIC, f"# {BEGIN}\n", f"# {END}\n", "")
    for file in places.delegates:
        shared(file, delegate, f"  <!-- {BEGIN} -->\n", f"  <!-- {END} -->\n", DELEGATES)
    return [f"{file}: written" for file in (*places.own(), places.magic, *places.delegates)]


def remove_files(places: Places) -> list[str]:
    """Delete all files, and our lines of those that are shared; a line on each. Raises: LatError."""
    removed = []
    for file in places.own():
        if file.exists():
            try:
                file.unlink()
            except OSError as error:
                raise LatError(f"{file}: cannot be removed: {error.strerror}") from None
            removed.append(file)
    if take_out(places.magic, f"# {BEGIN}\n", f"# {END}\n", ""):
        removed.append(places.magic)
    for file in places.delegates:
        if take_out(file, f"  <!-- {BEGIN} -->\n", f"  <!-- {END} -->\n", DELEGATES):
            removed.append(file)
    return [f"{file}: removed, or our lines of it" for file in removed] or ["nothing of lat was installed there"]


def write(file: Path, text: str) -> None:
    """Write a file and the folders above it, the file at once or not at all. Raises: LatError."""
    try:
        files.make_folder(file.parent)
    except OSError as error:
        raise LatError(f"{file.parent}: cannot be made: {error.strerror}") from None
    source = files.read(str(file)) if file.exists() else None  # whose permissions stay
    with files.claim(os.path.realpath(file)) as claimed:
        claimed.write(text.encode("utf-8", "surrogateescape"), True, source)
    if source is None:
        file.chmod(0o644)
    os.utime(file)


def shared(file: Path, text: str, begin: str, end: str, empty: str) -> None:
    """Put our lines into a file that may have others, in the place of ours of before; before the last tag of XML.

    Raises: LatError.
    """
    now = without(read(file, empty), begin, end)
    at = now.rfind("</delegatemap>") if empty else len(now)
    if at < 0:
        raise LatError(f"{file}: has no </delegatemap>, so our line cannot be added; repair it or move it away")
    gap = "" if not at or now[at - 1] == "\n" else "\n"
    write(file, now[:at] + gap + begin + text + end + now[at:])


def take_out(file: Path, begin: str, end: str, empty: str) -> bool:
    """Whether a file had lines of ours; it has none now, and is gone if it had no others. Raises: LatError."""
    now = read(file, "")
    rest = without(now, begin, end)
    if rest == now:
        return False
    if rest == empty:
        file.unlink()
    else:
        write(file, rest)
    return True


def read(file: Path, otherwise: str) -> str:
    """The text of a file; another one where there is no file. Raises: LatError."""
    if not file.exists():
        return otherwise
    return files.read_bytes(str(file)).decode("utf-8", "surrogateescape")


def without(text: str, begin: str, end: str) -> str:
    """A text less what stands between two lines, and these."""
    start = text.find(begin)
    stop = text.find(end, start)
    return text if start < 0 or stop < 0 else text[:start] + text[stop + len(end) :]


# -- words -----------------------------------------------------------------------------------------------------------


def exec_word(word: str) -> str:
    """A word of an Exec line (Desktop Entry Specification): quoted, and no field code in it."""
    if re.fullmatch(r"[\w./+@:-]+", word, re.ASCII):
        return word  # xdg-open, where there is no desktop, knows no quotes
    for character in '\\"`$':
        word = word.replace(character, f"\\{character}")
    return f'"{word}"'.replace("%", "%%")


def key_value(text: str) -> str:
    """A text as the value of a key: a backslash stands there for another character."""
    return text.replace("\\", "\\\\")


def shell_word(word: str) -> str:
    """A word of a shell's line in an ImageMagick delegate, whose own codes begin with %.

    Raises: LatError for what ImageMagick or the shell would take for its own even between quotes.
    """
    if bad := sorted(set(word) & set("\\\"'`$")):
        raise LatError(
            f"{word}: ImageMagick can name no program with {' '.join(bad)} in its path; install it elsewhere"
        )
    return '"' + word.replace("%", "%%") + '"'


def xml(text: str) -> str:
    """A text as the value of an XML attribute."""
    for character, name in (("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot")):
        text = text.replace(character, f"&{name};")
    return text


# -- what else a desktop needs ---------------------------------------------------------------------------------------


def update(places: Places) -> list[str]:
    """Have the desktop's own programs read the files; a line on each that is missing or fails."""
    said = []
    for name, folder in UPDATES:
        where = places.data / folder
        if not where.is_dir():
            continue
        if not (tool := shutil.which(name)):
            said.append(f"{name} is not installed: the desktop sees the change when it runs it next")
            continue
        done = subprocess.run([tool, str(where)], capture_output=True, text=True)
        if done.returncode:
            said.append(f"{name} failed: {done.stderr.strip() or done.returncode}")
    return said


def warnings(path: Path) -> list[str]:
    """What the user should know of a program at this path."""
    said = [f"the files name {path}: after it was moved or removed, run `lat desktop install` from its new place"]
    if " " in str(path):
        said.append("xdg-open cannot start a program with spaces in its path where no desktop runs; desktops can")
    if not path.resolve().is_relative_to("/usr"):
        said.append("GNOME makes thumbnails in a sandbox that sees /usr alone: for these, install the package there")
    return said
