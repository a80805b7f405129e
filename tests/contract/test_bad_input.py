"""Arguments that are wrong, and files that are: an error of ours, one sentence, nothing done."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.contract.lab import (
    HOST_A,
    INSTANCE_1,
    UNKNOWN,
    is_clean,
    is_one_clear_sentence,
    refused,
)
from volflow import VolumeManager, exceptions
from volflow.exceptions import DatabaseError, InvalidInput, InvalidUUID, NotFound
from volflow.testing.invariants import violations

LONG = "x" * 100_000
NUL = "a\0b"
LONE = "a\ud800b"
NO_IDS = {
    "none": None,
    "empty": "",
    "number": 7,
    "true": True,
    "bytes": UNKNOWN.encode(),
    "word": "nonsense",
    "list": [UNKNOWN],
    "dict": {},
    "long": LONG,
    "nul": UNKNOWN[:-1] + "\0",
    "surrogate": UNKNOWN[:-1] + "\ud800",
    "sql": "' OR 1=1 --",
    "path": "../../etc/passwd",
}
BY_VOLUME = {
    "get_volume": (),
    "delete_volume": (),
    "set_maintenance": (True,),
    "reserve_volume": (),
    "initialize_connection": (HOST_A,),
    "attach": (INSTANCE_1, "a", None),
    "begin_detaching": (),
    "terminate_connection": (HOST_A,),
    "detach": (),
    "unreserve_volume": (),
    "roll_detaching": (),
    "attach_volume": (HOST_A, INSTANCE_1),
    "detach_volume": (),
}


def cases(table):
    return pytest.mark.parametrize("value", table.values(), ids=table.keys())


@cases(NO_IDS)
def test_a_volume_id_that_is_none(manager, context, backend, value):
    """When any call gets a volume id that is none, it says so and does nothing."""
    for name, arguments in BY_VOLUME.items():
        with refused(manager, backend, InvalidInput, NotFound):
            getattr(manager, name)(context, value, *arguments)


@cases(NO_IDS)
def test_an_operation_or_attachment_id_that_is_none(manager, context, backend, attached, value):
    """When a call gets an attachment's or operation's id that is none, it does nothing."""
    with refused(manager, backend, InvalidInput, NotFound):
        manager.get_attachment(context, value)
    with refused(manager, backend, InvalidInput, NotFound):
        manager.get_operation(context, value)
    with refused(manager, backend, InvalidInput, NotFound):
        manager.cancel_operation(context, value)
    with refused(manager, backend, InvalidInput, NotFound):
        manager.wait(value, timeout=0)
    if value is None:
        return
    with refused(manager, backend, InvalidInput, NotFound):
        manager.begin_detaching(context, attached.id, value)
    with refused(manager, backend, InvalidInput, NotFound):
        manager.detach_volume(context, attached.id, value)
    with refused(manager, backend, InvalidInput, NotFound):
        manager.list_attachments(context, value)


@cases({k: v for k, v in NO_IDS.items() if v is not None})
def test_an_id_of_the_callers_that_is_no_uuid(manager, context, backend, volume, value):
    """When the caller names an id for something new that is no UUID: InvalidUUID."""
    with refused(manager, backend, InvalidUUID):
        manager.create_volume(context, 1, "lab", volume_id=value)
    with refused(manager, backend, InvalidUUID):
        manager.reserve_volume(context, volume.id, operation_id=value)
    with refused(manager, backend, InvalidUUID):
        manager.attach_volume(context, volume.id, HOST_A, host_name="a", operation_id=value)
    with refused(manager, backend, InvalidUUID):
        manager.attach_volume(context, volume.id, HOST_A, instance_uuid=value)


def nested(depth):
    found = {}
    for _ in range(depth):
        found = {"deeper": found}
    return found


def endless():
    found = {**HOST_A}
    found["self"] = found
    return found


NO_CONNECTORS = {
    "none": None,
    "word": "iqn.x",
    "number": 7,
    "list": [],
    "pairs": [("initiator", "iqn.x")],
    "bytes": b"{}",
    "empty": {},
    "no initiator": {"host": "a"},
    "initiator none": {"initiator": None},
    "initiator empty": {"initiator": ""},
    "initiator number": {"initiator": 7},
    "initiator list": {"initiator": ["iqn.x"]},
    "initiator nul": {"initiator": "iqn.x\0y"},
    "initiator surrogate": {"initiator": "iqn.\ud800"},
    "initiator long": {"initiator": LONG},
    "value object": {**HOST_A, "x": object()},
    "value bytes": {**HOST_A, "x": b"y"},
    "value set": {**HOST_A, "x": {1}},
    "value nan": {**HOST_A, "x": float("nan")},
    "key number": {**HOST_A, 7: "x"},
    "key none": {**HOST_A, None: "x"},
    "deep": {**HOST_A, "x": nested(100_000)},
    "endless": endless(),
}


@cases(NO_CONNECTORS)
def test_a_connector_that_is_none(manager, context, backend, volume, value):
    """When a connector is no dict, lacks the initiator or is no JSON: InvalidConnector."""
    with pytest.raises(exceptions.InvalidConnector) as caught:
        manager.attach_volume(context, volume.id, value, host_name="a")
    is_one_clear_sentence(caught.value)
    assert manager.get_volume(context, volume.id).status == "available"
    manager.reserve_volume(context, volume.id)

    with pytest.raises(exceptions.InvalidConnector) as caught:
        manager.initialize_connection(context, volume.id, value)

    is_one_clear_sentence(caught.value)
    assert manager.get_volume(context, volume.id).status == "attaching"
    assert manager.unreserve_volume(context, volume.id).status == "available"
    assert is_clean(backend, volume.id)


@cases(
    {
        "megabytes": {**HOST_A, "x": "y" * 5_000_000},
        "keys": {**HOST_A} | {str(n): n for n in range(50_000)},
    }
)
def test_a_huge_connector_is_kept_whole_or_refused(manager, context, backend, volume, value):
    """When a connector is huge, it is either recorded as it is, or refused at once."""
    try:
        found = manager.attach_volume(context, volume.id, value, host_name="a")
    except InvalidInput as e:
        is_one_clear_sentence(e)
        assert manager.get_volume(context, volume.id).status == "available"
        assert is_clean(backend, volume.id)
    else:
        assert value == manager.get_attachment(context, found.id).connector
        assert manager.detach_volume(context, volume.id).status == "available"


@cases(
    {
        "zero": 0,
        "negative": -1,
        "true": True,
        "false": False,
        "fraction": 1.5,
        "word": "1",
        "none": None,
        "nan": float("nan"),
        "infinite": float("inf"),
        "list": [1],
        "beyond a column": 2**63,
        "beyond anything": 10**100,
    }
)
def test_a_size_that_is_none(manager, context, backend, value):
    """When a size is no whole number of GiB above zero, nothing is made."""
    with refused(manager, backend, InvalidInput):
        manager.create_volume(context, size_gib=value, backend="lab")


NO_TEXTS = {"long": LONG, "nul": NUL, "surrogate": LONE, "number": 7, "bytes": b"x", "list": ["x"]}


@cases(NO_TEXTS)
@pytest.mark.parametrize("field", ["name", "encryption_key_id", "backend"])
def test_a_text_of_a_volume_that_cannot_be_kept(manager, context, backend, field, value):
    """When a name is over-long, no text, or no database can keep it, nothing is made."""
    arguments = {"size_gib": 1, "backend": "lab", field: value}

    with refused(manager, backend, InvalidInput, exceptions.BackendNotFound):
        manager.create_volume(context, **arguments)


@cases(NO_TEXTS)
@pytest.mark.parametrize("field", ["host_name", "mountpoint"])
def test_a_text_of_an_attachment_that_cannot_be_kept(
    manager, context, backend, volume, field, value
):
    """When a host's name or a mountpoint cannot be kept, nothing is attached."""
    arguments = {"host_name": "a", "mountpoint": None, field: value}
    with refused(manager, backend, InvalidInput):
        manager.attach_volume(context, volume.id, HOST_A, **arguments)
    manager.reserve_volume(context, volume.id)
    manager.initialize_connection(context, volume.id, HOST_A)

    with refused(manager, backend, InvalidInput):
        manager.attach(context, volume.id, INSTANCE_1, **arguments)


