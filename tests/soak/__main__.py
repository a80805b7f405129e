"""``python -m tests.soak``: workers under load on a real database and a real tgtd, and trouble."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.conftest import find_binary
from tests.soak.lab import POSTGRESQL, running_lab

MEMORY = Path("/dev/shm")
"""No SIGKILL loses what a server has written, and on a disk PostgreSQL is away for long."""


def require(name: str, package: str, *directories: str | Path) -> Path:
    """Find a program, or end."""
    found = find_binary(name, *directories)
    if found is None:
        sys.exit(f"{name} is not installed (Debian: {package})")
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    add = parser.add_argument
    add("--database", default=POSTGRESQL, help="postgresql, sqlite, or a URL")
    add("--seconds", type=float, default=60, help="how long there is load and trouble")
    add("--workers", type=int, default=4, help="processes")
    add("--threads", type=int, default=3, help="callers of each")
    add("--volumes", type=int, default=200)
    add("--seed", type=int, default=1, help="of all random choices")
    add("--kill", type=float, default=3, help="mean seconds between two SIGKILLs; 0: none")
    add("--stop", type=float, default=4, help="mean seconds between two SIGSTOPs; 0: none")
    add("--lease", type=float, default=2, help="seconds; a SIGSTOP lasts longer")
    add("--tgtd", type=float, default=20, help="mean seconds between its kills; 0: none")
    add("--postgresql", type=float, default=30, help="mean seconds between its kills; 0: none")
    add("--directory", type=Path, default=MEMORY, help="for servers' data, journals and logs")
    add("--json", type=Path, help="where to write the figures, too")
    return parser.parse_args()


def main() -> int:
    """Run one soak and print its figures; 1 where a guarantee broke."""
    given = arguments()
    sys.stdout.write(f"seed {given.seed}, {given.seconds:g} s\n")
    sys.stdout.flush()
    # What is left to look at stays where a guarantee broke.
    if given.directory.is_dir():
        tempfile.tempdir = str(given.directory)
    directory = Path(tempfile.mkdtemp(prefix="volflow-soak-"))
    with running_lab(require, given.database, directory) as lab:
        restarts = {"tgtd": given.tgtd, POSTGRESQL: given.postgresql}
        soak = lab.soak(
            seconds=given.seconds,
            workers=given.workers,
            threads=given.threads,
            volumes=given.volumes,
            seed=given.seed,
            kill_seconds=given.kill or None,
            stop_seconds=given.stop or None,
            lease_seconds=given.lease,
            restart_seconds={n: s for n, s in restarts.items() if s and n in lab.services},
        )
        figures = soak.run()
    sys.stdout.write(f"{figures}\n")
    if figures.violations:
        sys.stdout.write(f"journals and logs: {directory}\n")
    else:
        shutil.rmtree(directory)
    if given.json:
        given.json.write_text(f"{figures.as_json()}\n")
    return 1 if figures.violations else 0


if __name__ == "__main__":
    sys.exit(main())
