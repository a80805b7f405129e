"""tgtd, asked and told by ``tgtadm`` (tgt 1.0.85).

``tgtadm`` exits with 22 for every refusal, and with 0 where tgtd died or hung up before it
answered, so that what it writes on its standard error is what counts.

A new account's secret would be on tgtadm's command line, which everybody on the host can read,
and tgtadm takes it in no other way: that one request goes to tgtd's socket instead
(:mod:`volflow.drivers.targets.tgt_socket`).
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from volflow.drivers import command
from volflow.drivers.chap import Credentials
from volflow.drivers.targets import tgt_show, tgt_socket
from volflow.exceptions import DriverError, TransientDriverError

PROGRAM = "tgtadm"


class Reason(StrEnum):
    """Why tgtd refused."""

    UNREACHABLE = "tgtd does not answer"
    TARGET_EXISTS = "the target's id or name is taken"
    NO_TARGET = "no such target"
    TARGET_BUSY = "an initiator is logged in"
    LUN_EXISTS = "the LUN is taken"
    NO_LUN = "no such LUN"
    LUN_BUSY = "commands are running on the LUN"
    ACL_EXISTS = "the initiator has access"
    NO_ACL = "the initiator has no access"
    ACCOUNT_EXISTS = "the account exists or is bound"
    NO_ACCOUNT = "no such account"
    NO_SESSION = "no such session"
    NO_CONNECTION = "no such connection"
    INVALID = "tgtd takes no such value, or cannot open the file"
    UNKNOWN = "for a reason that is not known"


class Refusal(NamedTuple):
    """One message of tgtadm and what it means."""

    pattern: re.Pattern[str]
    reason: Reason
    specimen: str


def _refusal(pattern: str, reason: Reason, specimen: str) -> Refusal:
    return Refusal(re.compile(pattern), reason, specimen)


REFUSALS = (
    _refusal(
        r"failed to send request \w+ to tgt daemon",
        Reason.UNREACHABLE,
        "tgtadm: failed to send request hdr to tgt daemon, Transport endpoint is not connected",
    ),
    _refusal(
        r"can't get the response",
        Reason.UNREACHABLE,
        "tgtadm: can't get the response, Connection reset by peer",
    ),
    _refusal(
        r"tgtd closed the socket|a partial response",
        Reason.UNREACHABLE,
        "tgtadm: tgtd closed the socket",
    ),
    _refusal(
        r"this target already exists",
        Reason.TARGET_EXISTS,
        "tgtadm: this target already exists",
    ),
    _refusal(r"can't find the target", Reason.NO_TARGET, "tgtadm: can't find the target"),
    _refusal(
        r"this target is still active",
        Reason.TARGET_BUSY,
        "tgtadm: this target is still active",
    ),
    _refusal(
        r"this logical unit number already exists",
        Reason.LUN_EXISTS,
        "tgtadm: this logical unit number already exists",
    ),
    _refusal(r"can't find the logical unit", Reason.NO_LUN, "tgtadm: can't find the logical unit"),
    _refusal(
        r"this logical unit is still active",
        Reason.LUN_BUSY,
        "tgtadm: this logical unit is still active",
    ),
    _refusal(
        r"this access control rule already exists",
        Reason.ACL_EXISTS,
        "tgtadm: this access control rule already exists",
    ),
    _refusal(
        r"this access control rule does not exist",
        Reason.NO_ACL,
        "tgtadm: this access control rule does not exist",
    ),
    _refusal(
        r"this account already exists",
        Reason.ACCOUNT_EXISTS,
        "tgtadm: this account already exists",
    ),
    _refusal(r"can't find the account", Reason.NO_ACCOUNT, "tgtadm: can't find the account"),
    _refusal(r"can't find the session", Reason.NO_SESSION, "tgtadm: can't find the session"),
    _refusal(
        r"can't find the connection", Reason.NO_CONNECTION, "tgtadm: can't find the connection"
    ),
    _refusal(r"invalid request", Reason.INVALID, "tgtadm: invalid request"),
)


class TgtRefused(DriverError):
    """tgtd refused a request."""

    def __init__(self, message: str = "", reason: Reason = Reason.UNKNOWN) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[TgtRefused], tuple[str, Reason]]:
        return (type(self), (self.message, self.reason))


class Tolerance:
    """Passes over refusals that say that what is wanted is so already."""

    def __init__(self, reasons: tuple[Reason, ...]) -> None:
        self.reasons = reasons

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> bool:
        return isinstance(error, TgtRefused) and error.reason in self.reasons


def tolerate(*reasons: Reason) -> Tolerance:
    """Pass over refusals for one of the reasons."""
    return Tolerance(reasons)


def reason_of(stderr: str) -> Reason:
    """Find what a message of tgtadm means."""
    for refusal in REFUSALS:
        if refusal.pattern.search(stderr):
            return refusal.reason
    return Reason.UNKNOWN


class TgtAdm:
    """One tgtd; each method is one request.

    :param control_port: tgtd's ``-C``.
    :param socket: tgtd's management socket without its ``.<control port>``.
    :param timeout: seconds for one request.
    """

    def __init__(self, control_port: int, socket: str, timeout: float) -> None:
        self.control_port = control_port
        self.socket = socket
        self.timeout = timeout

    def targets(self) -> tuple[tgt_show.ShownTarget, ...]:
        """Read all targets."""
        return tgt_show.parse_targets(self._run("show", "target"))

    def connections(self, tid: int) -> tuple[tgt_show.Session, ...]:
        """Read who is logged in to a target; one that is gone has nobody."""
        with tolerate(Reason.NO_TARGET):
            return tgt_show.parse_connections(self._run("show", "conn", "--tid", tid))
        return ()

    def accounts(self) -> tuple[str, ...]:
        """Read the users of all accounts, bound or not."""
        return tgt_show.parse_accounts(self._run("show", "account"))

    def portals(self) -> tuple[str, ...]:
        """Read where tgtd listens, as ``ip:port``."""
        return tgt_show.parse_portals(self._run("show", "portal"))

    def new_target(self, tid: int, iqn: str) -> None:
        """Make a target without LUN, account or access."""
        self._run("new", "target", "--tid", tid, "--targetname", iqn)

    def update_target(self, tid: int, name: str, value: int) -> None:
        """Set one of a target's parameters; it holds for logins from now on."""
        self._run("update", "target", "--tid", tid, "--name", name, "--value", value)

    def delete_target(self, tid: int) -> None:
        """Delete a target that nobody is logged in to."""
        self._run("delete", "target", "--tid", tid)

    def bind(self, tid: int, initiator: str) -> None:
        """Let an initiator log in."""
        self._run("bind", "target", "--tid", tid, "--initiator-name", initiator)

    def unbind(self, tid: int, entry: str) -> None:
        """Take an entry off the ACL: an initiator's name, or an address of another's making."""
        by_name = entry.lower().startswith(("iqn.", "eui.", "naa."))
        option = "--initiator-name" if by_name else "--initiator-address"
        self._run("unbind", "target", "--tid", tid, option, entry)

    def close(self, tid: int, session: tgt_show.Session) -> None:
        """Close a session's connection; tgtd does so a moment later."""
        self._run("delete", "conn", "--tid", tid, "--sid", session.sid, "--cid", session.cid)

    def new_lun(self, tid: int, lun: int, path: Path) -> None:
        """Put a file behind a new LUN."""
        self._run("new", "logicalunit", "--tid", tid, "--lun", lun, "--backing-store", path)

    def update_lun(self, tid: int, lun: int, **params: str | int) -> None:
        """Set a LUN's parameters."""
        words = ",".join(f"{name}={value}" for name, value in params.items())
        self._run("update", "logicalunit", "--tid", tid, "--lun", lun, "--params", words)

    def delete_lun(self, tid: int, lun: int) -> None:
        """Delete a LUN on which no command is running."""
        self._run("delete", "logicalunit", "--tid", tid, "--lun", lun)

    def new_account(self, login: Credentials) -> None:
        """Make an account; its secret passes through tgtd's socket only."""
        doing = f"make the account {login.user}"
        try:
            answer = tgt_socket.new_account(
                f"{self.socket}.{self.control_port}", login, self.timeout
            )
        except OSError as error:
            raise self._unreachable(str(error)) from None
        if answer == tgt_socket.USER_EXISTS:
            raise TgtRefused(f"tgtd refused to {doing}: it exists", Reason.ACCOUNT_EXISTS)
        if answer:
            raise TgtRefused(f"tgtd refused to {doing}: error {answer}")

    def bind_account(self, tid: int, user: str) -> None:
        """Let an account log in to a target."""
        self._run("bind", "account", "--tid", tid, "--user", user)

    def unbind_account(self, tid: int, user: str) -> None:
        """Let an account no longer log in to a target."""
        self._run("unbind", "account", "--tid", tid, "--user", user)

    def delete_account(self, user: str) -> None:
        """Delete an account, which unbinds it everywhere."""
        self._run("delete", "account", "--user", user)

    def _run(self, op: str, mode: str, *options: object) -> str:
        argv = [PROGRAM, "-C", str(self.control_port), "--lld", "iscsi"]
        argv += ["--op", op, "--mode", mode, *map(str, options)]
        try:
            done = command.run(argv, timeout=self.timeout, env={"TGT_IPC_SOCKET": self.socket})
            stdout, stderr = done.stdout, done.stderr.strip()
        except command.CommandMissing as missing:
            raise DriverError(f"{missing}: install tgt's tools (Debian package tgt)") from missing
        except command.CommandFailed as failed:
            stdout, stderr = "", failed.stderr.strip() or failed.message
        if stderr:
            reason = reason_of(stderr)
            if reason is Reason.UNREACHABLE:
                raise self._unreachable(stderr)
            raise TgtRefused(f"{' '.join(argv)}: {stderr} ({reason})", reason)
        return stdout

    def _unreachable(self, said: str) -> TransientDriverError:
        return TransientDriverError(
            f"tgtd does not answer at {self.socket}.{self.control_port}: start tgtd with "
            f"-C {self.control_port}, and use it as the user that runs it ({said})"
        )
