"""The program around the commands: common options, errors as one sentence, exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from volflow.cli import exits, output
from volflow.cli.opening import Options, logging_to_stderr
from volflow.views.words import clean

F = TypeVar("F", bound=Callable[..., Any])

DEBUG_VARIABLE = "VOLFLOW_DEBUG"

HINTS = {
    exits.NEEDS_ATTENTION: "once the backend answers, or the initiator has logged out, run "
    "`volflow recover`",
    exits.BUG: f"set {DEBUG_VARIABLE}=1 to see where it comes from",
    8: "see `volflow operation list`, and run the command again",
}


class Program(click.Group):
    """A group of commands whose errors end the process as the table of exit codes says."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line, and end the process unless told otherwise."""
        argv = list(sys.argv[1:] if args is None else args)
        if not standalone_mode:
            return super().main(argv, prog_name, complete_var, standalone_mode=False, **extra)
        code: object
        try:
            code = super().main(
                argv, prog_name or "volflow", complete_var, standalone_mode=False, **extra
            )
            sys.stdout.flush()
        except BrokenPipeError as error:
            _forget_output()
            code = exits.exit_code(error)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - each has its exit code
            code = report(error, as_json="--json" in argv)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, with its log where it was asked for."""
        try:
            found = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # click would end the process with its own exit code.
            _forget_output()
            ctx.exit(exits.exit_code(BrokenPipeError()))
        return found


def report(error: BaseException, as_json: bool) -> int:
    """Write an error to standard error, and return its exit code."""
    code = exits.exit_code(error)
    if os.environ.get(DEBUG_VARIABLE, "") not in ("", "0"):
        traceback.print_exception(error)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return code
    hints = [*getattr(error.__cause__, "__notes__", ()), *getattr(error, "__notes__", ())]
    hints += [HINTS[code]] if code in HINTS else []
    if as_json:
        shown = {"type": _kind(error), "message": sentence(error), "exit_code": code}
        click.echo(output.to_json({"error": {**shown, "hints": hints}}), err=True)
        return code
    click.echo(f"volflow: {sentence(error)}", err=True)
    for hint in hints:
        click.echo(f"volflow: {hint}", err=True)
    return code


def sentence(error: BaseException) -> str:
    """Say in one line what went wrong."""
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return "interrupted"
    if isinstance(error, click.UsageError):
        context = error.ctx
        text = clean(error.format_message()).rstrip(".")
        return f"{text}; see `{context.command_path} --help`" if context else text
    if isinstance(error, click.ClickException):
        return clean(error.format_message())
    text = clean(error)
    if exits.exit_code(error) == exits.BUG:
        return f"unexpected {type(error).__name__}: {text}" if text else type(error).__name__
    return text or type(error).__name__


def _kind(error: BaseException) -> str:
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return "Interrupted"
    return "UsageError" if isinstance(error, click.ClickException) else type(error).__name__


def _forget_output() -> None:
    """Keep the interpreter from writing to the closed pipe once more at its end."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return  # not a real file: nothing writes to it later


def _remember(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        options = ctx.ensure_object(Options)
        given = ctx.get_parameter_source(name)
        if value not in (None, False, 0) and (
            given is not click.core.ParameterSource.ENVIRONMENT
            or getattr(options, name) in (None, False, 0)
        ):
            setattr(options, name, value)

    return callback


def common_options(command: F) -> F:
    """Add the options that every command takes, before its name and after it."""
    own = list(getattr(command, "__click_params__", ()))
    for decorate in reversed(
        [
            click.option(
                "--config",
                metavar="FILE",
                envvar="VOLFLOW_CONFIG",
                type=click.Path(path_type=Path),
                help="Configuration file  [env: VOLFLOW_CONFIG; default: "
                "/etc/volflow/volflow.conf]",
                expose_value=False,
                callback=_remember("config"),
            ),
            click.option(
                "--database",
                metavar="URL",
                help="SQLAlchemy URL; overrides the configuration's.",
                expose_value=False,
                callback=_remember("database"),
            ),
            click.option(
                "--json",
                is_flag=True,
                help="Write JSON, errors too.",
                expose_value=False,
                callback=_remember("json"),
            ),
            click.option(
                "-v",
                "--verbose",
                count=True,
                help="Log to stderr; twice: more.",
                expose_value=False,
                callback=_remember("verbose"),
            ),
        ]
    ):
        command = decorate(command)
    # click keeps them the other way round: the command's own options stand first in its help.
    params = command.__click_params__  # type: ignore[attr-defined]
    params[:] = params[len(own) :] + own
    return command


class Command(click.Command):
    """A command that logs as it was asked to."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        with logging_to_stderr(ctx.ensure_object(Options).verbose):
            return super().invoke(ctx)


def command(
    group: click.Group | None, name: str, **attributes: Any
) -> Callable[[F], click.Command]:
    """Make a function a command of a group, with the common options.

    It is given :class:`~volflow.cli.opening.Options` first.
    """

    def add(function: F) -> click.Command:
        made = click.command(name, cls=Command, **attributes)(
            click.pass_obj(common_options(function))
        )
        if group is not None:
            group.add_command(made)
        return made

    return add
