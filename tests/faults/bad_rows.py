"""Rows that no release of volflow writes: columns that make no sense, and rows that are lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.contract.hand import Hand
from tests.contract.lab import UNKNOWN
from tests.faults.victims import (
    ALL,
    MOVING,
    Situation,
    Victim,
    detaching,
    dying,
    resting,
    stopped,
    waiting,
)

STRANGE_TOKEN = (
    "gAAAAABrBwSCIToLkToyYJkrGykQuNvqb_u0R7cEkLUiiGTJWm2JKu4-4qwx"
    "20-vN8lJbcw3hGucPdKl-gS7ofFqOgGS5RnswxqGd0ouaeP2ghEgzjSY_dw="
)
"""``CHAP user secret``, encrypted with a key that nobody has."""


class Bad(NamedTuple):
    """One column with what does not belong there."""

    table: str
    column: str
    value: Any
    situations: tuple[Situation, ...] = ALL

    def __str__(self) -> str:
        return f"{self.table}.{self.column}={self.value!r:.20}"

    def feed(self, hand: Hand, victim: Victim) -> None:
        values = {self.column: self.value}
        if self.table == "flows":
            found = hand.read("SELECT flows FROM operations WHERE id = ?", victim.operations)
            *others, last = json.loads(found)
            values = {"flows": json.dumps([*others, last | values])}
        hand.change(self.named, getattr(victim, self.named), **values)

    @property
    def named(self) -> str:
        """The table whose row's id an operator reads: flows are a column of their operation."""
        return "operations" if self.table == "flows" else self.table


def columns(table: str, values: dict[str, list[Any]], *situations: Situation) -> list[Bad]:
    return [
        Bad(table, column, value, situations or ALL)
        for column, found in values.items()
        for value in found
    ]


BROKEN_JSON = ["{", "", b"\xff", 7]
NO_TIME = ["yesterday", 2**62, -(2**62), b"\x00"]
NO_TOKEN = ["rubbish", "", STRANGE_TOKEN, b"\xff", 7]

BAD = [
    *columns("volumes", {"status": ["melted", "", 7, "In-Use"], "attach_status": ["glued"]}),
    *columns("volumes", {"provider_auth": NO_TOKEN}),
    *columns(
        "volumes",
        {
            "qos_specs": BROKEN_JSON,
            "created_at": NO_TIME,
            "updated_at": ["yesterday"],
            "compare_at": NO_TIME,
            "revision": ["x"],
            "size_gib": ["many"],
        },
        waiting,
        resting,
    ),
    *columns("attachments", {"attach_status": ["glued", ""], "connection_info": NO_TOKEN}),
    *columns(
        "attachments",
        {
            "connector": [*BROKEN_JSON, "[]", '"a"'],
            "created_at": NO_TIME,
            "attached_at": ["yesterday"],
        },
        waiting,
        resting,
    ),
    *columns("operations", {"kind": ["melt", "", 7, "create"], "state": ["melting", ""]}, *MOVING),
    *columns(
        "operations",
        {
            "arguments": [
                *BROKEN_JSON,
                "[]",
                "null",
                '{"rests": 7}',
                '{"rests": {"state": "melting"}}',
            ],
            "error": [*BROKEN_JSON, "[]", '"text"', '["one"]', '{"a": 1}', "[1, 2]"],
            "leftovers": [*BROKEN_JSON, '"text"', '{"a": 1}', "[1]"],
            "deadline": NO_TIME,
        },
        waiting,
        stopped,
    ),
    *columns(
        "operations",
        {
            "epoch": ["x"],
            "revision": ["x"],
            "attempts": ["x"],
            "created_at": NO_TIME,
            "lease_expires_at": NO_TIME,
            "lease_length": ["long"],
            "retry_at": NO_TIME,
        },
        dying,
        stopped,
    ),
    *columns("operations", {"phase": ["melt_volume", "", 7]}, dying),
    *columns(
        "operations",
        {"flows": [*BROKEN_JSON, "[]", "{}", "[7]", "[[]]", '[{"id": "a"}]', "null", '"text"']},
        *MOVING,
    ),
    *columns(
        "flows",
        {
            "name": ["melt", "", "create", 7],
            "id": [None],
            "atoms": [
                7,
                [],
                "text",
                {"melt": ["SUCCESS", "EXECUTE"]},
                {"update-status": "SUCCESS"},
                {"update-status": ["MELTED", "EXECUTE"]},
                {"update-status": ["SUCCESS", "DANCE"]},
                {"update-status": ["SUCCESS", 7]},
                {"update-status": ["SUCCESS", []]},
                {"update-status": []},
            ],
        },
        *MOVING,
    ),
]
"""What makes no sense to this release."""

HARMLESS = [
    *columns("operations", {"epoch": [-5], "revision": [-7], "attempts": [-1]}, *MOVING),
    *columns("operations", {"owner": [None], "request_id": [None, ""]}, *MOVING),
    *columns("operations", {"lease_expires_at": [None, 0, -1], "lease_length": [None, -1]}, dying),
    *columns("operations", {"retry_at": [None, 0, 2**52], "deadline": [0]}, stopped),
    *columns("operations", {"phase": ["melt_volume"]}, waiting, detaching),
    *columns("flows", {"phase": ["melt_volume"], "state": ["MELTED"]}, waiting, detaching),
]
"""What is odd, and means something nevertheless."""


def lose(*tables: str) -> Callable[[Hand, Victim], None]:
    """Delete the victim's rows of these tables; of its operation the flows."""

    def edit(hand: Hand, victim: Victim) -> None:
        for table in tables:
            if table == "flows":
                hand.change("operations", victim.operations, flows=None)
            else:
                hand.delete(table, getattr(victim, table))

    edit.__name__ = " and ".join(tables)
    return edit


def name_another_volume_s_operation(hand: Hand, victim: Victim) -> None:
    """The victim says that the operation of the healthy volume owns it."""
    other = hand.read("SELECT id FROM operations WHERE state = 'waiting' AND id != ?", victim[2])
    hand.change("volumes", victim.volumes, operation_id=other)


def name_an_operation_that_never_was(hand: Hand, victim: Victim) -> None:
    """The victim says that an operation owns it that the database never had."""
    hand.change("volumes", victim.volumes, operation_id=UNKNOWN)


LOST = [
    lose("attachments"),
    lose("operations"),
    lose("operations", "attachments"),
    lose("flows"),
    lose("flows", "attachments"),
    name_another_volume_s_operation,
    name_an_operation_that_never_was,
]
