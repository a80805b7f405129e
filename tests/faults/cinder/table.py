"""The rows of what failure leaves behind in Cinder, and the test that plays each of them."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

ROWS = (
    *(f"f{number:02}" for number in range(1, 27)),  # the six calls
    *(f"n{number:02}" for number in (*range(1, 10), *range(13, 18))),  # the attachments API
    *("r02", "r03"),  # resets
    *("tgt_a", "tgt_b", "lio"),  # leaks of real targets
)
"""The ids of the rows."""

_NAME = re.compile(r"test_((?:[fnr]\d\d|tgt_[ab]|lio))_\w+")


class Played(NamedTuple):
    """A row's test.

    :ivar test: its node id, such as ``tests/faults/cinder/test_resets.py::test_r02_...``.
    :ivar promise: its docstring, on one line: what Cinder leaves, and what volflow does.
    """

    row: str
    test: str
    promise: str


def played() -> list[Played]:
    """The tests of this directory that are named after a row, in the order of the rows."""
    found = [
        Played(match[1], f"{path.relative_to(ROOT)}::{node.name}", _promise(node))
        for path in sorted(HERE.glob("test_*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and (match := _NAME.fullmatch(node.name))
    ]
    return sorted(found, key=lambda each: (each.row not in ROWS, _place(each.row), each.test))


def row_tests() -> dict[str, str]:
    """``{id: node id}`` of every row, ids in capitals: ``{"F01": "tests/...::test_f01_..."}``."""
    return {each.row.upper().replace("_", "-"): each.test for each in played()}


def _place(row: str) -> int:
    return ROWS.index(row) if row in ROWS else 0


def _promise(node: ast.FunctionDef) -> str:
    return " ".join((ast.get_docstring(node) or "").split())
