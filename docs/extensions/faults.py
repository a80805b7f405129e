"""The table of failures, from the tests that play them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tests.faults.cinder.table import Played, played

GROUPS = {
    "The six calls": [f"F{number:02}" for number in range(1, 27)],
    "The attachments API": [f"N{number:02}" for number in (*range(1, 10), *range(13, 18))],
    "What an operator resets by hand": ["R02", "R03"],
    "What real targets keep": ["TGT-A", "TGT-B", "LIO"],
}
"""What has to have a test, whatever the tests' own table says."""

_OURS = re.compile(
    r"(?:(?<=\.) (?=(?:In )?(?:volflow|So does volflow|A process of volflow))"
    r"|,? (?=and so (?:is|does) volflow))"
)


class Row(NamedTuple):
    """One failure: what Cinder leaves, and why it cannot happen here.

    :ivar what: what happens, by the name of the test that plays it.
    """

    id: str
    what: str
    theirs: str
    ours: str


def rows(found: Iterable[Played]) -> dict[str, Row]:
    """One row for each test, by id.

    :raises ValueError: one does not tell both sides.
    """
    made = (_row(each) for each in found)
    return {row.id: row for row in made}


def to_markdown() -> str:
    """The tables, one for each group.

    :raises ValueError: a failure has no test.
    """
    return "\n".join(tables(rows(played())))


def tables(found: dict[str, Row]) -> Iterator[str]:
    """Write the tables.

    :raises ValueError: a failure has no test, or a test is in no group.
    """
    wanted = [key for group in GROUPS.values() for key in group]
    if missing := [key for key in wanted if key not in found]:
        raise ValueError(f"no test in tests/faults/cinder plays {', '.join(missing)}")
    if unknown := sorted(found.keys() - set(wanted)):
        raise ValueError(f"no group has {', '.join(unknown)}")
    for title, keys in GROUPS.items():
        yield f"\n## {title}\n"
        yield "| | What happens | What Cinder leaves | What volflow does |\n|---|---|---|---|"
        for row in (found[key] for key in keys):
            yield f"| {row.id} | {row.what} | {row.theirs} | {row.ours} |"


def _row(each: Played) -> Row:
    key = each.row.upper().replace("_", "-")
    theirs, *rest = _OURS.split(each.promise, maxsplit=1)
    if not rest or "Cinder" not in theirs or "volflow" not in rest[0]:
        raise ValueError(f"the docstring of {each.test} does not tell Cinder and volflow apart")
    what = each.test.partition(f"::test_{each.row}_")[2].replace("_", " ")
    return Row(key, f"{what.capitalize()} (`test_{each.row}`).", _cell(theirs), _cell(rest[0]))


def _cell(text: str) -> str:
    """A sentence for a cell: begins with a capital, but for a name, and ends with a full stop."""
    text = text.strip().removeprefix("and ").replace("``", "`").replace("|", "\\|")
    text = text if text.startswith("volflow") else text[0].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."
