"""Imports point one way, from the command line down to the errors.

::

    cli -> web -> views -> volflow -> service -> flows -> tasks -> leases
        -> drivers | persistence -> low level -> models -> exceptions
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import volflow

# From the top down: what stands in a line may import itself and what stands below it. A name is
# a module or package directly in volflow/; "" is volflow/__init__.py, the public names.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"cli", "__main__"}),
    frozenset({"web"}),
    frozenset({"views"}),
    frozenset({"", "brick"}),
    frozenset(
        {
            "arguments",
            "calls",
            "comparison",
            "doubts",
            "insight",
            "inventory",
            "jobs",
            "joining",
            "manager",
            "mass",
            "oneshots",
            "opening",
            "queueing",
            "reconcile",
            "recovery",
            "rounds",
            "rules",
            "runner",
            "runs",
            "settings",
            "settling",
        }
    ),
    frozenset({"flows"}),
    frozenset({"tasks"}),
    frozenset({"entitlement", "leases"}),
    frozenset({"drivers", "persistence"}),
    frozenset({"coordination"}),
    frozenset({"lockserver"}),
    frozenset({"backoff", "locks", "states"}),
    frozenset({"clock"}),
    frozenset({"models"}),
    frozenset({"exceptions", "quiet"}),
    frozenset({"texts"}),
)

# Neighbours that do not know each other.
APART = (frozenset({"drivers", "persistence"}),)

# volflow.testing may import anything; these alone may import it.
TESTING = "testing"
USERS_OF_TESTING = ("volflow.cli.demo",)

ROOT = Path(volflow.__path__[0])


class Arrow(NamedTuple):
    """One import: the module that has it, where, and what it imports."""

    source: str
    line: int
    target: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


def arrows(name: str, source: str, is_package: bool, modules: frozenset[str]) -> Iterator[Arrow]:
    """Find the imports of volflow in a module, in functions and under TYPE_CHECKING too.

    :param modules: all modules there are: ``from volflow import x`` names one, or a public name.
    """
    for node in ast.walk(ast.parse(source)):
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(name, is_package, node)
            below = [f"{base}.{alias.name}" for alias in node.names]
            targets = [target if target in modules else base for target in below]
        elif isinstance(node, ast.Call):
            targets = _imported_by_name(node)
        for target in dict.fromkeys(targets):
            if target == "volflow" or target.startswith("volflow."):
                yield Arrow(name, getattr(node, "lineno", 0), target)


def _absolute(name: str, is_package: bool, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parents = name.split(".")
    parents = parents[: len(parents) - node.level + is_package]
    return ".".join([*parents, *([node.module] if node.module else [])])


def _imported_by_name(node: ast.Call) -> list[str]:
    function = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
    called = function if isinstance(function, str) else getattr(function, "id", "")
    if called not in ("import_module", "__import__") or not node.args:
        return []
    first = node.args[0]
    return (
        [first.value] if isinstance(first, ast.Constant) and isinstance(first.value, str) else []
    )


def top(module: str) -> str:
    """Name the module or package directly in volflow/ that ``module`` belongs to."""
    return module.split(".")[1] if "." in module else ""


def level(name: str) -> int | None:
    """Find the layer's number, 0 at the top; None: the table does not name it."""
    return next((i for i, layer in enumerate(LAYERS) if name in layer), None)


def unplaced(name: str) -> str:
    """Ask for a place in the table."""
    return f"volflow.{name} has no layer: place it in LAYERS of tests/unit/test_layers.py"


def complaint(arrow: Arrow) -> str | None:
    """Say what is wrong with an import; None: nothing is."""
    source, target = top(arrow.source), top(arrow.target)
    if source in (target, TESTING):
        return None
    if target == TESTING:
        if any(f"{arrow.source}.".startswith(f"{user}.") for user in USERS_OF_TESTING):
            return None
        return f"{arrow}: nothing in the package uses volflow.testing but the demo"
    here, there = level(source), level(target)
    for name, found in ((source, here), (target, there)):
        if found is None:
            return unplaced(name)
    assert here is not None
    assert there is not None
    if there < here:
        return f"{arrow}, which is above it"
    if any({source, target} <= pair for pair in APART):
        return f"{arrow}, and the two do not know each other"
    return None


