"""Cinder's attachments API, in volflow's calls: N01 to N09 and N13 to N17.

What Cinder creates, updates and completes are here reserve_volume, initialize_connection and
attach; create with a connector is attach_volume; delete is unreserve_volume before the attachment
is complete, and detach_volume after.
"""

from __future__ import annotations

import pytest

from tests.contract.lab import (
    HOST_A,
    HOST_B,
    INSTANCE_1,
    INSTANCE_2,
    KEY_A,
    KEY_B,
    Call,
    Gate,
    new_id,
    refused,
)
from tests.faults.cinder.play import Play
from volflow import exceptions
from volflow.exceptions import ConnectionFailed, DriverError, ExportFailed, InvalidVolume


def test_n01_update_fails(play: Play) -> None:
    """Cinder keeps row and volume ``reserved``, and refuses all others until the row is deleted.
    volflow (reserve, initialize) does so for the caller's retry, and at most until its deadline.
    """
    owner = play.reserve().operation_id
    play.refuse("initialize_connection", "after", ConnectionFailed("the array stopped half way"))
    with pytest.raises(ConnectionFailed, match="the array stopped half way"):
        play.initialize()
    play.assert_reserved()
    with refused(play.manager, play.backend, InvalidVolume):
        play.attach_volume(HOST_B)

    assert (owner,) == play.recover_late().rolled_back

    play.attach_volume(HOST_B)
    play.assert_used_by(KEY_B)


def test_n03_create_with_connector_fails(play: Play) -> None:
    """Cinder keeps a reserved row whose id the caller never heard. volflow's one-shot rolls all of
    it back, and the caller's own operation id tells what became of it.
    """
    key = new_id()
    play.refuse("initialize_connection", "after", ConnectionFailed("the array stopped half way"))
    with pytest.raises(ConnectionFailed, match="the array stopped half way"):
        play.attach_volume(operation_id=key)
    assert "rolled_back" == play.manager.get_operation(play.context, key).state
    with refused(play.manager, play.backend, ConnectionFailed):
        play.attach_volume(operation_id=key)
    play.assert_free()

    play.attach_volume(HOST_B)
    play.assert_used_by(KEY_B)


@pytest.mark.parametrize("recovered", [True, False], ids=["recovered", "at once"])
def test_n02_a_death_after_the_export_and_then_delete(play: Play, recovered: bool) -> None:
    """Cinder's delete of a reserved row asks no backend, and leaks export and ACL. volflow's
    unreserve_volume takes the dead call over and undoes what it may have done.
    """
    play.reserve()
    play.die("create_export", "after", play.initialize)
    play.next_process()
    if recovered:
        play.manager.recover()
        assert {KEY_A} == play.acl()

    assert "available" == play.unreserve().status

    play.assert_free()


def test_n04_the_second_update_fails(shared_play: Play) -> None:
    """Cinder's cleanup kills the first attachment and leaves the volume ``reserved``. volflow
    takes the second initiator's ACL entry away and no more, and its deadline frees the volume.
    """
    play = shared_play
    first = play.attach_volume(HOST_A)
    play.log_in(first)
    owner = play.reserve().operation_id
    play.refuse("initialize_connection", "after", ConnectionFailed("the array stopped half way"))
    with pytest.raises(ConnectionFailed, match="the array stopped half way"):
        play.initialize(HOST_B)
    assert ("attaching", "attached") == play.status()
    assert [KEY_A] == play.sessions()
    assert {KEY_A} == play.acl()

    assert (owner,) == play.recover_late().rolled_back

    assert [KEY_A] == play.sessions()
    assert "remove_export" not in play.faulty.calls
    assert ["attached"] == [a.attach_status for a in play.attachments()]
    play.assert_used_by(KEY_A)


