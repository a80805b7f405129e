"""What the core promises a driver: which calls, with what, in which order, and when not."""

from __future__ import annotations

import inspect
import logging
import re
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from tests.contract.lab import (
    HOST_A,
    HOST_B,
    INSTANCE_1,
    INSTANCE_2,
    KEY_A,
    Telling,
    is_clean,
)
from volflow import exceptions
from volflow.drivers import Export, VolumeDriver
from volflow.exceptions import ConnectionFailed, ExportFailed
from volflow.testing import Crash, Fault, MemoryDriver


class Interface:
    """The calls, as the interface spells them."""

    def do_setup(self, context): ...
    def check_for_setup_error(self): ...
    def create_volume(self, context, volume): ...
    def delete_volume(self, context, volume): ...
    def validate_connector(self, connector): ...
    def create_export(self, context, volume, connector): ...
    def ensure_export(self, context, volume): ...
    def remove_export(self, context, volume): ...
    def initialize_connection(self, volume, connector): ...
    def terminate_connection(self, volume, connector, force=False): ...
    def attach_volume(self, context, volume, instance_uuid, host_name, mountpoint): ...
    def detach_volume(self, context, volume, attachment): ...
    def list_exports(self): ...


CALLS = [name for name in vars(Interface) if not name.startswith("_")]
FIELDS = [
    "id",
    "name",
    "size_gib",
    "backend",
    "status",
    "attach_status",
    "multiattach",
    "readonly",
    "provider_location",
    "encryption_key_id",
    "qos_specs",
    "operation_id",
    "created_at",
    "updated_at",
    "provider_auth",
]


def named(driver: Telling, name: str) -> dict[str, Any]:
    """The arguments of a method's last call, by the names of the interface."""
    arguments, options = driver.last(name)
    bound = inspect.signature(getattr(Interface, name)).bind(None, *arguments, **options)
    bound.apply_defaults()
    return dict(bound.arguments)


@pytest.mark.parametrize("name", CALLS)
def test_the_base_class_has_every_call_of_the_interface(name):
    """When a driver subclasses VolumeDriver, it overrides calls of these names and arguments."""
    expected = inspect.signature(getattr(Interface, name)).parameters
    found = inspect.signature(getattr(VolumeDriver, name)).parameters

    assert list(expected) == list(found)


def test_an_export_lives_in_volflow_drivers():
    """When a driver lists its exports, it makes them of a volume id, initiators and sessions."""
    export = Export(volume_id="v", initiators=("i",), sessions=())

    assert Export("v", ("i",), ()) == export
    with pytest.raises(FrozenInstanceError):
        export.volume_id = "w"


def test_a_driver_is_set_up_and_checked_before_anything_else(open_manager, driver):
    """When a manager opens, do_setup and then check_for_setup_error are called, once each."""
    open_manager()

    assert ["do_setup", "check_for_setup_error"] == [name for name, _, _ in driver.heard][:2]
    assert set(named(driver, "do_setup")) == {"self", "context"}


@pytest.mark.parametrize("call", ["do_setup", "check_for_setup_error"])
@pytest.mark.parametrize("kind", [exceptions.DriverError, OSError])
def test_a_driver_that_cannot_be_set_up_is_a_driver_error(open_manager, faulty, call, kind):
    """When setup fails, the manager does not open, and says what the driver said."""
    error = kind("no pool")
    faulty.faults = [Fault(call, "before", error)]

    with pytest.raises(exceptions.DriverError, match="no pool") as caught:
        open_manager()

    assert caught.value is error or caught.value.__cause__ is error


def test_an_attach_calls_what_it_needs_in_order(manager, context, volume, driver):
    """When a volume is attached: export, access, notification; nothing else."""
    manager.attach_volume(context, volume.id, HOST_A, INSTANCE_1, "a", "/dev/vdb")

    assert ["create_export", "initialize_connection", "attach_volume"] == driver.names


def test_a_detach_calls_what_it_needs_in_order(manager, context, attached, driver):
    """When a volume is detached: access, export, notification; nothing else."""
    manager.detach_volume(context, attached.id)

    assert ["terminate_connection", "remove_export", "detach_volume"] == driver.names