def complaints(sources: dict[str, str]) -> list[str]:
    """Check a package given as module name to source; a package's name ends in ``.__init__``."""
    modules = frozenset(name.removesuffix(".__init__") for name in sources)
    found = [
        unplaced(top(module))
        for module in sorted(modules)
        if top(module) != TESTING and level(top(module)) is None
    ]
    for name, source in sorted(sources.items()):
        module = name.removesuffix(".__init__")
        for arrow in arrows(module, source, module != name, modules):
            found += filter(None, [complaint(arrow)])
    return list(dict.fromkeys(found))


def package_sources() -> dict[str, str]:
    names = {path: path.relative_to(ROOT.parent).with_suffix("") for path in ROOT.rglob("*.py")}
    return {".".join(name.parts): path.read_text("utf-8") for path, name in names.items()}


def test_no_import_of_the_package_points_back() -> None:
    assert [] == complaints(package_sources())


def test_the_walk_finds_the_package() -> None:
    """Without this a walk that finds nothing would pass for a package in order."""
    assert {"volflow.exceptions", "volflow.models"} <= package_sources().keys()


BASE = {
    "volflow.__init__": "",
    "volflow.cli.__init__": "from volflow import manager",
    "volflow.cli.demo": "from volflow.testing import MemoryDriver",
    "volflow.manager": "from volflow import exceptions, flows\nfrom volflow.tasks import export",
    "volflow.jobs.__init__": "from volflow import manager",
    "volflow.flows.__init__": "",
    "volflow.flows.attach": "import volflow.tasks.export",
    "volflow.tasks.__init__": "",
    "volflow.tasks.export": "from volflow.drivers import base\nimport volflow.persistence",
    "volflow.drivers.__init__": "from volflow.drivers.base import Driver",
    "volflow.drivers.base": "from volflow import locks, models",
    "volflow.persistence.__init__": "from volflow import states",
    "volflow.persistence.work": "from . import engine",
    "volflow.persistence.engine": "from ..models import Volume",
    "volflow.locks": "import os",
    "volflow.states": "from volflow.models import VolumeStatus",
    "volflow.models": "from volflow.exceptions import ErrorRecord",
    "volflow.exceptions": "import json",
    "volflow.testing.__init__": "from volflow import VolumeManager\nimport volflow.manager",
}


def test_a_package_in_order_passes() -> None:
    assert [] == complaints(BASE)


@pytest.mark.parametrize(
    ("module", "source", "target"),
    [
        ("volflow.drivers.base", "import volflow.manager", "volflow.manager"),
        ("volflow.drivers.base", "from volflow import manager", "volflow.manager"),
        ("volflow.drivers.base", "from volflow import VolumeManager", "volflow"),
        ("volflow.drivers.base", "from ..tasks import export", "volflow.tasks.export"),
        ("volflow.drivers.__init__", "from .. import tasks", "volflow.tasks"),
        ("volflow.tasks.export", "from volflow.flows.attach import attach_flow", "volflow.flows"),
        ("volflow.flows.attach", "def f():\n    from volflow import jobs", "volflow.jobs"),
        (
            "volflow.models",
            "import typing\nif typing.TYPE_CHECKING:\n    from volflow.states import S",
            "volflow.states",
        ),
        ("volflow.exceptions", "import volflow.models as m", "volflow.models"),
        (
            "volflow.locks",
            "import importlib\nimportlib.import_module('volflow.cli')",
            "volflow.cli",
        ),
        (
            "volflow.manager",
            "try:\n    import volflow.cli.demo\nexcept E:\n    x = 1",
            "volflow.cli",
        ),
    ],
)
def test_a_planted_import_that_points_back_is_found(module: str, source: str, target: str) -> None:
    (found,) = complaints({**BASE, module: source})
    assert module.removesuffix(".__init__") in found
    assert target in found
    assert "above" in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("volflow.drivers.base", "from volflow.persistence import work"),
        ("volflow.persistence.work", "import volflow.drivers.base"),
    ],
)
def test_drivers_and_persistence_do_not_know_each_other(module: str, source: str) -> None:
    (found,) = complaints({**BASE, module: source})
    assert "do not know each other" in found


@pytest.mark.parametrize(
    "module", ["volflow.manager", "volflow.cli.__init__", "volflow.cli.demos"]
)
def test_only_the_demo_uses_the_testing_kit(module: str) -> None:
    (found,) = complaints({**BASE, module: "from volflow import testing"})
    assert "volflow.testing" in found


def test_a_module_without_a_layer_is_to_be_placed() -> None:
    (found,) = complaints({**BASE, "volflow.helpers": "import volflow.models"})
    assert "volflow.helpers has no layer: place it" in found
