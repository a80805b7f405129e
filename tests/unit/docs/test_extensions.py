"""What makes parts of the site: complete, or no site."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from tests.faults.cinder.table import Played, played
from volflow.cli import main

Load = Callable[[str], ModuleType]


def test_every_failure_has_a_row_with_its_test(extension: Load) -> None:
    text = extension("faults").to_markdown()
    for each in played():
        assert f"(`test_{each.row}`)" in text


@pytest.mark.parametrize("lost", ["f01", "f26", "n17", "r03"])
def test_a_failure_without_a_test_is_no_table(extension: Load, lost: str) -> None:
    faults = extension("faults")
    found = faults.rows(each for each in played() if each.row != lost)
    with pytest.raises(ValueError, match=f"no test .* plays {lost.upper()}"):
        list(faults.tables(found))


def test_a_test_that_tells_one_side_alone_is_no_row(extension: Load) -> None:
    told = Played("f01", "tests/faults/cinder/test_x.py::test_f01_x", "Cinder loses it.")
    with pytest.raises(ValueError, match="test_f01_x does not tell"):
        extension("faults").rows([told])


def test_a_row_tells_both_sides_apart(extension: Load) -> None:
    (row,) = (
        extension("faults")
        .rows(
            [
                Played(
                    "f17", "tests/x.py::test_f17_lost", "Cinder keeps ``it``, and so does volflow."
                )
            ]
        )
        .values()
    )
    assert ("F17", "Lost (`test_f17`).", "Cinder keeps `it`.", "So does volflow.") == row


def test_every_command_has_a_section_with_its_options(extension: Load) -> None:
    commands = extension("commands")
    text = commands.to_markdown()
    for path, command in commands.walk(main):
        section = text.split(f"\n## {path}\n")[1].split("\n## ")[0]
        for option in command.params:
            if option.name not in commands.COMMON and option.param_type_name == "option":
                assert option.opts[0] in section


def test_every_exit_code_is_in_the_table(extension: Load) -> None:
    text = extension("commands").exits_to_markdown()
    assert "| 6 | an undo is refused" in text
    assert "`RollbackIncomplete`, `ConnectionInUse`" in text


def test_a_picture_that_cannot_be_drawn_is_no_picture(extension: Load) -> None:
    """When a page has a Mermaid diagram of another kind, it is not left out in silence."""
    with pytest.raises(ValueError, match="only arrows"):
        extension("pictures").mermaid("stateDiagram-v2\n    note right of a: words\n")
