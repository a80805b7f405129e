"""A program in a process of its own: ``python -m tests.contract.other_process WHAT ARGUMENT...``.

It says ``ready``, waits for a line, does its work and writes one JSON document.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from tests.contract.lab import HOST_A
from volflow import RequestContext, VolumeManager, exceptions
from volflow.drivers.local import LocalDriver
from volflow.testing import MemoryDriver


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def write(url: str, rounds: str) -> dict[str, Any]:
    """Open the database, make a volume, attach and detach it some times; count the errors."""
    made, errors = [], []
    with VolumeManager(url, {"lab": MemoryDriver()}) as manager:
        context = RequestContext(overwrite=False)
        for _ in range(int(rounds)):
            try:
                volume = manager.create_volume(context, 1, "lab")
                manager.attach_volume(context, volume.id, HOST_A, host_name="a")
                manager.detach_volume(context, volume.id)
                made.append(volume.id)
            except exceptions.VolflowError as e:
                errors.append(repr(e))
        kept = manager.create_volume(context, 1, "lab")
        attachment = manager.attach_volume(context, kept.id, HOST_A, host_name="a")
    return {
        "made": made,
        "errors": errors,
        "kept": attachment.id,
        "secret": attachment.connection_info["data"]["auth_password"],
    }


def contend(url: str, images: str, volume_id: str, host: str, rounds: str) -> dict[str, Any]:
    """Attach and detach one volume as often as it is free; count what was won and lost."""
    won, lost, errors = 0, 0, []
    connector = {"initiator": f"iqn.x:{host}", "host": host}
    with VolumeManager(url, {"lab": LocalDriver(images)}) as manager:
        context = RequestContext(overwrite=False)
        for _ in range(int(rounds)):
            try:
                mine = manager.attach_volume(context, volume_id, connector, host_name=host)
            except exceptions.InvalidVolume:
                lost += 1
                continue
            except exceptions.VolflowError as e:
                errors.append(repr(e))
                continue
            (only,) = manager.list_attachments(context, volume_id)
            if only.id != mine.id:
                errors.append("another one's attachment beside ours")
            manager.detach_volume(context, volume_id, mine.id)
            won += 1
    return {"won": won, "lost": lost, "errors": errors}


class Hanging(MemoryDriver):
    """A driver that says where it is and hangs there until it is killed."""

    def create_export(self, context: Any, volume: Any, connector: Any) -> Any:
        say("in create_export")
        sys.stdin.read()


def hang(url: str, volume_id: str, operation_id: str, lease_seconds: str) -> None:
    """Begin an attach and hang in the middle of it."""
    with VolumeManager(
        url, {"lab": Hanging()}, lease_seconds=float(lease_seconds), recover=False
    ) as manager:
        manager.attach_volume(
            RequestContext(overwrite=False),
            volume_id,
            HOST_A,
            host_name="a",
            operation_id=operation_id,
        )


if __name__ == "__main__":
    say("ready")
    sys.stdin.readline()
    work = {"write": write, "contend": contend, "hang": hang}[sys.argv[1]]
    say(json.dumps(work(*sys.argv[2:])))
