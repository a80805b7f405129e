"""The pages, and what makes parts of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def pages() -> dict[str, str]:
    """Every page of the docs, by name."""
    return {path.stem: path.read_text("utf-8") for path in DOCS.glob("*.md")}


@pytest.fixture
def extension() -> Callable[[str], ModuleType]:
    """Import what makes a part of the site; Sphinx is not needed for it."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(
            f"docs_{name}", DOCS / "extensions" / f"{name}.py"
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
