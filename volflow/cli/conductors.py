"""``volflow conductor``: running what is queued, and seeing who does."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import click

from volflow.cli import exits, output
from volflow.cli.opening import Options, context, logging_to_stderr, opened
from volflow.cli.program import command
from volflow.jobs.conductor import Conductor
from volflow.models import Conductor as Living
from volflow.views.words import age

LOOK_SECONDS = 1.0


@click.group()
def conductor() -> None:
    """Run what was submitted with --submit, and list who does."""


def add_to(main: click.Group) -> None:
    """Add the group to the program."""
    main.add_command(conductor)


@command(conductor, "run", short_help="Run what is queued for some backends.")
@click.option(
    "--backend",
    "backends",
    metavar="NAME",
    multiple=True,
    required=True,
    help="Whom to serve; may be given several times.",
)
@click.option("--workers", type=int, default=4, show_default=True, help="Operations at a time.")
@click.option("--name", metavar="NAME", help="What `volflow conductor list` calls it.")
def run(options: Options, backends: tuple[str, ...], workers: int, name: str | None) -> None:
    """Run what is queued for these backends, and recover what others left, until stopped.

    SIGTERM or Ctrl-C stops it in order: it begins nothing more, each driver call that runs ends,
    what is not finished then is handed back, and the exit code is 0. It logs to standard error.
    """
    with (
        logging_to_stderr(max(1, options.verbose)),
        opened(options, backends, recover=True) as manager,
        _stops() as stop,
    ):
        found = manager.conductor(name, backends, workers)
        found.start()
        click.echo(f"volflow: conductor {found.label} serves {', '.join(backends)}", err=True)
        _until_stopped(found, stop)
        manager.stop()
        if not found.wait(manager.driver_call_seconds):
            _leave(found)
        if found.error is not None:
            raise found.error


@command(conductor, "list", short_help="List conductors, and what each runs.")
def list_(options: Options) -> None:
    """List the conductors that live, and those that died without a word, oldest first.

    RUNNING is how many operations each runs now; --json names them.
    """
    with opened(options) as manager:
        found = manager.list_conductors(context())
    if options.json:
        output.print_json([asdict(c) for c in found])
        return
    now = datetime.now(UTC)
    columns = ("NAME", "STATE", "HOST", "PID", "BACKEND", "WORKERS", "RUNNING", "SINCE", "SEEN")
    output.print_table(columns, (_row(c, now) for c in found), "no conductors")


def _row(found: Living, now: datetime) -> tuple[Any, ...]:
    return (
        found.name,
        "alive" if found.alive else "dead",
        found.host,
        found.pid,
        ", ".join(found.backends),
        found.workers,
        len(found.running),
        age((now - found.started_at).total_seconds()),
        age((now - found.seen_at).total_seconds()),
    )


@contextmanager
def _stops() -> Iterator[int]:
    """Hear SIGTERM and SIGINT, once: a second one ends the process as it ever does.

    :returns: a descriptor that can be read once one has come.
    """
    read, write = os.pipe()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def heard(number: int, frame: FrameType | None) -> None:
        restore()
        os.write(write, b".")

    for number in before:
        signal.signal(number, heard)
    try:
        yield read
    finally:
        restore()
        os.close(read)
        os.close(write)


def _until_stopped(found: Conductor, stop: int) -> None:
    """Wait for a signal, or until the conductor ends by itself."""
    while not select.select([stop], [], [], LOOK_SECONDS)[0]:
        if found.wait(0):
            return
    click.echo("volflow: stopping; what runs now is handed back after its step", err=True)


def _leave(found: Conductor) -> None:
    """End beside a driver call that hangs: its lease ends by itself, and recovery takes over."""
    click.echo(f"volflow: conductor {found.label} leaves a driver call that hangs", err=True)
    sys.stderr.flush()
    os._exit(exits.NEEDS_ATTENTION)
