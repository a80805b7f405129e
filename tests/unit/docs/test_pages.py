"""What nobody generates: that the pages name everything, and lead somewhere."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import volflow
from tests.unit.docs.conftest import DOCS
from volflow import exceptions
from volflow.cli import main

ROOT = DOCS.parent
READ = [*sorted(DOCS.glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
ERRORS = [
    found
    for _, found in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(found, exceptions.VolflowError)
]


@pytest.mark.parametrize("name", sorted(main.commands))
def test_operators_are_told_what_each_command_is_for(pages: dict[str, str], name: str) -> None:
    """When a command is new, a page that somebody wrote names it; the reference always does."""
    written = "".join(text for page, text in pages.items() if page != "changelog")
    assert re.search(rf"`volflow {name}\b|^volflow {name}\b", written, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(volflow.__all__))
def test_every_public_name_is_in_the_reference(pages: dict[str, str], name: str) -> None:
    where = rf"^\.\. auto(class|module):: volflow\.{name}$"
    if name == "RequestContext":  # oslo.context's
        where = "`RequestContext`"
    assert re.search(where, pages["api"], re.MULTILINE)


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_is_explained_and_drawn(error: type[Exception]) -> None:
    """When an error is new, it has a sentence of its own, and a place in the tree."""
    assert vars(error).get("__doc__")
    assert re.search(rf"\b{error.__name__}\b", exceptions.__doc__ or "")


@pytest.mark.parametrize("page", READ, ids=lambda path: path.name)
def test_a_page_names_no_path_of_the_machine_that_it_was_written_on(page: Path) -> None:
    text = page.read_text("utf-8")
    found = re.findall(r"(?<![\w.])/(?:work|home|root|Users|tmp)/\S*", text)
    assert [] == [*found, *(p for p in (str(ROOT), str(Path.home())) if f"{p}/" in text)]


@pytest.mark.parametrize("page", READ, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_of_the_tree(page: Path) -> None:
    """When somebody reads the page in a repository's browser, its links work."""
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text("utf-8"))
    assert [] == [link for link in links if not (page.parent / link).exists()]
