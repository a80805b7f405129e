"""Marks: a sign beside each word that tells a state, so that no colour is needed to see it."""

from __future__ import annotations

from typing import NamedTuple


class Mark(NamedTuple):
    """How a state looks: its sign, and the class that colours it."""

    sign: str
    tone: str


_GOOD, _BAD, _TURNED, _MOVING, _STILL = (
    Mark("✓", "good"),
    Mark("▲", "bad"),
    Mark("↩", "turned"),
    Mark("▶", "moving"),
    Mark("◦", "still"),
)

_MARKS = {
    "available": _GOOD,
    "in-use": _GOOD,
    "attached": _GOOD,
    "succeeded": _GOOD,
    "done": _GOOD,
    "alive": _GOOD,
    "repaired": _GOOD,
    "error": _BAD,
    "failed": _BAD,
    "refused": _BAD,
    "needs_attention": _BAD,
    "dead": _BAD,
    "differs": _BAD,
    "its undo failed": _BAD,
    "rolled_back": _TURNED,
    "undone": _TURNED,
    "reverting": _TURNED,
    "being undone": _TURNED,
    "to be undone": _TURNED,
    "interrupted": Mark("✗", "turned"),
    "held back": Mark("✗", "turned"),
    "running": _MOVING,
    "runs now": _MOVING,
    "under way": _MOVING,
    "attaching": _MOVING,
    "detaching": _MOVING,
    "creating": _MOVING,
    "deleting": _MOVING,
    "queued": Mark("≡", "moving"),
    "waiting": Mark("…", "moving"),
}


def mark_of(state: str) -> Mark:
    """The mark of a state; one that nobody knows has a plain one."""
    return _MARKS.get(state, _STILL)
