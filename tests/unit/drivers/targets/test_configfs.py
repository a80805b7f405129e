"""volflow.drivers.targets.configfs on a directory of this host."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path

import pytest

from volflow.drivers import command
from volflow.drivers.targets.configfs import (
    REFUSALS,
    Configfs,
    KernelRefused,
    Reason,
    Request,
    reason_of,
    tolerate,
)
from volflow.exceptions import DriverError


@pytest.fixture
def fs() -> Configfs:
    return Configfs()


def test_every_row_is_what_its_number_means():
    """When the kernel answers with a number, the first row for the request tells it."""
    for refusal in REFUSALS:
        known = [r for r in REFUSALS if r.number == refusal.number]
        for request in refusal.requests:
            first = next(r for r in known if request in r.requests)
            assert reason_of(refusal.number, request) is first.reason


def test_a_number_means_what_was_asked():
    """When a device or file is missing, opening it says so; elsewhere the object is missing."""
    assert reason_of(errno.ENOENT, Request.WRITE) is Reason.NO_BACKING
    assert reason_of(errno.ENOENT, Request.LINK) is Reason.MISSING
    assert reason_of(errno.EBUSY, Request.WRITE) is Reason.IN_USE_ELSEWHERE
    assert reason_of(errno.EBUSY, Request.REMOVE) is Reason.BUSY
    assert reason_of(errno.ENOTTY, Request.WRITE) is Reason.UNKNOWN


def test_what_is_so_already_is_no_error(fs, tmp_path):
    """When an object or link is there, or gone, asking for it again does nothing."""
    for _ in range(2):
        fs.make(tmp_path / "a")
        fs.link(tmp_path / "a", tmp_path / "link")
    assert fs.exists(tmp_path / "a")
    assert fs.links(tmp_path) == [tmp_path / "link"]
    assert fs.objects(tmp_path) == ["a"]
    for _ in range(2):
        fs.unlink(tmp_path / "link")
        fs.remove(tmp_path / "a")
    assert fs.links(tmp_path / "a") == fs.objects(tmp_path / "a") == []
    assert not fs.exists(tmp_path / "a")


def test_an_attribute_is_written_where_it_differs(fs, tmp_path):
    """When an attribute reads as wanted, padding aside, it is not written."""
    path = tmp_path / "attribute"
    path.write_text("1\n\0")
    fs.put(path, 1)
    assert path.read_text() == "1\n\0"
    fs.put(path, 0)
    assert path.read_text().startswith("0")


def test_an_error_names_the_object_and_not_the_value(fs, tmp_path):
    """When a secret cannot be written, the error does not show it."""
    with pytest.raises(KernelRefused) as caught:
        fs.write(tmp_path / "missing" / "password", "hunter2")

    assert "hunter2" not in str(caught.value)
    assert str(tmp_path / "missing" / "password") in str(caught.value)
    assert caught.value.reason is Reason.NO_BACKING


def test_only_the_named_reasons_are_tolerated(fs, tmp_path):
    """When a refusal is none of those that are expected, it passes."""
    with tolerate(Reason.MISSING):
        fs.read(tmp_path / "missing")
    with pytest.raises(KernelRefused), tolerate(Reason.BUSY):
        fs.read(tmp_path / "missing")


def test_a_refusal_survives_pickling():
    """When a refusal crosses processes, its reason does too."""
    again = pickle.loads(pickle.dumps(KernelRefused("busy", Reason.BUSY)))

    assert (str(again), again.reason) == ("busy", Reason.BUSY)


def test_a_module_that_is_missing_is_loaded(fs, tmp_path, monkeypatch):
    """When the directory is not there, the modules are loaded, and only then."""
    loaded: list[list[str]] = []

    def run(argv: list[str], **_: object) -> None:
        loaded.append(argv)
        (tmp_path / "target").mkdir()

    monkeypatch.setattr(command, "run", run)
    for _ in range(2):
        fs.require(tmp_path / "target", "target_core_mod")

    assert loaded == [["modprobe", "target_core_mod"]]


def test_a_directory_that_stays_away_is_a_clear_error(fs, monkeypatch):
    """When configfs is not mounted, the error says what to do."""
    monkeypatch.setattr(command, "run", lambda *_, **__: None)
    with pytest.raises(DriverError, match="mount configfs with 'mount -t configfs"):
        fs.require(Path("/nowhere/target"), "target_core_mod")
