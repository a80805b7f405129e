"""This host, by os-brick; a stand-in here, the real one in the lab."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from volflow.brick import BrickHost, used_by
from volflow.exceptions import ConnectionInUse, InvalidInput

INFO = {"driver_volume_type": "iscsi", "data": {"target_iqn": "iqn.2010-10.org.example:v"}}


@pytest.fixture
def disk() -> Path:
    """Something that has a device number, as a disk has."""
    return Path("/dev/null")


def number(path: Path) -> str:
    found = path.stat().st_rdev
    return f"{os.major(found)}:{os.minor(found)}"


def test_a_disk_that_is_mounted_is_used(disk: Path, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 0:20 / /proc rw - proc proc rw\n"
        f"30 1 {number(disk)} / /mnt/data rw,relatime - ext4 /dev/sda rw\n"
    )
    assert "a file system on /mnt/data" == used_by(disk, mounts, tmp_path)


def test_a_disk_that_another_device_is_made_of_is_used(disk: Path, tmp_path: Path) -> None:
    (tmp_path / "mountinfo").touch()
    (tmp_path / number(disk) / "holders" / "dm-3").mkdir(parents=True)
    assert "device dm-3" == used_by(disk, tmp_path / "mountinfo", tmp_path)


def test_any_other_disk_is_not(disk: Path, tmp_path: Path) -> None:
    """Nor is one that is not there."""
    (tmp_path / "mountinfo").touch()
    assert used_by(disk, tmp_path / "mountinfo", tmp_path) is None
    assert used_by(tmp_path / "missing", tmp_path / "mountinfo", tmp_path) is None


class Connector:
    """os-brick's, as far as it is used."""

    paths: tuple[str, ...] = ()

    def __init__(self, protocol: str, root_helper: str, **options: Any) -> None:
        self.said: list[Any] = []

    def connect_volume(self, data: dict[str, Any]) -> dict[str, Any]:
        return {"type": "block", "path": b"/dev/sda", "scsi_wwn": "36001"}

    def get_volume_paths(self, data: dict[str, Any]) -> tuple[str, ...]:
        return self.paths

    def disconnect_volume(self, data: dict[str, Any], device_info: Any) -> None:
        data.clear()  # os-brick changes what it is given


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> BrickHost:
    properties = {"initiator": "iqn.1994-05.org.example:h", "nqn": None, "host": "h"}
    found = Connector, lambda *_, **__: dict(properties)
    monkeypatch.setattr("volflow.brick._brick", lambda directory: found)
    return BrickHost("h", lock_directory=tmp_path / "locks")


def test_what_a_host_has_not_is_not_in_its_connector(host: BrickHost) -> None:
    assert {"initiator": "iqn.1994-05.org.example:h", "host": "h"} == host.connector()


def test_the_device_is_text(host: BrickHost) -> None:
    found = host.connect_volume(INFO)
    assert {"type": "block", "path": "/dev/sda", "scsi_wwn": "36001"} == found


def test_what_it_was_given_stays_as_it_is(host: BrickHost) -> None:
    before = {**INFO, "data": dict(INFO["data"])}  # type: ignore[call-overload]
    host.disconnect_volume(before)
    assert before == INFO


def test_a_disk_that_is_used_is_left(host: BrickHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connector, "paths", ("/dev/null",))
    monkeypatch.setattr("volflow.brick.used_by", lambda path: "a file system on /mnt")
    with pytest.raises(ConnectionInUse, match="/dev/null is used by a file system on /mnt"):
        host.disconnect_volume(INFO)


def test_a_host_without_os_brick_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "os_brick", None)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"volflow\[host\]"):
        BrickHost(lock_directory=tmp_path)


def test_the_host_has_its_own_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("volflow.brick._brick", lambda directory: (None, None))
    monkeypatch.setattr("socket.gethostname", lambda: "storage-1")
    assert "storage-1" == BrickHost(lock_directory=tmp_path).name
