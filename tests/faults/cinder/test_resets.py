"""What resets in Cinder, R02 and R03: volflow has none, but operators have SQL.

The operator edits the database by hand; ``reconcile(repair=True)`` then puts in order what the
edit left on the backend.
"""

from __future__ import annotations

import pytest

from tests.contract.hand import Hand
from tests.contract.lab import HOST_B, INSTANCE_1, KEY_A, KEY_B, refused
from tests.faults.cinder.play import Play
from volflow import DifferenceKind, exceptions
from volflow.exceptions import ConnectionFailed


def reset(hand: Hand, play: Play, rows: bool) -> None:
    """What Cinder's reset to available and detached writes; with it the attachments go, too."""
    hand.change(
        "volumes", play.id, status="available", attach_status="detached", operation_id=None
    )
    if rows:
        hand.delete("attachments", play.id, column="volume_id")


def test_r02_a_volume_is_reset_to_available(play: Play, hand: Hand) -> None:
    """Cinder's reset leaves export and ACL, and the next attach gives a single-attach volume to
    two hosts. volflow refuses it while an attachment's row is there, and reconcile says what is
    left without one: it is taken away, but not from under a live session, unless forced.
    """
    attachment = play.attach_volume(instance_uuid=INSTANCE_1)
    play.log_in(attachment)
    reset(hand, play, rows=False)
    with refused(play.manager, play.backend, exceptions.InvalidVolume):
        play.attach_volume(HOST_B)
    (found,) = play.reconcile()
    assert (DifferenceKind.STATUS_WRONG, True) == (found.kind, found.repaired)
    play.assert_used_by(KEY_A)

    reset(hand, play, rows=True)
    found = play.reconcile()
    assert {DifferenceKind.EXPORT_UNJUSTIFIED, DifferenceKind.ACCESS_UNJUSTIFIED} == {
        d.kind for d in found
    }
    assert all(d.in_use and not d.repaired for d in found)
    assert {"ConnectionInUse"} == {d.error and d.error.class_name for d in found}
    assert [KEY_A] == play.sessions()

    play.backend.logout(play.id, KEY_A)
    assert all(d.repaired for d in play.reconcile())
    assert [] == play.reconcile()
    play.assert_free()


@pytest.mark.parametrize("edited", [False, True], ids=["left alone", "edited"])
def test_r03_a_forced_detach_is_refused_by_the_backend(
    play: Play, hand: Hand, edited: bool
) -> None:
    """Cinder answers with an error and is ``detaching`` for good. volflow goes on by itself as
    soon as the backend lets it, and reconcile does what an operator who edits the row leaves.
    """
    play.attach_volume()
    play.refuse("terminate_connection", "before", ConnectionFailed("the array is busy"), times=2)
    with pytest.raises(exceptions.RollbackIncomplete) as heard:
        play.detach_volume(force=True)
    assert "the array is busy" == str(heard.value.__cause__)
    owner = play.owner()
    assert ("detaching", "needs_attention") == (play.volume().status, owner.state)

    if edited:
        reset(hand, play, rows=True)
        kinds = [d.kind for d in play.reconcile()]
        assert DifferenceKind.OPERATION_ASTRAY == kinds[0]
        assert {DifferenceKind.EXPORT_UNJUSTIFIED, DifferenceKind.ACCESS_UNJUSTIFIED} == set(
            kinds[1:]
        )
        assert play.manager.get_operation(play.context, owner.id).settled
        assert all(d.repaired for d in play.reconcile())
        assert [] == play.reconcile()
    else:
        assert (owner.id,) == play.manager.recover().needs_attention
        assert {KEY_A} == play.acl()
        assert (owner.id,) == play.manager.recover().cleaned
    play.assert_free()


def test_two_hosts_after_a_reset(play: Play, hand: Hand) -> None:
    """When somebody attaches before anybody reconciles, the old host's access is the one that
    goes, and the new one's stays.
    """
    old = play.attach_volume()
    play.log_in(old)
    reset(hand, play, rows=True)
    new = play.attach_volume(HOST_B)
    assert {KEY_A, KEY_B} == play.acl()

    (found,) = play.reconcile()
    assert (DifferenceKind.ACCESS_UNJUSTIFIED, KEY_A) == (found.kind, found.initiator)
    assert (True, False) == (found.in_use, found.repaired)
    (found,) = play.reconcile(force=True)
    assert found.repaired

    assert [] == play.sessions()
    play.log_in(new)
    play.backend.logout(play.id, KEY_B)
    play.assert_used_by(KEY_B)
