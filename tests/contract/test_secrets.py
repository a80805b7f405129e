"""CHAP secrets: in the answer to the caller and in the backend, and nowhere else."""

from __future__ import annotations

import logging
import pickle

import pytest
from cryptography.fernet import Fernet

from tests.contract.lab import HOST_A, HOST_B, INSTANCE_1, files_with
from volflow import exceptions
from volflow.testing import Crash, Fault


@pytest.fixture
def everything_logged(caplog):
    """All loggers at DEBUG, those of libraries that have a level of their own, too."""
    names = [
        n for n, o in logging.root.manager.loggerDict.items() if isinstance(o, logging.Logger)
    ]
    with caplog.at_level(1):
        levels = {name: logging.getLogger(name).level for name in names}
        for name in names:
            logging.getLogger(name).setLevel(1)
        try:
            yield caplog
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def everything_said(caplog):
    """All log records, with their arguments and tracebacks."""
    formatter = logging.Formatter("%(name)s %(message)s")
    return "\n".join(formatter.format(r) + repr(r.args) for r in caplog.records)


def secret_of(driver):
    """The secret that the last create_export was given."""
    return next(
        v.provider_auth.split()[-1]
        for name, v in reversed(driver.volumes_given())
        if v.provider_auth
    )


def test_no_file_holds_the_secret_at_any_time(
    everything_logged, open_manager, context, home, driver
):
    """When a volume is attached and detached, no file below the database's directory has it."""
    found = []
    for name in (
        "create_export",
        "initialize_connection",
        "attach_volume",
        "terminate_connection",
        "remove_export",
        "detach_volume",
    ):
        driver.on[name] = lambda *_, **__: found.extend(
            files_with(home, secret_of(driver).encode())
        )
    manager = open_manager()
    made = manager.create_volume(context, 1, "lab")

    attachment = manager.attach_volume(context, made.id, HOST_A, INSTANCE_1, "a")
    secret = attachment.connection_info["data"]["auth_password"]
    assert secret == secret_of(driver)
    found += files_with(home, secret.encode())
    manager.begin_detaching(context, made.id)
    manager.terminate_connection(context, made.id, HOST_A)
    manager.roll_detaching(context, made.id)
    found += files_with(home, secret.encode())
    manager.detach_volume(context, made.id)
    found += files_with(home, secret.encode())
    manager.close()

    assert found == []
    assert files_with(home, secret.encode()) == []
    assert secret not in everything_said(everything_logged)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["create_export", "initialize_connection"])
def test_no_file_holds_the_secret_after_a_death(
    everything_logged, open_manager, context, volume, home, driver, faulty, call, when
):
    """When the process dies in the middle and another recovers, the secret is nowhere."""
    first = open_manager()
    faulty.faults = [Fault(call, when, Crash)]
    with pytest.raises(Crash):
        first.attach_volume(context, volume.id, HOST_A, host_name="a")
    secret = secret_of(driver)
    assert files_with(home, secret.encode()) == []
    first.close()

    open_manager().recover()

    assert files_with(home, secret.encode()) == []
    assert secret not in everything_said(everything_logged)


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize(
    "call", ["initialize_connection", "terminate_connection", "remove_export", "attach_volume"]
)
def test_a_driver_that_tells_the_secret_is_masked(
    everything_logged, manager, context, volume, home, driver, monkeypatch, call, foreign
):
    """When a driver's error quotes the account, neither error, record, log nor file does."""
    first = manager.attach_volume(context, volume.id, HOST_A, host_name="a")
    if call in ("initialize_connection", "attach_volume"):
        manager.detach_volume(context, volume.id)
    before = {o.id for o in manager.list_operations(context)}
    kind = RuntimeError if foreign else exceptions.ConnectionFailed
    told = []

    def chatty(*arguments, **options):
        account = next(a.provider_auth for a in arguments if hasattr(a, "provider_auth"))
        told.append(account.split()[-1])
        raise kind(f"tgtadm --op new --user u --password {told[-1]} ({account}) failed")

    monkeypatch.setattr(driver, call, chatty, raising=False)
    error = None
    try:
        if call in ("initialize_connection", "attach_volume"):
            manager.attach_volume(context, volume.id, HOST_B, host_name="b")
        else:
            manager.detach_volume(context, volume.id, first.id)
    except exceptions.VolflowError as e:
        error = e

    assert told
    for secret in set(told):
        for ours in chain_of_ours(error):
            assert secret not in str(ours) + repr(ours)
            assert secret.encode() not in pickle.dumps(
                (type(ours), ours.args, vars(ours).get("message"))
            )
        for operation in manager.list_operations(context):
            assert secret not in repr(operation)
            assert secret not in repr(manager.operation_timeline(context, operation.id))
        assert files_with(home, secret.encode()) == []
        ours_said = "\n".join(
            r.getMessage() for r in everything_logged.records if r.name.startswith("volflow")
        )
        assert secret not in ours_said
        assert secret not in everything_said(everything_logged)
    assert before < {o.id for o in manager.list_operations(context)}


