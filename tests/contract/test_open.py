"""Opening a manager, and the records that it gives."""

from __future__ import annotations

import dataclasses
import inspect
import json
import logging
import os
import re
import threading
from datetime import timedelta
from pathlib import Path

import pytest

import volflow
from tests.contract.lab import HOST_A, INSTANCE_1, UNKNOWN, until
from volflow import RequestContext, VolumeManager, exceptions
from volflow.testing import MemoryDriver

NEEDED = inspect.Parameter.empty
SIGNATURES = {
    "create_volume": {
        "context": NEEDED,
        "size_gib": NEEDED,
        "backend": NEEDED,
        "name": None,
        "multiattach": False,
        "readonly": False,
        "qos_specs": None,
        "encryption_key_id": None,
        "volume_id": None,
    },
    "get_volume": {"context": NEEDED, "volume_id": NEEDED},
    "list_volumes": {
        "context": NEEDED,
        "status": None,
        "backend": None,
        "limit": None,
        "marker": None,
    },
    "delete_volume": {"context": NEEDED, "volume_id": NEEDED},
    "list_attachments": {"context": NEEDED, "volume_id": None, "live": True},
    "get_attachment": {"context": NEEDED, "attachment_id": NEEDED},
    "reserve_volume": {"context": NEEDED, "volume_id": NEEDED, "operation_id": None},
    "initialize_connection": {"context": NEEDED, "volume_id": NEEDED, "connector": NEEDED},
    "attach": {
        "context": NEEDED,
        "volume_id": NEEDED,
        "instance_uuid": NEEDED,
        "host_name": NEEDED,
        "mountpoint": NEEDED,
        "mode": "rw",
    },
    "begin_detaching": {
        "context": NEEDED,
        "volume_id": NEEDED,
        "attachment_id": None,
        "operation_id": None,
    },
    "terminate_connection": {
        "context": NEEDED,
        "volume_id": NEEDED,
        "connector": NEEDED,
        "force": False,
    },
    "detach": {"context": NEEDED, "volume_id": NEEDED, "attachment_id": None},
    "unreserve_volume": {"context": NEEDED, "volume_id": NEEDED},
    "roll_detaching": {"context": NEEDED, "volume_id": NEEDED},
    "attach_volume": {
        "context": NEEDED,
        "volume_id": NEEDED,
        "connector": NEEDED,
        "instance_uuid": None,
        "host_name": None,
        "mountpoint": None,
        "mode": "rw",
        "operation_id": None,
    },
    "detach_volume": {
        "context": NEEDED,
        "volume_id": NEEDED,
        "attachment_id": None,
        "force": False,
        "operation_id": None,
    },
    "wait": {"operation_id": NEEDED, "timeout": None},
    "get_operation": {"context": NEEDED, "operation_id": NEEDED},
    "list_operations": {
        "context": NEEDED,
        "state": None,
        "volume_id": None,
        "limit": None,
        "marker": None,
    },
    "cancel_operation": {"context": NEEDED, "operation_id": NEEDED},
    "recover": {},
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_call_has_the_arguments_of_the_interface_in_their_order(name):
    """When a program names the arguments or relies on their order or defaults, it works."""
    found = inspect.signature(getattr(VolumeManager, name)).parameters
    expected = SIGNATURES[name]

    given = {key: p.default for key, p in found.items() if key != "self"}

    assert list(expected.items()) == list(given.items())[: len(expected)]
    assert all(default is not NEEDED for default in list(given.values())[len(expected) :])


def test_a_manager_opens_with_the_defaults_of_the_interface():
    """When nothing but a database and drivers is given, the documented defaults hold."""
    found = inspect.signature(VolumeManager.__init__).parameters

    assert {
        "database": NEEDED,
        "drivers": NEEDED,
        "board": None,
        "lease_seconds": 60,
        "reservation_deadline_seconds": 900,
        "key_file": None,
        "driver_call_seconds": 300,
        "recover": True,
    }.items() <= {key: p.default for key, p in found.items()}.items()


def test_a_sqlite_database_is_created_and_usable_at_once(tmp_path, context):
    """When the file is missing, it is made with its tables."""
    with VolumeManager(
        database=f"sqlite:///{tmp_path}/new.db", drivers={"lab": MemoryDriver()}
    ) as manager:
        made = manager.create_volume(context, size_gib=1, backend="lab")

    assert (tmp_path / "new.db").is_file()
    assert made.status == "available"


def test_what_was_written_is_there_when_the_database_is_opened_again(
    open_manager, context, driver
):
    """When a manager is closed and another is opened, it has the same volumes."""
    first = open_manager()
    made = first.create_volume(context, size_gib=1, backend="lab", name="kept")
    first.close()

    assert made == open_manager().get_volume(context, made.id)


def test_the_key_lies_beside_the_sqlite_file_and_only_its_owner_reads_it(tmp_path):
    """When no key file is named, one is made with mode 0600 whatever the umask."""
    before = os.umask(0)
    try:
        VolumeManager(f"sqlite:///{tmp_path}/volflow.db", {}, recover=False).close()
    finally:
        os.umask(before)

    keys = [
        path
        for path in tmp_path.iterdir()
        if path.is_file() and re.fullmatch(rb"[\w=-]{44}\n?", path.read_bytes())
    ]
    assert [0o600] == [path.stat().st_mode & 0o777 for path in keys]


def test_a_server_database_needs_a_key_file():
    """When a server's database is named without one, the sentence asks for the key file."""
    with pytest.raises((exceptions.InvalidInput, exceptions.DatabaseError), match="key"):
        VolumeManager("postgresql+psycopg://nobody@127.0.0.1:1/none", {}, recover=False)


def test_a_database_that_cannot_be_reached_is_a_database_error(tmp_path, home):
    """When nothing listens at the server's address, DatabaseError says so."""
    key = next(p for p in home.iterdir() if p.is_file() and "key" in p.name)

    with pytest.raises(exceptions.DatabaseError):
        VolumeManager(
            "postgresql+psycopg://nobody@127.0.0.1:1/none", {}, key_file=str(key), recover=False
        )


@pytest.mark.sqlite
def test_a_manager_is_a_context_manager_and_closes_at_its_end(url, driver):
    """When the block ends, its threads have ended; closing again is no error."""
    before = set(threading.enumerate())
    with VolumeManager(url, {"lab": driver}) as manager:
        assert isinstance(manager, VolumeManager)
    manager.close()

    until(lambda: set(threading.enumerate()) <= before, "the manager's threads have ended")


def test_a_manager_opened_with_recover_recovers_at_start(open_manager, context, volume, manager):
    """When an operation's deadline is past at the start of another manager, it is settled."""
    short = open_manager(reservation_deadline_seconds=0.01)
    owner = short.reserve_volume(context, volume.id).operation_id
    past_deadline(short, context, owner)

    open_manager(recover=True)

    until(
        lambda: manager.get_volume(context, volume.id).status == "available",
        "the volume is available",
    )


def test_a_manager_opened_with_recover_recovers_by_itself(open_manager, context, volume, manager):
    """When a deadline passes while a manager is open, its thread settles the operation."""
    live = open_manager(recover=True, reservation_deadline_seconds=0.05)
    live.reserve_volume(context, volume.id)

    until(
        lambda: manager.get_volume(context, volume.id).status == "available",
        "the volume is available",
    )


def test_a_manager_opened_without_recover_leaves_recovery_to_its_caller(
    open_manager, context, volume
):
    """When recover is False, an expired reservation stays until recover() is called."""
    quiet = open_manager(reservation_deadline_seconds=0.01)
    owner = quiet.reserve_volume(context, volume.id).operation_id
    past_deadline(quiet, context, owner)

    open_manager()
    assert quiet.get_volume(context, volume.id).status == "attaching"
    quiet.recover()
    assert quiet.get_volume(context, volume.id).status == "available"


def past_deadline(manager, context, operation_id):
    """Poll until the database's clock is past the operation's deadline, by another row's time."""
    deadline = manager.get_operation(context, operation_id).deadline

    def later():
        probe = manager.create_volume(context, size_gib=1, backend="lab")
        manager.delete_volume(context, probe.id)
        return probe.created_at > deadline

    until(later, "the deadline is past")


def test_the_request_id_is_on_the_operation(manager, context, volume):
    """When a call starts an operation, the operation names the call's request."""
    owner = manager.reserve_volume(context, volume.id).operation_id

    assert context.request_id == manager.get_operation(context, owner).request_id


def test_the_request_id_is_in_the_logs(manager, context, volume, caplog, faulty):
    """When an attach is logged, its lines can be found by the request's id."""
    with caplog.at_level(logging.DEBUG):
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")

    ours = [r for r in caplog.records if r.name.startswith("volflow")]
    assert [r for r in ours if context.request_id in r.getMessage() + repr(vars(r))]


def test_a_plain_request_context_will_do(manager, volume):
    """When a program makes its RequestContext() as the page does, every call takes it."""
    made = manager.reserve_volume(RequestContext(), volume.id)

    assert made.status == "attaching"


def test_from_config_opens_what_a_file_describes(tmp_path, context, monkeypatch):
    """When an oslo.config file names a driver by its entry point, it is loaded and used."""
    package = tmp_path / "site" / "of_a_driver-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: of-a-driver\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[volflow.drivers]\nmine = volflow.testing:MemoryDriver\n"
    )
    monkeypatch.syspath_prepend(str(package.parent))
    config = tmp_path / "volflow.conf"
    config.write_text(
        "[volflow]\n"
        f"database = sqlite:///{tmp_path}/volflow.db\n"
        "lease_seconds = 30\n"
        "backends = here\n"
        "[here]\n"
        "driver = mine\n"
    )

    with VolumeManager.from_config(str(config)) as manager:
        made = manager.create_volume(context, size_gib=1, backend="here")

    assert (made.backend, made.status) == ("here", "available")


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "[volflow",
        "[volflow]\nlease_seconds = 5\n",
        "[volflow]\ndatabase = sqlite://\nlease_seconds = long\n",
        "[volflow]\ndatabase = sqlite:////dev/null/x\nbackends = here\n",
        "[volflow]\ndatabase = sqlite:////dev/null/x\nbackends = here\n[here]\ndriver = no-such\n",
    ],
)
def test_a_configuration_that_cannot_be_is_an_error_of_ours(tmp_path, text):
    """When the file is missing or wrong, InvalidInput says what is."""
    path = tmp_path / "volflow.conf"
    if text is not None:
        path.write_text(text)

    with pytest.raises(exceptions.InvalidInput):
        VolumeManager.from_config(str(path))


