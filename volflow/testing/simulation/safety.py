"""What may never be, at no moment: held against the database after each commit, and against the
backend before each effect.

It reads the tables by itself, and knows of each operation whose run claimed it last; it trusts
nothing that the code under test says of itself.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from volflow.models import (
    SETTLED,
    TRANSITIONAL,
    AttachStatus,
    OperationState,
    VolumeStatus,
    derive_status,
)
from volflow.states import TRANSITIONS, allowed
from volflow.testing.memory import MemoryDriver
from volflow.testing.simulation.scheduler import Actor
from volflow.testing.simulation.world import World


class VolumeRow(NamedTuple):
    """What is known of a volume."""

    id: str
    status: str
    attach_status: str
    multiattach: bool
    operation_id: str | None
    revision: int
    deleted_at: int | None


class AttachmentRow(NamedTuple):
    """What is known of an attachment."""

    id: str
    volume_id: str
    attach_status: str
    initiator: str | None
    detached_at: int | None


class OperationRow(NamedTuple):
    """What is known of an operation."""

    id: str
    kind: str
    state: str
    volume_id: str
    attachment_id: str | None
    epoch: int
    revision: int
    owner: str | None
    cancel_requested: bool

    @property
    def settled(self) -> bool:
        """True once it has ended."""
        return self.state in SETTLED


class Tables(NamedTuple):
    """The rows that matter, by id."""

    volumes: dict[str, VolumeRow]
    attachments: dict[str, AttachmentRow]
    operations: dict[str, OperationRow]

    def live(self, volume_id: str) -> list[AttachmentRow]:
        """The attachments of a volume that are not detached."""
        found = self.attachments.values()
        return [a for a in found if a.volume_id == volume_id and a.detached_at is None]


_VOLUMES = f"SELECT {', '.join(VolumeRow._fields)} FROM volumes"  # noqa: S608 - our own names
_ATTACHMENTS = f"SELECT {', '.join(AttachmentRow._fields)} FROM attachments"  # noqa: S608
_OPERATIONS = f"SELECT {', '.join(OperationRow._fields)} FROM operations"  # noqa: S608
_OWNED = (OperationState.RUNNING, OperationState.REVERTING)


class Safety:
    """Watches.

    :ivar tables: what the last commit left.
    :ivar claims: operation id -> the actor whose commit raised its epoch last.
    :ivar begun: operation id -> when it was written first, in microseconds.
    """

    def __init__(self, world: World, path: Path, backend: MemoryDriver) -> None:
        self._world = world
        self._backend = backend
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._late: dict[str, set[str]] = {}
        self.claims: dict[str, Actor | None] = {}
        self.begun: dict[str, int] = {}
        self.tables = self._read()
        self.first = len(self.tables.operations)

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()

    @property
    def unsettled(self) -> list[OperationRow]:
        """Operations that have not ended."""
        return [op for op in self.tables.operations.values() if not op.settled]

    # After a commit

    def committed(self, actor: Actor | None) -> None:
        """Look at what a commit changed."""
        before, after = self.tables, self._read()
        self.tables = after
        for new in _changed(before.operations, after.operations):
            self._operation(actor, before.operations.get(new.id), new)
        for volume in _changed(before.volumes, after.volumes):
            self._volume(actor, before.volumes.get(volume.id), volume)
        for attachment in _changed(before.attachments, after.attachments):
            self._attachment(actor, attachment)

    def _operation(self, actor: Actor | None, old: OperationRow | None, new: OperationRow) -> None:
        short = self._world.short(new.id)
        self._world.tell(f"{new.kind} {short} {new.state}, epoch {new.epoch}")
        if actor is not None and (new.state not in _OWNED or old is None or new.epoch > old.epoch):
            actor.notes.setdefault("refusals", [[]]).append([])  # a run began, or ended
        if old is None:
            self.begun[new.id] = self._world.scheduler.now
        if new.state == OperationState.QUEUED:
            self._world.queued()
        if old is None or new.epoch > old.epoch:
            if old is not None and old.state in _OWNED:
                self._world.tally["takeovers"] += 1
            self._claim(new.id, actor)
        elif new.epoch < old.epoch:
            self._world.violate("G6 epoch", f"operation {short} went back to {new.epoch}")
        elif old.settled:
            self._world.violate("G5 settled", f"operation {short} changed after its end")
        elif actor is not self.claims.get(new.id) and not _is_harmless(old, new):
            self._world.violate(
                "G6 fence", f"{_name(actor)} changed operation {short}, which another one runs"
            )

    def _claim(self, operation_id: str, actor: Actor | None) -> None:
        before = self.claims.get(operation_id)
        if before is not None and before is not actor:
            before.notes["fenced"] = True
            if not before.ended:
                self._world.tally["fenced"] += 1
        if actor is not None:
            actor.notes.setdefault("claimed", set()).add(operation_id)
        self.claims[operation_id] = actor

    def _volume(self, actor: Actor | None, old: VolumeRow | None, new: VolumeRow) -> None:
        short, world = self._world.short(new.id), self._world
        world.tell(f"volume {short} {'deleted' if new.deleted_at else new.status}", loud=False)
        if not _may_follow(old, new):
            world.violate("G1 states", f"{short} went from {old and old.status} to {new.status}")
        owners = {v.operation_id for v in (old, new) if v is not None and v.operation_id}
        if owners and not any(self.claims.get(owner) is actor for owner in owners):
            world.violate("G6 fence", f"{_name(actor)} changed volume {short}, not its own")
        if new.deleted_at is None:
            self._consistent(new)

    def _consistent(self, volume: VolumeRow) -> None:
        short, world = self._world.short(volume.id), self._world
        live = self.tables.live(volume.id)
        owner = self.tables.operations.get(volume.operation_id or "")
        if volume.status in TRANSITIONAL and (owner is None or owner.settled):
            world.violate("G1 owner", f"volume {short} is {volume.status}, owned by {owner}")
        if not volume.multiattach and len(live) > 1:
            world.violate("G3 double attach", f"volume {short} has {len(live)} attachments")
        found = derive_status(AttachStatus(a.attach_status) for a in live)
        if volume.status in _DERIVED and (volume.status, volume.attach_status) != found:
            world.violate(
                "G1 status",
                f"volume {short} is {volume.status}/{volume.attach_status}, not {found}",
            )
        open_ = [op for op in self.unsettled if op.volume_id == volume.id]
        if len(open_) > 1:
            world.violate("G3 operations", f"volume {short} has {len(open_)} open operations")

    def _attachment(self, actor: Actor | None, new: AttachmentRow) -> None:
        found = self.tables.operations.values()
        owners = [op.id for op in found if op.attachment_id == new.id]
        if not any(self.claims.get(owner) is actor for owner in owners):
            short = self._world.short(new.volume_id)
            self._world.violate("G6 fence", f"{_name(actor)} changed an attachment of {short}")

    # Before an effect

    def looked(self) -> None:
        """Somebody asked who is logged in."""
        actor = self._world.actor
        if actor is not None:
            found = self._backend.sessions.items()
            actor.notes["looked"] = {volume_id: list(names) for volume_id, names in found}

    def effect(self, method: str, volume_id: str, arguments: tuple[Any, ...]) -> None:
        """Judge what is about to be done to the backend.

        That the driver was told to use force is no excuse: a caller has to have asked for it.
        """
        live = self.tables.live(volume_id)
        attached = [a for a in live if a.attach_status == AttachStatus.ATTACHED]
        short = self._world.short(volume_id)
        if method == "remove_export" and attached:
            self._world.violate("G3 export", f"the export of {short} is removed under {attached}")
        if method.startswith("terminate"):
            initiator = arguments[1]["initiator"].lower()
            if any(a.initiator == initiator for a in attached):
                self._world.violate("G3 access", f"{initiator} loses {short}, which it needs")
            if method == "terminate_connection":
                self._session(volume_id, initiator)
        if method == "remove_export":
            self._session(volume_id, None)

    def made(self, volume_id: str) -> None:
        """Judge what the backend is like after an effect.

        Nobody can keep out whom a refused request lets in afterwards; that it is shut out again,
        the end shows.
        """
        volume = self.tables.volumes.get(volume_id)
        acl = self._backend.acls.get(volume_id, set())
        self._late[volume_id] = self._late.get(volume_id, set()) & acl
        if volume is not None and not volume.multiattach and len(acl - self._late[volume_id]) > 1:
            short = self._world.short(volume_id)
            self._world.violate("G3 access", f"volume {short} lets {sorted(acl)} in")

    def came_late(self, volume_id: str, initiators: set[str]) -> None:
        """Remember whom an effect let in that came after its refusal."""
        self._late.setdefault(volume_id, set()).update(initiators)

    def _session(self, volume_id: str, initiator: str | None) -> None:
        """An undo cuts nobody off who was logged in when it looked."""
        actor = self._world.actor
        volume = self.tables.volumes.get(volume_id)
        owner = self.tables.operations.get((volume and volume.operation_id) or "")
        if actor is None or owner is None or owner.kind == "detach":
            return
        seen: list[str] = actor.notes.get("looked", self._backend.sessions).get(volume_id, [])
        now = self._backend.sessions.get(volume_id, [])
        cut = [name for name in now if name in seen and initiator in (None, name)]
        if cut and not self._is_forced(owner.id):
            short = self._world.short(volume_id)
            self._world.violate("G4 session", f"an undo cuts {cut[0]} off volume {short}")

    def _is_forced(self, operation_id: str) -> bool:
        query = "SELECT arguments FROM operations WHERE id = ?"
        (arguments,) = self._connection.execute(query, (operation_id,)).fetchone()
        return bool(json.loads(arguments).get("force"))

    def _read(self) -> Tables:
        run = self._connection.execute
        return Tables(
            {row[0]: VolumeRow(*row) for row in run(_VOLUMES)},
            {row[0]: AttachmentRow(*row) for row in run(_ATTACHMENTS)},
            {row[0]: OperationRow(*row) for row in run(_OPERATIONS)},
        )


_DERIVED = (
    VolumeStatus.AVAILABLE,
    VolumeStatus.ATTACHING,
    VolumeStatus.IN_USE,
    VolumeStatus.DETACHING,
)


Row = TypeVar("Row", VolumeRow, AttachmentRow, OperationRow)


def _changed(before: dict[str, Row], after: dict[str, Row]) -> list[Row]:
    """The rows that are new, or not as they were."""
    return [row for key, row in after.items() if before.get(key) != row]


def _is_harmless(old: OperationRow, new: OperationRow) -> bool:
    """True where others may make a change: they cancel it, or touch one that waits."""
    alike = new._replace(cancel_requested=old.cancel_requested)
    if old.state == new.state == OperationState.WAITING:
        alike = alike._replace(revision=old.revision)
    return alike == old


def _may_follow(old: VolumeRow | None, new: VolumeRow) -> bool:
    """True where the table of states allows the change, or two that one commit holds."""
    before = None if old is None or old.deleted_at else VolumeStatus(old.status)
    after = None if new.deleted_at else VolumeStatus(new.status)
    if allowed(before, after):
        return True
    return any(t.before == before and allowed(t.after, after) for t in TRANSITIONS)


def _name(actor: Actor | None) -> str:
    return "the director" if actor is None else actor.name
