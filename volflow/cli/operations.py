"""``volflow operation`` and ``volflow recover``: what goes on, and bringing it on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from volflow.cli import exits, output
from volflow.cli.opening import Options, context, opened, require_database
from volflow.cli.program import command
from volflow.cli.timeline import print_timeline
from volflow.drivers.base import Host
from volflow.exceptions import DriverError, from_record
from volflow.manager import VolumeManager
from volflow.models import OWNED, Operation, OperationKind, OperationState
from volflow.views.advice import drivers_to_cancel, helps
from volflow.views.records import operation_json, report_json
from volflow.views.timeline import CallRun, fold, timeline_json
from volflow.views.words import age, clean, moment

WIDE = 112
"""From this width on a list of operations names their volumes, too."""


@click.group()
def operation() -> None:
    """List and show operations, and cancel one."""


def add_to(main: click.Group) -> None:
    """Add the group, and ``recover``, to the program."""
    main.add_command(operation)
    main.add_command(recover)


@command(operation, "list", short_help="List operations, oldest first.")
@click.option(
    "--state",
    type=click.Choice([s.value for s in OperationState]),
    metavar="STATE",
    help=f"Only these: {', '.join(OperationState)}.",
)
@click.option("--volume", "volume_id", metavar="ID", help="Only this volume's.")
@click.option("--limit", type=int, help="At most so many.")
@click.option("--marker", metavar="ID", help="Go on after this operation.")
def list_(options: Options, **given: Any) -> None:
    """List operations, oldest first; a wide terminal shows their volumes, too."""
    with opened(options) as manager:
        found = manager.list_operations(context(), **given)
    if options.json:
        output.print_json([operation_json(o) for o in found])
        return
    now = datetime.now(UTC)
    wide = output.width() >= WIDE
    rows = [
        (o.id, o.kind, o.state, _age(o, now), *([o.volume_id] if wide else []), o.backend)
        for o in found
    ]
    columns = ("ID", "KIND", "STATE", "AGE", *(["VOLUME"] if wide else []), "BACKEND")
    output.print_table(columns, rows, "no operations")


@command(operation, "show", short_help="Show an operation and its timeline.")
@click.argument("operation_id", metavar="ID")
def show(options: Options, operation_id: str) -> None:
    """Show an operation and its timeline: each step, when it ran, how long, and how it ended.

    A step may end as done, failed, undone (ran backward), refused (its undo, which recovery
    repeats), held back (a refusal before it) or interrupted (its process died).
    """
    with opened(options) as manager:
        show_operation(options, manager, operation_id)


@command(operation, "wait", short_help="Wait until an operation is settled.")
@click.argument("operation_id", metavar="ID")
@click.option("--timeout", type=float, metavar="SECONDS", help="How long at most.")
def wait(options: Options, operation_id: str, timeout: float | None) -> None:
    """Wait until an operation is settled, or needs attention, and show it.

    The exit code is that of the call which would have done it: 0 where it has succeeded, that of
    its error where it was rolled back, 6 where it needs attention; 9 where it is not settled in
    time.
    """
    with opened(options) as manager:
        found = manager.wait(operation_id, timeout)
        show_operation(options, manager, operation_id)
    if found.state is OperationState.NEEDS_ATTENTION:
        click.get_current_context().exit(exits.NEEDS_ATTENTION)
    if found.state is OperationState.ROLLED_BACK and found.error is not None:
        click.get_current_context().exit(exits.exit_code(from_record(found.error)))


@command(operation, "cancel", short_help="Roll back an operation that is not settled.")
@click.argument("operation_id", metavar="ID")
@click.option(
    "--force", is_flag=True, help="Of an attach: cut its host, which is off, or nobody can tell."
)
def cancel(options: Options, operation_id: str, force: bool) -> None:
    """Roll back an operation: one that waits now, one that runs at its next step.

    One that is settled is left as it is. An attach whose host is logged in, or may be, is not
    undone without --force: see first that the host is off, since what it has not written is lost.
    """
    with opened(options) as manager:
        known = manager.get_operation(context(), operation_id)
    if force and known.kind is not OperationKind.ATTACH:
        raise click.UsageError(f"--force is for an attach, and this is a {known.kind}")
    with opened(options, drivers_to_cancel(known)) as manager:
        if force and known.state in _HELD:
            manager.terminate_connection(context(), known.volume_id, None, force=True)
        found = manager.cancel_operation(context(), operation_id)
        calls = fold(manager.operation_timeline(context(), operation_id))
    print_operation(options, found, calls)
    if found.state is OperationState.NEEDS_ATTENTION:
        click.get_current_context().exit(exits.NEEDS_ATTENTION)


_HELD = (OperationState.WAITING, OperationState.NEEDS_ATTENTION)
"""Where a session that is live, or may be, holds an attach."""


@command(None, "recover", short_help="Bring on what nobody runs any more, and what is refused.")
def recover(options: Options) -> None:
    """Bring every operation on that is due: its process died, its deadline passed, or a step was
    refused.

    Operations that are being run now are left alone. A backend that cannot be reached is left
    out and named; the exit code is 6 then, and where an operation still needs attention.
    """
    recover_all(options)


def recover_all(options: Options, host: Host | None = None) -> None:
    """Recover, print what was done, and end the command where something needs attention.

    :param host: the side of this host, whose own operations then are ended, too.
    """
    left_out = dict(_unusable(options))
    names = [n for n in options.settings().backends if n not in left_out]
    with opened(options, names, host=host) as manager:
        report = report_json(manager.recover(), left_out)
        reasons = _reasons(manager, report["needs_attention"])
    if options.json:
        output.print_json(report)
    else:
        _print_report(report, reasons)
    if left_out or report["needs_attention"]:
        click.get_current_context().exit(exits.NEEDS_ATTENTION)


def show_operation(options: Options, manager: VolumeManager, operation_id: str) -> None:
    """Read an operation with its timeline, and write both."""
    found = manager.get_operation(context(), operation_id)
    calls = fold(manager.operation_timeline(context(), operation_id))
    print_operation(options, found, calls)


def print_operation(options: Options, found: Operation, calls: list[CallRun]) -> None:
    """Write an operation and its timeline."""
    if options.json:
        output.print_json({**operation_json(found), "timeline": timeline_json(calls)})
        return
    now = datetime.now(UTC)
    running = found.state in OWNED
    output.print_fields(
        f"Operation {found.id}",
        [
            ("Kind", found.kind),
            ("State", found.state),
            ("Call", found.phase),
            ("Volume", found.volume_id),
            ("Attachment", found.attachment_id),
            ("Backend", found.backend),
            ("Request", found.request_id),
            ("Priority", found.priority or None),
            ("Error", found.error),
            ("Owner", found.owner if running else None),
            ("Lease ends", moment(found.lease_expires_at) if running else None),
            ("Deadline", moment(found.deadline)),
            ("Created", moment(found.created_at)),
            ("Finished", moment(found.finished_at)),
            *(("Refused", text) for text in found.leftovers),
            ("What helps", helps(found, now)),
        ],
    )
    click.echo()
    print_timeline(calls)


def _age(found: Operation, now: datetime) -> str:
    return age((now - found.created_at).total_seconds()) if found.created_at else ""


def _unusable(options: Options) -> Iterator[tuple[str, str]]:
    """Find backends that cannot work now: they must not keep the others from recovery."""
    settings = options.settings()
    require_database(settings.arguments["database"])
    for name in settings.backends:
        driver = settings.make_driver(name)
        try:
            driver.do_setup(context())
            driver.check_for_setup_error()
        except DriverError as error:
            yield name, clean(error)


def _reasons(manager: VolumeManager, operation_ids: list[str]) -> dict[str, str]:
    found = {}
    for operation_id in operation_ids:
        shown = manager.get_operation(context(), operation_id)
        reason = "; ".join(shown.leftovers) or str(shown.error or shown.state)
        if shown.state is OperationState.WAITING:
            reason = "its caller did not come back, and its host is logged in, or may be"
        found[operation_id] = reason
    return found


def _print_report(report: dict[str, Any], reasons: dict[str, str]) -> None:
    rows = [
        (operation_id, outcome)
        for outcome, ids in report.items()
        if outcome != "left_out"
        for operation_id in ids
    ]
    for operation_id, outcome in rows:
        output.show(output.styled(outcome).append(f"  {operation_id}"))
        if reason := reasons.get(operation_id):
            output.print_fields("", [("because", reason)], indent=4)
    for backend, reason in report["left_out"].items():
        click.echo(f"volflow: backend {backend} is left out: {reason}", err=True)
    if not rows:
        click.echo("nothing is due")
