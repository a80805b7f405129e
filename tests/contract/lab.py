"""What the contract tests play with: two hosts, drivers that tell, and a look at everything."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from volflow import RequestContext, VolumeManager, exceptions
from volflow.testing import MemoryDriver

HOST_A = {"initiator": "iqn.1994-05.org.example:a", "host": "a", "ip": "192.0.2.1"}
HOST_B = {"initiator": "iqn.1994-05.org.example:b", "host": "b", "ip": "192.0.2.2"}
KEY_A, KEY_B = HOST_A["initiator"], HOST_B["initiator"]
INSTANCE_1 = "11111111-1111-4111-8111-111111111111"
INSTANCE_2 = "22222222-2222-4222-8222-222222222222"
UNKNOWN = "99999999-9999-4999-8999-999999999999"
PATIENCE_SECONDS = 30


def new_id() -> str:
    return str(uuid.uuid4())


def until(holds: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Poll until something holds, and return it; fail once patience ends."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        if time.monotonic() > end:
            pytest.fail(f"it never came true that {what}")
        threading.Event().wait(0.005)
    return found


class Scene(NamedTuple):
    """Everything that a refused call may not have changed."""

    volumes: Any
    attachments: Any
    operations: Any
    backend: Any


def scene(manager: VolumeManager, backend: MemoryDriver) -> Scene:
    """Look at database and backend."""
    context = RequestContext(overwrite=False)
    return Scene(
        manager.list_volumes(context),
        [
            (a, a.connection_info)
            for v in manager.list_volumes(context)
            for a in manager.list_attachments(context, v.id, live=False)
        ],
        manager.list_operations(context),
        backend_of(backend),
    )


def backend_of(backend: MemoryDriver) -> tuple[Any, ...]:
    """What the backend holds: volumes, exports with their credentials, ACLs, sessions."""
    return (
        dict(backend.volumes),
        dict(backend.exports),
        {key: frozenset(acl) for key, acl in backend.acls.items() if acl},
        {key: tuple(sessions) for key, sessions in backend.sessions.items() if sessions},
    )


def is_clean(backend: MemoryDriver, volume_id: str) -> bool:
    """Whether the backend holds the volume and nothing that an attachment would need."""
    return (
        volume_id in backend.volumes
        and volume_id not in backend.exports
        and not backend.acls.get(volume_id)
        and not backend.sessions.get(volume_id)
    )


@contextmanager
def nothing_changes(manager: VolumeManager, backend: MemoryDriver) -> Iterator[None]:
    """Fail where the block changes a volume, an attachment, an operation or the backend."""
    before = scene(manager, backend)
    yield
    assert before == scene(manager, backend)


@contextmanager
def refused(
    manager: VolumeManager, backend: MemoryDriver, *errors: type[Exception]
) -> Iterator[pytest.ExceptionInfo[Any]]:
    """The block raises one of these errors, in one sentence, and nothing changes."""
    with nothing_changes(manager, backend), pytest.raises(errors) as caught:
        yield caught
    assert type(caught.value).__module__ == exceptions.__name__
    is_one_clear_sentence(caught.value)


def is_one_clear_sentence(error: BaseException) -> None:
    """An operator can read it: words, one line, not endless, no traceback and no SQL."""
    text = str(error)
    text.encode()  # it can be printed
    assert len(re.findall(r"[A-Za-z]+", text)) >= 3, text
    assert "\n" not in text
    assert len(text) < 600, f"{len(text)} characters"
    assert "Traceback" not in text
    assert not re.search(r"\[SQL|INSERT INTO|sqlalche\.me|oslo_db|object at 0x", text), text


class Telling:
    """A driver that is no VolumeDriver: any object with these methods.

    :ivar heard: (method, positional arguments, keyword arguments) of every call, in order.
    :ivar on: method -> called with the same arguments before the effect.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.heard: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.on: dict[str, Callable[..., Any]] = {}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.driver, name)
        if name.startswith("_") or not callable(found):
            return found

        def call(*arguments: Any, **options: Any) -> Any:
            self.heard.append((name, arguments, options))
            if name in self.on:
                self.on[name](*arguments, **options)
            return found(*arguments, **options)

        return call

    @property
    def names(self) -> list[str]:
        """The methods with an effect or a notification, in the order of their calls."""
        return [name for name, _, _ in self.heard if name not in _ASKING]

    def forget(self) -> None:
        self.heard.clear()

    def last(self, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the last call of a method."""
        return next((a, o) for n, a, o in reversed(self.heard) if n == name)

    def volumes_given(self) -> list[tuple[str, Any]]:
        """(method, the volume that it was given) of every call that was given one."""
        return [
            (name, argument)
            for name, arguments, options in self.heard
            for argument in (*arguments, *options.values())
            if hasattr(argument, "provider_auth")
        ]


_ASKING = frozenset(
    {"do_setup", "check_for_setup_error", "list_exports", "initiator_of", "validate_connector"}
)


class Gate:
    """A place in a driver where a thread stops until it is let on.

    >>> driver.on["create_export"] = gate.stop
    """

    def __init__(self, times: int = 1) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.left = times
        self._lock = threading.Lock()

    def stop(self, *_: Any, **__: Any) -> None:
        with self._lock:
            self.left -= 1
            if self.left < 0:
                return
        self.reached.set()
        assert self.opened.wait(PATIENCE_SECONDS), "nobody opened the gate"

    def wait(self) -> None:
        assert self.reached.wait(PATIENCE_SECONDS), "nobody came to the gate"


class Call(threading.Thread):
    """A call in a thread of its own; :meth:`outcome` joins it."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        super().__init__(daemon=True)
        self._work = (function, arguments, options)
        self.result: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        function, arguments, options = self._work
        try:
            self.result = function(*arguments, **options)
        except BaseException as e:  # noqa: BLE001 - the test looks at it
            self.error = e

    def outcome(self) -> Any:
        """What the call returned or raised, as one value."""
        self.join(PATIENCE_SECONDS)
        assert not self.is_alive(), "the call did not return"
        return self.error if self.error is not None else self.result

    def value(self) -> Any:
        """What the call returned; what it raised is raised."""
        found = self.outcome()
        if isinstance(found, BaseException):
            raise found
        return found


def is_settled(manager: VolumeManager, operation_id: str) -> bool:
    """Whether no run will ever change the operation again."""
    context = RequestContext(overwrite=False)
    state = manager.get_operation(context, operation_id).state
    return state in ("succeeded", "rolled_back")


def files_with(directory: Path, needle: bytes) -> list[str]:
    """The names of the files below a directory that hold these bytes."""
    return [
        str(path.relative_to(directory))
        for path in sorted(directory.rglob("*"))
        if path.is_file() and needle in path.read_bytes()
    ]
