"""``volflow demo``: an attach that dies half way and recovers, on a real target if possible."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from volflow.cli import output
from volflow.cli.demo.programs import DemoFailed, missing_initiator, missing_target
from volflow.cli.demo.steps import Steps
from volflow.cli.demo.story import tell
from volflow.cli.opening import Options
from volflow.cli.program import command
from volflow.exceptions import VolflowError

FAILED = 1


def add_demo(main: click.Group) -> None:
    """Add the command to the program."""
    main.add_command(demo)


@command(None, "demo", short_help="Attach a volume, die half way, and watch it recover.")
@click.option("--local", is_flag=True, help="Use the local driver, without an iSCSI target.")
@click.option("--keep", is_flag=True, help="Keep the directory with the database and the image.")
def demo(options: Options, local: bool, keep: bool) -> None:
    """Attach a volume, die half way, and watch it recover.

    A private tgtd exports the volume over iSCSI, and qemu-io logs in to it. Where one of them is
    not installed the demo says what it does not show. Everything is in a temporary directory,
    which is removed at the end. The exit code is 0 only if everything was as it should be.
    """
    missing = "--local was given" if local else missing_target()
    no_login = missing or missing_initiator()
    steps = Steps(quiet=options.json)
    _introduce(steps, missing, no_login)
    try:
        with _ending_on_signals():
            tell(steps, target=missing is None, initiator=no_login is None, keep=keep)
    except (DemoFailed, VolflowError, OSError) as error:
        steps.fail(error)
    finally:
        if options.json:
            output.print_json(steps.as_json())
    steps.summarise()
    if not steps.ok:
        click.get_current_context().exit(FAILED)


def _introduce(steps: Steps, no_target: str | None, no_login: str | None) -> None:
    if no_target is None:
        steps.say("volflow demo, on a real iSCSI target (tgtd)")
        steps.mode = "tgt"
    else:
        steps.say("volflow demo, on files of this host")
        steps.leave_out(f"iSCSI, CHAP and the ACL ({no_target})")
    if no_target is None and no_login is not None:
        steps.leave_out(f"an initiator that logs in ({no_login})")


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    """End in order, with everything put away, also on SIGTERM and when the terminal closes."""

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    caught = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, end) for number in caught]
    try:
        yield
    finally:
        for number, handler in zip(caught, before, strict=True):
            signal.signal(number, handler)
