"""The files of docs/deployment, held against what reads them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.docs.conftest import DOCS
from volflow.drivers.file import FileDriver
from volflow.jobs.boards import board_of
from volflow.persistence.engine import Database
from volflow.settings import load_settings

FILES = DOCS / "deployment"
INSTALLED = "/usr/bin/volflow"


@pytest.mark.parametrize("path", sorted(FILES.glob("*.conf")), ids=lambda path: path.name)
def test_a_configuration_is_read_and_its_drivers_are_made(path: Path, tmp_path: Path) -> None:
    settings = load_settings(path)
    (driver,) = settings.make_drivers().values()
    assert isinstance(driver, FileDriver)
    database = Database(f"sqlite:///{tmp_path}/volflow.db")
    try:
        board_of(settings.arguments["board"], database).close()
    finally:
        database.close()


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """When a unit has a mistake, systemd-analyze names it."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is missing (Debian: systemd)")
    units = [p for p in FILES.iterdir() if p.suffix in (".service", ".timer")]
    assert units
    program = str(Path(sys.executable).with_name("volflow"))
    for unit in units:
        (tmp_path / unit.name).write_text(unit.read_text().replace(INSTALLED, program))
    done = subprocess.run(
        [analyze, "verify", "--man=no", *(str(tmp_path / unit.name) for unit in units)],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [
        line for line in done.stderr.splitlines() if str(tmp_path) in line or "volflow" in line
    ]
    assert (0, []) == (done.returncode, said), done.stderr


def test_a_unit_leaves_a_driver_call_the_time_that_it_may_take() -> None:
    unit = (FILES / "volflow-conductor@.service").read_text()
    seconds = int(unit.split("TimeoutStopSec=")[1].split()[0])
    assert seconds > load_settings(FILES / "one-node.conf").arguments["driver_call_seconds"]
