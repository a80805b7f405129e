"""Callers: what they do to volumes, in one call or in six, with some who give up on the way."""

from __future__ import annotations

import logging
import random
import threading
import uuid
from collections.abc import Callable
from typing import Any

from oslo_context.context import RequestContext

from volflow.exceptions import BackendNotFound, DatabaseError, Fenced, NotFound, VolflowError
from volflow.manager import VolumeManager
from volflow.models import Attachment, AttachStatus, Volume, VolumeStatus
from volflow.testing.soak.journal import Answer, Call, Journal
from volflow.testing.soak.plan import BACKEND

LOG = logging.getLogger(__name__)
Plays = dict[Callable[..., None], int]
"""What a caller may do, and how often beside the others."""

HOSTS = 4
REPEATS = 20


class _GivenUp(Exception):
    """A step was refused: the caller does something else."""


class Caller:
    """One thread's worth of callers.

    :param stop: set where no new call is to begin.
    """

    def __init__(
        self, manager: VolumeManager, journal: Journal, rng: random.Random, stop: threading.Event
    ) -> None:
        self._manager = manager
        self._journal = journal
        self._rng = rng
        self._stop = stop
        self._context = RequestContext(overwrite=False)
        self._volumes: list[str] = []
        self._attaches: Plays = {
            self._attach: 10,
            self._attach_in_steps: 6,
            self._reserve: 1,
            self._unreserve: 1,
            self._give_up: 1,
        }
        self._detaches: Plays = {
            self._detach: 8,
            self._detach_forced: 2,
            self._detach_in_steps: 6,
            self._begin: 1,
            self._roll: 2,
        }

    def run(self) -> None:
        """Do one thing after the other, until told to stop."""
        while not self._stop.is_set():
            try:
                self._turn()
            except _GivenUp:
                self._stop.wait(0.01)
            except DatabaseError as e:
                LOG.warning("a caller waits: %s", e)
                self._stop.wait(0.2)
            except Exception as e:
                LOG.exception("a caller met what it must not")
                self._journal.broken(f"a call raised {type(e).__name__}: {e}")

    def ask(self, call: Call) -> Answer:
        """Make a call under its key; again where the answer says nothing of its outcome."""
        self._journal.asked(call)
        for _ in range(REPEATS):
            answer = perform(self._manager, self._context, call)
            self._journal.answered(call, answer)
            if answer.error not in (Fenced.__name__, DatabaseError.__name__):
                break
            if self._stop.wait(0.1):
                break
        return answer

    # What there is to do

    def _turn(self) -> None:
        if not self._volumes:
            found = self._manager.list_volumes(self._context, backend=BACKEND)
            self._volumes = [volume.id for volume in found]
        volume = self._manager.get_volume(self._context, self._rng.choice(self._volumes))
        attachments = self._manager.list_attachments(self._context, volume.id)
        attached = [a for a in attachments if a.attach_status is AttachStatus.ATTACHED]
        if volume.operation_id is not None:
            if self._rng.random() < 0.05:
                self._step("cancel_operation", volume.operation_id)
            else:
                self._stop.wait(0.005)
        elif attached and (not volume.multiattach or self._rng.random() < 0.5):
            self._choose(self._detaches)(volume, self._rng.choice(attached))
        elif volume.status in (VolumeStatus.AVAILABLE, VolumeStatus.IN_USE):
            self._choose(self._attaches)(volume)

    def _choose(self, plays: Plays) -> Callable[..., None]:
        return self._rng.choices(list(plays), list(plays.values()))[0]

    def _attach(self, volume: Volume) -> None:
        given = {"connector": self._connector(), "instance_uuid": str(uuid.uuid4())}
        self._keyed("attach_volume", volume_id=volume.id, **given)

    def _attach_in_steps(self, volume: Volume) -> None:
        self._reserve(volume)
        connector = self._connector()
        info = self._step("initialize_connection", volume.id, connector)
        if self._rng.random() < 0.2:
            self._same(info, self._step("initialize_connection", volume.id, connector))
        instance = str(uuid.uuid4())
        given = (volume.id, instance, connector["host"], "/dev/vdb")
        found = self._step("attach", *given)
        self._journal.told(found.id)
        if self._rng.random() < 0.2:
            self._same(found.id, self._step("attach", *given).id)

    def _reserve(self, volume: Volume) -> None:
        """Reserve, and perhaps never come back."""
        self._keyed("reserve_volume", volume_id=volume.id)

    def _unreserve(self, volume: Volume) -> None:
        self._reserve(volume)
        if self._rng.random() < 0.5:
            self._step("initialize_connection", volume.id, self._connector())
        self._step("unreserve_volume", volume.id)

    def _give_up(self, volume: Volume) -> None:
        """Take the connection back, and leave the reservation to its deadline."""
        self._reserve(volume)
        connector = self._connector()
        self._step("initialize_connection", volume.id, connector)
        self._step("terminate_connection", volume.id, connector)

    def _detach(self, volume: Volume, attachment: Attachment, force: bool = False) -> None:
        given = {"volume_id": volume.id, "attachment_id": attachment.id, "force": force}
        self._keyed("detach_volume", **given)

    def _detach_forced(self, volume: Volume, attachment: Attachment) -> None:
        self._detach(volume, attachment, force=True)

    def _begin(self, volume: Volume, attachment: Attachment) -> None:
        """Begin a detach, and perhaps never come back."""
        given = {"volume_id": volume.id, "attachment_id": attachment.id}
        self._keyed("begin_detaching", **given)

    def _detach_in_steps(self, volume: Volume, attachment: Attachment) -> None:
        self._begin(volume, attachment)
        if self._rng.random() < 0.8:
            self._step("terminate_connection", volume.id, attachment.connector)
        self._step("detach", volume.id, attachment.id)

    def _roll(self, volume: Volume, attachment: Attachment) -> None:
        self._begin(volume, attachment)
        if self._rng.random() < 0.5:
            self._step("terminate_connection", volume.id, attachment.connector)
        self._step("roll_detaching", volume.id)

    # How it is asked for

    def _keyed(self, name: str, **arguments: Any) -> None:
        if self.ask(Call(name, str(uuid.uuid4()), arguments)).error is not None:
            raise _GivenUp

    def _step(self, name: str, *arguments: Any) -> Any:
        try:
            found = getattr(self._manager, name)(self._context, *arguments)
        except NotFound:
            raise
        except VolflowError as e:
            self._journal.step(name, type(e).__name__)
            raise _GivenUp from e
        self._journal.step(name, None)
        return found

    def _same(self, first: Any, second: Any) -> None:
        if first != second:
            self._journal.broken("a call that was repeated had another answer")

    def _connector(self) -> dict[str, Any]:
        host = f"host-{self._rng.randrange(HOSTS)}"
        return {"initiator": f"iqn.2004-10.org.example:{host}", "host": host}


def perform(manager: VolumeManager, context: RequestContext, call: Call) -> Answer:
    """Make a call; what volflow raises is an answer.

    :raises NotFound: it asks for what was there before.
    """
    try:
        found = getattr(manager, call.name)(context, operation_id=call.key, **call.arguments)
    except (BackendNotFound, NotFound):
        raise
    except VolflowError as e:
        return Answer(None, type(e).__name__, str(e))
    return Answer(found.id if isinstance(found, Attachment) else "ok")
