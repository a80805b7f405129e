"""The driver that docs/drivers.md teaches passes the kit that the page teaches."""

from __future__ import annotations

import inspect
import logging
import re
from pathlib import Path

import pytest

from volflow.drivers import registry
from volflow.drivers.options import parameters, takes_rest
from volflow.drivers.targets.choice import TARGETS
from volflow.testing.conformance.hooks import Hooks

PAGE = Path(__file__).parents[2] / "docs" / "drivers.md"


def taught() -> dict[str, object]:
    """Run the page's Python, as a reader would who copies it into one file."""
    found: dict[str, object] = {}
    for block in re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    ):
        exec(compile(block, str(PAGE), "exec"), found)
    return found


TAUGHT = taught()


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


class TestTaughtDriver(TAUGHT["TestArrayDriver"]):
    crash_step = 7


@pytest.mark.parametrize("name", ["file", "local"])
def test_every_option_is_on_the_page(name):
    """When a driver has an option, the page has it in a row, with its default."""
    section = PAGE.read_text("utf-8").split(f"## `{name}`")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|(.*?)\|", section, re.MULTILINE)
    factory = registry._factory(name)
    options = parameters(factory)
    if takes_rest(factory):
        options |= parameters(TARGETS[options["target"].default])
    expected = {key: shown(option) for key, option in options.items()}
    assert {key: default.strip() for key, default in rows} == expected


def shown(option: inspect.Parameter) -> str:
    """An option's default as a table has it."""
    if option.default is option.empty:
        return ""
    default = option.default
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def test_every_hook_is_on_the_page():
    """When the kit has a hook, the page's table names it."""
    table = PAGE.read_text("utf-8").split("| hook | |")[1].split("\n\n")[0]
    hooks = [name for name in vars(Hooks) if not name.startswith("_")]
    for name in {*hooks} - {"has", "bench"}:
        assert f"`{name}" in table, name
