"""``python -m benchmarks``: volflow and its peers at the same work, measured in one run.

Each peer is a process of its own, and all take turns in each round: whatever else the machine
does hits them alike. Seconds of one run are comparable with each other only.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import gate, machine, peers, plot, table
from benchmarks.coordinator import QUICK, Coordinator, Plan
from benchmarks.databases import MissingServer, opened, require_binary
from benchmarks.figures import Result
from tests.servers.postgresql import server_binaries

JSON = Path("build/bench/bench.json")


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, help="how often each peer has its turn")
    parser.add_argument("--seconds", type=float, help="how long a turn is")
    parser.add_argument("--only", nargs="+", choices=peers.NAMES, metavar="PEER", default=None)
    parser.add_argument("--database", choices=(*peers.DATABASES, "both"), default="both")
    parser.add_argument("--json", type=Path, default=JSON, metavar="FILE", help=f"{JSON}")
    parser.add_argument("--plot", type=Path, metavar="DIRECTORY", help="draw it, as SVG and PNG")
    parser.add_argument("--quick", action="store_true", help="in about a minute, and less exact")
    parser.add_argument("--gate", action="store_true", help="counts alone; fails where they grew")
    return parser.parse_args(words)


def plan(options: argparse.Namespace) -> Plan:
    """How much is measured."""
    given = {"rounds": options.rounds, "seconds": options.seconds}
    base = QUICK if options.quick else Plan()
    return replace(base, **{name: value for name, value in given.items() if value is not None})


def measure(
    names: list[str], databases: list[str], how: Plan, console: Console
) -> dict[str, dict[str, Result]]:
    """Measure the peers on each database, and show it; a server that is missing is named."""
    found = {}
    for name in databases:
        try:
            with opened(name) as kind, console.status(name) as status:
                found[name] = Coordinator(names, kind, how, status.update).measure()
        except MissingServer as e:
            console.print(f"{name}: {e}")
            continue
        console.print(*table.tables(name, found[name]))
        for line in table.remarks(name, found[name]):
            console.print(line, highlight=False, markup=False)
    return found


def report(found: dict[str, dict[str, Result]], how: Plan, names: list[str]) -> dict[str, Any]:
    """What is written to the JSON file."""
    binaries = server_binaries(require_binary) if "postgresql" in found else None
    return {
        "machine": machine.facts(names, binaries),
        "plan": asdict(how),
        "databases": {
            database: {name: asdict(result) for name, result in results.items()}
            for database, results in found.items()
        },
    }


def judge(databases: list[str], console: Console) -> int:
    """Measure the gate's figures; returns the exit status."""
    found = gate.measure(databases)
    for measured in found:
        console.print(str(measured), highlight=False, markup=False, soft_wrap=True)
    return int(not all(measured.passes for measured in found))


def main(words: list[str] | None = None) -> int:
    """Measure, print tables and write the figures; returns the exit status."""
    options, console = arguments(words), Console()
    databases = list(peers.DATABASES) if options.database == "both" else [options.database]
    if options.gate:
        try:
            return judge(databases, console)
        except MissingServer as e:
            raise SystemExit(str(e)) from None
    how, names = plan(options), list(options.only or peers.NAMES)
    found = measure(names, databases, how, console)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report(found, how, names), indent=2) + "\n")
    console.print(f"{options.json}")
    if options.plot:
        console.print(*plot.draw(found, options.plot), sep="\n")
    failed = any(result.failures for results in found.values() for result in results.values())
    return int((failed or len(found) < len(databases)) and ci())


def ci() -> bool:
    """True where a peer that cannot run is an error."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


if __name__ == "__main__":
    sys.exit(main())
