"""Callers: each plays one story with the six calls or the one-shots, well or badly.

A caller is outside the processes: it outlives them, and it repeats a call whose answer it did not
hear, in another process. It may also go away at any step, and never come back.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple

from volflow.exceptions import (
    ConnectionFailed,
    DatabaseError,
    Fenced,
)
from volflow.models import Attachment, AttachStatus, Operation, OperationState
from volflow.testing.simulation.backend import Backend
from volflow.testing.simulation.ledger import Ledger
from volflow.testing.simulation.network import Network, Reply, Request
from volflow.testing.simulation.plan import Script
from volflow.testing.simulation.world import World

HOSTS = ("a", "b", "c")
LEAVES = 0.06
"""How often a caller goes away at a step."""
TRIES = 6
LOOKS = 9


class Pause(NamedTuple):
    """A caller thinks."""

    seconds: float


Play = Generator["Request | Pause", Reply | None, Any]
"""What a caller does: it yields requests and pauses, and is sent replies."""


class Gone(Exception):
    """The caller goes away."""


class Place(NamedTuple):
    """What callers meet.

    :ivar volumes: the volumes that were there from the beginning: id -> readonly.
    """

    seed: int
    world: World
    network: Network
    backend: Backend
    ledger: Ledger
    volumes: Mapping[str, bool]


class Caller:
    """One caller.

    :param done: told when it has ended.
    """

    def __init__(
        self,
        script: Script,
        place: Place,
        story: Callable[[Caller], Play],
        done: Callable[[], None],
    ) -> None:
        self.name = f"c{script.number}"
        self.place = place
        self.random = random.Random(f"{place.seed} caller {script.number}")  # noqa: S311 - repeatable
        self.volume_id = list(place.volumes)[script.volume % len(place.volumes)]
        self.mode = "ro" if place.volumes[self.volume_id] else self.random.choice(["rw", "ro"])
        self.host = HOSTS[script.host % len(HOSTS)]
        self.connector = connector_of(self.host)
        self._asked = 0
        self._calls = script.calls
        self._done = done
        self._play = story(self)

    def begin(self) -> None:
        """Play the story to its end."""
        self._go_on(None)

    def _go_on(self, reply: Reply | None) -> None:
        world = self.place.world
        try:
            step = next(self._play) if reply is None else self._play.send(reply)
        except (StopIteration, Gone):
            self._done()
            return
        if isinstance(step, Pause):
            world.scheduler.after(step.seconds, lambda: self._go_on(None))
        else:
            self.place.network.send(step, self.random.random(), self._go_on)

    # What a story is made of

    def ask(self, verb: str, **arguments: Any) -> Generator[Any, Any, Reply]:
        """Call until there is an answer.

        :raises Gone: there is none, and the caller gives up.
        """
        for turn in range(TRIES):
            self.leave_perhaps()
            if self._asked >= self._calls:
                raise Gone
            self._asked += 1
            name = f"{self.name}.{self._asked} {verb}"
            reply: Reply = yield Request(name, verb, arguments)
            if not reply.lost and not isinstance(reply.error, (Fenced, DatabaseError)):
                return reply
            yield Pause(self.random.uniform(0, 2**turn))
        raise Gone

    def think(self) -> Generator[Any, Any, None]:
        """Let some time pass, now and then more than the deadline."""
        yield Pause(self.random.expovariate(0.4) * (30 if self.random.random() < 0.03 else 1))

    def chance(self, probability: float) -> bool:
        """Draw."""
        return self.random.random() < probability

    def leave_perhaps(self) -> None:
        """Go away, now and then, and at once when everything comes to its end.

        :raises Gone: the caller does.
        """
        if self.place.world.calm or self.chance(LEAVES):
            raise Gone

    def new_id(self) -> str:
        """A UUID of this caller's."""
        made = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        self.place.world.names[made] = f"{self.name}-{len(self.place.world.names)}"
        return made

    def log_in(self, info: Any) -> None:
        """Let the host log in with what it was told; that fails where somebody undid it."""
        try:
            self.place.backend.login(info, self.connector["initiator"])
        except (ConnectionFailed, KeyError):
            return
        self.place.world.tell(f"{self.host} logs in to {self.place.world.short(self.volume_id)}")

    def log_out(self) -> None:
        """Let the host log out."""
        self.place.backend.logout(self.volume_id, self.connector["initiator"])

    # The parts of stories

    def attach_six(self) -> Generator[Any, Any, Attachment | None]:
        """Attach with the calls, and return the attachment if there is one."""
        ledger, volume_id, operation_id = self.place.ledger, self.volume_id, self.new_id()
        ledger.began(operation_id)
        reserved = yield from self.ask(
            "reserve_volume", volume_id=volume_id, operation_id=operation_id
        )
        if reserved.error is not None:
            return None
        yield from self.think()
        if self.chance(0.08):
            yield from self.ask("unreserve_volume", volume_id=volume_id)
            return None
        made = yield from self.ask(
            "initialize_connection", volume_id=volume_id, connector=self.connector
        )
        if made.error is not None:
            yield from self.ask("unreserve_volume", volume_id=volume_id)
            return None
        if self.chance(0.7):
            self.log_in(made.value)
        yield from self.think()
        if self.chance(0.1):
            yield from self.give_up()
            return None
        attached = yield from self.ask(
            "attach",
            volume_id=volume_id,
            instance_uuid=self.new_id(),
            host_name=self.host,
            mountpoint="/dev/vdb",
            mode=self.mode,
        )
        if attached.error is not None:
            yield from self.give_up()
            return None
        ledger.attached(attached.value, self.host)
        return attached.value  # type: ignore[no-any-return]

    def give_up(self) -> Generator[Any, Any, None]:
        """Take a connection back."""
        self.log_out()
        if self.chance(0.5):
            force = self.chance(0.2)
            yield from self.ask(
                "terminate_connection",
                volume_id=self.volume_id,
                connector=self.connector,
                force=force,
            )
        yield from self.ask("unreserve_volume", volume_id=self.volume_id)

    def attach_at_once(self) -> Generator[Any, Any, Attachment | None]:
        """Attach with one call."""
        operation_id = self.new_id()
        self.place.ledger.began(operation_id)
        made = yield from self.ask(
            "attach_volume",
            volume_id=self.volume_id,
            connector=self.connector,
            instance_uuid=self.new_id(),
            mode=self.mode,
            operation_id=operation_id,
        )
        if made.error is not None:
            return None
        self.place.ledger.attached(made.value, self.host)
        if self.chance(0.7):
            self.log_in(made.value.connection_info)
        return made.value  # type: ignore[no-any-return]

    def attach_queued(self) -> Generator[Any, Any, Attachment | None]:
        """Submit an attach, and look now and then what has become of it."""
        operation_id = self.new_id()
        self.place.ledger.began(operation_id)
        submitted = yield from self.ask(
            "submit_attach",
            volume_id=self.volume_id,
            connector=self.connector,
            instance_uuid=self.new_id(),
            mode=self.mode,
            operation_id=operation_id,
            priority=self.random.choice([0, 0, 5]),
        )
        if submitted.error is not None:
            return None
        ended = yield from self.watch(operation_id)
        if ended is None or ended.state != OperationState.SUCCEEDED:
            return None
        found = yield from self.ask("get_attachment", attachment_id=ended.attachment_id)
        if found.error is not None or found.value.attach_status != AttachStatus.ATTACHED:
            return None  # somebody has detached it since
        self.place.ledger.attached(found.value, self.host)
        if self.chance(0.7):
            self.log_in(found.value.connection_info)
        return found.value  # type: ignore[no-any-return]

    def detach_queued(self, attachment: Attachment, force: bool = False) -> Play:
        """Submit a detach, and look now and then what has become of it."""
        operation_id = self.new_id()
        self.place.ledger.began(operation_id)
        self.place.ledger.leaves(attachment.id)
        if not force:
            self.log_out()
        submitted = yield from self.ask(
            "submit_detach",
            volume_id=self.volume_id,
            attachment_id=attachment.id,
            force=force,
            operation_id=operation_id,
        )
        if submitted.error is not None:
            return
        ended = yield from self.watch(operation_id)
        if ended is not None and ended.state == OperationState.SUCCEEDED:
            self.place.ledger.detached(attachment.id)

    def watch(self, operation_id: str) -> Generator[Any, Any, Operation | None]:
        """Ask for an operation until it is settled, or for as long as this caller has patience."""
        for turn in range(LOOKS):
            yield Pause(self.random.uniform(0, 2**turn / 10))
            found = yield from self.ask("get_operation", operation_id=operation_id)
            if found.error is None and found.value.settled:
                return found.value  # type: ignore[no-any-return]
        return None

    def detach_six(self, attachment: Attachment, force: bool = False) -> Play:
        """Detach with the calls."""
        volume_id, operation_id = self.volume_id, self.new_id()
        self.place.ledger.began(operation_id)
        self.place.ledger.leaves(attachment.id)
        begun = yield from self.ask(
            "begin_detaching",
            volume_id=volume_id,
            attachment_id=attachment.id,
            operation_id=operation_id,
        )
        if begun.error is not None:
            return
        yield from self.think()
        if self.chance(0.1):
            yield from self.ask("roll_detaching", volume_id=volume_id)
            return
        self.log_out()
        if self.chance(0.7):
            yield from self.ask(
                "terminate_connection",
                volume_id=volume_id,
                connector=attachment.connector if self.chance(0.8) else None,
                force=force,
            )
            yield from self.think()
        if self.chance(0.1):
            yield from self.ask("roll_detaching", volume_id=volume_id)
            return
        done = yield from self.ask("detach", volume_id=volume_id, attachment_id=attachment.id)
        if done.error is None:
            self.place.ledger.detached(attachment.id)

    def detach_at_once(self, attachment: Attachment, force: bool = False) -> Play:
        """Detach with one call."""
        operation_id = self.new_id()
        self.place.ledger.began(operation_id)
        self.place.ledger.leaves(attachment.id)
        if not force:
            self.log_out()
        done = yield from self.ask(
            "detach_volume",
            volume_id=self.volume_id,
            attachment_id=attachment.id,
            force=force,
            operation_id=operation_id,
        )
        if done.error is None:
            self.place.ledger.detached(attachment.id)

    def detach(self, attachment: Attachment) -> Play:
        """Detach in one way or the other."""
        yield from self.think()
        ways = [self.detach_six, self.detach_at_once, self.detach_queued]
        way = self.random.choices(ways, [4, 4, 2])[0]
        yield from way(attachment, force=self.chance(0.15))


def connector_of(host: str) -> dict[str, Any]:
    """The connector of a host."""
    return {"initiator": f"iqn.2004-10.org.example:{host}", "host": host}
