"""Cinder's six calls: what a failing attach leaves behind, F01 to F17."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.contract.lab import HOST_A, INSTANCE_1, KEY_A, Call, Gate, refused
from tests.faults.cinder.play import Play
from volflow import exceptions
from volflow.exceptions import ConnectionFailed, DriverError, ExportFailed, InvalidConnector
from volflow.testing import Fault


def test_f01_the_caller_dies_after_reserve(play: Play) -> None:
    """Cinder keeps the volume ``attaching`` for ever, also after a restart. In volflow the
    reservation has an owner and a deadline, past which recovery rolls it back.
    """
    owner = play.reserve().operation_id
    play.next_process()
    assert () == play.manager.recover().rolled_back
    play.assert_reserved()

    report = play.recover_late()

    assert (owner,) == report.rolled_back
    ended = play.last_operation()
    assert ("rolled_back", "InvalidVolume") == (ended.state, ended.error and ended.error[0])
    play.assert_free()


def test_f02_the_connector_is_refused(play: Play) -> None:
    """Cinder stays ``attaching`` until someone unreserves. volflow says InvalidConnector, and its
    caller repeats the call with a better connector, gives up, or is rolled back.
    """
    play.reserve()
    for bad in ({}, {"host": "a"}):
        with pytest.raises(InvalidConnector, match="no initiator"):
            play.initialize(bad)
        play.assert_reserved()

    play.initialize()
    play.attach()

    play.assert_used_by(KEY_A)


def test_f03_the_driver_fails_to_look_at_the_connector(play: Play) -> None:
    """Cinder answers with a backend error and stays ``attaching``. volflow says DriverError with
    the driver's own error behind it; the reservation can be given up, a one-shot gives it up.
    """
    broken = OSError(5, "the array does not answer")
    play.refuse("validate_connector", "before", broken)
    play.reserve()
    with pytest.raises(DriverError) as heard:
        play.initialize()
    assert heard.value.__cause__ is broken
    play.assert_reserved()
    play.unreserve()
    play.assert_free()

    play.refuse("validate_connector", "before", broken)
    with pytest.raises(DriverError):
        play.attach_volume()
    play.assert_free()


def test_f04_create_export_is_refused(play: Play) -> None:
    """Cinder stays ``attaching`` and calls no cleanup. volflow undoes the call, tells its error,
    and keeps the reservation for its caller, until the deadline.
    """
    owner = play.reserve().operation_id
    play.refuse("create_export", "before", ExportFailed("no room for a target"))
    with pytest.raises(ExportFailed, match="no room for a target"):
        play.initialize()
    assert "remove_export" in play.faulty.calls
    play.assert_reserved()

    assert (owner,) == play.recover_late().rolled_back
    play.assert_free()


def test_f05_create_export_fails_with_an_error_of_its_own(play: Play) -> None:
    """Cinder passes the raw error on and cleans nothing. volflow treats every error alike: it is
    undone, and is a DriverError to the caller.
    """
    raw = KeyError("lun")
    play.reserve()
    play.refuse("create_export", "after", raw)
    with pytest.raises(DriverError) as heard:
        play.initialize()
    assert heard.value.__cause__ is raw
    play.assert_reserved()
    play.unreserve()
    play.assert_free()


def test_f06_create_export_fails_after_it_made_the_target(play: Play) -> None:
    """Cinder leaks the target: without a recorded location its remove_export skips it, also
    after unreserve. volflow removes it at once, found by the volume's id.
    """
    play.reserve()
    play.refuse("create_export", "after", ExportFailed("the target was made, and then"))
    with pytest.raises(ExportFailed, match="the target was made"):
        play.initialize()

    (_, given), _ = play.driver.last("remove_export")
    assert given.provider_location is None
    play.assert_reserved()
    play.unreserve()
    play.assert_free()


@pytest.mark.parametrize("end", ["the caller repeats", "the caller gives up", "nobody comes"])
def test_f07_a_death_before_the_location_is_saved(play: Play, end: str) -> None:
    """Cinder is stuck in ``attaching`` with a target that nothing removes. volflow wrote down
    what it was about to do, so that the next process goes on with it, or undoes it.
    """
    play.reserve()
    play.die("create_export", "after", play.initialize)
    assert play.id in play.backend.exports
    assert play.volume().provider_location is None
    play.next_process()

    if end == "the caller repeats":
        play.initialize()
        play.attach()
        play.assert_used_by(KEY_A)
        return
    if end == "the caller gives up":
        play.unreserve()
    else:
        assert (play.owner().id,) == play.manager.recover().resumed
        assert "attaching" == play.volume().status
        assert (play.owner().id,) == play.recover_late().rolled_back
    play.assert_free()


def test_f08_the_connection_is_refused(play: Play) -> None:
    """Cinder removes the export and keeps ``attaching`` and a location that is none any more.
    volflow takes both back, keeps the reservation, and the call can be repeated.
    """
    play.reserve()
    play.refuse("initialize_connection", "before", ConnectionFailed("no more hosts"))
    with pytest.raises(ConnectionFailed, match="no more hosts"):
        play.initialize()
    play.assert_reserved()

    play.initialize()
    play.attach()

    play.assert_used_by(KEY_A)


def test_f09_a_death_after_the_connection_was_made(play: Play) -> None:
    """Cinder is stuck in ``attaching`` with export and ACL. volflow finds the initiator's name
    written down before the ACL was made, and when the caller does not come back, takes both away.
    """
    play.reserve()
    play.die("initialize_connection", "after", play.initialize)
    assert {KEY_A} == play.acl()

    play.next_process().recover()
    assert ("waiting", "attaching") == (play.owner().state, play.volume().status)
    assert [] == play.violations()
    play.recover_late()

    play.assert_free()


def test_f10_the_cleanup_of_a_refused_connection_is_refused_too(play: Play) -> None:
    """Cinder raises the cleanup's error over the first one and leaks the export. volflow raises
    the first error with the leftover, and recovery cleans up as soon as the backend lets it.
    """
    owner = play.reserve().operation_id
    play.refuse("initialize_connection", "before", ConnectionFailed("the first"))
    play.refuse("remove_export", "before", ExportFailed("the cleanup"), times=2)
    with pytest.raises(exceptions.RollbackIncomplete) as heard:
        play.initialize()
    assert "the first" == str(heard.value.first_error)
    assert heard.value.first_error is heard.value.__cause__
    assert ["create-export: ExportFailed: the cleanup"] == list(heard.value.leftovers)
    assert ("needs_attention", "attaching") == (play.owner().state, play.volume().status)

    assert (owner,) == play.manager.recover().needs_attention
    assert play.id in play.backend.exports
    assert (owner,) == play.manager.recover().cleaned

    play.assert_reserved()
    play.unreserve()
    play.assert_free()


def test_f11_the_caller_gives_up_after_the_connection(play: Play) -> None:
    """Cinder's terminate_connection frees the volume and leaves the export. In volflow it takes
    the export with it and keeps the reservation, which unreserve_volume then ends.
    """
    play.reserve()
    play.initialize()
    play.terminate()
    play.assert_reserved()
    play.unreserve()
    play.assert_free()


def test_f12_the_reply_comes_too_late(play: Play) -> None:
    """Cinder leaves export and ACL behind an ``available`` volume when the caller, who heard a
    timeout, unreserves. volflow refuses that while the call runs, and then undoes all of it.
    """
    gate = Gate()
    play.reserve()
    play.driver.on["initialize_connection"] = gate.stop
    server = Call(play.initialize)
    gate.wait()
    caller = play.another_process()
    with pytest.raises(exceptions.InvalidVolume, match="runs initialize_connection now"):
        caller.unreserve_volume(play.context, play.id)
    gate.opened.set()
    assert "iscsi" == server.value()["driver_volume_type"]
    assert {KEY_A} == play.acl()

    caller.unreserve_volume(play.context, play.id)

    play.assert_free()


def test_f13_the_attach_meets_a_driver_that_is_not_there(play: Play) -> None:
    """Cinder writes a row in error and, rolled back, shows ``in-use`` and ``detached``, from
    which no call leads. In volflow such a process serves no backend, and refuses without a change.
    """
    play.reserve()
    play.initialize()
    down = Fault("do_setup", "before", OSError("the array is down"))
    play.faulty.faults.append(down)
    with pytest.raises(DriverError, match="the array is down"):
        play.another_process()
    blind = play.another_process(drivers={})
    with refused(play.manager, play.backend, exceptions.BackendNotFound):
        blind.attach(play.context, play.id, INSTANCE_1, None, None)
    with refused(play.manager, play.backend, exceptions.BackendNotFound):
        blind.terminate_connection(play.context, play.id, HOST_A)
    with refused(play.manager, play.backend, exceptions.BackendNotFound):
        blind.unreserve_volume(play.context, play.id)
    assert "attaching" == play.volume().status

    play.unreserve()

    play.assert_free()


def test_f14_a_readonly_volume_is_attached_to_write(stage: Callable[..., Play]) -> None:
    """Cinder keeps ``attaching``, export and ACL until the caller rolls back. volflow refuses the
    one call, which can be repeated with ``ro``; a caller who does not come back is rolled back.
    """
    play = stage(readonly=True)
    play.reserve()
    play.initialize()
    with refused(play.manager, play.backend, exceptions.InvalidVolumeAttachMode):
        play.attach(mode="rw")
    attachment = play.attach(mode="ro")
    assert attachment.connection_info is not None
    assert "ro" == attachment.connection_info["data"]["access_mode"]
    play.assert_used_by(KEY_A)
    play.detach_volume()

    play.reserve()
    play.initialize()
    with refused(play.manager, play.backend, exceptions.InvalidVolumeAttachMode):
        play.attach(mode="rw")
    play.recover_late()
    play.assert_free()


def test_f15_the_instance_is_no_uuid(play: Play) -> None:
    """Cinder keeps a row in error and a volume ``attaching``, as in F13. volflow refuses before
    it does anything, and the same call with a UUID attaches.
    """
    play.reserve()
    play.initialize()
    with refused(play.manager, play.backend, exceptions.InvalidUUID):
        play.attach(instance="instance-0001")

    attachment = play.attach()

    assert [attachment.id] == [a.id for a in play.attachments(live=False)]
    play.assert_used_by(KEY_A)
    play.begin()
    play.detach()
    play.assert_free()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("recovered", [True, False], ids=["recovered", "at once"])
def test_f16_a_death_in_the_middle_of_attach(play: Play, when: str, recovered: bool) -> None:
    """Cinder leaves an orphan row, the retry makes a second one, and a detach then ends in
    ``attaching``. volflow has one row from the reservation on, which the retry finishes.
    """
    play.reserve()
    play.initialize()
    play.die("attach_volume", when, play.attach)
    play.next_process()
    if recovered:
        play.manager.recover()

    attachment = play.attach()

    assert [attachment.id] == [a.id for a in play.attachments(live=False)]
    assert INSTANCE_1 == attachment.instance_uuid
    play.assert_used_by(KEY_A)
    play.begin()
    play.terminate()
    play.detach()
    play.assert_free()


def test_f17_the_reply_to_attach_is_lost(play: Play) -> None:
    """Cinder returns the same row to the caller who repeats, and so does volflow, from any
    process and without another change.
    """
    play.reserve()
    play.initialize()
    first = play.attach()
    play.next_process()
    play.driver.forget()

    assert first == play.attach()

    assert [] == play.driver.names
    assert [first.id] == [a.id for a in play.attachments(live=False)]
    play.assert_used_by(KEY_A)
