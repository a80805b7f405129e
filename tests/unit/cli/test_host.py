"""volflow.cli.host: disks of the host that the command runs on; the lab has real ones."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.unit.cli.conftest import INITIATOR, Shell
from volflow.cli import host
from volflow.exceptions import ConnectionFailed


class PaperHost:
    """A host that only writes down what it is asked."""

    asked: list[str]
    refuses: bool

    def __init__(self, name: str | None, ip: str | None, multipath: bool) -> None:
        self.name = name or "here"
        self.ip, self.multipath = ip, multipath

    def connector(self) -> dict[str, Any]:
        return {"initiator": INITIATOR, "ip": self.ip, "multipath": self.multipath}

    def connect_volume(self, connection_info: Any) -> dict[str, str]:
        self.asked.append("connect")
        if self.refuses:
            raise ConnectionFailed("there is no disk")
        return {"type": "block", "path": "/dev/paper"}

    def disconnect_volume(self, connection_info: Any) -> None:
        self.asked.append("disconnect")


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> type[PaperHost]:
    monkeypatch.setattr(PaperHost, "asked", [], raising=False)
    monkeypatch.setattr(PaperHost, "refuses", False, raising=False)
    monkeypatch.setattr(host, "BrickHost", PaperHost)
    return PaperHost


def test_a_disk_comes_and_goes(sh: Shell, paper: type[PaperHost]) -> None:
    volume_id = sh.volume()
    words = ("host", "attach", volume_id, "--name", "h", "--ip", "192.0.2.7", "--multipath")
    found = sh.json(*words, "--mode", "ro")
    assert ("/dev/paper", "h", "ro") == tuple(
        found[name] for name in ("mountpoint", "attached_host", "attach_mode")
    )
    assert "192.0.2.7" == found["connector"]["ip"]
    assert found["connector"]["multipath"] is True
    assert "available" in sh.ok("host", "detach", volume_id, "--name", "h")
    assert ["connect", "disconnect"] == paper.asked


def test_a_person_reads_the_path(sh: Shell, paper: type[PaperHost]) -> None:
    assert "/dev/paper" in sh.ok("host", "attach", sh.volume())


def test_a_host_that_finds_no_disk_is_undone(sh: Shell, paper: type[PaperHost]) -> None:
    paper.refuses = True
    volume_id = sh.volume()
    assert "there is no disk" in sh.refused(5, "host", "attach", volume_id)
    assert ["connect", "disconnect"] == paper.asked
    assert "available" == sh.json("volume", "show", volume_id)["status"]


def test_another_host_does_not_detach(sh: Shell, paper: type[PaperHost]) -> None:
    volume_id = sh.volume()
    sh.ok("host", "attach", volume_id, "--name", "h")
    assert "host other has no attachment" in sh.refused(
        4, "host", "detach", volume_id, "--name", "other"
    )


def test_recover_has_nothing_to_do(sh: Shell, paper: type[PaperHost]) -> None:
    sh.volume()
    assert [] == sh.json("host", "recover")["rolled_back"]


def test_without_os_brick_it_says_what_to_install(
    sh: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "os_brick", None)  # type: ignore[arg-type]
    assert "volflow[host]" in sh.refused(2, "host", "attach", sh.volume())
