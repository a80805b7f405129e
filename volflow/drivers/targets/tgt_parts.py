"""The parts of one target of tgtd, made and taken away one by one: LUN, account, ACL, sessions.

What each has to do with the others is told in :mod:`volflow.drivers.targets.tgt`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

from volflow.drivers.chap import Credentials
from volflow.drivers.targets.tgt_show import Session, ShownTarget
from volflow.drivers.targets.tgtadm import Reason, TgtAdm, TgtRefused, tolerate
from volflow.exceptions import ExportFailed, TransientDriverError
from volflow.models import DriverVolume

LUN = 1
"""The volume's LUN; LUN 0 is tgtd's controller."""

NOP_COUNT = 2
"""How many pings in a row an initiator may leave unanswered."""

_MARK = "chap:"
_ATTEMPTS = 8


class TargetParts:
    """Makes and takes away what a target is made of; does only what is still to do.

    :param ping_seconds: between two pings of an initiator that is logged in.
    """

    def __init__(self, tgt: TgtAdm, timeout: float, ping_seconds: int) -> None:
        self.tgt = tgt
        self.ping_seconds = ping_seconds
        # A host that hangs is noticed at the last unanswered ping, and not before.
        self.close_seconds = timeout + ping_seconds * (NOP_COUNT + 2)

    def new_target(
        self, targets: tuple[ShownTarget, ...], iqn: str, volume_id: str
    ) -> ShownTarget:
        """Make an empty target under the first number that is free for the volume.

        :param targets: those that are there.
        :raises TransientDriverError: none was free.
        """
        for attempt in range(_ATTEMPTS):
            tid = target_id(volume_id, attempt)
            if tid in {target.tid for target in targets}:
                continue
            with tolerate(Reason.TARGET_EXISTS):
                self.tgt.new_target(tid, iqn)
                return ShownTarget(tid, iqn, (0, 0), (), {}, (), ())
            targets = self.tgt.targets()
            for target in targets:
                if target.iqn == iqn:
                    return target
        raise TransientDriverError(f"no target id is free for volume {volume_id}")

    def ensure_pings(self, mine: ShownTarget) -> None:
        """Let tgtd ping its initiators, and close the session of one that does not answer.

        Without, a session of a host that lost its power lives on for an hour, and one of a host
        that takes no more data cannot be closed at all.
        """
        if mine.nops != (self.ping_seconds, NOP_COUNT):
            # The count first: with an interval and no count, tgtd closes every session.
            self.tgt.update_target(mine.tid, "nop_count", NOP_COUNT)
            self.tgt.update_target(mine.tid, "nop_interval", self.ping_seconds)

    def ensure_lun(self, mine: ShownTarget, volume: DriverVolume, path: Path) -> None:
        """Put the path behind the LUN, with the volume's identity and its write protection.

        :raises ExportFailed: another path is there, and an initiator is logged in.
        """
        lun = mine.luns.get(LUN)
        if lun is not None and lun.path != str(path):
            if mine.sessions:
                raise ExportFailed(
                    f"volume {volume.id} is exported from {lun.path} instead of {path}, and "
                    f"{mine.sessions[0].initiator} is logged in"
                )
            self.tgt.delete_lun(mine.tid, LUN)
            lun = None
        if lun is None:
            self.tgt.new_lun(mine.tid, LUN, path)
        wanted = (volume.id, volume.id, volume.readonly)
        if lun is None or (lun.scsi_id, lun.scsi_sn, lun.readonly) != wanted:
            self.tgt.update_lun(
                mine.tid,
                LUN,
                scsi_id=volume.id,
                scsi_sn=volume.id,
                readonly=int(volume.readonly),
            )

    def replace_account(
        self,
        mine: ShownTarget,
        targets: tuple[ShownTarget, ...],
        volume_id: str,
        login: Credentials,
    ) -> None:
        """Empty the ACL, delete the target's accounts, and make and bind this one.

        :raises ExportFailed: another target has an account of this name.
        """
        if login.user in users(targets, mine):
            raise ExportFailed(
                f"the CHAP user {login.user} of volume {volume_id} belongs to another target"
            )
        self.unbind_all(mine)
        self.delete_accounts(mine, targets)
        self.tgt.update_lun(
            mine.tid, 0, scsi_sn=login.user, scsi_id=_MARK + login.fingerprint(volume_id)
        )
        try:
            self.tgt.new_account(login)
        except TgtRefused as refused:
            if refused.reason is not Reason.ACCOUNT_EXISTS:
                raise
            # It is bound to no target, and nothing tells what its secret is.
            self.tgt.delete_account(login.user)
            self.tgt.new_account(login)
        self.tgt.bind_account(mine.tid, login.user)

    def delete_accounts(self, mine: ShownTarget, targets: tuple[ShownTarget, ...]) -> None:
        """Delete the target's accounts, and one that was made for it but not bound yet."""
        elsewhere = users(targets, mine)
        # From the last to the first: tgtd dies where one is unbound before a later one.
        for user in reversed(mine.accounts):
            with tolerate(Reason.NO_ACCOUNT):
                if user in elsewhere:
                    self.tgt.unbind_account(mine.tid, user)
                else:
                    self.tgt.delete_account(user)
        user, _ = _named(mine)
        if user and user not in elsewhere and user not in mine.accounts:
            with tolerate(Reason.NO_ACCOUNT):
                self.tgt.delete_account(user)

    def unbind(self, mine: ShownTarget, initiator: str) -> list[str]:
        """Take an initiator off the ACL, in whatever case it is written there.

        :param initiator: in lower case.
        :returns: the entries that were taken off.
        """
        taken = [entry for entry in mine.acl if entry.lower() == initiator]
        for entry in taken:
            with tolerate(Reason.NO_ACL, Reason.NO_TARGET):
                self.tgt.unbind(mine.tid, entry)
        return taken

    def unbind_all(self, mine: ShownTarget) -> None:
        """Empty the ACL."""
        for initiator in {entry.lower() for entry in mine.acl}:
            self.unbind(mine, initiator)

    def sessions(self, tid: int, initiator: str | None = None) -> list[Session]:
        """Read who is logged in now: everybody, or one initiator in lower case."""
        return [
            session
            for session in self.tgt.connections(tid)
            if initiator in (None, session.initiator.lower())
        ]

    def close_sessions(self, tid: int, initiator: str | None = None) -> None:
        """Close sessions, everybody's or one initiator's, and wait until they are gone.

        :raises TransientDriverError: one did not end in time.
        """
        for _ in _until(self.close_seconds, "a session did not end"):
            sessions = self.sessions(tid, initiator)
            if not sessions:
                return
            for session in sessions:
                with tolerate(Reason.NO_SESSION, Reason.NO_CONNECTION, Reason.NO_TARGET):
                    self.tgt.close(tid, session)

    def delete_target(self, tid: int) -> None:
        """Delete the target once nobody is logged in and its LUN is idle.

        :raises TransientDriverError: that was not so in time.
        """
        for _ in _until(self.close_seconds, "a session or a command on the LUN did not end"):
            # A login that was half way when the ACL was emptied may have become a session.
            self.close_sessions(tid)
            with tolerate(Reason.TARGET_BUSY, Reason.LUN_BUSY):
                with tolerate(Reason.NO_TARGET):
                    self.tgt.delete_target(tid)
                return