def test_the_six_calls_reach_the_driver_when_they_say(manager, context, volume, driver):
    """When each of the six calls is made, the driver hears of what belongs to it."""

    def heard(name, *arguments):
        driver.forget()
        getattr(manager, name)(context, volume.id, *arguments)
        return driver.names

    assert heard("reserve_volume") == []
    assert heard("initialize_connection", HOST_A) == ["create_export", "initialize_connection"]
    assert heard("attach", INSTANCE_1, "a", None) == ["attach_volume"]
    assert heard("begin_detaching") == []
    assert heard("terminate_connection", HOST_A) == ["terminate_connection"]
    assert heard("detach") == ["remove_export", "detach_volume"]


def test_an_undo_runs_from_the_last_effect_to_the_first(manager, context, volume, driver):
    """When a reservation is given up, the access goes before the export."""
    manager.reserve_volume(context, volume.id)
    manager.initialize_connection(context, volume.id, HOST_A)
    driver.forget()

    manager.unreserve_volume(context, volume.id)

    assert ["terminate_connection", "remove_export"] == driver.names


def test_the_connector_is_validated_before_any_effect(manager, context, volume, driver):
    """When a connection is asked for, validate_connector comes first and gets the connector."""
    manager.attach_volume(context, volume.id, HOST_A, host_name="a")

    names = [name for name, _, _ in driver.heard]
    assert names.index("validate_connector") < names.index("create_export")
    assert HOST_A == named(driver, "validate_connector")["connector"]


def test_what_validate_connector_says_is_invalid_connector(manager, context, volume, faulty):
    """When the driver refuses the connector, the caller gets its InvalidConnector."""
    faulty.faults = [
        Fault("validate_connector", "before", exceptions.InvalidConnector("I want an nqn"))
    ]

    with pytest.raises(exceptions.InvalidConnector, match="I want an nqn"):
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")


def test_the_calls_get_the_arguments_of_the_interface(manager, context, volume, driver):
    """When the core calls the driver, each argument is what the interface says."""
    made = manager.attach_volume(context, volume.id, HOST_A, INSTANCE_1, "a", "/dev/vdb")
    export = named(driver, "create_export")
    assert (export["context"].request_id, export["volume"].id, export["connector"]) == (
        context.request_id,
        volume.id,
        HOST_A,
    )
    connection = named(driver, "initialize_connection")
    assert (connection["volume"].id, connection["connector"]) == (volume.id, HOST_A)
    told = named(driver, "attach_volume")
    assert told["context"].request_id == context.request_id
    assert (told["volume"].id, told["instance_uuid"], told["host_name"], told["mountpoint"]) == (
        volume.id,
        INSTANCE_1,
        "a",
        "/dev/vdb",
    )

    manager.detach_volume(context, volume.id)
    access = named(driver, "terminate_connection")
    assert (access["volume"].id, access["connector"], access["force"]) == (
        volume.id,
        HOST_A,
        False,
    )
    assert named(driver, "remove_export")["volume"].id == volume.id
    told = named(driver, "detach_volume")
    assert (told["volume"].id, told["attachment"].id) == (volume.id, made.id)
    assert (told["attachment"].instance_uuid, told["attachment"].attached_host) == (
        INSTANCE_1,
        "a",
    )

    manager.delete_volume(context, volume.id)
    assert named(driver, "delete_volume")["volume"].id == volume.id


def test_every_volume_has_its_fields_by_attribute_and_by_key(manager, context, driver):
    """When a driver reads a field, both spellings give it, provider_auth included."""
    made = manager.create_volume(
        context, 2, "lab", name="n", qos_specs={"a": 1}, encryption_key_id="k"
    )
    manager.attach_volume(context, made.id, HOST_A, host_name="a")
    manager.detach_volume(context, made.id)
    manager.delete_volume(context, made.id)

    given = driver.volumes_given()
    assert {name for name, _ in given} == {
        "create_volume",
        "create_export",
        "initialize_connection",
        "attach_volume",
        "terminate_connection",
        "remove_export",
        "detach_volume",
        "delete_volume",
    }
    for _, seen in given:
        assert [getattr(seen, field) for field in FIELDS] == [seen[field] for field in FIELDS]
        assert (seen.id, seen.name, seen["size_gib"]) == (made.id, "n", 2)
        assert (seen["qos_specs"], seen.encryption_key_id) == ({"a": 1}, "k")