def test_n05_one_is_attached_and_one_attaching(shared_play: Play) -> None:
    """Cinder shows ``attaching``, refuses a third, and exports for nobody after a reboot. volflow
    refuses the third just as long as the second is on its way, and gives both their access again.
    """
    play = shared_play
    first = play.attach_volume(HOST_A)
    play.reserve()
    info = play.initialize(HOST_B)
    assert ("attaching", "attached") == play.status()
    with refused(play.manager, play.backend, InvalidVolume):
        play.reserve()

    play.reboot()

    play.log_in(first)
    play.backend.login(info, KEY_B)
    assert [] == play.violations()
    play.attach(INSTANCE_2)
    play.assert_used_by(KEY_A, KEY_B)
    assert "attaching" == play.reserve().status


def test_n06_complete_without_update(play: Play) -> None:
    """Cinder shows ``in-use`` with nothing exported. volflow's attach wants the connection first,
    and refuses without a change.
    """
    with refused(play.manager, play.backend, InvalidVolume):
        play.attach()
    play.reserve()
    with refused(play.manager, play.backend, InvalidVolume):
        play.attach()
    play.assert_reserved()

    play.initialize()
    play.attach()

    play.assert_used_by(KEY_A)


def test_n07_terminate_fails_in_delete(play: Play) -> None:
    """Cinder leaves the volume ``in-use`` and unchanged, and so does volflow's detach_volume."""
    first = play.attach_volume()
    play.log_in(first)
    play.refuse("terminate_connection", "before", ConnectionFailed("busy"))
    with pytest.raises(ConnectionFailed, match="busy"):
        play.detach_volume()

    assert [KEY_A] == play.sessions()
    play.assert_used_by(KEY_A)
    play.detach_volume()
    play.assert_free()


@pytest.mark.parametrize("force", [False, True], ids=["detach", "forced"])
def test_n08_remove_export_fails_in_delete(play: Play, force: bool) -> None:
    """Cinder says ``available`` and leaks the export. volflow brings the connection back and says
    why; forced, the volume stays ``detaching`` until recovery has removed the export.
    """
    play.attach_volume()
    play.refuse("remove_export", "before", ExportFailed("still open"))
    wanted = exceptions.RollbackIncomplete if force else ExportFailed
    with pytest.raises(wanted) as heard:
        play.detach_volume(force=force)
    first = heard.value.__cause__ if force else heard.value
    assert "still open" == str(first)
    assert play.id in play.backend.exports

    if force:
        assert ("detaching", "needs_attention") == (play.volume().status, play.owner().state)
        assert (play.owner().id,) == play.manager.recover().cleaned
    else:
        play.assert_used_by(KEY_A)
        play.detach_volume()
    play.assert_free()


def test_n09_a_death_in_delete_and_a_reboot(play: Play) -> None:
    """Cinder shows ``in-use``, exports again, and never restores the ACL. volflow resumes the
    detach forward, whatever the reboot took away, and nothing is exported again.
    """
    play.attach_volume()
    play.die("remove_export", "after", play.detach_volume)
    owner = play.owner().id

    report = play.reboot()

    assert (owner,) == report.resumed
    assert "ensure_export" not in play.faulty.calls
    assert ["detached"] == [a.attach_status for a in play.attachments(live=False)]
    play.assert_free()


def test_n13_live_migration(shared_play: Play) -> None:
    """Cinder blocks the source while the destination attaches, and forgets the destination's mode.
    In volflow both are attachments of a multiattach volume: a failing destination leaves the
    source's session alone, a deadline ends the overlap, and each keeps its own mode.
    """
    play = shared_play
    source = play.attach_volume(HOST_A, instance_uuid=INSTANCE_1)
    play.log_in(source)
    play.reserve()
    play.initialize(HOST_B)
    assert ("attaching", "attached") == play.status()
    with refused(play.manager, play.backend, InvalidVolume):
        play.begin(source.id)
    play.recover_late()
    assert [KEY_A] == play.sessions()
    play.assert_used_by(KEY_A)
    play.next_process()

    destination = play.attach_volume(HOST_B, instance_uuid=INSTANCE_1, mode="ro")
    play.log_in(destination)
    play.backend.logout(play.id, KEY_A)
    play.detach_volume(source.id)

    assert [KEY_B] == play.sessions()
    (kept,) = play.attachments()
    assert (destination.id, "ro", INSTANCE_1) == (kept.id, kept.attach_mode, kept.instance_uuid)
    play.assert_used_by(KEY_B)


