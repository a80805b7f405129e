"""Exit codes: one table, from which the help and the errors' codes are made."""

from __future__ import annotations

from typing import NamedTuple

import click

from volflow import exceptions as e


class Exit(NamedTuple):
    """One exit code, what it means, and which errors end with it."""

    code: int
    meaning: str
    errors: tuple[type[BaseException], ...] = ()


EXITS: tuple[Exit, ...] = (
    Exit(0, "done"),
    Exit(1, "anything else: most likely a bug; or the demo failed"),
    Exit(2, "wrong usage or input; nothing was done", (click.ClickException, e.InvalidInput)),
    Exit(3, "there is no such volume, attachment, operation or backend", (e.NotFound,)),
    Exit(
        4,
        "the volume's state forbids it, or an operation id was used otherwise",
        (e.InvalidVolume, e.OperationConflict),
    ),
    Exit(
        6,
        "an undo is refused and recovery goes on with it: needs attention",
        (e.RollbackIncomplete, e.ConnectionInUse),
    ),
    Exit(5, "the backend refused; what was done is undone", (e.DriverError,)),
    Exit(
        7, "the database or the board cannot be reached or used", (e.DatabaseError, e.BoardError)
    ),
    Exit(8, "another run took the operation over", (e.Fenced,)),
    Exit(9, "the operation is not settled yet", (TimeoutError,)),
    Exit(130, "interrupted", (click.Abort, KeyboardInterrupt)),
    Exit(141, "whoever read the output has closed it", (BrokenPipeError,)),
)
"""The first row that has an error's class gives its code: ConnectionInUse is a DriverError."""

BUG = 1
NEEDS_ATTENTION = 6


def exit_code(error: BaseException) -> int:
    """Return the exit code for an error.

    >>> exit_code(e.VolumeNotFound("..."))
    3
    """
    return next((row.code for row in EXITS if isinstance(error, row.errors)), BUG)


def epilog() -> str:
    """Describe the exit codes for ``--help``."""
    rows = sorted(EXITS, key=lambda row: row.code)
    return "\n".join(["\b", "Exit codes:", *(f"  {row.code:<4} {row.meaning}" for row in rows)])
