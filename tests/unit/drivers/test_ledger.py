"""volflow.drivers.ledger: exports as files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from volflow.drivers import Export
from volflow.drivers.ledger import Ledger
from volflow.exceptions import DriverError, InvalidUUID

ID = "6f0c8d3e-2f55-4c1e-9d0a-0f3a5c1b7e42"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path / "exports")
    ledger.prepare()
    ledger.check()
    return ledger


def test_an_acl_is_kept_through_every_repetition(ledger: Ledger):
    """When each call is made twice, the second changes nothing."""
    for _ in range(2):
        ledger.add(ID)
        ledger.grant(ID, "b")
        ledger.grant(ID, "a")
    assert ledger.exports() == [Export(ID, ("a", "b"), ())]
    for _ in range(2):
        ledger.revoke(ID, "a")
    assert ledger.initiators(ID) == ("b",)
    for _ in range(2):
        ledger.remove(ID)
    assert ledger.initiators(ID) is None
    ledger.revoke(ID, "b")
    assert ledger.exports() == []


def test_the_files_format_is_stable(ledger: Ledger):
    """When a later release reads the files, they are these."""
    ledger.add(ID)
    ledger.grant(ID, "host-1")

    text = (ledger.directory.path / f"{ID}.json").read_text()
    assert json.loads(text) == {"initiators": ["host-1"]}


def test_without_an_export_there_is_no_access(ledger: Ledger):
    """When an export is closed, nobody can be put on its ACL."""
    with pytest.raises(DriverError, match=f"volume {ID} is not exported"):
        ledger.grant(ID, "a")


@pytest.mark.parametrize("text", ["{", "[]", "{}", "null", "\xff"])
def test_an_unreadable_export_is_named(ledger: Ledger, text: str):
    """When an export's file is damaged, the error says which; it can be removed."""
    ledger.add(ID)
    path = ledger.directory.path / f"{ID}.json"
    path.write_text(text, "latin-1")

    with pytest.raises(DriverError, match=f"look at or delete {path}"):
        ledger.exports()

    ledger.remove(ID)
    assert ledger.exports() == []


def test_other_files_are_no_exports(ledger: Ledger):
    """When something else lies among the exports, it is not listed."""
    for name in ("README", ID, f".{ID}.json.new", "x.json"):
        (ledger.directory.path / name).touch()

    assert ledger.exports() == []


def test_only_a_uuid_names_an_export(ledger: Ledger):
    """When an id is no UUID, no path is made of it."""
    with pytest.raises(InvalidUUID):
        ledger.add("../x")