FIELDS = {
    "Volume": "id name size_gib backend status attach_status multiattach readonly "
    "provider_location encryption_key_id qos_specs operation_id created_at updated_at",
    "Attachment": "id volume_id instance_uuid attached_host mountpoint attach_mode attach_status "
    "connector connection_info attached_at detached_at",
    "Operation": "id kind state phase volume_id attachment_id backend request_id error epoch "
    "owner lease_expires_at deadline created_at finished_at",
    "RecoveryReport": "resumed rolled_back cleaned reposted needs_attention",
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_record_is_a_frozen_dataclass_with_the_fields_of_the_interface(name):
    """When a program reads a field, it is there; when it writes one, it cannot."""
    record = getattr(volflow, name)

    assert dataclasses.is_dataclass(record)
    assert record.__dataclass_params__.frozen
    assert set(FIELDS[name].split()) <= {f.name for f in dataclasses.fields(record)}


def test_times_are_aware_and_utc(manager, context, attached):
    """When a record has a time, it is timezone-aware UTC."""
    manager.begin_detaching(context, attached.id)
    records = [
        *manager.list_volumes(context),
        *manager.list_attachments(context),
        *manager.list_operations(context),
    ]

    times = [
        getattr(record, field.name)
        for record in records
        for field in dataclasses.fields(record)
        if field.name.endswith("_at") or field.name == "deadline"
    ]

    assert {timedelta(0)} == {t.utcoffset() for t in times if t is not None}
    assert records[0].created_at is not None
    assert records[1].attached_at is not None
    assert records[-1].deadline is not None


def test_statuses_are_plain_words(manager, context, attached):
    """When a program compares, prints or dumps a status, it is the word itself."""
    found = manager.get_volume(context, attached.id)

    assert (found.status, found.attach_status) == ("in-use", "attached")
    assert f"{found.status} {found.attach_status}" == "in-use attached"
    assert json.dumps([found.status]) == '["in-use"]'


def test_an_attachment_records_who_uses_the_volume(manager, context, attached):
    """When a volume is attached, its record tells host, instance, mountpoint, mode and time."""
    (found,) = manager.list_attachments(context, attached.id)

    assert (found.volume_id, found.instance_uuid, found.attached_host) == (
        attached.id,
        INSTANCE_1,
        "a",
    )
    assert (found.mountpoint, found.attach_mode, found.attach_status) == (
        "/dev/vdb",
        "rw",
        "attached",
    )
    assert HOST_A == found.connector
    assert found.attached_at is not None
    assert found.detached_at is None


def test_an_operation_records_how_it_went(manager, context, attached):
    """When an attach is done, its operation tells kind, volume, attachment, backend and end."""
    (attachment,) = manager.list_attachments(context, attached.id)

    found = manager.list_operations(context, volume_id=attached.id)[-1]

    assert (found.kind, found.state, found.volume_id) == ("attach", "succeeded", attached.id)
    assert (found.attachment_id, found.backend) == (attachment.id, "lab")
    assert found.error is None
    assert found.finished_at >= found.created_at


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("get_volume", UNKNOWN),
        ("get_attachment", UNKNOWN),
        ("get_operation", UNKNOWN),
    ],
)
def test_an_unknown_id_is_not_found(manager, context, name, argument):
    """When nothing has the id, the error is of the NotFound tree and names it."""
    kind = {
        "get_volume": exceptions.VolumeNotFound,
        "get_attachment": exceptions.AttachmentNotFound,
        "get_operation": exceptions.OperationNotFound,
    }[name]

    with pytest.raises(kind, match=UNKNOWN):
        getattr(manager, name)(context, argument)


def test_the_package_is_typed():
    """When a program is checked with types, the package carries its own."""
    assert (Path(volflow.__file__).parent / "py.typed").is_file()
