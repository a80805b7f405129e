"""What LIO does with what volflow tells it, asked by the kernel's own initiator."""

from __future__ import annotations

import json
import socket
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from tests.lab.guest import kernel
from tests.lab.guest.backends import BACKENDS, Lab
from tests.lab.guest.hosts import Refused, run, wait_for
from volflow.drivers.targets.lio import LioTarget
from volflow.exceptions import ConnectionInUse, DriverError, ExportFailed

PATTERN = bytes(range(256)) * 1024

RTSLIB = """
import json
from rtslib_fb import RTSRoot
print(json.dumps(RTSRoot().dump()))
"""

on_files = pytest.mark.parametrize("lab", ["file-lio"], indirect=True)
on_volumes = pytest.mark.parametrize("lab", ["lvm-lio"], indirect=True)


def entry(volume_id: str, initiator: str, attribute: str) -> Any:
    (found,) = kernel.TARGET.glob(f"iscsi/*{volume_id}/tpgt_1/acls/{initiator}/{attribute}")
    return found


@on_files
def test_a_wrong_user_or_secret_is_refused(lab: Lab) -> None:
    """When the host knows one of the two, it does not get in; nor does another initiator."""
    volume = lab.exported()
    info = lab.connected(volume, lab.alice)
    for changes in ({"auth_password": "wrong-secret-of-16"}, {"auth_username": "wrong"}):
        with pytest.raises(Refused, match="authorization failure"):
            lab.alice.log_in(info, **changes)
    with pytest.raises(Refused, match="authorization failure"):
        lab.bob.log_in(info)

    lab.alice.log_in(info)
    lab.alice.close()
    lab.alice.__init__(lab.alice.name)
    lab.removed(volume)


@on_files
def test_an_entry_without_a_secret_lets_nobody_in(lab: Lab) -> None:
    """When the door is shut, also the right credentials are refused until it opens again."""
    volume = lab.exported()
    info = lab.connected(volume, lab.alice)
    entry(volume.id, lab.alice.name, "auth/password").write_text("NULL")
    with pytest.raises(Refused, match="authorization failure"):
        lab.alice.log_in(info)

    assert lab.connected(volume, lab.alice) == info

    lab.alice.log_in(info)
    lab.alice.log_out(lab.name_of(info))
    lab.removed(volume)


@on_files
def test_new_credentials_cut_nobody_and_keep_the_former_ones_out(lab: Lab) -> None:
    """When the record changed, a session goes on, and a login needs the new secret."""
    volume = lab.exported()
    old = lab.connected(volume, lab.alice)
    disk = lab.alice.log_in(old)
    disk.write(PATTERN)
    changed = replace(volume, provider_auth="CHAP other-user other-secret-1")

    lab.driver.ensure_export(None, changed)

    assert disk.read(len(PATTERN)) == PATTERN
    assert lab.alice.sessions(lab.name_of(old)) == ["LOGGED_IN"]
    lab.alice.log_out(lab.name_of(old))
    with pytest.raises(Refused, match="authorization failure"):
        lab.alice.log_in(old)
    lab.alice.log_in(lab.connected(changed, lab.alice))
    lab.alice.log_out(lab.name_of(old))
    lab.removed(volume)


@on_files
def test_a_readonly_volume_takes_no_write(lab: Lab) -> None:
    """When a volume is readonly, the host sees a write-protected disk."""
    volume = lab.exported(readonly=True)
    info = lab.connected(volume, lab.alice)

    disk = lab.alice.log_in(info)

    assert disk.readonly
    with pytest.raises(Refused):
        disk.write(PATTERN)
    assert disk.read(512) == bytes(512)
    lab.alice.log_out(lab.name_of(info))
    lab.removed(volume)


@on_files
def test_every_portal_leads_to_the_volume(lab: Lab) -> None:
    """When there are several portals, IPv6 among them, each takes a login."""
    lab.real.target = LioTarget(portal="127.0.0.1:3260;[::1]:3262")
    lab.real.target.check()
    volume = lab.exported()
    info = lab.connected(volume, lab.alice)
    data = info["data"]
    assert data["target_portals"] == ["127.0.0.1:3260", "[::1]:3262"]

    for portal in data["target_portals"]:
        disk = lab.alice.log_in({"data": {**data, "target_portal": portal}})
        disk.write(PATTERN)
        assert disk.read(len(PATTERN)) == PATTERN
        lab.alice.log_out(lab.name_of(info))
    lab.real.remove_export(None, volume)
    lab.real.delete_volume(None, volume)


@on_volumes
def test_discards_reach_the_logical_volume(lab: Lab) -> None:
    """When discard is configured, the host may give blocks back, and they read as zeros."""
    lab.real.target = LioTarget(discard=True)
    volume = lab.exported()
    info = lab.connected(volume, lab.alice)
    assert info["data"]["discard"] is True
    disk = lab.alice.log_in(info)
    disk.write(PATTERN)

    run("blkdiscard", disk.path)

    assert disk.read(len(PATTERN)) == bytes(len(PATTERN))
    lab.alice.log_out(lab.name_of(info))
    lab.real.remove_export(None, volume)
    lab.real.delete_volume(None, volume)


