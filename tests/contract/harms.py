"""What may differ between backend and database, and how it is made to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.contract.hand import Hand
from tests.contract.lab import KEY_A, KEY_B, UNKNOWN
from volflow import Difference, RequestContext, VolumeManager
from volflow import DifferenceKind as Kind
from volflow.testing import MemoryDriver
from volflow.testing.invariants import violations


class Place(NamedTuple):
    """A volume that host a is attached to, a free one, and those who may harm them."""

    manager: VolumeManager
    context: RequestContext
    backend: MemoryDriver
    hand: Hand
    attached: str
    free: str

    def reconcile(self, **options: Any) -> list[Difference]:
        return self.manager.reconcile(self.context, **options)

    def kinds(self, **options: Any) -> set[Kind]:
        return {difference.kind for difference in self.reconcile(**options)}

    def log_in(self) -> None:
        """Host a logs in to its volume."""
        (attachment,) = self.manager.list_attachments(self.context, self.attached)
        assert attachment.connection_info is not None
        self.backend.login(attachment.connection_info, KEY_A)

    def violations(self) -> list[str]:
        return violations(self.manager, self.backend, "lab")


def lose_the_export(place: Place) -> None:
    place.backend.restart_target()


def lose_the_access(place: Place) -> None:
    place.backend.acls[place.attached].clear()


def leave_an_export(place: Place) -> None:
    place.backend.exports[place.free] = "CHAP old secret"
    place.backend.acls[place.free] = set()


def leave_an_access(place: Place) -> None:
    place.backend.acls[place.attached].add(KEY_B)


def free_by_hand(place: Place) -> None:
    place.hand.change("volumes", place.attached, status="available", attach_status="detached")


def begin_by_hand(place: Place) -> None:
    place.hand.change("volumes", place.free, status="attaching", attach_status="reserved")


def name_no_operation(place: Place) -> None:
    place.hand.change("volumes", place.attached, operation_id=UNKNOWN)


def cut_an_operation_off(place: Place) -> None:
    place.manager.reserve_volume(place.context, place.free)
    place.hand.delete("attachments", place.free, "volume_id")
    place.hand.change(
        "volumes", place.free, status="available", attach_status="detached", operation_id=None
    )


class Harm(NamedTuple):
    """What is done to the place, and the one difference that it makes."""

    do: Callable[[Place], None]
    kind: Kind
    initiator: str | None = None

    def __str__(self) -> str:
        return self.do.__name__


HARMS = [
    Harm(lose_the_export, Kind.EXPORT_MISSING),
    Harm(lose_the_access, Kind.ACCESS_MISSING, KEY_A),
    Harm(leave_an_export, Kind.EXPORT_UNJUSTIFIED),
    Harm(leave_an_access, Kind.ACCESS_UNJUSTIFIED, KEY_B),
    Harm(free_by_hand, Kind.STATUS_WRONG),
    Harm(begin_by_hand, Kind.STATUS_UNOWNED),
    Harm(name_no_operation, Kind.STATUS_UNOWNED),
    Harm(cut_an_operation_off, Kind.OPERATION_ASTRAY),
]


def leave_a_foreign_export(place: Place) -> None:
    place.backend.exports[UNKNOWN] = "CHAP somebody secret"
    place.backend.acls[UNKNOWN] = {KEY_B}


def write_nonsense(place: Place) -> None:
    place.hand.change("volumes", place.free, status="melted")


LEFT = [
    Harm(leave_a_foreign_export, Kind.EXPORT_UNKNOWN),
    Harm(write_nonsense, Kind.ROW_UNREADABLE),
]
