"""volflow.drivers.registry: from a name and texts to a driver."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from volflow.drivers import registry
from volflow.drivers.file import FileDriver
from volflow.drivers.local import LocalDriver
from volflow.exceptions import InvalidInput

PLUGIN = """
from pathlib import Path
from volflow.drivers.local import LocalDriver

class Typed(LocalDriver):
    def __init__(self, path: Path, count: int = 1, rate: float = 1.0, fast: bool = False,
                 text: str = ""):
        super().__init__(path)
        self.values = (path, count, rate, fast, text)

def no_driver():
    return object()
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a distribution with the project's own entry points and some others."""
    info = tmp_path / "plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[volflow.drivers]\n"
        "file = volflow.drivers.file:FileDriver\n"
        "local = volflow.drivers.local:LocalDriver\n"
        "typed = volflow_test_plugin:Typed\n"
        "none = volflow_test_plugin:no_driver\n"
        "broken = volflow_test_plugin:missing\n"
        "absent = volflow_no_such_module:Driver\n"
    )
    (tmp_path / "volflow_test_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("volflow_test_plugin", None)


def test_local_is_built_from_a_directory(tmp_path: Path):
    """When the name is local, the directory is all it needs."""
    driver = registry.load_driver("local", {"directory": str(tmp_path)})

    assert isinstance(driver, LocalDriver)
    assert driver.images.directory.path == tmp_path


def test_file_is_built_with_tgtd_as_its_target(tmp_path: Path):
    """When the name is file, options that are left out have their defaults."""
    driver = registry.load_driver("file", {"directory": str(tmp_path), "control_port": "3"})

    assert isinstance(driver, FileDriver)
    assert driver.target.portals == ("127.0.0.1:3260",)
    assert driver.target.tgt.control_port == 3


def test_texts_become_the_types_of_the_parameters(tmp_path: Path):
    """When a driver has typed parameters, it gets values and not texts."""
    driver = registry.load_driver(
        "typed",
        {"path": str(tmp_path), "count": "7", "rate": "0.5", "fast": "Yes", "text": "7"},
    )

    assert driver.values == (tmp_path, 7, 0.5, True, "7")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nfs", {}, "no driver is named 'nfs'; installed are: absent, broken, file, local"),
        ("local", {}, "the driver 'local' needs the option 'directory'"),
        (
            "local",
            {"directory": "/x", "size": "1"},
            "the driver 'local' has no option 'size'; it has directory",
        ),
        (
            "file",
            {"directory": "/x", "control_port": "one"},
            "the option 'control_port' of the target 'tgt' is 'one', which is no int",
        ),
        ("typed", {"path": "/x", "fast": "maybe"}, "is 'maybe', which is no bool"),
        ("file", {"directory": "/x", "portal": "nowhere"}, "the portal 'nowhere' does not read"),
        ("file", {"directory": "/x", "timeout": "0"}, "the timeout of 0.0 seconds is not above 0"),
        ("none", {}, "the driver 'none' lacks methods"),
        ("broken", {}, "the driver 'broken' cannot be loaded"),
        ("absent", {}, "the driver 'absent' cannot be loaded"),
    ],
)
def test_a_mistake_in_the_configuration_is_named(name, options, message):
    """When configuration is wrong, the error says what and what would be right."""
    with pytest.raises(InvalidInput) as caught:
        registry.load_driver(name, options)

    assert message in str(caught.value)


def test_two_drivers_of_one_name_are_refused(tmp_path: Path):
    """When two packages claim a name, neither is taken silently."""
    info = tmp_path / "second-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: second\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[volflow.drivers]\nlocal = evil:Driver\n")

    with pytest.raises(InvalidInput, match="several drivers are named 'local': evil:Driver, volf"):
        registry.load_driver("local", {"directory": "/x"})


def test_names_lists_what_is_installed():
    """When an operator asks, every installed driver is named once."""
    assert set(registry.names()) >= {"file", "local"}
    assert len(registry.names()) == len(set(registry.names()))
