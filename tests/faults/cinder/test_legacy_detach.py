"""Cinder's six calls: what a failing detach, a restart and a second host leave, F18 to F26."""

from __future__ import annotations

import pytest

from tests.contract.lab import HOST_A, HOST_B, INSTANCE_2, KEY_A, KEY_B, refused
from tests.faults.cinder.play import Play
from volflow import Attachment, exceptions
from volflow.exceptions import ConnectionFailed, ExportFailed


def test_f18_the_caller_dies_after_begin_detaching(play: Play) -> None:
    """Cinder does not export a ``detaching`` volume again when the host reboots, and rolls back to
    ``in-use`` without a target. volflow exports it, and rolls back to a working connection.
    """
    attachment = play.attach_volume()
    owner = play.begin().operation_id
    report = play.reboot()
    assert (owner,) == report.cleaned
    play.log_in(attachment)
    assert "detaching" == play.volume().status

    assert (owner,) == play.recover_late().rolled_back

    assert [KEY_A] == play.sessions()
    play.assert_used_by(KEY_A)


@pytest.mark.parametrize("end", ["roll", "retry"])
def test_f19_terminate_connection_is_refused(play: Play, end: str) -> None:
    """Cinder is ``detaching`` with all in place, and so is volflow, for its caller to repeat or
    to roll back; but past the deadline it rolls back by itself.
    """
    attachment = play.attach_volume()
    play.begin()
    play.refuse("terminate_connection", "before", ConnectionFailed("busy"))
    with pytest.raises(ConnectionFailed, match="busy"):
        play.terminate()
    assert ("detaching", "waiting") == (play.volume().status, play.owner().state)
    assert ["detaching"] == [a.attach_status for a in play.attachments()]
    play.log_in(attachment)
    play.backend.logout(play.id, KEY_A)

    if end == "roll":
        play.roll()
        play.assert_used_by(KEY_A)
    else:
        play.terminate()
        play.detach()
        play.assert_free()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("end", ["retry", "nobody comes"])
def test_f20_remove_export_is_refused_in_detach(play: Play, when: str, end: str) -> None:
    """Cinder is ``detaching`` with the row attached and the ACL gone, until a retry works. volflow
    puts the export back and waits for the retry; past the deadline the ACL comes back, too.
    """
    attachment = play.attach_volume()
    play.begin()
    play.terminate()
    play.refuse("remove_export", when, ExportFailed("still open"))
    with pytest.raises(ExportFailed, match="still open"):
        play.detach()
    assert ("detaching", "waiting") == (play.volume().status, play.owner().state)
    assert play.id in play.backend.exports
    assert [] == play.violations()

    if end == "retry":
        play.detach()
        play.assert_free()
    else:
        play.recover_late()
        play.log_in(attachment)
        play.assert_used_by(KEY_A)


@pytest.mark.parametrize("end", ["recovery", "roll", "repeat"])
def test_f21_a_death_after_the_export_was_removed(play: Play, end: str) -> None:
    """Cinder shows a row attached to a target that is gone, and rolls back to ``in-use`` without
    one. volflow resumes the detach forward: it is too late to roll back, and the call is told so.
    """
    attachment = play.attach_volume()
    owner = play.begin().operation_id
    play.terminate()
    play.die("remove_export", "after", play.detach)
    assert {} == play.backend.exports
    play.next_process()

    if end == "recovery":
        assert (owner,) == play.manager.recover().resumed
    elif end == "roll":
        with pytest.raises(exceptions.InvalidVolume, match="is available; expected detaching"):
            play.roll()
    else:
        assert "available" == play.detach(attachment.id).status

    assert "succeeded" == play.last_operation().state
    (gone,) = play.attachments(live=False)
    assert (attachment.id, "detached") == (gone.id, gone.attach_status)
    play.assert_free()


