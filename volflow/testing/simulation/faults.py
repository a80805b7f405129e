"""The table of faults: what may go wrong, where, how often, and for how long."""

from __future__ import annotations

from typing import NamedTuple

LEASE_SECONDS = 20.0
DEADLINE_SECONDS = 90.0
DRIVER_CALL_SECONDS = 40.0


class Kind(NamedTuple):
    """One kind of fault.

    :ivar place: where it strikes: at any ``point``, at a ``statement`` or a ``commit``, before
        a transaction that is ``writing`` or once it is ``committed``, in a driver's ``effect`` or
        ``look``, at a caller's ``request`` or its ``reply``, or with the ``weather``, which
        passes every few seconds.
    :ivar gap: how many such places lie between two strikes, on the average.
    :ivar least: its number is drawn between this and ``most``: seconds, unless it says more.
    """

    name: str
    place: str
    gap: float
    least: float
    most: float
    what: str


_CALL = DRIVER_CALL_SECONDS

KINDS: tuple[Kind, ...] = (
    Kind("death", "point", 1200, 0.5, 60, "the process dies, and another opens later"),
    Kind("stall", "point", 2500, 5, 3 * LEASE_SECONDS, "the process stands still"),
    Kind("freeze", "point", 2500, 5, 3 * LEASE_SECONDS, "one thread stands still"),
    Kind("doze", "committed", 90, 1.05 * LEASE_SECONDS, 3 * LEASE_SECONDS, "stall after a commit"),
    Kind("nap", "writing", 90, 1.05 * LEASE_SECONDS, 3 * LEASE_SECONDS, "stall before a commit"),
    Kind("lost statement", "statement", 1500, 0, 0, "the connection breaks"),
    Kind("refused statement", "statement", 3000, 0, 0, "the disk fails"),
    Kind("lost commit", "commit", 60, 0, 0, "it happened, and the connection broke"),
    Kind("broken commit", "commit", 60, 0, 0, "it did not happen, and the connection broke"),
    Kind("refused commit", "commit", 150, 0, 0, "the disk is full"),
    Kind("refusal", "effect", 25, 0, 0, "the backend refuses before the effect"),
    Kind("half", "effect", 25, 0, 0, "the backend makes the effect and then refuses"),
    Kind("foreign", "effect", 80, 0, 1, "what is raised is no error of ours; after, from 0.5 on"),
    Kind("transient", "effect", 50, 1, 6, "the backend is busy for so many calls"),
    Kind("outage", "effect", 60, 1, 90, "the call is refused for a while"),
    Kind("slow", "effect", 20, 0.1, LEASE_SECONDS, "the effect takes its time"),
    Kind("hang", "effect", 100, 1.05 * _CALL, 2 * _CALL, "the call passes its limit"),
    Kind("late", "effect", 60, 0.5, 0.9 * _CALL, "refused, and the effect comes afterwards"),
    Kind("orphan", "effect", 90, 0.5, 0.9 * _CALL, "the process dies, its command goes on"),
    Kind("blind", "look", 25, 0, 0, "the backend cannot tell who is logged in"),
    Kind("deaf", "look", 25, 0, 0, "the backend does not list its exports"),
    Kind("duplicate", "request", 12, 0.01, 20, "the request comes a second time"),
    Kind("lost reply", "reply", 10, 0, 0, "the caller does not hear the answer"),
    Kind("outcry", "weather", 12, 0.5, 60, "a process dies between its points"),
    Kind("jump", "weather", 15, -300, 300, "the wall clock is set"),
    Kind("restart", "weather", 25, 0, 0, "the target forgets every export"),
    Kind("upgrade", "weather", 25, 0, 1, "all processes are replaced, one by one"),
    Kind(
        "swizzle", "weather", 25, 1, LEASE_SECONDS, "processes stop in one order, go on in another"
    ),
)

NAMES = frozenset(kind.name for kind in KINDS)
