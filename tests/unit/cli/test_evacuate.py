"""volflow.cli.evacuate: all volumes of a host go to another."""

from __future__ import annotations

from pathlib import Path

from tests.unit.cli.conftest import Shell

OTHER = "iqn.1994-05.com.example:host-2"


def many(sh: Shell, count: int = 3, backend: str = "lab") -> set[str]:
    """Volumes that host-1 has."""
    found = [sh.volume(backend=backend) for _ in range(count)]
    for volume_id in found:
        sh.attach(volume_id)
    return set(found)


def host_of(sh: Shell, volume_id: str) -> list[str]:
    return [a["attached_host"] for a in sh.json("volume", "show", volume_id)["attachments"]]


def test_all_go_to_another_host(sh: Shell) -> None:
    volumes = many(sh)
    found = sh.json("evacuate", "host-1", "--to", "host-2", "--initiator", OTHER)
    assert volumes == set(found["detached"]) == set(found["attached"])
    assert [] == found["failed"]
    for volume_id in volumes:
        assert ["host-2"] == host_of(sh, volume_id)


def test_without_another_host_they_are_detached(sh: Shell) -> None:
    (volume_id,) = many(sh, 1)
    assert "1 detached, 0 attached, 0 refused" in sh.ok("evacuate", "host-1")
    assert [] == host_of(sh, volume_id)
    assert "0 detached" in sh.ok("evacuate", "host-1")


def test_the_other_host_has_a_connector(sh: Shell, tmp_path: Path) -> None:
    file = tmp_path / "connector.json"
    file.write_text(f'{{"initiator": "{OTHER}", "ip": "192.0.2.7"}}')
    (volume_id,) = many(sh, 1)
    sh.ok("evacuate", "host-1", "--to", "host-2", "--connector", str(file), "--jobs", "1")
    assert ["host-2"] == host_of(sh, volume_id)


def test_a_connector_without_a_host_is_refused(sh: Shell) -> None:
    assert "go with --to" in sh.refused(2, "evacuate", "host-1", "--initiator", OTHER)
