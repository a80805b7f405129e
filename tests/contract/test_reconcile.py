"""VolumeManager.reconcile: what differs is found, named and put in order, and nothing else."""

from __future__ import annotations

import pytest

from tests.contract.harms import (
    HARMS,
    LEFT,
    Harm,
    Place,
    leave_a_foreign_export,
    leave_an_access,
    leave_an_export,
    lose_the_access,
)
from tests.contract.lab import (
    HOST_B,
    KEY_A,
    KEY_B,
    UNKNOWN,
    Telling,
    is_clean,
    nothing_changes,
)
from volflow import DifferenceKind as Kind


def test_where_nothing_differs_nothing_is_found(place: Place, driver: Telling) -> None:
    """Neither in what rests nor in what is on its way; and the repair does nothing."""
    place.manager.reserve_volume(place.context, place.free)
    place.manager.initialize_connection(place.context, place.free, HOST_B)
    place.manager.begin_detaching(place.context, place.attached)
    driver.forget()
    with nothing_changes(place.manager, place.backend):
        assert [] == place.reconcile()
        assert [] == place.reconcile(repair=True, force=True)
    assert [] == driver.names


def test_every_kind_of_difference_is_made_below() -> None:
    assert set(Kind) == {harm.kind for harm in (*HARMS, *LEFT)}


@pytest.mark.parametrize("harm", [*HARMS, *LEFT], ids=str)
def test_what_differs_is_found_and_left(place: Place, driver: Telling, harm: Harm) -> None:
    """Without ``repair`` it is named, with its volume or operation, and nothing is changed."""
    harm.do(place)
    driver.forget()
    with nothing_changes(place.manager, place.backend):
        (found,) = place.reconcile()
    assert [] == driver.names
    assert (harm.kind, harm.initiator, False) == (found.kind, found.initiator, found.in_use)
    assert (False, None) == (found.repaired, found.error)
    named = {*place.hand.rows("volumes"), *place.hand.rows("operations"), UNKNOWN}
    assert {found.volume_id, found.operation_id} & named
    assert (found.volume_id or found.operation_id or "?") in found.detail


@pytest.mark.parametrize("harm", HARMS, ids=str)
def test_what_differs_is_repaired_once(place: Place, harm: Harm) -> None:
    """With ``repair`` everything is as it should be, and a second look finds nothing."""
    harm.do(place)

    (found,) = place.reconcile(repair=True)

    assert (harm.kind, True, None) == (found.kind, found.repaired, found.error)
    assert [] == place.violations()
    assert [] == place.reconcile(repair=True)
    place.log_in()
    assert "in-use" == place.manager.get_volume(place.context, place.attached).status
    assert "available" == place.manager.get_volume(place.context, place.free).status
    assert is_clean(place.backend, place.free)


@pytest.mark.parametrize("harm", LEFT, ids=str)
@pytest.mark.parametrize("force", [False, True])
def test_what_may_be_somebody_else_s_is_left(place: Place, harm: Harm, force: bool) -> None:
    """An export of a volume that the database never had, or a row that nobody understands."""
    harm.do(place)
    with nothing_changes(place.manager, place.backend):
        (found,) = place.reconcile(repair=True, force=force)
    assert (harm.kind, False, None) == (found.kind, found.repaired, found.error)


def test_all_that_differs_is_found_and_repaired_at_once(place: Place) -> None:
    """When one pass meets several kinds, each is named, and each is put in order."""
    for harm in (lose_the_access, leave_an_export, leave_a_foreign_export, leave_an_access):
        harm(place)
    wanted = {
        Kind.ACCESS_MISSING,
        Kind.EXPORT_UNJUSTIFIED,
        Kind.EXPORT_UNKNOWN,
        Kind.ACCESS_UNJUSTIFIED,
    }
    assert wanted == place.kinds()

    found = place.reconcile(repair=True)

    assert wanted - {Kind.EXPORT_UNKNOWN} == {d.kind for d in found if d.repaired}
    assert {Kind.EXPORT_UNKNOWN} == place.kinds()
    del place.backend.exports[UNKNOWN]
    assert [] == place.violations()


STATUSES = [
    ("attaching", "available"),
    ("detaching", "available"),
    ("creating", "error"),
    ("deleting", "error"),
]


