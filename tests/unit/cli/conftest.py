"""A configuration with a local backend and a faulty one, and a shell to run commands in."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from volflow.cli import main

INITIATOR = "iqn.1994-05.com.example:host-1"

CONFIG = """\
[volflow]
database = sqlite:///{0}/volflow.db
backends = lab, faulty

[lab]
driver = local
directory = {0}/images

[faulty]
driver = faulty
directory = {0}/faulty-images
"""


class Shell:
    """Runs commands on one configuration.

    :ivar said: everything that any command wrote.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "volflow.conf"
        self.database = directory / "volflow.db"
        self.config.write_text(CONFIG.format(directory))
        self.said = ""

    def __call__(self, *words: str, env: dict[str, str] | None = None, **extra: Any) -> Result:
        """Run a command and return what came of it."""
        given = {"VOLFLOW_CONFIG": str(self.config), "COLUMNS": "80", **(env or {})}
        done = CliRunner().invoke(main, words, env=given, **extra)
        self.said += done.output
        return done

    def ok(self, *words: str) -> str:
        """Run a command that succeeds, and return its standard output."""
        done = self(*words)
        assert (0, "") == (done.exit_code, done.stderr), done.output
        return done.stdout

    def json(self, *words: str) -> Any:
        """Run a command with ``--json`` that succeeds, and return what it wrote."""
        return json.loads(self.ok(*words, "--json"))

    def refused(self, code: int, *words: str) -> str:
        """Run a command that fails in one sentence, and return that; the same as JSON."""
        done = self(*words)
        assert code == done.exit_code, done.output
        assert not done.stdout
        lines = done.stderr.splitlines()
        assert all(line.startswith("volflow: ") for line in lines), done.stderr
        assert "Traceback" not in done.stderr
        return lines[0].removeprefix("volflow: ")

    def refused_json(self, code: int, *words: str) -> Any:
        """Run a command with ``--json`` that fails, and return its error."""
        done = self(*words, "--json")
        assert code == done.exit_code, done.output
        assert not done.stdout
        error = json.loads(done.stderr)["error"]
        assert {"type", "message", "exit_code", "hints"} == error.keys()
        assert code == error["exit_code"]
        return error

    def volume(self, *words: str, backend: str = "lab") -> str:
        """Make a volume and return its id."""
        found = self.json("volume", "create", "--size", "1", "--backend", backend, *words)
        return str(found["id"])

    def attach(self, volume_id: str) -> Any:
        """Attach a volume and return its attachment."""
        return self.json("attach", volume_id, "--initiator", INITIATOR, "--host", "host-1")

    def operations(self, volume_id: str) -> list[Any]:
        """List a volume's operations."""
        found: list[Any] = self.json("operation", "list", "--volume", volume_id)
        return found

    def faults(self, *lines: str) -> None:
        """Let methods of the faulty driver fail."""
        (self.directory / "faults").write_text("\n".join(lines))

    def state(self) -> Any:
        """What there is, to see that nothing changed."""
        if not self.database.exists():
            return sorted(p.name for p in self.directory.iterdir())
        volumes = self.json("volume", "list")
        return [
            self.json("operation", "list"),
            [self.json("volume", "show", v["id"], "--all") for v in volumes],
            sorted(str(p) for p in self.directory.rglob("*.raw")),
        ]


@pytest.fixture
def sh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell, with the drivers that its configuration names installed."""
    info = tmp_path / "site" / "volflow_cli_tests-1.dist-info"
    info.mkdir(parents=True)
    name = "Metadata-Version: 2.1\nName: volflow-cli-tests\nVersion: 1\n"
    (info / "METADATA").write_text(name)
    (info / "entry_points.txt").write_text(
        "[volflow.drivers]\n"
        "local = volflow.drivers.local:LocalDriver\n"
        "faulty = tests.unit.cli.faulty:FaultyDriver\n"
    )
    monkeypatch.syspath_prepend(str(info.parent))
    for name in ("VOLFLOW_CONFIG", "VOLFLOW_DEBUG", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "lab").mkdir()
    before = list(logging.getLogger().handlers)
    yield Shell(tmp_path / "lab")
    assert before == logging.getLogger().handlers