def test_f22_the_detach_meets_a_driver_that_is_not_there(play: Play) -> None:
    """Cinder writes a row in error and stays ``detaching``. A process of volflow without the
    driver refuses and changes nothing, and the detach goes on where the driver is.
    """
    play.attach_volume()
    play.begin()
    blind = play.another_process(drivers={})
    with refused(play.manager, play.backend, exceptions.BackendNotFound):
        blind.detach(play.context, play.id)
    with refused(play.manager, play.backend, exceptions.BackendNotFound):
        blind.terminate_connection(play.context, play.id, HOST_A)

    play.detach()

    play.assert_free()


@pytest.mark.parametrize("end", ["repaired", "detached"])
def test_f23_the_export_fails_again_at_start(play: Play, end: str) -> None:
    """Cinder puts the volume in ``error`` for ever, its row still attached. In volflow it stays
    ``in-use``, the repair is named with its error and repeated, and a detach works meanwhile.
    """
    attachment = play.attach_volume()
    play.refuse("ensure_export", "before", OSError("no such backing store"))
    report = play.reboot()

    (failed,) = report.needs_attention
    repair = play.manager.get_operation(play.context, failed)
    assert ("repair", "rolled_back", play.id) == (repair.kind, repair.state, repair.volume_id)
    assert repair.error is not None
    assert "no such backing store" in repair.error.message
    assert ("in-use", "attached") == play.status()
    if end == "repaired":
        assert 1 == len(play.manager.recover().cleaned)
        play.log_in(attachment)
        play.assert_used_by(KEY_A)
    else:
        play.begin()
        play.terminate()
        play.detach()
        play.assert_free()


def both_attached(play: Play) -> tuple[Attachment, Attachment]:
    """Attach two hosts, both logged in."""
    one = play.attach_volume(HOST_A)
    two = play.attach_volume(HOST_B, instance_uuid=INSTANCE_2)
    play.log_in(one)
    play.log_in(two)
    return one, two


def test_f24_the_second_host_s_connection_is_refused(shared_play: Play) -> None:
    """Cinder removes the first host's live target and shows ``in-use``. volflow knows that the
    export is needed by another attachment, and touches nothing of it.
    """
    play = shared_play
    play.log_in(play.attach_volume(HOST_A))
    play.reserve()
    play.refuse("initialize_connection", "before", ConnectionFailed("no more hosts"))
    with pytest.raises(ConnectionFailed, match="no more hosts"):
        play.initialize(HOST_B)
    assert ("attaching", "attached") == play.status()
    assert [KEY_A] == play.sessions()
    assert [] == play.violations()

    play.unreserve()

    assert [KEY_A] == play.sessions()
    assert "remove_export" not in play.faulty.calls
    play.assert_used_by(KEY_A)


def test_f25_one_of_two_hosts_is_detached(shared_play: Play) -> None:
    """Cinder's detach removes the export of the other host. volflow takes the one ACL entry and
    the one attachment away, and the other host's session lives on.
    """
    play = shared_play
    one, _ = both_attached(play)
    play.begin(one.id)
    play.terminate(HOST_A)
    play.detach(one.id)

    assert [KEY_B] == play.sessions()
    assert "remove_export" not in play.faulty.calls
    play.assert_used_by(KEY_B)


@pytest.mark.parametrize("terminated", [False, True], ids=["begun", "terminated"])
def test_f26_a_reboot_while_one_of_two_is_detaching(shared_play: Play, terminated: bool) -> None:
    """Cinder exports for nobody again, since the volume is ``detaching``. volflow gives each
    attachment what it is entitled to: the other host all, the detaching one what it had.
    """
    play = shared_play
    one, two = both_attached(play)
    play.begin(two.id)
    if terminated:
        play.terminate(HOST_B)

    play.reboot()

    assert {KEY_A} | (set() if terminated else {KEY_B}) == play.acl()
    play.log_in(one)
    assert [] == play.violations()
    play.detach(two.id)
    assert [KEY_A] == play.sessions()
    play.assert_used_by(KEY_A)
