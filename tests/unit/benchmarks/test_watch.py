"""Commits and statements, as SQLite tells them and as libpq's trace shows them."""

from __future__ import annotations

import pytest

from benchmarks.watch import Conversation, Transactions

# From libpq 18, an INSERT that psycopg has prepared, with lines that it has broken.
TRACE = """\
F\t10\tQuery\t "BEGIN"
B\t10\tCommandComplete\t "BEGIN"
B\t5\tReadyForQuery\t T
F\t42\tParse\t "_pg3_0" "INSERT INTO t
VALUES ($1, 'a "b" c')" 1 21
F\t4\tSync
B\t4\tParseComplete
F\t28\tBind\t "" "_pg3_0" 1 1 1 2 '\\x00\\x05' 1 0
F\t6\tDescribe\t P ""
F\t9\tExecute\t "" 0
F\t4\tSync
B\t15\tCommandComplete\t "INSERT 0 1"
F\t11\tQuery\t "COMMIT"
"""


def seen(*statements: str) -> Transactions:
    found = Transactions()
    for statement in statements:
        found.see(statement)
    return found


@pytest.mark.parametrize(
    ("statements", "commits", "counted"),
    [
        (["BEGIN IMMEDIATE", "INSERT INTO t VALUES (1)", "UPDATE t", "COMMIT"], 1, 2),
        (["BEGIN ", "SELECT 1", "COMMIT"], 0, 1),
        (["BEGIN", "DELETE FROM t", "ROLLBACK"], 0, 1),
        (["BEGIN", "UPDATE t", "ROLLBACK", "BEGIN", "SELECT 1", "COMMIT"], 0, 2),
        (["update t set a = 1", "SELECT 1"], 1, 2),
        (["BEGIN", "UPDATE t", "-- UPDATE of a trigger", "COMMIT;"], 1, 1),
        (["BEGIN", "SAVEPOINT a", "UPDATE t", "RELEASE a", "COMMIT"], 1, 1),
        (["BEGIN", "UPDATE t"], 0, 1),
    ],
)
def test_a_commit_is_a_transaction_that_wrote(
    statements: list[str], commits: int, counted: int
) -> None:
    found = seen(*statements)

    assert (commits, counted) == (found.commits, len(found.statements))


def test_a_trace_shows_statements_whichever_way_they_are_sent() -> None:
    found = Conversation().statements(TRACE)

    assert ["INSERT INTO t\nVALUES ($1, 'a \"b\" c')"] == found


def test_a_statement_that_was_prepared_earlier_is_counted_each_time() -> None:
    conversation = Conversation()
    conversation.statements(TRACE)

    again = conversation.statements(TRACE[TRACE.index("F\t28\tBind") :])

    assert ["INSERT INTO t\nVALUES ($1, 'a \"b\" c')"] == again