@cases({"none": None, "empty": "", "upper": "RW", "other": "rwx", "number": 7, "list": ["rw"]})
def test_a_mode_that_is_none(manager, context, backend, volume, value):
    """When a mode is neither rw nor ro: InvalidVolumeAttachMode."""
    with refused(manager, backend, exceptions.InvalidVolumeAttachMode):
        manager.attach_volume(context, volume.id, HOST_A, host_name="a", mode=value)
    manager.reserve_volume(context, volume.id)
    manager.initialize_connection(context, volume.id, HOST_A)

    with refused(manager, backend, exceptions.InvalidVolumeAttachMode):
        manager.attach(context, volume.id, INSTANCE_1, None, None, mode=value)


@cases(
    {
        "word": "fast",
        "list": [1],
        "object": {"x": object()},
        "nan": {"x": float("nan")},
        "deep": nested(100_000),
        "key": {7: 1},
    }
)
def test_qos_specs_that_are_none(manager, context, backend, value):
    """When QoS specs are no JSON object, nothing is made."""
    with refused(manager, backend, InvalidInput):
        manager.create_volume(context, 1, "lab", qos_specs=value)


@cases({"negative": -1, "word": "x", "fraction": 1.5, "true": True})
def test_a_limit_that_is_none(manager, context, backend, value):
    """When a limit is no number of rows: InvalidInput."""
    with refused(manager, backend, InvalidInput):
        manager.list_volumes(context, limit=value)
    with refused(manager, backend, InvalidInput):
        manager.list_operations(context, limit=value)


