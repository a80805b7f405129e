"""``python -m tests.mutants``: take one safeguard out at a time, and see the suite fail.

Each mutant is a change of one place in the package, made in a copy of the tree. The tests have to
fail on it and to name the guarantee that it breaks; a mutant that survives is a hole in the suite.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("volflow", "tests", "pyproject.toml", "setup.cfg")
SECONDS = 600
TESTS = ("tests/faults/test_guarantees.py",)


class Mutant(NamedTuple):
    """A safeguard that is taken out.

    :ivar breaks: the guarantee that does not hold without it.
    :ivar old: stands once in the module; ``new`` takes its place.
    """

    name: str
    breaks: str
    module: str
    old: str
    new: str


MUTANTS = (
    Mutant(
        "the epoch check",
        "G6",
        "persistence/work.py",
        'expected: Values = {"epoch": seen.epoch, "revision": seen.revision}',
        "expected: Values = {}",
    ),
    Mutant(
        "the volume's lock",
        "G3",
        "locks.py",
        "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n            except",
        "pass\n            except",
    ),
    Mutant(
        "the idempotence of remove_export",
        "G1",
        "testing/memory.py",
        "self.exports.pop(volume.id, None)",
        "self.exports.pop(volume.id)",
    ),
    Mutant(
        "the barrier of create-export",
        "G2",
        "tasks/export.py",
        'unless another\n    attachment needs them.\n    """\n\n    outside = True',
        'unless another\n    attachment needs them.\n    """\n\n    outside = False',
    ),
    Mutant(
        "the count of other attachments",
        "G3",
        "runs.py",
        "others=[a for a in snapshot.attachments if a not in mine]",
        "others=[]",
    ),
    Mutant(
        "the count of an initiator's attachments",
        "G3",
        "tasks/run.py",
        "return any(other.initiator == mine for other in self.others)",
        "return False",
    ),
    Mutant(
        "the look at sessions",
        "G4",
        "tasks/sessions.py",
        "return run.forced or",
        "return True or",
    ),
    Mutant(
        "the takeover of the dead",
        "G1",
        "joining.py",
        "if owner is None or stored.lease_expired:\n            return True",
        "if owner is not None:\n            return False",
    ),
    Mutant(
        "the answer to a repeated call",
        "G5",
        "joining.py",
        "                return known(stored)",
        "                return fresh()",
    ),
    Mutant(
        "the first error",
        "G7",
        "tasks/run.py",
        "if self.first_error is None:\n            self.first_error = error",
        "self.first_error = error",
    ),
    Mutant(
        "the masking of errors",
        "G8",
        "tasks/redaction.py",
        'tuple(w for w in (provider_auth or "").split()[2:] if w)',
        "()",
    ),
)


def verdict(mutant: Mutant) -> str | None:
    """Make a mutant and test it.

    :returns: what is wrong with the suite; None: it fails on the mutant, and says why.
    """
    with tempfile.TemporaryDirectory(prefix="volflow-mutant-") as place:
        tree = Path(place)
        for name in COPIED:
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, tree / name)
        module = tree / "volflow" / mutant.module
        text = module.read_text()
        if text.count(mutant.old) != 1:
            return f"{mutant.module} does not hold what is to be changed"
        module.write_text(text.replace(mutant.old, mutant.new))
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
        done = subprocess.run(
            words, cwd=tree, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    if done.returncode == 0:
        return "it survives"
    if done.returncode != 1:
        return f"the tests cannot be run: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    broken = set(re.findall(r"^E .*\b(G[1-8]):", done.stdout, re.MULTILINE))
    if mutant.breaks not in broken:
        return f"the suite fails, and names {sorted(broken)} instead: {done.stdout[-2000:]}"
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Try the mutants; 1 where one survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time")
    given = parser.parse_args(argv)
    with ThreadPoolExecutor(given.jobs) as pool:
        verdicts = list(pool.map(verdict, MUTANTS))
    for mutant, wrong in zip(MUTANTS, verdicts, strict=True):
        print(f"without {mutant.name:<44} {wrong or f'{mutant.breaks} breaks, and is named'}")
    return 1 if any(verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
