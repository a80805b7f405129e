"""What callers asked for and what they were told: one JSON object a line, appended at once.

A line is one ``write`` to a file that is open for appending, so that the death of its process
leaves it whole or leaves it out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ONE_SHOTS = ("attach_volume", "detach_volume")
"""Calls that end with the end of their operation: their answer is the operation's."""


@dataclass(frozen=True)
class Call:
    """A call under an operation id, which may be made again.

    :ivar name: the manager's method, one that takes an operation id.
    :ivar key: the operation id.
    :ivar arguments: the method's other arguments, JSON.
    """

    name: str
    key: str
    arguments: dict[str, Any]

    @property
    def is_one_shot(self) -> bool:
        """True where the answer is the operation's outcome."""
        return self.name in ONE_SHOTS


@dataclass(frozen=True)
class Answer:
    """What a call came to.

    :ivar value: of an attach, the attachment's id; else ``ok``. None where it raised.
    :ivar error: the class name of what it raised.
    """

    value: str | None
    error: str | None = None
    message: str = ""


class Journal:
    """Appends to one worker's journal; threads may share it."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def asked(self, call: Call) -> None:
        """Write a call down before it is made."""
        self._append({"asked": asdict(call)})

    def answered(self, call: Call, answer: Answer) -> None:
        """Write down what it came to."""
        self._append({"key": call.key, "answer": asdict(answer)})

    def step(self, name: str, error: str | None) -> None:
        """Count a call without an operation id."""
        self._append({"step": name, "error": error})

    def told(self, attachment_id: str) -> None:
        """Write down an attachment that a caller was told of."""
        self._append({"told": attachment_id})

    def broken(self, sentence: str) -> None:
        """Write down what must not happen."""
        self._append({"broken": sentence})

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _append(self, line: dict[str, Any]) -> None:
        os.write(self._fd, json.dumps(line).encode() + b"\n")


@dataclass
class History:
    """All that the journals tell.

    :ivar calls: key -> the call.
    :ivar answers: key -> its answers in the order they came; none: nobody was answered.
    :ivar steps: (call without a key, class name of its error or None) for each.
    :ivar told: attachments that callers were told of.
    """

    calls: dict[str, Call]
    answers: dict[str, list[Answer]]
    steps: list[tuple[str, str | None]]
    broken: list[str]
    told: list[str] = field(default_factory=list)

    @property
    def unanswered(self) -> list[Call]:
        """Calls whose caller does not know yet."""
        return [call for key, call in self.calls.items() if not self.answers[key]]


def read(*paths: Path) -> History:
    """Read journals."""
    found = History({}, {}, [], [])
    for line in _lines(paths):
        if "asked" in line:
            call = Call(**line["asked"])
            found.calls[call.key] = call
            found.answers.setdefault(call.key, [])
        elif "answer" in line:
            found.answers[line["key"]].append(Answer(**line["answer"]))
        elif "step" in line:
            found.steps.append((line["step"], line["error"]))
        elif "told" in line:
            found.told.append(line["told"])
        else:
            found.broken.append(line["broken"])
    return found


def _lines(paths: tuple[Path, ...]) -> Iterator[dict[str, Any]]:
    for path in paths:
        if path.exists():
            yield from map(json.loads, path.read_text().splitlines())
