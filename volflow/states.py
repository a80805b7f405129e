"""The volume's state machine, as data: which status may follow which, and why."""

from __future__ import annotations

from typing import NamedTuple

from volflow.models import VolumeStatus as S


class Transition(NamedTuple):
    """One allowed change of a volume's status; ``None`` is a volume that is not there."""

    before: S | None
    after: S | None
    reason: str


TRANSITIONS: tuple[Transition, ...] = (
    Transition(None, S.CREATING, "create_volume begins"),
    Transition(S.CREATING, S.AVAILABLE, "the backend made the volume"),
    Transition(S.CREATING, None, "the creation was rolled back"),
    Transition(S.AVAILABLE, S.ATTACHING, "reserve_volume"),
    Transition(S.IN_USE, S.ATTACHING, "reserve_volume of a multiattach volume"),
    Transition(S.ATTACHING, S.IN_USE, "attach, or a rollback beside another attachment"),
    Transition(S.ATTACHING, S.AVAILABLE, "the attach was rolled back"),
    Transition(S.IN_USE, S.DETACHING, "begin_detaching"),
    Transition(S.DETACHING, S.AVAILABLE, "detach of the last attachment"),
    Transition(S.DETACHING, S.IN_USE, "detach beside another attachment, or its rollback"),
    Transition(S.AVAILABLE, S.DETACHING, "the end of a detach, taken back before its commit"),
    Transition(S.AVAILABLE, S.MAINTENANCE, "set_maintenance on"),
    Transition(S.MAINTENANCE, S.AVAILABLE, "set_maintenance off"),
    Transition(S.AVAILABLE, S.DELETING, "delete_volume begins"),
    Transition(S.ERROR, S.DELETING, "delete_volume of a volume in error"),
    Transition(S.DELETING, None, "the backend deleted the volume"),
    Transition(S.DELETING, S.ERROR, "the backend refused to delete; what is left is unknown"),
    Transition(S.CREATING, S.ERROR, "repair of a creation that no operation brings on"),
    Transition(S.AVAILABLE, S.IN_USE, "repair: an attachment says so"),
    Transition(S.MAINTENANCE, S.IN_USE, "repair: an attachment says so"),
    Transition(S.ERROR, S.IN_USE, "repair: an attachment says so"),
    Transition(S.IN_USE, S.AVAILABLE, "repair: no attachment says otherwise"),
)

_ALLOWED = {(t.before, t.after): t for t in TRANSITIONS}


def allowed(before: S | None, after: S | None) -> bool:
    """True where a volume may go from ``before`` to ``after``, or stays."""
    return before == after or (before, after) in _ALLOWED


def to_dot() -> str:
    """Draw the table in Graphviz' language."""
    lines = ["digraph volume {", "  rankdir=LR; node [shape=box, style=rounded];"]
    lines += ['  "" [shape=point];']
    lines += [
        f'  "{t.before or ""}" -> "{t.after or ""}" [label="{t.reason}"];' for t in TRANSITIONS
    ]
    return "\n".join([*lines, "}"])


def to_mermaid() -> str:
    """Draw the table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    lines += [f"    {_name(t.before)} --> {_name(t.after)}: {t.reason}" for t in TRANSITIONS]
    return "\n".join(lines)


def _name(status: S | None) -> str:
    return "[*]" if status is None else status.value.replace("-", "_")


def to_page() -> str:
    """The page of the docs that draws the table."""
    rows = "\n".join(
        f"| {t.before or '(none)'} | {t.after or '(none)'} | {t.reason} |" for t in TRANSITIONS
    )
    return (
        "# The states of a volume\n\n"
        "Drawn from the table in `volflow/states.py`; a test holds this page against it.\n\n"
        f"```mermaid\n{to_mermaid()}\n```\n\n"
        "| from | to | when |\n| --- | --- | --- |\n"
        f"{rows}\n\n"
        "`attaching`, `detaching`, `creating` and `deleting` are transitional: a volume has such "
        "a status only\nwhile an operation owns it. A volume that is attached (or in maintenance) "
        "belongs to nobody.\n"
    )
