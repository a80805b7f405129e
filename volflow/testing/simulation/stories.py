"""The stories that callers play, and how often each is played."""

from __future__ import annotations

from collections.abc import Callable

from volflow.testing.scenarios import BACKEND
from volflow.testing.simulation.callers import Caller, Play


def play_six(caller: Caller) -> Play:
    """Attach with the six calls, and detach after a while."""
    attachment = yield from caller.attach_six()
    if attachment is not None and caller.chance(0.8):
        yield from caller.detach(attachment)


def play_at_once(caller: Caller) -> Play:
    """Attach in one call, and detach after a while."""
    attachment = yield from caller.attach_at_once()
    if attachment is not None and caller.chance(0.8):
        yield from caller.detach(attachment)


def play_queued(caller: Caller) -> Play:
    """Have conductors attach, and detach after a while."""
    attachment = yield from caller.attach_queued()
    if attachment is not None and caller.chance(0.8):
        yield from caller.detach(attachment)


def play_cleaner(caller: Caller) -> Play:
    """Detach by force what somebody else attached."""
    for _ in range(3):
        yield from caller.think()
        found = caller.place.ledger.some_attachment(caller.random)
        if found is not None:
            caller.volume_id = found.volume_id
            yield from caller.detach_at_once(found, force=True)


def play_canceller(caller: Caller) -> Play:
    """Cancel what somebody else began."""
    for _ in range(4):
        yield from caller.think()
        found = caller.place.ledger.some_operation(caller.random)
        if found is not None:
            yield from caller.ask("cancel_operation", operation_id=found)


def play_maintainer(caller: Caller) -> Play:
    """Take the volume out of use, and back."""
    for on in (True, False, True, False):
        yield from caller.think()
        yield from caller.ask("set_maintenance", volume_id=caller.volume_id, on=on)


def play_maker(caller: Caller) -> Play:
    """Make a volume, use it, and delete it."""
    wanted = {"size_gib": 1, "backend": BACKEND, "multiattach": caller.chance(0.3)}
    made = caller.new_id()
    reply = yield from caller.ask("create_volume", volume_id=made, **wanted)
    if reply.error is not None:
        return
    caller.volume_id = made
    if caller.chance(0.6):
        attachment = yield from caller.attach_at_once()
        if attachment is not None:
            yield from caller.detach(attachment)
    for _ in range(3):
        reply = yield from caller.ask("delete_volume", volume_id=made)
        if reply.error is None:
            return
        yield from caller.think()


def play_reader(caller: Caller) -> Play:
    """Look at everything, and wait for somebody's operation."""
    for _ in range(3):
        yield from caller.think()
        yield from caller.ask("get_volume", volume_id=caller.volume_id)
        yield from caller.ask("list_attachments", volume_id=caller.volume_id, live=False)
        found = caller.place.ledger.some_operation(caller.random)
        if found is not None:
            yield from caller.ask("get_operation", operation_id=found)


STORIES: dict[str, Callable[[Caller], Play]] = {
    "six": play_six,
    "at once": play_at_once,
    "queued": play_queued,
    "cleaner": play_cleaner,
    "canceller": play_canceller,
    "maintainer": play_maintainer,
    "maker": play_maker,
    "reader": play_reader,
}
WEIGHTS = {
    "six": 8,
    "at once": 6,
    "queued": 5,
    "cleaner": 2,
    "canceller": 2,
    "maintainer": 1,
    "maker": 3,
    "reader": 1,
}
"""How often a caller plays a story."""
