"""Errors survive the ways they travel."""

from __future__ import annotations

import inspect
import json
import pickle

import pytest

from volflow import exceptions
from volflow.exceptions import ErrorRecord, ExportFailed, RollbackIncomplete, VolflowError

CLASSES = [
    found
    for _, found in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(found, VolflowError)
]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_made_of_one_message_and_survives(cls: type[VolflowError]) -> None:
    """Pickled, as JSON, and read back from an operation."""
    error = cls("it broke")
    assert "it broke" == str(error) == error.message
    copied = pickle.loads(pickle.dumps(error))
    assert (cls, "it broke") == (type(copied), str(copied))
    record = ErrorRecord(*json.loads(json.dumps(exceptions.to_record(error))))
    again = exceptions.from_record(record)
    assert (cls, "it broke") == (type(again), str(again))


def test_every_class_stands_in_the_tree_of_the_module() -> None:
    tree = exceptions.__doc__ or ""
    assert [] == [cls.__name__ for cls in CLASSES if cls.__name__ not in tree]


def test_a_drivers_own_class_is_kept_as_the_nearest_of_ours() -> None:
    class VendorError(ExportFailed):
        pass

    assert ("ExportFailed", "x") == exceptions.to_record(VendorError("x"))
    assert ("ValueError", "x") == exceptions.to_record(ValueError("x"))
    assert VolflowError is type(exceptions.from_record(ErrorRecord("ValueError", "x")))


def test_a_rollback_that_is_refused_keeps_its_first_error_and_what_is_left() -> None:
    first = ExportFailed("first")
    error = pickle.loads(pickle.dumps(RollbackIncomplete("more", first, ["a", "b"])))
    assert ("first", ("a", "b")) == (str(error.first_error), error.leftovers)
    assert error.__cause__ is error.first_error


def test_a_message_that_is_no_string_is_no_trouble() -> None:
    assert "{1}" == str(ExportFailed({1}))  # type: ignore[arg-type]
