"""What nvmet does with what volflow tells it, asked by the kernel's own NVMe host."""

from __future__ import annotations

import socket

import pytest

from tests.lab.guest import kernel
from tests.lab.guest.backends import Lab
from tests.lab.guest.hosts import Refused, run, wait_for
from volflow.drivers.targets.nvmet import NvmetTarget
from volflow.exceptions import ConnectionFailed

PATTERN = bytes(range(256)) * 1024

on_files = pytest.mark.parametrize("lab", ["file-nvmet"], indirect=True)


@on_files
def test_the_disk_has_the_volumes_id(lab: Lab) -> None:
    """When a host connects, it finds the disk by the UUID of connection_info."""
    volume = lab.exported()
    info = lab.connected(volume, lab.alice)

    disk = lab.alice.log_in(info)

    uuid = run("cat", f"/sys/block/{disk.path.name}/uuid").strip()
    assert uuid == info["data"]["vol_uuid"] == volume.id
    lab.removed(volume)


@on_files
def test_an_export_alone_lets_nobody_in(lab: Lab) -> None:
    """When a volume is exported and connected to nobody, its own subsystem takes no host."""
    volume = lab.exported()
    nqn = volume.provider_location.split()[2]
    other = lab.exported()  # so that something listens
    lab.connected(other, lab.alice)

    with pytest.raises(Refused):
        lab.alice.connect({"data": {"target_nqn": nqn, "portals": [["127.0.0.1", 4420, "tcp"]]}})

    for each in (volume, other):
        lab.removed(each)


@on_files
def test_ipv6_and_a_second_port(lab: Lab) -> None:
    """When there are several portals, each takes a connection."""
    lab.real.target = NvmetTarget(portal="127.0.0.1:4420;[::1]:4421")
    volume = lab.exported()
    info = lab.connected(volume, lab.alice)
    for portal in info["data"]["portals"]:
        disk = lab.alice.log_in({"data": {**info["data"], "portals": [portal]}})
        disk.write(PATTERN)
        assert disk.read(len(PATTERN)) == PATTERN
        lab.alice.log_out(lab.name_of(info))
    lab.removed(volume)


@pytest.mark.parametrize("lab", ["file-nvmet", "lvm-nvmet"], indirect=True)
def test_a_connection_survives_what_a_reboot_takes_away(lab: Lab) -> None:
    """When nvmet forgot everything, export and access come back, and the host's I/O goes on."""
    volume = lab.exported()
    info = lab.connected(volume, lab.alice)
    disk = lab.alice.log_in(info)
    disk.write(PATTERN)
    kernel.wipe()
    assert lab.driver.list_exports() == []

    again = lab.again()
    again.ensure_export(None, volume)
    assert again.initialize_connection(volume, lab.alice.connector) == info

    wait_for("the connection", lambda: lab.alice.sessions(lab.name_of(info)) == ["live"])
    assert disk.read(len(PATTERN)) == PATTERN
    lab.alice.log_out(lab.name_of(info))
    lab.removed(volume)


@on_files
def test_what_the_kernel_refuses_is_told_in_words(lab: Lab) -> None:
    """When nvmet says no, the error is a sentence, and what was made goes with the export."""
    volume = lab.exported()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lab.real.target = NvmetTarget(portal=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ConnectionFailed, match="something else listens at the address"):
            lab.connected(volume, lab.alice)
        lab.driver.terminate_connection(volume, lab.alice.connector)
    lab.real.target = NvmetTarget(portal="192.0.2.1:4420")
    with pytest.raises(ConnectionFailed, match="the address is none of this host's"):
        lab.connected(volume, lab.alice)

    lab.driver.terminate_connection(volume, lab.alice.connector)
    lab.removed(volume)
    assert kernel.tree() == []
