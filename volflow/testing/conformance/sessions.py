"""Sessions: who can log in, who is logged in, and that nobody in use is cut off (G4)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from volflow.exceptions import ConnectionInUse, VolflowError
from volflow.models import ConnectionInfo, Connector, DriverVolume
from volflow.testing.conformance.bench import Bench
from volflow.testing.conformance.hooks import Hooks, needs
from volflow.testing.conformance.stage import UNUSED, manager_on
from volflow.testing.scenarios import BACKEND, CONTEXT

Call = Callable[[Bench, DriverVolume], Any]


def _another_host(bench: Bench, volume: DriverVolume) -> None:
    bench.connect(volume, bench.host_b)
    bench.driver.terminate_connection(volume, bench.host_b, force=True)


REPEATED: dict[str, Call] = {
    "create_export": lambda bench, v: bench.driver.create_export(CONTEXT, v, bench.host_a),
    "ensure_export": lambda bench, v: bench.driver.ensure_export(CONTEXT, v),
    "initialize_connection": lambda bench, v: bench.connect(v, bench.host_a),
    "another host's": _another_host,
}
"""What may happen to a volume that a host uses."""


class SessionTests(Hooks):
    """What holds where a host can really log in."""

    @needs("login", "logout")
    def test_a_host_that_was_let_in_is_listed_until_it_goes(self, bench: Bench) -> None:
        """When a host logs in and out, its session is seen by every process, or none can tell."""
        volume = bench.exported()
        info = bench.connect(volume, bench.host_a)
        bench.hooks.login(info, bench.host_a)
        bench.driver = bench.next_driver()
        assert bench.sessions(volume) in (None, [bench.key(bench.host_a)])
        bench.hooks.logout(info, bench.host_a)
        _wait_for_none(bench, volume)

    @needs("login", "logout")
    def test_only_the_right_secret_opens(self, bench: Bench) -> None:
        """When a host has another secret or another user, it is not let in."""
        volume = bench.exported()
        info = bench.connect(volume, bench.host_a)
        for key in {"auth_username", "auth_password"} & set(info["data"]):
            wrong = {**info, "data": {**info["data"], key: "wrong23456wrong7"}}
            _is_refused(bench, wrong, bench.host_a)
        bench.hooks.login(info, bench.host_a)
        bench.hooks.logout(info, bench.host_a)

    @needs("login", "logout")
    def test_only_who_has_access_gets_in(self, bench: Bench) -> None:
        """When a host was given no access, or lost it, the right secret does not help it."""
        volume = bench.exported()
        info = bench.connect(volume, bench.host_a)
        _is_refused(bench, info, bench.host_b)
        bench.driver.terminate_connection(volume, bench.host_a, force=False)
        _is_refused(bench, info, bench.host_a)
        bench.connect(volume, bench.host_a)
        bench.driver.remove_export(CONTEXT, volume)
        _is_refused(bench, info, bench.host_a)

    @needs("login", "logout")
    def test_the_undo_of_a_removed_export_lets_the_host_in_again(self, bench: Bench) -> None:
        """When a detach is undone, what the host was told before works again."""
        volume = bench.exported()
        info = bench.connect(volume, bench.host_a)
        bench.driver.terminate_connection(volume, bench.host_a, force=False)
        bench.driver.remove_export(CONTEXT, volume)
        bench.driver.ensure_export(CONTEXT, volume)
        bench.connect(volume, bench.host_a)
        bench.hooks.login(info, bench.host_a)
        bench.hooks.logout(info, bench.host_a)

    @needs("login", "logout")
    @pytest.mark.parametrize("repeated_call", REPEATED.values(), ids=REPEATED)
    def test_what_is_repeated_cuts_nobody_off(self, bench: Bench, repeated_call: Call) -> None:
        """When a host is logged in, it stays so, and what it was told opens once more."""
        volume = bench.exported(multiattach=True)
        info = bench.connect(volume, bench.host_a)
        bench.hooks.login(info, bench.host_a)
        live = bench.sessions(volume)
        repeated_call(bench, volume)
        assert live == bench.sessions(volume), "G4: the session was cut"
        bench.hooks.logout(info, bench.host_a)
        bench.hooks.login(info, bench.host_a)
        bench.hooks.logout(info, bench.host_a)

    @needs("login", "logout")
    def test_taking_access_away_ends_the_session(self, bench: Bench) -> None:
        """When a host in use is detached all the same, its session does not outlive its access."""
        volume = bench.exported()
        info = bench.connect(volume, bench.host_a)
        bench.hooks.login(info, bench.host_a)
        bench.driver.terminate_connection(volume, bench.host_a, force=True)
        _wait_for_none(bench, volume)
        with suppress(Exception):  # the host may notice, and complain
            bench.hooks.logout(info, bench.host_a)

    @needs("login", "logout")
    def test_a_host_in_use_is_refused_to_be_cut_off(self, bench: Bench) -> None:
        """When the driver has terminate_unused_connection, it spares a live session."""
        terminate_unused = getattr(bench.driver, UNUSED, None)
        if terminate_unused is None:
            return  # the core then looks at list_exports first
        volume = bench.exported()
        info = bench.connect(volume, bench.host_a)
        bench.hooks.login(info, bench.host_a)
        for _ in range(2):
            with pytest.raises(ConnectionInUse):
                terminate_unused(volume, bench.host_a)
        key = bench.key(bench.host_a)
        assert ({key}, [key]) == (bench.acl(volume), bench.sessions(volume)), "G4: it was cut off"
        bench.hooks.logout(info, bench.host_a)
        _wait_for_none(bench, volume)
        for _ in range(2):
            terminate_unused(volume, bench.host_a)
            assert set() == bench.acl(volume)
        bench.driver.remove_export(CONTEXT, volume)
        terminate_unused(volume, bench.host_a)

    @needs("login", "logout")
    def test_an_attach_in_use_is_not_undone(self, bench: Bench) -> None:
        """When a host is logged in, unreserve_volume waits for its logout, and then ends (G4)."""
        with manager_on(bench) as manager:
            volume = manager.create_volume(CONTEXT, 1, BACKEND)
            manager.reserve_volume(CONTEXT, volume.id)
            info = manager.initialize_connection(CONTEXT, volume.id, bench.host_a)
            bench.hooks.login(info, bench.host_a)
            with pytest.raises(VolflowError) as caught:
                manager.unreserve_volume(CONTEXT, volume.id)
            assert isinstance(caught.value.__cause__ or caught.value, ConnectionInUse)
            key = bench.key(bench.host_a)
            (export,) = bench.exports()
            sessions = (key,) if export.sessions is None else tuple(export.sessions)
            assert ((key,), (key,)) == (export.acl, sessions), "G4: it was cut off"
            bench.hooks.logout(info, bench.host_a)
            bench.until(lambda: not any(e.sessions for e in bench.exports()), "it is logged out")
            if export.sessions is not None:
                manager.recover()
            else:
                manager.terminate_connection(CONTEXT, volume.id, bench.host_a, force=True)
            assert bench.exports() == [], "G2: the undo left something"
            manager.delete_volume(CONTEXT, volume.id)


def _is_refused(bench: Bench, info: ConnectionInfo, connector: Connector) -> None:
    caught: Any = None
    try:
        bench.hooks.login(info, connector)
    except Exception as e:  # noqa: BLE001 - whatever the host's software raises
        caught = e
    if caught is None:
        bench.hooks.logout(info, connector)
        pytest.fail(f"{connector} was let in, and has no right to", pytrace=False)


def _wait_for_none(bench: Bench, volume: DriverVolume) -> None:
    bench.until(lambda: not bench.sessions(volume), "the session is gone")