def test_the_account_is_made_before_the_export(manager, context, volume, driver):
    """When create_export is called, provider_auth has three words, and they are used."""
    made = manager.attach_volume(context, volume.id, HOST_A, host_name="a")

    method, user, secret = named(driver, "create_export")["volume"].provider_auth.split(" ")
    assert method == "CHAP"
    data = made.connection_info["data"]
    assert (user, secret) == (data["auth_username"], data["auth_password"])
    assert len(secret) >= 12


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_account_is_recorded_before_the_export(
    open_manager, context, volume, driver, faulty, when
):
    """When the process dies around create_export, its successor has the same account."""
    first = open_manager()
    faulty.faults = [Fault("create_export", when, Crash)]
    with pytest.raises(Crash):
        first.attach_volume(context, volume.id, HOST_A, host_name="a")
    account = named(driver, "create_export")["volume"].provider_auth
    first.close()
    driver.forget()

    open_manager().recover()

    seen = [v.provider_auth for name, v in driver.volumes_given() if "export" in name]
    assert account.startswith("CHAP ")
    assert {account} == set(seen)


def test_a_driver_may_return_another_account(manager, context, volume, driver, monkeypatch):
    """When create_export returns credentials and location, those are recorded and used."""
    monkeypatch.setattr(
        driver,
        "create_export",
        lambda context, volume, connector: {
            "provider_location": "10.0.0.1:3260,1 iqn.x 0",
            "provider_auth": "CHAP arrays-own its-own-secret",
        },
        raising=False,
    )
    seen = []

    def initialize(volume, connector):
        seen.append((volume.provider_location, volume.provider_auth))
        return {"driver_volume_type": "iscsi", "data": {"target_lun": 0}}

    monkeypatch.setattr(driver, "initialize_connection", initialize, raising=False)
    manager.reserve_volume(context, volume.id)

    manager.initialize_connection(context, volume.id, HOST_A)

    assert [("10.0.0.1:3260,1 iqn.x 0", "CHAP arrays-own its-own-secret")] == seen
    found = manager.get_volume(context, volume.id)
    assert found.provider_location == "10.0.0.1:3260,1 iqn.x 0"


def test_a_driver_that_returns_no_model_update_keeps_the_account(
    manager, context, volume, driver, backend, monkeypatch
):
    """When create_export returns None, the account that the core made stays."""
    monkeypatch.setattr(
        driver,
        "create_export",
        lambda context, volume, connector: (
            backend.create_export(context, volume, connector) and None
        ),
        raising=False,
    )

    made = manager.attach_volume(context, volume.id, HOST_A, host_name="a")

    backend.login(made.connection_info, KEY_A)
    assert manager.get_volume(context, volume.id).provider_location is None


def test_the_export_is_not_made_again_for_a_known_one(manager, context, volume, driver):
    """When the call is repeated while the export is known, create_export is not called."""
    manager.reserve_volume(context, volume.id)
    for _ in range(3):
        manager.initialize_connection(context, volume.id, HOST_A)

    assert driver.names.count("create_export") == 1


def test_location_and_account_are_new_after_the_last_detach(manager, context, attached, driver):
    """When a volume is attached again later, the driver gets no location and a new account."""
    (old,) = manager.list_attachments(context, attached.id)
    manager.detach_volume(context, attached.id)

    manager.attach_volume(context, attached.id, HOST_B, host_name="b")

    seen = named(driver, "create_export")["volume"]
    assert seen.provider_location is None
    assert old.connection_info["data"]["auth_password"] not in seen.provider_auth


