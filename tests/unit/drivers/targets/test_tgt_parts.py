"""volflow.drivers.targets.tgt_parts: what needs no tgtd."""

from __future__ import annotations

import pytest

from volflow.drivers.chap import Credentials
from volflow.drivers.targets.tgt_parts import TargetParts, has_account, target_id, users
from volflow.drivers.targets.tgt_show import Lun, ShownTarget
from volflow.drivers.targets.tgtadm import Reason, TgtAdm, TgtRefused
from volflow.exceptions import TransientDriverError

LOGIN = Credentials("user", "hunter2")
MARK = "chap:" + LOGIN.fingerprint("v")


def target(tid: int = 1, accounts: tuple[str, ...] = (), mark: tuple[str, str] = ("", "")):
    return ShownTarget(tid, f"iqn.x:{tid}", (5, 2), (), {0: Lun(*mark, False, None)}, accounts, ())


def test_a_target_id_is_the_same_in_every_process():
    """When a volume is exported again, elsewhere or later, its number is the same."""
    assert target_id("6f0c8d3e-2f55-4c1e-9d0a-0f3a5c1b7e42") == 1318877036
    ids = {target_id(str(n), attempt) for n in range(1000) for attempt in range(2)}
    assert len(ids) == 2000
    assert min(ids) > 0
    assert max(ids) < 2**31


@pytest.mark.parametrize(
    ("accounts", "mark", "right"),
    [
        (("user",), (MARK, "user"), True),
        ((), (MARK, "user"), False),
        (("other",), (MARK, "user"), False),
        (("user", "other"), (MARK, "user"), False),
        (("user",), (MARK, "other"), False),
        (("user",), ("IET     00010000", "beaf10"), False),
        (("user",), ("chap:" + "0" * 31, "user"), False),
    ],
)
def test_an_account_is_right_only_with_its_mark(accounts, mark, right):
    """When the account, its user or its fingerprint differs, it is not the recorded one."""
    assert has_account(target(1, accounts, mark), "v", LOGIN) is right


def test_users_of_other_targets_are_known():
    """When an account is to be deleted, those of all other targets are spared."""
    targets = (target(1, ("a", "b")), target(2, ("b", "c")))

    assert users(targets, targets[0]) == {"b", "c"}
    assert users(targets, None) == {"a", "b", "c"}


class Full(TgtAdm):
    """A tgtd in which every number is taken."""

    def new_target(self, tid: int, iqn: str) -> None:
        raise TgtRefused("taken", Reason.TARGET_EXISTS)

    def targets(self):
        return ()


def test_a_tgtd_without_a_free_number_is_transient():
    """When every number of a volume is taken, the call may be repeated later."""
    parts = TargetParts(Full(0, "/nowhere/socket", 1.0), 1.0, 5)

    with pytest.raises(TransientDriverError, match="no target id is free for volume v"):
        parts.new_target((), "iqn.x:v", "v")


class Stuck(TgtAdm):
    """A tgtd whose target never falls idle."""

    def connections(self, tid: int):
        return ()

    def delete_target(self, tid: int) -> None:
        raise TgtRefused("busy", Reason.LUN_BUSY)


def test_a_target_that_never_falls_idle_is_transient():
    """When commands do not end in time, the call may be repeated later."""
    parts = TargetParts(Stuck(0, "/nowhere/socket", 1.0), 0.05, 0)

    with pytest.raises(TransientDriverError, match=r"did not end within 0\.05 seconds"):
        parts.delete_target(1)