@cases({"word": "nonsense", "number": 7, "nul": NUL, "surrogate": LONE})
def test_a_marker_that_is_none(manager, context, backend, value):
    """When a marker is no id: an error, rather than the first page again."""
    with refused(manager, backend, InvalidInput, NotFound):
        manager.list_volumes(context, marker=value)
    with refused(manager, backend, InvalidInput, NotFound):
        manager.list_operations(context, marker=value)


OPTIONS = {
    "lease zero": {"lease_seconds": 0},
    "lease negative": {"lease_seconds": -1},
    "lease word": {"lease_seconds": "long"},
    "lease none": {"lease_seconds": None},
    "lease nan": {"lease_seconds": float("nan")},
    "deadline negative": {"reservation_deadline_seconds": -1},
    "deadline word": {"reservation_deadline_seconds": "x"},
    "call zero": {"driver_call_seconds": 0},
    "call none": {"driver_call_seconds": None},
    "drivers none": {"drivers": None},
    "drivers list": {"drivers": ["lab"]},
    "driver none": {"drivers": {"lab": None}},
    "driver object": {"drivers": {"lab": object()}},
    "database none": {"database": None},
    "database empty": {"database": ""},
    "database word": {"database": "nonsense"},
    "database dialect": {"database": "oracle7://x"},
    "database number": {"database": 7},
    "board": {"board": "nonsense:"},
    "board number": {"board": 7},
}


@cases(OPTIONS)
def test_an_option_that_cannot_be(open_manager, value):
    """When a manager is opened with an option that cannot be, it says which."""
    with pytest.raises((InvalidInput, DatabaseError, exceptions.BoardError)) as caught:
        open_manager(**value)

    is_one_clear_sentence(caught.value)


def fails_to_open(path: Path, **options):
    """Opening is a DatabaseError in one sentence, and the files stay as they were."""
    directory = path if path.is_dir() else path.parent
    before = contents(directory)
    with pytest.raises(DatabaseError) as caught:
        VolumeManager(f"sqlite:///{path}", {}, **{"recover": False, **options}).close()
    is_one_clear_sentence(caught.value)
    assert before == {k: v for k, v in contents(directory).items() if k in before}
    return caught.value


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(p): p.read_bytes()
        for p in directory.rglob("*")
        if p.is_file() and not p.name.endswith(("-shm", "-wal", "-journal"))
    }


