"""The error tree: three parts in every message, and the exit code of the command line."""

from __future__ import annotations

import inspect

import pytest

from gossamer import errors
from gossamer.errors import GossamerError, InputError, MissingDependency

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c is not GossamerError]


def test_a_message_says_what_was_needed_received_and_what_to_do() -> None:
    error = errors.DataError("at least 4 samples", "3", "Give more data.")

    assert str(error) == "needed at least 4 samples; received 3. Give more data."
    assert (error.needed, error.received, error.hint) == (
        "at least 4 samples",
        "3",
        "Give more data.",
    )


def test_without_a_hint_the_message_ends_after_what_was_received() -> None:
    assert str(errors.BuildError("a graph", "none")) == "needed a graph; received none."


@pytest.mark.parametrize("kind", CLASSES, ids=lambda c: c.__name__)
def test_every_error_is_one_of_ours_and_documented(kind: type[GossamerError]) -> None:
    assert issubclass(kind, GossamerError)
    assert kind.__doc__


@pytest.mark.parametrize("kind", CLASSES, ids=lambda c: c.__name__)
def test_input_errors_end_with_2_and_failures_of_work_with_3(kind: type[GossamerError]) -> None:
    assert kind.exit_code == (2 if issubclass(kind, InputError) else 3)


def test_a_missing_package_names_the_extra_that_brings_it() -> None:
    error = MissingDependency("openvino", "openvino", "the target openvino-cpu")

    assert error.needed == "the package openvino for the target openvino-cpu"
    assert error.hint == "Install it with: pip install 'gossamer[openvino]'"