@pytest.mark.parametrize(("status", "after"), STATUSES)
@pytest.mark.parametrize("owner", [None, UNKNOWN])
def test_a_status_that_nobody_brings_on_ends(
    place: Place, status: str, after: str, owner: str | None
) -> None:
    """Also where it names an operation that is not there; what is half made ends in error."""
    place.hand.change("volumes", place.free, status=status, operation_id=owner)
    (found,) = place.reconcile(repair=True)
    assert (Kind.STATUS_UNOWNED, owner, True) == (found.kind, found.operation_id, found.repaired)
    volume = place.manager.get_volume(place.context, place.free)
    assert (after, None) == (volume.status, volume.operation_id)
    place.manager.delete_volume(place.context, place.free)


@pytest.mark.parametrize(
    ("row", "after"),
    [("reserved", "available"), ("attaching", "available"), ("detaching", "in-use")],
)
def test_an_attachment_that_nobody_brings_on_ends(place: Place, row: str, after: str) -> None:
    """One that was being made is gone, one that was being ended is attached as before."""
    place.hand.change("attachments", attachment_of(place), attach_status=row)
    found = place.reconcile(repair=True)
    assert Kind.STATUS_WRONG in {difference.kind for difference in found}
    assert all(difference.repaired for difference in found)
    assert after == place.manager.get_volume(place.context, place.attached).status
    assert [] == place.violations()
    assert [] == place.reconcile()


@pytest.mark.parametrize("status", ["available", "maintenance", "error"])
def test_a_volume_with_an_attachment_is_in_use(place: Place, status: str) -> None:
    place.hand.change("volumes", place.attached, status=status)
    (found,) = place.reconcile(repair=True)
    assert (Kind.STATUS_WRONG, True) == (found.kind, found.repaired)
    assert [] == place.violations()


@pytest.mark.parametrize("status", ["maintenance", "error"])
def test_a_volume_that_is_set_aside_stays_so(place: Place, status: str) -> None:
    """When nobody is attached, maintenance and error say nothing wrong."""
    place.hand.change("volumes", place.free, status=status)
    assert [] == place.reconcile(repair=True)
    assert status == place.manager.get_volume(place.context, place.free).status


def attachment_of(place: Place) -> str:
    (attachment,) = place.manager.list_attachments(place.context, place.attached)
    return attachment.id


# Live sessions


def lose_the_row(place: Place) -> None:
    place.hand.delete("attachments", attachment_of(place))
    place.hand.change("volumes", place.attached, status="available", attach_status="detached")


@pytest.mark.parametrize("told", [True, False], ids=["live", "unknown"])
def test_a_session_is_not_cut_unless_forced(place: Place, driver: Telling, told: bool) -> None:
    """A session that is live, or that the backend cannot tell, holds the repair back, by name."""
    place.log_in()
    lose_the_row(place)
    if not told:
        listed = place.backend.list_exports
        driver.list_exports = lambda: [type(e)(e.volume_id, e.initiators, None) for e in listed()]

    found = place.reconcile(repair=True)

    assert {Kind.EXPORT_UNJUSTIFIED, Kind.ACCESS_UNJUSTIFIED} == {d.kind for d in found}
    for difference in found:
        assert (True, False) == (difference.in_use, difference.repaired)
        assert difference.error is not None
        assert "ConnectionInUse" == difference.error.class_name
    assert [KEY_A] == place.backend.sessions[place.attached]
    assert {KEY_A} == place.backend.acls[place.attached]
    assert place.manager.get_volume(place.context, place.attached).operation_id is None

    assert all(d.repaired for d in place.reconcile(repair=True, force=True))

    assert is_clean(place.backend, place.attached)
    assert [] == place.reconcile()


def test_a_session_of_the_rightful_host_is_never_touched(place: Place) -> None:
    """Not even by force, whatever of the same volume is repaired."""
    place.log_in()
    leave_an_access(place)
    (found,) = place.reconcile(repair=True, force=True)
    assert (KEY_B, False, True) == (found.initiator, found.in_use, found.repaired)
    assert [KEY_A] == place.backend.sessions[place.attached]
    assert [] == place.violations()


def test_one_live_session_does_not_keep_the_others_from_being_repaired(place: Place) -> None:
    """When one initiator of two is logged in, the other's access goes."""
    leave_an_access(place)
    place.backend.acls[place.attached].add("iqn.x:c")
    place.backend.sessions[place.attached] = [KEY_B]
    found = place.reconcile(repair=True)
    assert {(KEY_B, True), ("iqn.x:c", False)} == {(d.initiator, d.in_use) for d in found}
    assert {KEY_A, KEY_B} == place.backend.acls[place.attached]
