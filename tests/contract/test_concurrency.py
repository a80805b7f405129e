"""Many at once: threads, managers and processes on one database."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import volflow
from tests.contract.lab import Call, is_clean, new_id
from volflow import exceptions
from volflow.drivers.local import LocalDriver
from volflow.testing.invariants import violations

THREADS = 8


def host(number):
    return {"initiator": f"iqn.1994-05.org.example:{number}", "host": f"h{number}"}


@pytest.fixture
def overlaps(driver):
    """Volumes whose driver calls overlapped; wrapped around every call with an effect."""
    inside, found, lock = Counter(), [], threading.Lock()
    base = driver.driver

    class Watching:
        def __getattr__(self, name):
            method = getattr(base, name)
            if not callable(method) or name in ("list_exports", "do_setup"):
                return method

            def call(*arguments, **options):
                ids = [a.id for a in arguments if hasattr(a, "provider_auth")]
                with lock:
                    inside.update(ids)
                    found.extend(i for i in ids if inside[i] > 1 and name not in _TOLD)
                try:
                    return method(*arguments, **options)
                finally:
                    with lock:
                        inside.subtract(ids)

            return call

    driver.driver = Watching()
    return found


_TOLD = ("attach_volume", "detach_volume")


def at_once(function, count=THREADS):
    """Call a function of a number in threads that begin together; what each returned or raised."""
    barrier = threading.Barrier(count)

    def begin(number):
        barrier.wait(30)
        return function(number)

    return [call.outcome() for call in [Call(begin, number) for number in range(count)]]


def test_threads_attach_and_detach_different_volumes_at_once(manager, context, backend, overlaps):
    """When eight threads have a volume each, each gets what it would get alone."""
    ids = [manager.create_volume(context, 1, "lab").id for _ in range(THREADS)]

    def work(number):
        for _ in range(3):
            made = manager.attach_volume(context, ids[number], host(number), host_name="h")
            backend.login(made.connection_info, host(number)["initiator"])
            backend.logout(ids[number], host(number)["initiator"])
            manager.detach_volume(context, ids[number])
        return "done"

    assert ["done"] * THREADS == at_once(work)
    assert all(is_clean(backend, i) for i in ids)
    assert violations(manager, backend, "lab") == []


def test_one_of_many_threads_gets_the_volume(manager, context, volume, backend):
    """When eight hosts attach one volume at once, one has it and the others hear why not."""
    outcomes = at_once(
        lambda n: manager.attach_volume(context, volume.id, host(n), host_name=f"h{n}")
    )

    (winner,) = [o for o in outcomes if isinstance(o, volflow.Attachment)]
    losers = [o for o in outcomes if o is not winner]
    assert {exceptions.InvalidVolume} == {type(o) for o in losers}
    assert [winner] == manager.list_attachments(context, volume.id)
    assert {winner.connector["initiator"]} == backend.acls[volume.id]


def test_one_of_many_threads_gets_the_reservation(manager, context, volume):
    """When eight callers reserve one volume at once, one operation begins."""
    outcomes = at_once(lambda n: manager.reserve_volume(context, volume.id))

    assert Counter({exceptions.InvalidVolume: THREADS - 1, volflow.Volume: 1}) == Counter(
        type(o) for o in outcomes
    )


def test_threads_with_one_operation_id_share_one_attachment(manager, context, volume, driver):
    """When eight threads repeat one call at once, all get the one answer."""
    key = new_id()

    outcomes = at_once(
        lambda n: manager.attach_volume(
            context, volume.id, host(0), host_name="h", operation_id=key
        )
    )

    assert [outcomes[0]] * THREADS == outcomes
    assert isinstance(outcomes[0], volflow.Attachment)
    assert driver.names.count("create_export") == 1


@pytest.mark.parametrize("managers", [1, 2])
def test_threads_on_one_volume_keep_it_in_order(
    open_manager, context, backend, overlaps, managers
):
    """When eight threads fight for a volume, each wins or hears InvalidVolume; all is in order."""
    opened = [open_manager() for _ in range(managers)]
    volume = opened[0].create_volume(context, 1, "lab")

    def work(number):
        mine = opened[number % managers]
        for _ in range(4):
            with suppress(exceptions.InvalidVolume):
                made = mine.attach_volume(context, volume.id, host(number), host_name="h")
                (only,) = mine.list_attachments(context, volume.id)
                assert only == made
                mine.detach_volume(context, volume.id, made.id)
        return "done"

    assert ["done"] * THREADS == at_once(work)
    assert overlaps == []
    assert opened[0].get_volume(context, volume.id).status == "available"
    assert is_clean(backend, volume.id)
    assert violations(opened[0], backend, "lab") == []


@pytest.mark.parametrize("managers", [1, 2])
def test_threads_share_a_volume_of_several_hosts(
    open_manager, context, backend, overlaps, managers
):
    """When eight hosts share a volume and come and go, none cuts another."""
    opened = [open_manager() for _ in range(managers)]
    volume = opened[0].create_volume(context, 1, "lab", multiattach=True)

    def work(number):
        mine, key = opened[number % managers], host(number)["initiator"]
        made = persist(mine.attach_volume, context, volume.id, host(number), host_name="h")
        backend.login(made.connection_info, key)
        if number % 2:
            backend.logout(volume.id, key)
            persist(mine.detach_volume, context, volume.id, made.id)
        return "done"

    assert ["done"] * THREADS == at_once(work)
    left = {host(n)["initiator"] for n in range(0, THREADS, 2)}
    assert left == backend.acls[volume.id]
    assert left == set(backend.sessions[volume.id])
    assert overlaps == []
    assert violations(opened[0], backend, "lab") == []


def persist(function, *arguments, **options):
    """Repeat a call while the volume has another operation, as the sentence of it advises."""
    for _ in range(2000):
        try:
            return function(*arguments, **options)
        except exceptions.InvalidVolume:
            threading.Event().wait(0.005)
    raise AssertionError("the volume was never free")


def test_recovery_beside_callers_does_no_harm(open_manager, context, backend, overlaps):
    """When recovery runs all the time beside callers, every call works as without."""
    manager, other = open_manager(), open_manager()
    ids = [manager.create_volume(context, 1, "lab").id for _ in range(4)]

    def work(number):
        if number < 2:
            for _ in range(10):
                other.recover()
            return "done"
        for _ in range(3):
            manager.attach_volume(context, ids[number - 2], host(number), host_name="h")
            manager.detach_volume(context, ids[number - 2])
        return "done"

    assert ["done"] * 6 == at_once(work, 6)
    assert overlaps == []
    assert violations(manager, backend, "lab") == []


class Others(NamedTuple):
    """What eight processes did that opened one new database at once, and where."""

    home: Path
    said: list[dict[str, Any]]


def run_others(*commands: list[str]) -> list[dict[str, Any]]:
    """Start processes, let them go at once, and return what each says."""
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.contract.other_process", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(volflow.__file__).parents[1],
        )
        for command in commands
    ]
    try:
        for child in children:
            assert child.stdout.readline() == "ready\n", child.stderr.read()
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        said = []
        for child in children:
            out, err = child.communicate(timeout=120)
            assert child.returncode == 0, err
            said.append(json.loads(out))
    finally:
        for child in children:
            child.kill()
            child.communicate()
    return said


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    home = tmp_path_factory.mktemp("others")
    command = ["write", f"sqlite:///{home}/volflow.db", "4"]
    return Others(home, run_others(*[command] * THREADS))


@pytest.mark.xdist_group("processes")
def test_processes_that_open_a_new_database_at_once_agree(others, context):
    """When eight processes make one database, there is one schema and one key for all."""
    with volflow.VolumeManager(
        f"sqlite:///{others.home}/volflow.db", {}, recover=False
    ) as manager:
        for one in others.said:
            found = manager.get_attachment(context, one["kept"])
            assert one["secret"] == found.connection_info["data"]["auth_password"]


@pytest.mark.xdist_group("processes")
def test_writing_processes_do_not_see_a_locked_database(others):
    """When eight processes write at once, each of their calls succeeds."""
    assert [] == [error for one in others.said for error in one["errors"]]
    assert [4] * THREADS == [len(one["made"]) for one in others.said]


@pytest.mark.xdist_group("processes")
def test_processes_leave_a_sound_database(others):
    """When eight processes have written, the file passes SQLite's own check."""
    import sqlite3

    with closing(sqlite3.connect(others.home / "volflow.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.xdist_group("processes")
@pytest.mark.sqlite
def test_two_processes_on_one_volume_keep_it_in_order(home, url, tmp_path, context):
    """When two processes fight for a volume, one attachment is there at a time; none is left."""
    images = tmp_path / "images"
    driver = LocalDriver(images)
    with volflow.VolumeManager(url, {"lab": driver}, recover=False) as manager:
        volume = manager.create_volume(context, 1, "lab")

        said = run_others(
            *[["contend", url, str(images), volume.id, name, "15"] for name in ("a", "b")]
        )

        assert [] == [error for one in said for error in one["errors"]]
        assert all(one["won"] + one["lost"] == 15 for one in said)
        assert sum(one["won"] for one in said) >= 1
        assert manager.get_volume(context, volume.id).status == "available"
        assert list(driver.list_exports()) == []
        assert violations(manager, driver, "lab") == []
