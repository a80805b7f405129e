"""Secrets out of messages."""

from __future__ import annotations

import pytest

from volflow.exceptions import DriverError, ExportFailed
from volflow.tasks.redaction import Redactor

REDACT = Redactor("CHAP alice s3cr3ts3cr3t")


def test_a_secret_is_masked_wherever_it_stands() -> None:
    assert "tgtadm --password *** failed: ***" == REDACT.text(
        "tgtadm --password s3cr3ts3cr3t failed: s3cr3ts3cr3t"
    )


@pytest.mark.parametrize("auth", [None, "", "CHAP", "CHAP alice"])
def test_without_a_secret_nothing_is_lost(auth: str | None) -> None:
    assert "alice came to nothing" == Redactor(auth).text("alice came to nothing")


def test_an_error_without_a_secret_stays_the_very_same() -> None:
    error = ExportFailed("no")
    assert REDACT.error(error) is error


def test_an_error_with_a_secret_becomes_one_of_its_class_without() -> None:
    class VendorError(ExportFailed):
        pass

    masked = REDACT.error(VendorError("bad s3cr3ts3cr3t"))
    assert (ExportFailed, "bad ***") == (type(masked), str(masked))
    assert DriverError is type(REDACT.error(ValueError("s3cr3ts3cr3t")))
