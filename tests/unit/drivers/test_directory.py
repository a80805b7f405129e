"""volflow.drivers.directory: whole files or none, and nothing outside."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from volflow.drivers.directory import Directory
from volflow.exceptions import DriverError


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    made = Directory(tmp_path / "a" / "b")
    made.prepare()
    return made


def write(text: bytes):
    return lambda fd: os.write(fd, text)


def test_prepare_makes_a_private_directory_once(directory: Directory):
    """When it is missing it is made for its owner alone; the second time nothing changes."""
    directory.prepare()

    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700


def test_check_passes_and_leaves_nothing(directory: Directory):
    """When the directory can be written, the check is silent and leaves no file."""
    directory.check()
    directory.check()

    assert directory.names() == []


def test_check_names_a_missing_directory(tmp_path: Path):
    """When the directory is missing, the error says so."""
    with pytest.raises(DriverError) as caught:
        Directory(tmp_path / "none").check()

    assert str(caught.value) == (
        f"cannot write into the directory: it does not exist ({tmp_path / 'none'})"
    )


def test_a_file_is_private_and_is_read_back(directory: Directory):
    """When a file is made, its owner alone may read it."""
    directory.create("f", write(b"text"), replace=False)

    assert directory.read("f") == b"text"
    assert directory.size("f") == 4
    assert stat.S_IMODE((directory.path / "f").stat().st_mode) == 0o600


def test_what_is_not_there_is_none(directory: Directory):
    """When there is no such name, None tells so, and deleting it is no error."""
    directory.delete("f")

    assert directory.read("f") is None
    assert directory.size("f") is None


def test_a_file_that_goes_while_it_is_read_is_none(directory: Directory, monkeypatch):
    """When another process removes a file between two looks at it, it was not there."""
    directory.create("x", write(b"old"), replace=False)
    look = directory._stat

    def look_and_lose(name: str, at: int):
        found = look(name, at)
        os.unlink(name, dir_fd=at)
        return found

    monkeypatch.setattr(directory, "_stat", look_and_lose)

    assert directory.read("x") is None


def test_replace_swaps_the_whole_file(directory: Directory):
    """When a file is replaced, the new one takes its place and nothing else is left."""
    directory.create("f", write(b"old"), replace=True)
    directory.create("f", write(b"new"), replace=True)

    assert directory.read("f") == b"new"
    assert directory.names() == ["f"]


def test_create_without_replace_keeps_the_old_file(directory: Directory):
    """When a file is there, one that must not replace it fails, and nothing else is left."""
    directory.create("f", write(b"old"), replace=False)

    with pytest.raises(DriverError, match="cannot write the file: File exists"):
        directory.create("f", write(b"new"), replace=False)

    assert directory.read("f") == b"old"
    assert directory.names() == ["f"]


@pytest.mark.parametrize(
    ("number", "meaning"),
    [
        (errno.ENOSPC, "its filesystem is full"),
        (errno.EDQUOT, "the quota there is used up"),
        (errno.EFBIG, "its filesystem takes no file of this size"),
        (errno.EIO, "the disk reports an input/output error"),
    ],
)
def test_a_failing_write_leaves_nothing_and_says_why(directory, number, meaning):
    """When the disk refuses, there is no file, no temporary one, and one clear sentence."""

    def refuse(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(DriverError) as caught:
        directory.create("f", refuse, replace=False)

    assert str(caught.value) == f"cannot write the file: {meaning} ({directory.path / 'f'})"
    assert directory.names() == []


def test_what_a_death_left_is_replaced_and_not_written_into(directory: Directory):
    """When a maker died between link and unlink, its second name must not truncate the file."""
    directory.create("f", write(b"precious"), replace=False)
    os.link(directory.path / "f", directory.path / ".f.new")

    directory.create("f", write(b"other"), replace=True)

    assert directory.read("f") == b"other"
    os.link(directory.path / "f", directory.path / ".g.new")
    directory.create("g", write(b"g"), replace=False)
    assert directory.read("f") == b"other"


def test_delete_removes_what_a_death_left(directory: Directory):
    """When a maker died half way, delete takes its temporary file too."""
    (directory.path / ".f.new").write_bytes(b"half")

    directory.delete("f")

    assert directory.names() == []


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_what_is_no_regular_file_is_refused_and_left(directory: Directory, tmp_path: Path, kind):
    """When something else has the name, no call follows, reads, replaces or deletes it."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"outside")
    name = directory.path / "f"
    {
        "symlink": lambda: name.symlink_to(outside),
        "fifo": lambda: os.mkfifo(name),
        "directory": name.mkdir,
    }[kind]()

    for call in (
        lambda: directory.read("f"),
        lambda: directory.size("f"),
        lambda: directory.delete("f"),
        lambda: directory.create("f", write(b"x"), replace=True),
        lambda: directory.create("f", write(b"x"), replace=False),
    ):
        with pytest.raises(DriverError, match="is no regular file, and is left alone"):
            call()

    assert os.path.lexists(name)
    assert outside.read_bytes() == b"outside"


def test_a_planted_temporary_link_is_not_followed(directory: Directory, tmp_path: Path):
    """When the temporary name is a link to a file outside, that file is not touched."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"outside")
    (directory.path / ".f.new").symlink_to(outside)

    directory.create("f", write(b"x"), replace=False)

    assert outside.read_bytes() == b"outside"
    assert directory.read("f") == b"x"


def test_a_missing_directory_has_no_names(tmp_path: Path):
    """When the directory was never made, there is nothing in it, and nothing to delete."""
    missing = Directory(tmp_path / "none")
    missing.delete("f")

    assert missing.names() == []
