"""The volume's state machine."""

from __future__ import annotations

import ast
from itertools import product
from pathlib import Path

import pytest

import volflow
from volflow import states
from volflow.models import TRANSITIONAL, AttachStatus, VolumeStatus, derive_status

A = AttachStatus


@pytest.mark.parametrize(
    ("attachments", "expected"),
    [
        ([], ("available", "detached")),
        ([A.DETACHED], ("available", "detached")),
        ([A.RESERVED], ("attaching", "reserved")),
        ([A.ATTACHING], ("attaching", "attaching")),
        ([A.ATTACHED], ("in-use", "attached")),
        ([A.ATTACHED, A.ATTACHED], ("in-use", "attached")),
        ([A.DETACHING], ("detaching", "detaching")),
        ([A.ATTACHED, A.RESERVED], ("attaching", "attached")),
        ([A.DETACHING, A.ATTACHED], ("detaching", "attached")),
        ([A.DETACHED, A.ATTACHED], ("in-use", "attached")),
    ],
)
def test_a_volumes_status_follows_from_its_attachments(
    attachments: list[AttachStatus], expected: tuple[str, str]
) -> None:
    assert expected == derive_status(attachments)
    assert expected == derive_status(reversed(attachments))


def test_every_status_can_be_reached_and_left() -> None:
    entered = {t.after for t in states.TRANSITIONS}
    left = {t.before for t in states.TRANSITIONS}
    assert {*VolumeStatus, None} == entered == left


def test_only_what_the_table_names_is_allowed() -> None:
    named = {(t.before, t.after) for t in states.TRANSITIONS}
    for before, after in product([*VolumeStatus, None], repeat=2):
        assert states.allowed(before, after) == (before == after or (before, after) in named)


def test_every_transition_has_its_own_line_and_a_reason() -> None:
    named = [(t.before, t.after) for t in states.TRANSITIONS]
    assert len(named) == len(set(named))
    assert all(t.reason for t in states.TRANSITIONS)


def test_a_transitional_status_leads_somewhere_else() -> None:
    for status in TRANSITIONAL:
        assert {t.after for t in states.TRANSITIONS if t.before is status} - TRANSITIONAL


def test_the_docs_draw_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "states.md"
    assert states.to_page() == page.read_text(), "write states.to_page() to docs/states.md"


def test_one_function_changes_a_volumes_status() -> None:
    """Beside it only set_maintenance, which is no operation, writes one; none writes SQL."""
    writers = []
    root = Path(volflow.__path__[0])
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(
                node.func, ast.Name | ast.Attribute
            ):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            given = [a.value for a in node.args if isinstance(a, ast.Constant)]
            if name in ("update", "insert", "conditional_update") and "volumes" in given:
                writers.append(str(path.relative_to(root)))
    assert ["inventory.py", "tasks/run.py", "tasks/run.py"] == sorted(writers)