def test_a_rolled_back_attach_clears_location_and_account(
    manager, context, volume, driver, faulty
):
    """When an attach failed after its export, the next one starts from nothing."""
    faulty.faults = [Fault("initialize_connection", "before", ConnectionFailed("no"))]
    with pytest.raises(ConnectionFailed):
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")
    first = named(driver, "create_export")["volume"].provider_auth
    manager.attach_volume(context, volume.id, HOST_A, host_name="a")

    seen = named(driver, "create_export")["volume"]
    assert seen.provider_location is None
    assert first != seen.provider_auth


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_undo_of_a_detach_is_ensure_export_as_recorded(
    manager, context, attached, driver, faulty, backend, when
):
    """When remove_export fails, ensure_export gets the recorded location and credentials."""
    account = backend.exports[attached.id]
    faulty.faults = [Fault("remove_export", when, ExportFailed("no"))]

    with pytest.raises(ExportFailed):
        manager.detach_volume(context, attached.id)

    seen = named(driver, "ensure_export")["volume"]
    assert (seen.provider_location, seen.provider_auth) == (attached.provider_location, account)
    assert "create_export" not in driver.names
    assert driver.names.index("ensure_export") < driver.names.index("initialize_connection")


def test_with_one_of_two_detached_the_export_is_not_removed(manager, context, shared, driver):
    """When another attachment needs the export, remove_export is not called."""
    first = manager.attach_volume(context, shared.id, HOST_A, INSTANCE_1)
    second = manager.attach_volume(context, shared.id, HOST_B, INSTANCE_2)
    driver.forget()
    manager.detach_volume(context, shared.id, first.id)
    assert driver.names == ["terminate_connection", "detach_volume"]
    driver.forget()

    manager.detach_volume(context, shared.id, second.id)

    assert driver.names == ["terminate_connection", "remove_export", "detach_volume"]


class ByNqn(MemoryDriver):
    """A driver whose ACLs are keyed by the connector's nqn."""

    def validate_connector(self, connector):
        if not connector.get("nqn"):
            raise exceptions.InvalidConnector("the connector has no nqn")

    def initiator_of(self, connector):
        return connector["nqn"]

    def initialize_connection(self, volume, connector):
        return super().initialize_connection(volume, {"initiator": connector["nqn"]})

    def terminate_connection(self, volume, connector, force=False):
        super().terminate_connection(volume, {"initiator": connector["nqn"]}, force)


def test_a_driver_may_name_the_key_of_its_acl(open_manager, context):
    """When a driver has initiator_of, two connectors with its key are one initiator."""
    backend = ByNqn()
    driver = Telling(backend)
    manager = open_manager(drivers={"lab": driver})
    made = manager.create_volume(context, 1, "lab", multiattach=True)
    first = manager.attach_volume(context, made.id, {"nqn": "nqn.a", "ip": "1"}, INSTANCE_1)
    second = manager.attach_volume(context, made.id, {"nqn": "nqn.a", "ip": "2"}, INSTANCE_2)
    driver.forget()

    manager.detach_volume(context, made.id, first.id)
    assert "terminate_connection" not in driver.names
    assert {"nqn.a"} == backend.acls[made.id]

    manager.detach_volume(context, made.id, second.id)
    assert is_clean(backend, made.id)


def test_another_key_of_the_acl_is_another_initiator(open_manager, context):
    """When the driver's keys differ, the reservation serves the first one only."""
    manager = open_manager(drivers={"lab": ByNqn()})
    made = manager.create_volume(context, 1, "lab")
    manager.reserve_volume(context, made.id)
    same = {"initiator": KEY_A}
    manager.initialize_connection(context, made.id, {**same, "nqn": "nqn.a"})

    with pytest.raises(exceptions.InvalidVolume):
        manager.initialize_connection(context, made.id, {**same, "nqn": "nqn.b"})


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("error", [exceptions.DriverError("deaf"), RuntimeError("deaf")])
def test_a_failing_notification_is_logged_and_never_raised(
    manager, context, volume, faulty, backend, caplog, when, error
):
    """When attach_volume and detach_volume of the driver fail, the calls succeed."""
    faulty.faults = [Fault("attach_volume", when, error), Fault("detach_volume", when, error)]
    with caplog.at_level(logging.WARNING):
        assert manager.attach_volume(context, volume.id, HOST_A, host_name="a")
        assert "deaf" in caplog.text
        caplog.clear()
        assert manager.detach_volume(context, volume.id).status == "available"
        assert "deaf" in caplog.text

    assert is_clean(backend, volume.id)