@pytest.mark.parametrize("step", ["terminate_connection", "remove_export", "detach_volume"])
def test_n14_a_delete_races_an_update(shared_play: Play, step: str) -> None:
    """Cinder's delete finds the export not shared, and removes it from under the attachment that
    was made meanwhile. In volflow one operation owns the volume: the second host is refused until
    the first is gone, and then gets an export of its own.
    """
    play = shared_play
    first = play.attach_volume(HOST_A)
    gate = Gate()
    play.driver.on[step] = gate.stop
    delete = Call(play.detach_volume, first.id)
    gate.wait()
    other = play.another_process()
    with pytest.raises(InvalidVolume, match="is detaching, owned by operation"):
        other.attach_volume(play.context, play.id, HOST_B)
    gate.opened.set()
    assert "available" == delete.value().status

    second = other.attach_volume(play.context, play.id, HOST_B)

    play.log_in(second)
    play.backend.logout(play.id, KEY_B)
    play.assert_used_by(KEY_B)


@pytest.mark.parametrize("end", ["deleted", "recovered", "repeated"])
def test_n15_the_database_fails_after_the_driver_succeeded(play: Play, end: str) -> None:
    """Cinder keeps a reserved volume with export and ACL, which a delete cleans up. So does
    volflow's unreserve_volume; recovery and a repeated call go on instead, as nothing is lost.
    """
    play.reserve()
    with play.database_fails_in("initialize_connection"), pytest.raises(exceptions.DatabaseError):
        play.initialize()
    assert {KEY_A} == play.acl()
    assert "attaching" == play.volume().status

    if end == "repeated":
        play.initialize()
        play.attach()
        play.assert_used_by(KEY_A)
        return
    if end == "deleted":
        play.unreserve()
    else:
        assert (play.owner().id,) == play.manager.recover().resumed
        assert [] == play.violations()
        play.recover_late()
    play.assert_free()


@pytest.mark.parametrize("why", ["the database fails", "it cannot be stored", "it is no update"])
def test_n16_the_model_update_cannot_be_saved(play: Play, why: str) -> None:
    """Cinder says ExportFailure and leaks the export. In volflow the export was written down
    before it was made: an update that makes no sense is undone at once, and where the database
    fails, whoever comes next undoes it.
    """
    play.reserve()
    if why == "the database fails":
        with play.database_fails_in("create_export"), pytest.raises(exceptions.DatabaseError):
            play.initialize()
        assert play.id in play.backend.exports
        play.unreserve()
        play.assert_free()
        return
    rubbish = {"it cannot be stored": {"provider_location": "a\0b"}, "it is no update": ["here"]}
    create_export = play.backend.create_export
    play.backend.create_export = lambda *given: (create_export(*given), rubbish[why])[1]
    with pytest.raises(DriverError, match="create_export of backend lab returned"):
        play.initialize()
    play.backend.create_export = create_export
    play.assert_reserved()
    play.unreserve()
    play.assert_free()


def test_n17_the_reply_to_update_is_lost(play: Play) -> None:
    """Cinder's retry gets the same answer, and so does volflow's, without another driver call,
    from another process too, and also where the first one died before it could answer.
    """
    play.reserve()
    info = play.initialize()
    play.next_process()
    play.driver.forget()
    assert info == play.initialize()
    assert [] == play.driver.names
    play.unreserve()

    play.reserve()
    play.die("initialize_connection", "after", play.initialize)
    play.next_process()
    info = play.initialize()
    assert info == play.initialize()
    play.attach()
    play.assert_used_by(KEY_A)