def chain_of_ours(error):
    """The error and those of its causes that are of volflow's classes, as a traceback has them."""
    while error is not None:
        if isinstance(error, exceptions.VolflowError):
            yield error
        hidden = error.__suppress_context__
        error = error.__cause__ or (None if hidden else error.__context__)


def test_no_repr_holds_the_secret(manager, context, attached, driver):
    """When a record is printed, also a driver's, the secret is not in it."""
    (attachment,) = manager.list_attachments(context, attached.id)
    secret = attachment.connection_info["data"]["auth_password"]
    manager.detach_volume(context, attached.id)
    records = [
        attachment,
        manager.get_volume(context, attached.id),
        *manager.list_attachments(context, live=False),
        *manager.list_operations(context),
        *(volume for _, volume in driver.volumes_given()),
    ]

    assert secret in repr([v.provider_auth for _, v in driver.volumes_given()])
    for record in records:
        assert secret not in repr(record)
        assert secret not in str(record)
        assert secret not in f"{record}"
    for operation in manager.list_operations(context):
        assert secret not in repr(manager.operation_timeline(context, operation.id))


def test_an_attachments_repr_masks_its_connection(manager, context, attached):
    """When an attachment is printed, its connection_info's account is masked."""
    (attachment,) = manager.list_attachments(context, attached.id)

    assert attachment.id in repr(attachment)
    assert attachment.connection_info["data"]["auth_username"]
    assert attachment.connection_info["data"]["auth_password"] not in repr(attachment)


def test_history_keeps_no_secret_that_works(manager, context, attached, backend):
    """When a volume was detached, the account of its history opens nothing any more."""
    (attachment,) = manager.list_attachments(context, attached.id)
    old = attachment.connection_info["data"]["auth_password"]
    manager.detach_volume(context, attached.id)
    again = manager.attach_volume(context, attached.id, HOST_A, host_name="a")

    assert old != again.connection_info["data"]["auth_password"]
    with pytest.raises(exceptions.ConnectionFailed):
        backend.login(attachment.connection_info, HOST_A["initiator"])


def test_a_new_key_takes_over_and_the_old_one_still_reads(
    open_manager, context, tmp_path, backend
):
    """When a new key is put before the old one, both old and new secrets can be read."""
    old, new = Fernet.generate_key(), Fernet.generate_key()
    keys = tmp_path / "keys"
    keys.write_bytes(old + b"\n")
    url = f"sqlite:///{tmp_path}/rotated.db"
    with open_manager(database=url, key_file=str(keys)) as manager:
        first = manager.create_volume(context, 1, "lab", multiattach=True)
        one = manager.attach_volume(context, first.id, HOST_A, host_name="a")

    keys.write_bytes(new + b"\n" + old + b"\n")
    with open_manager(database=url, key_file=str(keys)) as manager:
        assert one.connection_info == manager.get_attachment(context, one.id).connection_info
        two = manager.attach_volume(context, first.id, HOST_B, host_name="b")
        backend.login(two.connection_info, HOST_B["initiator"])


def test_an_old_key_can_go_once_nothing_is_encrypted_with_it(open_manager, context, tmp_path):
    """When all that lives was written with the new key, the old one is needed no more."""
    old, new = Fernet.generate_key(), Fernet.generate_key()
    keys = tmp_path / "keys"
    keys.write_bytes(old + b"\n")
    url = f"sqlite:///{tmp_path}/rotated.db"
    open_manager(database=url, key_file=str(keys)).close()
    keys.write_bytes(new + b"\n" + old + b"\n")
    with open_manager(database=url, key_file=str(keys)) as manager:
        made = manager.create_volume(context, 1, "lab")
        attachment = manager.attach_volume(context, made.id, HOST_A, host_name="a")
        manager.reencrypt_secrets()

    keys.write_bytes(new + b"\n")
    with open_manager(database=url, key_file=str(keys)) as manager:
        found = manager.get_attachment(context, attachment.id)

    assert attachment.connection_info == found.connection_info


def test_a_connector_without_secrets_is_in_the_record_in_plain(manager, context, attached):
    """When an operator reads an attachment, who has it is legible."""
    (attachment,) = manager.list_attachments(context, attached.id)

    assert HOST_A["initiator"] in repr(attachment)
