"""The end: everything is healed, recovery runs, and what is there then is what was promised."""

from __future__ import annotations

from collections.abc import Sequence

from volflow.exceptions import ConnectionFailed
from volflow.manager import VolumeManager
from volflow.models import AttachStatus
from volflow.testing.invariants import violations
from volflow.testing.scenarios import BACKEND, CONTEXT
from volflow.testing.simulation.answers import Answers
from volflow.testing.simulation.backend import Backend, Way
from volflow.testing.simulation.faults import (
    DEADLINE_SECONDS,
    DRIVER_CALL_SECONDS,
    LEASE_SECONDS,
)
from volflow.testing.simulation.ledger import Ledger
from volflow.testing.simulation.linearizability import TooHard, linearize
from volflow.testing.simulation.processes import Process, Processes
from volflow.testing.simulation.reservations import Register, apply, history
from volflow.testing.simulation.safety import Safety
from volflow.testing.simulation.scheduler import SECOND
from volflow.testing.simulation.world import World

SETTLING_SECONDS = DEADLINE_SECONDS + LEASE_SECONDS + 3 * DRIVER_CALL_SECONDS
"""By when everything has ended that nobody holds open, once nothing goes wrong any more."""

COMPARISONS = 3
"""After so many recoveries of each process nothing is left that a comparison repairs."""


class Ending:
    """Heals the world, and judges what became of it."""

    def __init__(
        self,
        world: World,
        processes: Processes,
        way: Way,
        backend: Backend,
        safety: Safety,
        ledger: Ledger,
        answers: Answers,
    ) -> None:
        self._world = world
        self._processes = processes
        self._way = way
        self._backend = backend
        self._safety = safety
        self._ledger = ledger
        self._answers = answers
        self._core: Sequence[Process] = ()

    def heal(self, core: Sequence[Process]) -> None:
        """Let nothing go wrong any more; nobody is logged in.

        :param core: the processes that are there from now on; all others are dead for ever.
        """
        world = self._world
        world.tell(f"{' and '.join(process.name for process in core)} are healed")
        world.calm = True
        self._way.recover()
        self._backend.sessions.clear()
        self._core = core
        for process in self._processes.all:
            process.stalled_until = 0
            if process not in core:
                self._processes.end(process)
            elif process.manager is None:
                self._processes.open(process)

    def settle(self) -> None:
        """Let recovery run until everything has ended, or should have."""
        world = self._world
        until = world.scheduler.now + int(SETTLING_SECONDS * SECOND) + world.set_back
        world.scheduler.run(lambda: self._is_quiet() or world.scheduler.now > until)
        # What a restarted target has lost, the next comparison finds; what a request has left that
        # was in doubt, the one after that.
        doubt = world.scheduler.now + int(DRIVER_CALL_SECONDS * SECOND) + world.set_back
        world.scheduler.run(lambda: world.scheduler.now > min(doubt, until))
        enough = {process.name: process.recoveries + COMPARISONS for process in self._core}
        world.scheduler.run(
            lambda: (
                (self._is_quiet() and all(p.recoveries >= enough[p.name] for p in self._core))
                or world.scheduler.now > until
            )
        )
        for operation in [] if world.violations else self._safety.unsettled:
            world.violate("G1 liveness", f"operation {operation.id} never ends: {operation}")
            break

    def _is_quiet(self) -> bool:
        busy = any(not self._is_own(actor.name) for actor in self._world.scheduler.actors)
        busy = busy or not all(process.serves for process in self._core)
        return not busy and not self._safety.unsettled and not self._way.busy

    def _is_own(self, name: str) -> bool:
        """True for what a process does by itself, for ever."""
        return name.startswith(tuple(process.name for process in self._processes.all))

    def judge(self) -> None:
        """Hold what is there against the guarantees, and against what callers were told."""
        manager = self._core[0].manager
        assert manager is not None
        for text in violations(manager, self._backend, BACKEND):
            self._world.violate(text.partition(" ")[0].rstrip(":") + " ending", text)
        for check in (self._connections, self._volumes, self._attachments):
            check(manager)
        self._histories()

    def _connections(self, manager: VolumeManager) -> None:
        """Whoever has a volume can log in with what it was told."""
        for attachment in manager.list_attachments(CONTEXT):
            initiator = (attachment.connector or {}).get("initiator", "nobody")
            try:
                self._backend.login(attachment.connection_info or {}, initiator)
            except (ConnectionFailed, KeyError) as e:
                short = self._world.short(attachment.volume_id)
                self._world.violate("G3 connection", f"{short} is attached, and {e!r}")

    def _volumes(self, manager: VolumeManager) -> None:
        """The backend has the volumes that the database has; one in error is unknown."""
        found = {v.id: v.status for v in manager.list_volumes(CONTEXT)}
        for volume_id in self._backend.volumes.keys() - found.keys():
            self._world.violate("G2 volume", f"{self._world.short(volume_id)} is left behind")
        for volume_id, status in found.items():
            if status != "error" and volume_id not in self._backend.volumes:
                self._world.violate("G2 volume", f"{self._world.short(volume_id)} is lost")

    def _attachments(self, manager: VolumeManager) -> None:
        """What a caller has and did not give back is there; what it gave back is not."""
        for attachment_id, told in self._ledger.kept.items():
            found = manager.get_attachment(CONTEXT, attachment_id)
            if found.attach_status is not AttachStatus.ATTACHED:
                self._world.violate("G5 attachment", f"{told} was lost: {found}")
            elif found != told:
                self._world.violate("G5 attachment", f"{told} became {found}")
        for attachment_id in self._ledger.gone:
            found = manager.get_attachment(CONTEXT, attachment_id)
            if found.attach_status is not AttachStatus.DETACHED:
                self._world.violate("G5 detach", f"a caller heard it is detached: {found}")

    def _histories(self) -> None:
        """What callers heard of a volume that serves one attach fits into one order."""
        tables = self._safety.tables
        for volume in tables.volumes.values():
            events = [] if volume.multiattach else history(volume.id, self._answers.calls, tables)
            try:
                if linearize(events, apply, Register()) is None:
                    short = self._world.short(volume.id)
                    told = "; ".join(f"{e.name} {self._world.short(e.action.who)}" for e in events)
                    self._world.violate("G3 history", f"{short} cannot have been: {told}")
            except TooHard:
                self._world.tally["histories too long"] += 1