def test_notifications_run_before_the_last_commit(open_manager, manager, context, volume, driver):
    """When the driver is told, others still see the volume in transit."""
    other = open_manager()
    seen = []
    for name in ("attach_volume", "detach_volume"):
        driver.on[name] = lambda *_: seen.append(other.get_volume(context, volume.id).status)

    manager.attach_volume(context, volume.id, HOST_A, host_name="a")
    manager.detach_volume(context, volume.id)

    assert ["attaching", "detaching"] == seen


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", ["attach_volume", "detach_volume"])
def test_a_notification_is_repeated_after_a_death(
    open_manager, context, volume, driver, faulty, when, name
):
    """When the process dies in a notification, recovery tells the driver again."""
    first = open_manager()
    if name == "detach_volume":
        first.attach_volume(context, volume.id, HOST_A, host_name="a")
    faulty.faults = [Fault(name, when, Crash)]
    steps = {
        "attach_volume": lambda: first.attach_volume(context, volume.id, HOST_A, host_name="a"),
        "detach_volume": lambda: first.detach_volume(context, volume.id),
    }
    with pytest.raises(Crash):
        steps[name]()
    first.close()
    driver.forget()

    successor = open_manager()
    successor.recover()

    assert name in driver.names
    expected = "in-use" if name == "attach_volume" else "available"
    assert successor.get_volume(context, volume.id).status == expected


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        [],
        "iscsi",
        {"driver_volume_type": "iscsi"},
        {"driver_volume_type": "iscsi", "data": None},
        {"driver_volume_type": None, "data": {}},
        {"driver_volume_type": "iscsi", "data": {"x": object()}},
        {"driver_volume_type": "iscsi", "data": {"x": float("nan")}},
        {"driver_volume_type": "iscsi", "data": {"x": b"bytes"}},
    ],
    ids=lambda answer: re.sub(r" at 0x\w+", "", repr(answer)),
)
def test_an_answer_that_is_no_connection_info_is_a_driver_error(
    manager, context, volume, backend, driver, monkeypatch, answer
):
    """When the driver returns nonsense: DriverError, and what was done is undone."""

    def initialize(volume, connector):
        backend.initialize_connection(volume, connector)
        return answer

    monkeypatch.setattr(driver, "initialize_connection", initialize, raising=False)

    with pytest.raises(exceptions.DriverError):
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")

    assert manager.get_volume(context, volume.id).status == "available"
    assert is_clean(backend, volume.id)


@pytest.mark.parametrize(
    "update",
    ["location", 7, [1], {"provider_location": object()}, {"provider_auth": b"x"}],
    ids=lambda update: re.sub(r" at 0x\w+", "", repr(update)),
)
def test_a_model_update_that_is_none_is_a_driver_error(
    manager, context, volume, backend, driver, monkeypatch, update
):
    """When create_export returns nonsense: DriverError, and what was done is undone."""

    def export(context, volume, connector):
        backend.create_export(context, volume, connector)
        return update

    monkeypatch.setattr(driver, "create_export", export, raising=False)

    with pytest.raises(exceptions.DriverError):
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")

    assert manager.get_volume(context, volume.id).status == "available"
    assert is_clean(backend, volume.id)


def test_tuples_of_a_driver_become_lists(manager, context, volume, driver, monkeypatch):
    """When the driver's data holds tuples, the first and every later answer hold lists."""
    monkeypatch.setattr(
        driver,
        "initialize_connection",
        lambda volume, connector: {"driver_volume_type": "nvmeof", "data": {"p": (("h", 1),)}},
        raising=False,
    )
    manager.reserve_volume(context, volume.id)

    first = manager.initialize_connection(context, volume.id, HOST_A)

    assert first["data"]["p"] == [["h", 1]]
    (stored,) = manager.list_attachments(context, volume.id)
    assert first == stored.connection_info


def test_the_notification_of_an_attach_that_failed_does_not_come(
    manager, context, volume, driver, faulty
):
    """When an attach is rolled back before its end, the driver is told nothing."""
    faulty.faults = [Fault("initialize_connection", "after", ConnectionFailed("no"))]
    with pytest.raises(ConnectionFailed):
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")

    assert "attach_volume" not in driver.names
    assert "detach_volume" not in driver.names
