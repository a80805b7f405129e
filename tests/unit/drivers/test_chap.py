"""volflow.drivers.chap: credentials."""

from __future__ import annotations

import pytest

from volflow.drivers.chap import Credentials
from volflow.exceptions import ExportFailed


def test_credentials_survive_being_recorded():
    """When credentials are made, recorded and read, they are the same."""
    login = Credentials.generate()

    assert Credentials.parse(login.provider_auth) == login
    assert (20, 16) == (len(login.user), len(login.secret))


def test_no_two_are_the_same():
    """When credentials are made, they are new."""
    assert len({Credentials.generate().secret for _ in range(100)}) == 100


def test_the_secret_is_in_no_repr():
    """When credentials are logged by mistake, the secret stays out."""
    assert "hunter2" not in repr(Credentials("user", "hunter2"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "CHAP user",
        "CHAP user secret more",
        "chap user hunter2",
        "CHAP us,er hunter2",
        "CHAP user hunter2\n",
        "CHAP  hunter2",
        f"CHAP {'u' * 37} hunter2",
        f"CHAP user {'s' * 201}",
    ],
)
def test_what_is_malformed_is_refused_and_not_repeated(text: str):
    """When a record reads otherwise, the error does not show what may be a secret."""
    with pytest.raises(ExportFailed) as caught:
        Credentials.parse(text)

    assert "hunter2" not in str(caught.value)


def test_a_fingerprint_tells_credentials_apart_and_not_the_secret():
    """When volume, user or secret differ, so does the fingerprint; the secret is not in it."""
    prints = {
        Credentials("u", "s").fingerprint("v"),
        Credentials("u", "t").fingerprint("v"),
        Credentials("t", "s").fingerprint("v"),
        Credentials("u", "s").fingerprint("w"),
    }

    assert len(prints) == 4
    assert {len(text) for text in prints} == {31}
    assert Credentials("u", "s").fingerprint("v") in prints
