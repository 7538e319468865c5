"""What a desktop is told of .lat pictures: written below a home folder, read by the desktop's rules, and taken away."""

import configparser
import os
import shlex
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PIL import Image

from codec import LatError, lossless
from codec.command import desktop, opening
from codec.container import MAGIC
from codec.picture.image import from_pillow
from tests.conftest import lat

pytestmark = pytest.mark.skipif(os.name != "posix", reason="these are files for the desktops of Linux and BSD")


@pytest.fixture
def places(tmp_path, monkeypatch) -> desktop.Places:
    """Those of a user whose home folder is empty, without the programs that read them."""
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(desktop.shutil, "which", lambda name: None)
    return desktop.Places.of_user()


def program(folder: Path) -> Path:
    """A stand-in for `lat` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lat"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def remaining(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def entry(path: Path, section: str) -> dict[str, str]:
    """A section of a desktop file, its values as the specification reads them."""
    parser = configparser.RawConfigParser()
    parser.optionxform = str
    parser.read(path, encoding="utf-8")
    return {key: value.replace("\\\\", "\\") for key, value in parser[section].items()}


@pytest.mark.parametrize("folder", ["bin", "my tools/bin", '50% \\ off "$x" `y`', "größer & <kleiner>"])
def test_programs_are_named_so_that_desktops_find_them(tmp_path, folder):
    path = program(tmp_path / folder)
    words = {"path": desktop.key_value(str(path)), "program": desktop.key_value(desktop.exec_word(str(path)))}
    for text, section, rest in (
        (desktop.APPLICATION, "Desktop Entry", "open %f"),
        (desktop.THUMBNAILER, "Thumbnailer Entry", "thumbnail --overwrite -s %s -o %o %i"),
    ):
        desktop.write(tmp_path / "entry", text.format(**words))
        found = entry(tmp_path / "entry", section)
        first, *others = shlex.split(found["Exec"])
        first = first.replace("\\$", "$").replace("\\`", "`")  # which shlex, unlike desktops, leaves escaped
        assert first.replace("%%", "%") == found["TryExec"] == str(path)
        assert " ".join(others) == rest and found["MimeType"] == "image/x-lat;"


def test_everything_that_is_installed_is_removed_again(places, tmp_path):
    path = program(tmp_path / "my tools")
    lines = desktop.install_files(places, path)
    written = remaining(tmp_path)
    assert len(written) == len(lines) + 1 == 6
    assert desktop.install_files(places, path) == lines and remaining(tmp_path) == written, "again is the same"
    assert len(desktop.remove_files(places)) == 5
    assert remaining(tmp_path) == [path]
    assert desktop.remove_files(places) == ["nothing of lat was installed there"]


def test_the_type_and_the_magic_are_those_of_the_format(places, tmp_path):
    desktop.install_files(places, program(tmp_path))
    tree = ElementTree.parse(places.data / "mime/packages/lat.xml")
    match = tree.find(".//{*}match")
    assert match.get("value").encode().decode("unicode_escape").encode("latin-1") == MAGIC
    assert tree.find(".//{*}glob").get("pattern") == "*.lat"
    offset, kind, value, _ = places.magic.read_text().splitlines()[1].split("\t")
    assert (offset, kind) == ("0", "string") and value.encode().decode("unicode_escape").encode("latin-1") == MAGIC


def test_the_lines_of_others_stay(places, tmp_path):
    path = program(tmp_path / "my tools")
    (delegates,) = places.delegates
    delegates.parent.mkdir(parents=True)
    own = '<delegatemap>\n  <delegate decode="x" command="y"/>\n</delegatemap>\n'
    delegates.write_text(own)
    delegates.chmod(0o600)
    places.magic.write_text("0 string X mine")
    desktop.install_files(places, path)
    found = ElementTree.parse(delegates).findall("delegate")
    assert [one.get("decode") for one in found] == ["x", "lat"]
    assert found[1].get("command") == f'"{path}" decompress --quiet -o - "%i" > "%o"'
    assert places.magic.read_text().startswith("0 string X mine\n# lat desktop: begin\n0\tstring")
    desktop.remove_files(places)
    assert delegates.read_text() == own and delegates.stat().st_mode & 0o777 == 0o600
    assert places.magic.read_text() == "0 string X mine\n"


def test_paths_that_no_file_can_name_are_refused_before_anything_is_written(places, tmp_path):
    for name in ("a\nb", 'a"b', "it's"):
        with pytest.raises(LatError, match="name"):
            desktop.install_files(places, tmp_path / name / "lat")
    places.delegates[0].parent.mkdir(parents=True)
    places.delegates[0].write_text("no xml")
    with pytest.raises(LatError, match="has no </delegatemap>"):
        desktop.install_files(places, tmp_path / "lat")
    assert places.delegates[0].read_text() == "no xml"


def test_the_commands_say_what_they_wrote_and_what_to_know(places, tmp_path, monkeypatch):
    path = program(tmp_path / "my tools")
    monkeypatch.setattr(desktop.sys, "argv", [str(path)])
    done = lat("desktop", "install")
    assert done.returncode == 0 and done.stdout == ""
    for words in ("lat.xml: written", "update-mime-database is not installed", f"the files name {path}", "sandbox"):
        assert words in done.stderr
    assert "lat.xml: removed" in lat("desktop", "remove").stderr and remaining(tmp_path) == [path]
    monkeypatch.setattr(desktop.sys, "platform", "darwin")
    assert "lat web" in lat("desktop", "install").stderr


def test_a_machine_has_its_files_below_usr_local_and_etc(tmp_path):
    (tmp_path / "etc/ImageMagick-6").mkdir(parents=True)
    (tmp_path / "etc/ImageMagick-6/delegates.xml").write_text(desktop.DELEGATES)
    places = desktop.Places.of_machine(tmp_path)
    desktop.install_files(places, program(tmp_path))
    assert (tmp_path / "usr/local/share/thumbnailers/lat.thumbnailer").is_file()
    assert 'decode="lat"' in (tmp_path / "etc/ImageMagick-6/delegates.xml").read_text()
    assert "x-lat" in (tmp_path / "etc/magic").read_text()


@pytest.mark.skipif(not shutil.which("file"), reason="needs file")
def test_the_program_file_knows_the_magic(places, tmp_path):
    desktop.install_files(places, program(tmp_path / "tools"))
    picture = tmp_path / "picture"
    picture.write_bytes(lossless.exact(from_pillow(Image.new("RGB", (9, 9))), 1))
    done = subprocess.run(["file", "--mime-type", "-b", "-m", places.magic, picture], capture_output=True, text=True)
    assert done.stdout == "image/x-lat\n"


# -- lat open --------------------------------------------------------------------------------------------------------


@pytest.fixture
def viewer(tmp_path, monkeypatch) -> list[Path]:
    """Pictures that a viewer was started with; the folder for temporary files is a new one."""
    shown: list[Path] = []
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(opening.tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(opening.shutil, "which", lambda name: name)
    monkeypatch.setattr(opening.click, "launch", lambda path, wait: shown.append(Path(path)) or 0)
    return shown


def test_open_hands_a_private_png_to_the_viewer(tmp_path, viewer):
    source = tmp_path / "a picture.lat"
    source.write_bytes(lossless.exact(from_pillow(Image.new("RGB", (9, 7), "teal")), 1))
    source.chmod(0o644)
    assert lat("open", source).returncode == 0
    (picture,) = viewer
    with Image.open(picture) as image:
        assert (image.format, image.size) == ("PNG", (9, 7))
    assert picture.name == "a picture.png" and picture.parent.stat().st_mode & 0o077 == 0
    os.utime(picture.parent, (0, 0))
    assert lat("open", source).returncode == 0
    assert not picture.exists() and viewer[1].exists(), "a day later it is deleted"


def test_open_says_what_is_wrong(tmp_path, viewer, monkeypatch):
    broken = tmp_path / "a.lat"
    broken.write_bytes(MAGIC)
    done = lat("open", broken)
    assert done.returncode == 1 and "a.lat" in done.stderr and not viewer
    assert not remaining(tmp_path / "temporary")
    broken.write_bytes(lossless.exact(from_pillow(Image.new("RGB", (9, 7))), 1))
    monkeypatch.setattr(opening.click, "launch", lambda path, wait: 3)
    assert "no viewer could be started" in lat("open", broken).stderr
    monkeypatch.setattr(opening.shutil, "which", lambda name: None)
    assert "xdg-utils" in lat("open", broken).stderr
