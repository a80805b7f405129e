"""A worker of a soak, a process of its own.

It recovers, makes calls in several threads, and ends when it is told to by SIGTERM. What its
predecessor asked and was not answered it asks again, under the same operation id, as a client
does whose server died.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
from pathlib import Path

from volflow.exceptions import DatabaseError, DriverError
from volflow.manager import VolumeManager
from volflow.testing.soak import journal
from volflow.testing.soak.callers import Caller
from volflow.testing.soak.journal import Journal
from volflow.testing.soak.plan import Plan

LOG = logging.getLogger(__name__)


def main(plan_file: Path, slot: int, incarnation: int) -> None:
    """Work until SIGTERM, which lets callers finish what they do."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it
    plan = Plan.read(plan_file)
    _log_to(plan.log(slot))
    unanswered = journal.read(plan.journal(slot)).unanswered
    manager = _open(plan, stop)
    if manager is None:
        return
    written = Journal(plan.journal(slot))
    seed = f"{plan.seed} {slot} {incarnation}"
    callers = [
        Caller(manager, written, random.Random(f"{seed} {number}"), stop)  # noqa: S311
        for number in range(plan.threads)
    ]
    for call in unanswered:
        callers[0].ask(call)
    threads = [threading.Thread(target=caller.run) for caller in callers]
    for thread in threads:
        thread.start()
    # A signal that came while the process was stopped may have woken another thread than this
    # one, which then handles it only where it does not sleep for ever.
    while any(thread.is_alive() for thread in threads):
        stop.wait(0.1)
        for thread in threads:
            thread.join(0.1)
    manager.close()
    written.close()


def _open(plan: Plan, stop: threading.Event) -> VolumeManager | None:
    """Open a manager, also where database or target come up later; None: told to stop."""
    driver = plan.make_driver()
    while not stop.is_set():
        try:
            return plan.open(driver)
        except (DatabaseError, DriverError) as e:
            LOG.warning("waiting: %s", e)
            stop.wait(0.2)
    return None


def _log_to(path: Path) -> None:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    logging.getLogger("volflow").setLevel(logging.INFO)
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(process)d %(levelname)s %(name)s %(message)s",
        force=True,
    )
