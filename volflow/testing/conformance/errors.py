"""Errors: of the right kind, and never with a secret in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from volflow.exceptions import DriverError, InvalidConnector
from volflow.models import DriverVolume
from volflow.testing.conformance.bench import Bench
from volflow.testing.conformance.hooks import Hooks, needs
from volflow.testing.scenarios import CONTEXT

SECRET = "Pst4NobodyMaySee"  # noqa: S105 - of no account
AUTH = f"CHAP kitsuser2345 {SECRET}"

Call = Callable[[], Any]


class ErrorTests(Hooks):
    """What a driver may raise."""

    def test_a_bad_connector_is_refused(self, bench: Bench) -> None:
        """When a connector lacks what the driver needs: InvalidConnector, and nothing else."""
        for connector in bench.hooks.bad_connectors:
            error = _error_of(partial(bench.driver.validate_connector, connector))
            assert isinstance(error, InvalidConnector), f"{connector} gives {error!r}"

    def test_a_good_connector_is_taken(self, bench: Bench) -> None:
        """When a connector has all that is needed, it is taken, and nothing is done yet."""
        for connector in (bench.host_a, bench.host_b):
            bench.driver.validate_connector(connector)
            assert bench.key(connector), "the connector has no key"
        assert bench.key(bench.host_a) != bench.key(bench.host_b), "the hosts have one key"
        assert bench.exports() == []

    def test_a_volume_that_is_not_there_is_a_driver_error(self, bench: Bench) -> None:
        """When the backend has no such volume, exporting it is refused and leaves nothing."""
        for name, call in _exporting(bench, bench.blank()).items():
            error = _error_of(call)
            assert isinstance(error, DriverError), f"{name} gives {error!r}"
        assert bench.exports() == []

    def test_no_error_names_a_secret(self, bench: Bench) -> None:
        """When calls fail, neither text nor arguments nor causes hold the CHAP secret (G8)."""
        missing = replace(bench.blank(), provider_auth=AUTH)
        created = replace(bench.created(), provider_auth=AUTH)
        elsewhere = replace(created, provider_location="203.0.113.1:1,1 iqn.2001-04.com.x:y 7")
        odd = replace(created, provider_auth=f"CHAP {SECRET}")
        for volume in (missing, created, elsewhere, odd):
            for call in (*_exporting(bench, volume).values(), *_undoing(bench, volume).values()):
                _holds_no_secret(_error_of(call))
            bench.driver.remove_export(CONTEXT, replace(volume, provider_auth=None))

    @needs("make_broken_driver")
    def test_a_backend_that_is_away_is_a_driver_error(self, bench: Bench) -> None:
        """When the backend cannot be reached, no call pretends to have worked."""
        volume = replace(bench.exported(), provider_auth=AUTH)
        broken = bench.hooks.make_broken_driver(bench.place)
        calls: dict[str, Call] = {
            "check_for_setup_error": broken.check_for_setup_error,
            "list_exports": lambda: list(broken.list_exports()),
            "create_export": lambda: broken.create_export(CONTEXT, volume, bench.host_a),
            "ensure_export": lambda: broken.ensure_export(CONTEXT, volume),
            "remove_export": lambda: broken.remove_export(CONTEXT, volume),
            "initialize_connection": lambda: broken.initialize_connection(volume, bench.host_a),
            "terminate_connection": lambda: broken.terminate_connection(volume, bench.host_a),
        }
        for name, call in calls.items():
            error = _error_of(call)
            assert isinstance(error, DriverError), f"{name} gives {error!r}"
            _holds_no_secret(error)
        assert set() == bench.acl(volume)


def _exporting(bench: Bench, volume: DriverVolume) -> dict[str, Call]:
    driver = bench.driver
    return {
        "initialize_connection": lambda: driver.initialize_connection(volume, bench.host_a),
        "create_export": lambda: driver.create_export(CONTEXT, volume, bench.host_a),
        "ensure_export": lambda: driver.ensure_export(CONTEXT, volume),
    }


def _undoing(bench: Bench, volume: DriverVolume) -> dict[str, Call]:
    driver = bench.driver
    return {
        "terminate_connection": lambda: driver.terminate_connection(volume, bench.host_a),
        "remove_export": lambda: driver.remove_export(CONTEXT, volume),
    }


def _error_of(call: Call) -> Exception | None:
    try:
        call()
    except Exception as e:  # noqa: BLE001 - what kind it is, is what is asked
        return e
    return None


def _holds_no_secret(error: BaseException | None) -> None:
    link, passed = error, set()
    while link is not None and id(link) not in passed:
        passed.add(id(link))
        if SECRET in f"{link} {link!r} {link.args!r}":
            # Without the error itself, whose text would be in the report.
            pytest.fail(f"G8: a {type(error).__name__} names the CHAP secret", pytrace=False)
        link = link.__cause__ or link.__context__