def test_a_database_in_no_directory(tmp_path):
    """When the directory is missing: DatabaseError names the path."""
    with pytest.raises(DatabaseError, match="nowhere") as caught:
        VolumeManager(f"sqlite:///{tmp_path}/nowhere/volflow.db", {}, recover=False)

    is_one_clear_sentence(caught.value)
    assert not (tmp_path / "nowhere").exists()


def test_a_database_that_is_a_directory(tmp_path):
    """When the path is a directory's: DatabaseError."""
    (tmp_path / "dir").mkdir()

    fails_to_open(tmp_path / "dir")


def test_a_database_that_is_another_file(tmp_path):
    """When the file is no database: DatabaseError, and it stays as it was."""
    path = tmp_path / "volflow.db"
    path.write_bytes(b"a letter to my aunt\n" * 500)

    fails_to_open(path)


def test_a_database_that_was_cut_off(home):
    """When half of the file is gone: DatabaseError at opening or at the first use."""
    path = home / "volflow.db"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])

    def use():
        with VolumeManager(f"sqlite:///{path}", {}, recover=False) as manager:
            manager.recover()
            manager.list_operations(None)
            manager.list_attachments(None)
            manager.list_volumes(None)

    with pytest.raises(DatabaseError) as caught:
        use()

    is_one_clear_sentence(caught.value)


def test_a_database_of_a_newer_release(home):
    """When the schema's version is one that this release does not know: DatabaseError."""
    with closing(sqlite3.connect(home / "volflow.db")) as db:
        (table,) = db.execute(
            "SELECT name FROM sqlite_master WHERE sql LIKE '%version_num%'"
        ).fetchone()
        db.execute(f"UPDATE {table} SET version_num = '9999_of_the_future'")
        db.commit()

    error = fails_to_open(home / "volflow.db")

    assert "newer" in str(error) or "9999_of_the_future" in str(error)


def key_of(home: Path) -> Path:
    (found,) = [p for p in home.iterdir() if p.is_file() and len(p.read_bytes().strip()) == 44]
    return found


def test_a_missing_key_is_not_made_anew(home, manager, attached):
    """When the key of a database with secrets is gone: an error, and no other key is made."""
    manager.close()
    key = key_of(home)
    key.unlink()

    with pytest.raises((DatabaseError, InvalidInput), match="key") as caught:
        VolumeManager(f"sqlite:///{home}/volflow.db", {}, recover=False)

    is_one_clear_sentence(caught.value)
    assert not key.exists()


def test_a_named_key_file_that_is_missing(home, tmp_path):
    """When key_file names nothing: an error that names the path."""
    with pytest.raises((DatabaseError, InvalidInput), match="no-such-key"):
        VolumeManager(
            f"sqlite:///{home}/volflow.db",
            {},
            key_file=str(tmp_path / "no-such-key"),
            recover=False,
        )


@pytest.mark.sqlite
def test_a_wrong_key_is_found_out(home, tmp_path, manager, attached, context):
    """When the key is another database's: an error, not another secret; nothing changes."""
    before = manager.list_volumes(context)
    manager.close()
    key = key_of(home)
    right = key.read_bytes()
    VolumeManager(f"sqlite:///{tmp_path}/other.db", {}, recover=False).close()
    key.write_bytes(key_of_other(tmp_path))

    def use():
        with VolumeManager(f"sqlite:///{home}/volflow.db", {}, recover=False) as wrong:
            wrong.list_attachments(context)

    with pytest.raises((DatabaseError, InvalidInput)) as caught:
        use()

    is_one_clear_sentence(caught.value)
    key.write_bytes(right)
    with VolumeManager(f"sqlite:///{home}/volflow.db", {}, recover=False) as again:
        assert before == again.list_volumes(context)
        assert again.list_attachments(context)[0].connection_info


def key_of_other(directory: Path) -> bytes:
    (found,) = [
        p
        for p in directory.iterdir()
        if p.is_file() and p.name.startswith("other") and len(p.read_bytes().strip()) == 44
    ]
    return found.read_bytes()