def target_id(volume_id: str, attempt: int = 0) -> int:
    """Derive a target's number, 1 to 2**31 - 1, from a volume's id."""
    digest = hashlib.sha256(f"{volume_id} {attempt}".encode()).digest()
    return int.from_bytes(digest[:8]) % (2**31 - 1) + 1


def has_account(target: ShownTarget, volume_id: str, login: Credentials) -> bool:
    """True where exactly this account, with exactly this secret, may log in to the target."""
    wanted = (login.user, login.fingerprint(volume_id))
    return target.accounts == (login.user,) and _named(target) == wanted


def users(targets: tuple[ShownTarget, ...], without: ShownTarget | None) -> set[str]:
    """Return the users that are bound to any target but one."""
    tid = None if without is None else without.tid
    return {user for target in targets if target.tid != tid for user in target.accounts}


def _named(target: ShownTarget) -> tuple[str, str]:
    """Return the user and the fingerprint that LUN 0 names, or two empty strings."""
    controller = target.luns.get(0)
    if controller is None or not controller.scsi_id.startswith(_MARK):
        return "", ""
    return controller.scsi_sn, controller.scsi_id.removeprefix(_MARK)


def _until(seconds: float, complaint: str) -> Iterator[None]:
    """Go round until a deadline, with a pause that grows.

    :raises TransientDriverError: the deadline has passed.
    """
    end = time.monotonic() + seconds
    pause = 0.001
    while True:
        yield
        if time.monotonic() >= end:
            raise TransientDriverError(f"{complaint} within {seconds:g} seconds")
        time.sleep(pause)
        pause = min(pause * 2, 0.1)
