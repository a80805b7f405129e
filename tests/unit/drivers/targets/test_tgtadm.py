"""volflow.drivers.targets.tgtadm: messages and their meaning, without a tgtd."""

from __future__ import annotations

import pickle

import pytest

from volflow.drivers import command
from volflow.drivers.chap import Credentials
from volflow.drivers.targets.tgtadm import (
    REFUSALS,
    Reason,
    TgtAdm,
    TgtRefused,
    reason_of,
    tolerate,
)
from volflow.exceptions import TransientDriverError


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.specimen)
def test_every_specimen_has_its_meaning(refusal):
    """When tgtadm prints a specimen, it is understood by that row and by no other meaning."""
    assert reason_of(refusal.specimen) is refusal.reason
    assert refusal.pattern.search(refusal.specimen)


def test_an_unknown_message_is_no_known_reason():
    """When tgtadm says something new, nothing is read into it."""
    assert reason_of("tgtadm: the moon is full") is Reason.UNKNOWN


def test_only_the_named_reasons_are_tolerated():
    """When a refusal is none of those that are expected, it passes."""
    with tolerate(Reason.NO_ACL):
        raise TgtRefused("gone", Reason.NO_ACL)
    with pytest.raises(TgtRefused), tolerate(Reason.NO_ACL):
        raise TgtRefused("busy", Reason.TARGET_BUSY)
    with pytest.raises(ValueError, match="other"), tolerate(Reason.NO_ACL):
        raise ValueError("other")


def test_a_refusal_survives_pickling():
    """When a refusal crosses processes, its reason does too."""
    again = pickle.loads(pickle.dumps(TgtRefused("gone", Reason.NO_ACL)))

    assert ("gone", Reason.NO_ACL) == (str(again), again.reason)


def answering(monkeypatch, stdout: str, stderr: str) -> list[list[str]]:
    calls: list[list[str]] = []

    def run(argv, **_):
        calls.append(argv)
        return command.Completed(stdout, stderr)

    monkeypatch.setattr(command, "run", run)
    return calls


def test_a_message_counts_where_the_exit_code_is_0(monkeypatch):
    """When tgtd hangs up before it answers, tgtadm's exit code of 0 is not believed."""
    answering(monkeypatch, "", "tgtadm: tgtd closed the socket\n")

    with pytest.raises(TransientDriverError, match=r"tgtd does not answer at /nowhere/socket\.3"):
        TgtAdm(3, "/nowhere/socket", 1.0).targets()


def test_a_missing_socket_is_a_transient_error_without_the_secret():
    """When tgtd is not there, making an account says so and does not tell the secret."""
    with pytest.raises(TransientDriverError, match="start tgtd with -C 3") as caught:
        TgtAdm(3, "/nowhere/socket", 1.0).new_account(Credentials("user", "hunter2"))

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "option"),
    [
        ("iqn.1994-05.com.example:a", "--initiator-name"),
        ("EUI.02004567A425678D", "--initiator-name"),
        ("ALL", "--initiator-address"),
        ("192.0.2.0/24", "--initiator-address"),
    ],
)
def test_an_entry_is_unbound_as_what_it_is(monkeypatch, entry, option):
    """When an operator put an address on the ACL, it is taken off as an address."""
    calls = answering(monkeypatch, "", "")

    TgtAdm(0, "/nowhere/socket", 1.0).unbind(5, entry)

    assert calls[0][-2:] == [option, entry]
