"""No row gets lost: each has one test, and says what is promised."""

from __future__ import annotations

from tests.faults.cinder.table import ROOT, ROWS, played, row_tests


def test_every_row_has_exactly_one_test() -> None:
    """When a row has none, or two, or a test names a row that is none, it is shown here."""
    assert list(ROWS) == [each.row for each in played()]


def test_every_test_says_what_cinder_leaves_and_what_volflow_does() -> None:
    untold = [
        each.test
        for each in played()
        if not ("Cinder" in each.promise and "volflow" in each.promise)
    ]
    assert [] == untold


def test_the_docs_can_ask_which_test_plays_a_row() -> None:
    found = row_tests()
    assert len(ROWS) == len(found)
    assert found["R02"].startswith("tests/faults/cinder/test_resets.py::test_r02_")
    assert all((ROOT / test.partition("::")[0]).is_file() for test in found.values())