@pytest.mark.parametrize("lab", ["file-lio", "lvm-lio"], indirect=True)
def test_a_session_survives_what_a_reboot_takes_away(lab: Lab) -> None:
    """When LIO forgot everything, export and access come back, and the host's I/O goes on."""
    volume = lab.exported()
    info = lab.connected(volume, lab.alice)
    disk = lab.alice.log_in(info)
    disk.write(PATTERN)
    kernel.wipe()
    assert lab.driver.list_exports() == []

    again = lab.again()
    again.ensure_export(None, volume)
    answer = again.initialize_connection(volume, lab.alice.connector)

    assert answer == info
    assert disk.read(len(PATTERN)) == PATTERN
    disk.write(PATTERN, offset=1 << 20)
    wait_for("the session", lambda: lab.alice.sessions(lab.name_of(info)) == ["LOGGED_IN"])
    lab.alice.log_out(lab.name_of(info))
    lab.removed(volume)


@on_files
def test_a_death_with_the_door_shut_is_made_good(lab: Lab) -> None:
    """When a process died while it looked whether access is used, the next look opens it."""
    volume = lab.exported()
    info = lab.connected(volume, lab.alice)
    lab.alice.log_in(info)
    entry(volume.id, lab.alice.name, "auth/password").write_text("NULL")

    with pytest.raises(ConnectionInUse):
        lab.driver.terminate_unused_connection(volume, lab.alice.connector)

    lab.alice.log_out(lab.name_of(info))
    lab.alice.log_in(info)
    lab.alice.log_out(lab.name_of(info))
    lab.removed(volume)


@on_files
def test_removing_ends_a_host_that_is_writing(lab: Lab) -> None:
    """When the export goes while a host writes, nothing hangs and nothing is left."""
    volume = lab.exported()
    info = lab.connected(volume, lab.alice)
    disk = lab.alice.log_in(info)
    writer = subprocess.Popen(
        ["dd", "if=/dev/zero", f"of={disk.path}", "oflag=direct", "bs=64k", "status=none"],
        stderr=subprocess.DEVNULL,
    )
    wait_for("the first writes", lambda: _written(disk.path.name))

    lab.driver.remove_export(None, volume)

    assert kernel.tree() == []
    lab.alice.log_out(lab.name_of(info))
    assert writer.wait(60) != 0
    lab.driver.delete_volume(None, volume)


@pytest.mark.parametrize("lab", ["file-lio", "lvm-lio"], indirect=True)
def test_rtslib_reads_what_volflow_made(lab: Lab) -> None:
    """When the library of targetcli looks, it finds one device, target and ACL, all in order."""
    volume = lab.exported()
    data = lab.connected(volume, lab.alice)["data"]

    found = json.loads(run("env", "-u", "PYTHONPATH", "python3", "-c", RTSLIB))

    (device,) = found["storage_objects"]
    (target,) = found["targets"]
    (group,) = target["tpgs"]
    (acl,) = group["node_acls"]
    assert device["name"] == target["wwn"] == data["target_iqn"]
    assert device["wwn"] == volume.id
    assert (group["tag"], group["enable"], group["attributes"]["authentication"]) == (1, True, 1)
    assert group["attributes"]["generate_node_acls"] == 0
    assert [(p["ip_address"], p["port"]) for p in group["portals"]] == [("127.0.0.1", 3260)]
    assert [lun["index"] for lun in group["luns"]] == [data["target_lun"]]
    assert acl["node_wwn"] == lab.alice.name
    assert (acl["chap_userid"], acl["chap_password"]) == (
        data["auth_username"],
        data["auth_password"],
    )
    assert [(m["index"], m["write_protect"]) for m in acl["mapped_luns"]] == [(0, False)]
    lab.removed(volume)


@on_files
def test_objects_of_others_are_neither_listed_nor_touched(lab: Lab) -> None:
    """When somebody else uses LIO, too, their target stays as it was."""
    other = kernel.TARGET / "iscsi" / "iqn.2003-01.org.example:other"
    device = kernel.TARGET / "core" / "rd_mcp_0"
    for path in (other, other / "tpgt_1", device, device / "disk"):
        path.mkdir()
    before = kernel.tree()
    volume = lab.exported()
    assert [export.volume_id for export in lab.driver.list_exports()] == [volume.id]

    lab.removed(volume)

    assert kernel.tree() == before
    for path in (device / "disk", device, other / "tpgt_1", other):
        path.rmdir()


@on_files
def test_what_the_kernel_refuses_is_told_in_words(lab: Lab) -> None:
    """When LIO says no, the error is a sentence, and what was made can be removed."""
    with pytest.raises(DriverError, match="has no address of this host"):
        LioTarget(portal="192.0.2.1:3260").check()
    volume = lab.volume()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lab.real.target = LioTarget(portal=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ExportFailed, match="or cannot listen at such an address"):
            lab.driver.create_export(None, volume, lab.alice.connector)
    assert [export.volume_id for export in lab.driver.list_exports()] == [volume.id]
    lab.driver.remove_export(None, volume)
    assert kernel.tree() == []
    lab.driver.delete_volume(None, volume)


def test_the_backends_of_lio_are_tested() -> None:
    """When a backend is added, these tests' parameters are looked at again."""
    assert [name for name, b in BACKENDS.items() if b.target == "lio"] == [
        "lvm-lio",
        "thin-lio",
        "file-lio",
    ]


def _written(name: str) -> bool:
    with open(f"/sys/block/{name}/stat") as file:  # noqa: PTH123
        return int(file.read().split()[4]) > 10
