"""``volflow status``: what needs somebody, what goes on, and who is there to do it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click

from volflow.cli import exits, output
from volflow.cli.opening import Options, context, opened
from volflow.cli.program import command
from volflow.models import OperationState, Standing
from volflow.views.advice import conducting, expects, helps
from volflow.views.overview import OPEN, Overview, look
from volflow.views.records import operation_json, volume_json
from volflow.views.words import clean, span

SHOWN = 20


def add_to(main: click.Group) -> None:
    """Add the command to the program."""
    main.add_command(status)


@command(None, "status", short_help="Tell what needs you, what goes on, and who does it.")
@click.option("--check", is_flag=True, help="End with 6 where something needs attention.")
def status(options: Options, check: bool) -> None:
    """Tell at a glance what needs attention, and the command that helps; what runs; what waits
    for whom and until when; backends and conductors.

    No backend is asked: it answers also where they are down.
    """
    with opened(options) as manager:
        found = look(manager, context(), SHOWN)
        name = manager.database.name
    if options.json:
        output.print_json({"database": name, "calm": found.calm, **_json(found)})
    else:
        _print(found, name)
    if check and not found.calm:
        click.get_current_context().exit(exits.NEEDS_ATTENTION)


def _print(found: Overview, database: str) -> None:
    output.print_fields(
        "",
        [
            ("Database", database),
            ("Volumes", _counted(found.counts.volumes, found.counts.most) or "none"),
            ("Open operations", _counted(_open(found), found.counts.most) or "none"),
            ("Ended in 24 hours", _counted(_ended(found), found.counts.most) or "none"),
        ],
        indent=0,
    )
    if found.calm:
        click.echo("\nNothing needs you.")
    for state in OPEN:
        _print_state(found, state)
        if state is OperationState.NEEDS_ATTENTION:
            _print_missing(found)
    if found.backends:
        click.echo()
        columns = ("BACKEND", "VOLUMES", "RUNNING", "LIMIT", "QUEUED", "CONDUCTORS")
        most = found.counts.most
        rows = [
            (
                b.name,
                _number(b.volumes, most),
                _number(b.running, most),
                "none" if b.max_running is None else b.max_running,
                _number(b.queued, most),
                ", ".join(b.conductors) or "none",
            )
            for b in found.backends
        ]
        output.print_table(columns, rows, "")


def _print_state(found: Overview, state: OperationState) -> None:
    page = found.operations[state]
    standing = found.going_on(state)
    if standing or page.unreadable:
        click.echo(f"\n{OPEN[state]}")
    for one in standing:
        _print_operation(one, helped=state is OperationState.NEEDS_ATTENTION)
    for key in page.unreadable:
        reason = "its row makes no sense to this release"
        output.print_fields(f"operation {key}", [("refused", reason)], indent=4)
    if page.marker is not None:
        click.echo(f"  and older ones: volflow operation list --state {state}")


def _print_operation(standing: Standing, helped: bool) -> None:
    """Draw an operation: what it is, why it stands still, what comes next, what helps."""
    found = standing.operation
    name = "" if standing.volume_name is None else f" ({standing.volume_name})"
    output.print_fields(
        f"{found.kind} of volume {found.volume_id}{name} on {found.backend}",
        [
            ("operation", found.id),
            *(("refused", text) for text in found.leftovers if helped),
            ("next", _next(standing)),
            ("what helps", helps(found, standing.now) if helped else None),
        ],
        indent=4,
    )


def _print_missing(found: Overview) -> None:
    for title, standings in (
        ("Abandoned: their owners showed no life for their leases", found.abandoned),
        ("Overdue: their callers did not come back", found.overdue),
    ):
        if standings:
            click.echo(f"\n{title}")
        for standing in standings:
            _print_operation(standing, helped=True)
    if found.broken.items:
        click.echo("\nVolumes in error: the backend refused to delete them")
    for volume in found.broken.items:
        title, help_ = f"{volume.id} on {volume.backend}", f"volflow volume delete {volume.id}"
        output.print_fields(title, [("what helps", help_)], indent=4)
    for conductor in found.dead:
        click.echo(f"\nConductor {clean(conductor.name)} on {clean(conductor.host)} is dead")
        run = f"{conducting(*conductor.backends)}, on any host that reaches them"
        output.print_fields("", [("what helps", run)], indent=4)
    for backend in found.alone:
        click.echo(f"\nNo conductor serves backend {clean(backend)}, which has operations queued")
        output.print_fields("", [("what helps", conducting(backend))], indent=4)


def _next(standing: Standing) -> str:
    expected = expects(standing)
    if expected.at is None:
        return expected.text
    return f"{expected.text} {_away(expected.at, standing.now)}"


def _away(at: datetime, now: datetime) -> str:
    return "now" if abs((at - now).total_seconds()) < 1 else span(at, now)


def _open(found: Overview) -> dict[OperationState, int]:
    return {state: found.counts.operations[state] for state in OPEN}


def _ended(found: Overview) -> dict[OperationState, int]:
    return {s: n for s, n in found.counts.operations.items() if s not in OPEN}


def _counted(counts: Mapping[Any, int], most: int) -> str:
    """Say how many there are of each that there are any of."""
    return ", ".join(f"{_number(n, most)} {key}" for key, n in counts.items() if n)


def _number(count: int, most: int) -> str:
    return f"{most}+" if count > most else str(count)


def _json(found: Overview) -> dict[str, Any]:
    return {
        "operations": {state: list(_standings(found, state)) for state in OPEN},
        "unreadable": [key for page in found.operations.values() for key in page.unreadable],
        "broken_volumes": [volume_json(v) for v in found.broken.items],
        "counts": {
            "operations": found.counts.operations,
            "volumes": found.counts.volumes,
            "most": found.counts.most,
        },
        "backends": [asdict(backend) for backend in found.backends],
        "backends_without_conductor": found.alone,
        "conductors": [asdict(conductor) for conductor in found.conductors],
    }


def _standings(found: Overview, state: OperationState) -> Iterator[dict[str, Any]]:
    for standing in found.operations[state].items:
        expected, help_ = expects(standing), helps(standing.operation, standing.now)
        yield operation_json(standing.operation) | {
            "volume_name": standing.volume_name,
            "abandoned": standing.abandoned,
            "overdue": standing.overdue,
            "attempts": standing.attempts,
            "retry_at": standing.retry_at,
            "next": expected.text,
            "next_at": expected.at,
            "help": None if help_ is None else help_.command,
        }
