"""Run the lab: ``python -m tests.lab [--serve] [--kvm|--user-mode] [PYTEST-ARGUMENT...]``.

Exit code: pytest's; 1 where the lab cannot run and CI is set, else 0 with a message.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
import time

from tests.lab.image import TREE, Missing, guest_dependencies, guest_image
from tests.lab.kernels import Kernel, Qemu, UserMode
from tests.lab.machine import Failed, Machine

RESULTS = TREE / "build" / "lab"
SECONDS = 3600.0
REBOOT = "tests/lab/guest/test_reboot.py"

SCRIPT = """
set -e
# Without tests/conftest.py, whose servers the guest does not have.
mkdir -p /tmp/tree/tests/unit
cd /lab/tree
cp -r volflow volflow.egg-info pyproject.toml setup.cfg /tmp/tree/
cp -r tests/__init__.py tests/lab /tmp/tree/tests/
cp -r tests/unit/drivers /tmp/tree/tests/unit/
cd /tmp/tree
# The dependencies bring what is compiled of them.
export PYTHONPATH=/tmp/tree:/lab/dependencies
export PYTHONUNBUFFERED=1 VOLFLOW_LAB=1 COLUMNS=120
exec python3 -m pytest -p no:cacheprovider --junitxml=/lab/exchange/{junit} {arguments}
"""


def main(argv: list[str]) -> int:
    """Build what is missing, boot, run the tests, bring back their results."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab", allow_abbrev=False)
    parser.add_argument(
        "--serve", action="store_true", help="boot, and run scripts from a directory"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="the tests' time limit")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--kvm", action="store_true", help="use /dev/kvm")
    how.add_argument(
        "--user-mode", action="store_true", help="run the kernel as a process, without nvmet"
    )
    options, rest = parser.parse_known_args(argv)
    # The machine is stopped also where somebody ends this program.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    kernel: Kernel = UserMode() if options.user_mode else Qemu(options.kvm)
    try:
        kernel.require()
        image, dependencies = guest_image(), guest_dependencies()
    except Missing as missing:
        return _cannot(missing)
    try:
        with Machine(image, dependencies, kernel) as machine:
            if options.serve:
                return _serve(machine)
            try:
                return _test(machine, rest, options.seconds)
            finally:
                _keep(machine)
    except Failed as failed:
        print(f"volflow lab: {failed}", file=sys.stderr)
        return 1


def _test(machine: Machine, arguments: list[str], seconds: float) -> int:
    if any(word.startswith("tests/") for word in arguments):
        return _pytest(machine, "junit.xml", arguments, seconds)
    without = ["tests/lab/guest", f"--ignore={REBOOT}"]
    code = _pytest(machine, "junit.xml", [*without, *arguments], seconds)
    return code or _reboot(machine, seconds)


def _reboot(machine: Machine, seconds: float) -> int:
    """Lose power between two tests."""
    code = _pytest(machine, "junit-before.xml", [REBOOT, "-v", "-k", "before"], seconds)
    if code:
        return code
    machine.lose_power()
    return _pytest(machine, "junit-after.xml", [REBOOT, "-v", "-k", "after"], seconds)


def _pytest(machine: Machine, junit: str, arguments: list[str], seconds: float) -> int:
    return machine.run(SCRIPT.format(junit=junit, arguments=shlex.join(arguments)), seconds)


def _serve(machine: Machine) -> int:
    print(
        f"volflow lab: the guest runs; move a script to {machine.exchange}/NAME.sh, and what it "
        "writes and its exit code come as NAME.out and NAME.rc. Ctrl-C ends it.",
        flush=True,
    )
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return 0


def _keep(machine: Machine) -> None:
    """Bring back JUnit's file and the console of the kernel."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    junit = machine.exchange.glob("junit*.xml")
    for found in (*junit, machine.exchange / "times.txt", machine.console):
        kept = RESULTS / found.name
        kept.unlink(missing_ok=True)
        if found.exists():
            shutil.copy(found, kept)
    print(f"volflow lab: results are in {RESULTS}")


def _cannot(missing: Missing) -> int:
    is_ci = os.environ.get("CI", "").lower() not in ("", "0", "false")
    verdict = "failed, since CI is set" if is_ci else "skipped"
    print(f"volflow lab: {verdict}: {missing}", file=sys.stderr)
    return int(is_ci)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
