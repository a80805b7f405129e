"""The work that is the same for every peer: six steps of an attach, five of a detach.

A step calls the backend, or changes rows, or both. volflow has its own steps, rows and tables;
the other peers are given these, and bring what makes them durable.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from volflow.testing import MemoryDriver

CONNECTOR = {"initiator": "iqn.2004-10.org.example:a", "host": "a"}
HOST = "a"

Execute = Callable[[str, Mapping[str, Any]], int]
"""Runs one statement, whose parameters are named ``:name``; returns how many rows it met."""

Transaction = Callable[[], AbstractContextManager[Execute]]
"""A transaction that commits where its block ends."""

TABLES = (
    """CREATE TABLE IF NOT EXISTS volumes (
    id VARCHAR(36) PRIMARY KEY, status VARCHAR(16) NOT NULL,
    attach_status VARCHAR(16) NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS attachments (
    id VARCHAR(36) PRIMARY KEY, volume_id VARCHAR(36) NOT NULL REFERENCES volumes (id),
    attach_status VARCHAR(16) NOT NULL, attached_host VARCHAR(255), connector TEXT,
    connection_info TEXT)""",
    "CREATE INDEX IF NOT EXISTS attachments_of ON attachments (volume_id, attach_status)",
)


@dataclass(frozen=True)
class Disk:
    """What a driver is told of a volume."""

    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    size_gib: int = 1
    provider_auth: str = "CHAP user secret"


class Backend:
    """A driver, and the one volume that a worker attaches and detaches."""

    disk: Any  # less than a driver is promised, and enough for this one

    def __init__(self) -> None:
        self.driver: Any = MemoryDriver()
        self.disk = Disk()
        self.driver.create_volume(None, self.disk)


class Step(NamedTuple):
    """One step.

    :ivar effect: calls the backend; what it returns is handed to the steps that follow.
    :ivar change: changes rows, given the volume's id and the connection_info.
    """

    name: str
    effect: Callable[[Backend], Any] | None = None
    change: Callable[[Execute, str, Any], None] | None = None


def perform(step: Step, backend: Backend, transaction: Transaction, info: Any = None) -> Any:
    """Do one step, and commit what it changes."""
    found = step.effect(backend) if step.effect else None
    if step.change:
        with transaction() as execute:
            step.change(execute, backend.disk.id, info)
    return found


def add_volume(execute: Execute, volume_id: str) -> None:
    """Make the volume's row."""
    statement = "INSERT INTO volumes VALUES (:volume, 'available', 'detached')"
    _one(execute(statement, {"volume": volume_id}))


def _one(rows: int) -> None:
    if rows != 1:
        raise RuntimeError(f"a statement that has to meet one row met {rows}")


def _changing(statement: str) -> Callable[[Execute, str, Any], None]:
    """A change of one row, found by the volume's id."""

    def change(execute: Execute, volume_id: str, info: Any) -> None:
        _one(execute(statement, {"volume": volume_id}))

    return change


def _volume(status: str, attach_status: str, seen: str) -> Callable[[Execute, str, Any], None]:
    """A conditional change of the volume's row."""
    return _changing(
        f"UPDATE volumes SET status = '{status}', attach_status = '{attach_status}' "  # noqa: S608
        f"WHERE id = :volume AND status = '{seen}'"
    )


def _attachment(attach_status: str, seen: str) -> Callable[[Execute, str, Any], None]:
    """A conditional change of the row of the volume's attachment."""
    return _changing(
        f"UPDATE attachments SET attach_status = '{attach_status}' "  # noqa: S608
        f"WHERE volume_id = :volume AND attach_status = '{seen}'"
    )


def _insert_attachment(execute: Execute, volume_id: str, info: Any) -> None:
    statement = (
        "INSERT INTO attachments VALUES (:id, :volume, 'attaching', :host, :connector, :info)"
    )
    values = {
        "id": str(uuid.uuid4()),
        "volume": volume_id,
        "host": HOST,
        "connector": json.dumps(CONNECTOR),
        "info": json.dumps(info),
    }
    _one(execute(statement, values))


_in_use = _volume("in-use", "attached", seen="attaching")
_attached = _attachment("attached", seen="attaching")


def _both(execute: Execute, volume_id: str, info: Any) -> None:
    _in_use(execute, volume_id, info)
    _attached(execute, volume_id, info)


ATTACH = (
    Step("update-status", change=_volume("attaching", "attaching", seen="available")),
    Step("validate-connector", effect=lambda b: b.driver.validate_connector(CONNECTOR)),
    Step("create-export", effect=lambda b: b.driver.create_export(None, b.disk, CONNECTOR)),
    Step(
        "initialize-connection",
        effect=lambda b: b.driver.initialize_connection(b.disk, CONNECTOR),
    ),
    Step("record-attachment", change=_insert_attachment),
    Step(
        "finalize",
        effect=lambda b: b.driver.attach_volume(None, b.disk, None, HOST, None),
        change=_both,
    ),
)

DETACH = (
    Step("update-status", change=_volume("detaching", "detaching", seen="in-use")),
    Step(
        "terminate-connection",
        effect=lambda b: b.driver.terminate_connection(b.disk, CONNECTOR),
    ),
    Step("remove-export", effect=lambda b: b.driver.remove_export(None, b.disk)),
    Step("record-detachment", change=_attachment("detached", seen="attached")),
    Step(
        "finalize",
        effect=lambda b: b.driver.detach_volume(None, b.disk, None),
        change=_volume("available", "detached", seen="detaching"),
    ),
)

FINISHED = (
    "SELECT count(*) FROM attachments JOIN volumes ON volumes.id = attachments.volume_id "
    "WHERE volume_id = :volume AND status = 'available' "
    "AND attachments.attach_status = 'detached'"
)
"""How many attachments of a volume that is available now have ended."""
