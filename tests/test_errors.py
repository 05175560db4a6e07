"""What an error says: place, what must hold, what came, what to do."""

from __future__ import annotations

import pickle

import pytest

from entirespace.errors import BundleError, ConfigError, DataError, EntirespaceError, RunError


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({}, "labels must be 0 or 1, however: '2'."),
        ({"where": "log.csv, line 17"}, "log.csv, line 17: labels must be 0 or 1, however: '2'."),
        ({"do": "Mend it"}, "labels must be 0 or 1, however: '2'. Mend it."),
        ({"do": "Mend it."}, "labels must be 0 or 1, however: '2'. Mend it."),
        ({"do": "Did you mean '1'?"}, "labels must be 0 or 1, however: '2'. Did you mean '1'?"),
    ],
)
def test_the_sentence(told, message):
    error = DataError("labels must be 0 or 1", "'2'", **told)
    assert str(error) == message
    assert (error.must, error.came, error.where, error.do) == (
        "labels must be 0 or 1",
        "'2'",
        told.get("where"),
        told.get("do"),
    )


def test_a_full_stop_stands_once():
    assert str(DataError("it must hold", "it does not.")) == "it must hold, however: it does not."


@pytest.mark.parametrize("kind", [DataError, ConfigError, RunError, BundleError])
def test_one_parent_catches_all_and_an_error_crosses_processes(kind):
    error = kind("it must hold", "it does not", where="here", do="Mend it")
    with pytest.raises(EntirespaceError):
        raise error
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.where) == (kind, str(error), "here")
