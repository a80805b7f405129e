"""What a loss of power leaves: run in two boots, of which the second one finds the first's disk.

The database is on the disk with the volumes. ``tests.lab`` runs what is ``before``, takes the
power away, boots again, and runs what is ``after``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.guest import kernel
from tests.lab.guest.backends import BACKENDS, GROUP
from tests.lab.guest.hosts import IscsiHost, run
from volflow import RequestContext, VolumeManager
from volflow.testing.invariants import violations

CONTEXT = RequestContext(overwrite=False)
BACKEND = "lab"
STATE = Path("/state")
DEVICE = f"/dev/{GROUP}/state"
TOLD = STATE / "told.json"
PATTERN = bytes(range(256)) * 256


@pytest.fixture
def host() -> Iterator[IscsiHost]:
    host = IscsiHost("iqn.1994-05.com.example:alice")
    yield host
    host.close()


@pytest.fixture
def driver(tmp_path: Path) -> Any:
    return BACKENDS["lvm-lio"].make(tmp_path)


def opened(driver: Any) -> VolumeManager:
    url = f"sqlite:///{STATE / 'volflow.db'}"
    return VolumeManager(url, {BACKEND: driver}, recover=False)


def test_before_the_power_is_lost(driver: Any) -> None:
    """A volume that is attached and written to, one that is attaching, one that is detaching."""
    run("lvcreate", "--yes", "--devices", kernel.DISK, "--size", "256m", "--name", "state", GROUP)
    run("mkfs.ext4", "-q", DEVICE)
    STATE.mkdir(exist_ok=True)
    run("mount", DEVICE, STATE)
    host = IscsiHost("iqn.1994-05.com.example:alice")  # which nobody closes
    told: dict[str, Any] = {}
    with opened(driver) as manager:
        for name in ("attached", "attaching", "detaching"):
            told[name] = {"id": manager.create_volume(CONTEXT, 1, BACKEND).id}
        for name in ("attached", "detaching"):
            key = told[name]["id"]
            found = manager.attach_volume(CONTEXT, key, host.connector, host_name="a")
            told[name]["info"] = found.connection_info
        key = told["attaching"]["id"]
        manager.reserve_volume(CONTEXT, key)
        told["attaching"]["info"] = manager.initialize_connection(CONTEXT, key, host.connector)
        manager.begin_detaching(CONTEXT, told["detaching"]["id"])
        manager.terminate_connection(CONTEXT, told["detaching"]["id"], host.connector)
    host.log_in(told["attached"]["info"]).write(PATTERN)
    TOLD.write_text(json.dumps(told))
    os.sync()


def test_after_it_is_back(driver: Any, host: IscsiHost) -> None:
    """Recovery exports what was exported, with the same credentials, and nobody is told anew."""
    STATE.mkdir(exist_ok=True)
    run("mount", DEVICE, STATE)
    told = json.loads(TOLD.read_text())
    assert kernel.tree() == []
    with opened(driver) as manager:
        report = manager.recover()
        assert report.needs_attention == ()
        statuses = {n: manager.get_volume(CONTEXT, told[n]["id"]).status for n in told}
        assert statuses == {
            "attached": "in-use",
            "attaching": "attaching",
            "detaching": "detaching",
        }
        assert violations(manager, driver, BACKEND) == []
        assert host.log_in(told["attached"]["info"]).read(len(PATTERN)) == PATTERN
        host.log_in(told["attaching"]["info"]).write(PATTERN)
        manager.attach(CONTEXT, told["attaching"]["id"], None, "a", None)
        manager.detach(CONTEXT, told["detaching"]["id"])
        for name in ("attached", "attaching"):
            host.log_out(told[name]["info"]["data"]["target_iqn"])
            manager.detach_volume(CONTEXT, told[name]["id"])
        for found in told.values():
            manager.delete_volume(CONTEXT, found["id"])
    assert kernel.tree() == kernel.volumes() == []
    run("umount", STATE)
    run("lvremove", "--yes", "--devices", kernel.DISK, f"{GROUP}/state")