@cases({"empty": b"", "words": b"my secret key\n", "binary": os.urandom(64), "short": b"YWJj\n"})
def test_a_key_file_that_holds_no_key(home, value):
    """When the key file holds something else: an error that names it, and it stays."""
    key = key_of(home)
    key.write_bytes(value)

    with pytest.raises((DatabaseError, InvalidInput), match="key") as caught:
        VolumeManager(f"sqlite:///{home}/volflow.db", {}, recover=False)

    is_one_clear_sentence(caught.value)
    assert value == key.read_bytes()


def test_a_key_file_that_is_a_directory(home):
    """When the key file is a directory: an error that names it."""
    key = key_of(home)
    key.unlink()
    key.mkdir()

    with pytest.raises((DatabaseError, InvalidInput), match="key"):
        VolumeManager(f"sqlite:///{home}/volflow.db", {}, recover=False)


@pytest.fixture
def small_disk(tmp_path, require_binary):
    """A file system of 2 MiB of this test's own."""
    mount, umount = (require_binary(name, "mount") for name in ("mount", "umount"))
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", place],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run([umount, "-l", place], check=True)


def test_a_read_only_directory(small_disk, home, require_binary):
    """When the file system of the database is read-only: DatabaseError."""
    shutil.copytree(home, small_disk, dirs_exist_ok=True)
    subprocess.run([require_binary("mount", "mount"), "-o", "remount,ro", small_disk], check=True)

    fails_to_open(small_disk / "volflow.db")


def test_a_read_only_directory_without_a_database(small_disk, require_binary):
    """When a database cannot be made: DatabaseError."""
    subprocess.run([require_binary("mount", "mount"), "-o", "remount,ro", small_disk], check=True)

    with pytest.raises(DatabaseError) as caught:
        VolumeManager(f"sqlite:///{small_disk}/volflow.db", {}, recover=False)
    is_one_clear_sentence(caught.value)


def test_a_read_only_database_file(small_disk, home, require_binary, context, driver, backend):
    """When only the file itself is read-only: DatabaseError, at opening or at the first write."""
    mount = require_binary("mount", "mount")
    shutil.copytree(home, small_disk, dirs_exist_ok=True)
    path = small_disk / "volflow.db"

    def use():
        with VolumeManager(f"sqlite:///{path}", {"lab": driver}, recover=False) as manager:
            manager.create_volume(context, 1, "lab")

    subprocess.run([mount, "--bind", path, path], check=True)
    subprocess.run([mount, "-o", "remount,ro,bind", path], check=True)
    try:
        with pytest.raises(DatabaseError) as caught:
            use()
        is_one_clear_sentence(caught.value)
        assert backend.volumes == {}
    finally:
        subprocess.run([require_binary("umount", "mount"), "-l", path], check=True)


def test_a_full_disk_is_a_database_error_and_nothing_is_lost(
    small_disk, home, context, driver, backend
):
    """When the disk is full in the middle of work: DatabaseError; with room again, all is well."""
    shutil.copytree(home, small_disk, dirs_exist_ok=True)
    url = f"sqlite:///{small_disk}/volflow.db"
    with VolumeManager(url, {"lab": driver}, recover=False) as manager:
        first = manager.create_volume(context, 1, "lab")
        filler = small_disk / "filler"

        def fill():
            with filler.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)

        def work():
            for _ in range(300):
                manager.attach_volume(context, first.id, HOST_A, host_name="a")
                manager.detach_volume(context, first.id)

        with pytest.raises(OSError, match="space"):
            fill()
        with pytest.raises(DatabaseError) as caught:
            work()
        is_one_clear_sentence(caught.value)

        filler.unlink()
    with VolumeManager(url, {"lab": driver}, recover=False) as manager:
        manager.recover()
        assert violations(manager, backend, "lab") == []
        assert manager.get_volume(context, first.id).operation_id is None
        if manager.get_volume(context, first.id).status == "in-use":
            manager.detach_volume(context, first.id)
        assert manager.attach_volume(context, first.id, HOST_A, host_name="a")
