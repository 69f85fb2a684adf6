"""The error tree: built-in bases, pickling, and the compact traceback in IPython."""

from __future__ import annotations

import contextlib
import pickle

import pytest

from tests.terminals import terminal_stream
from wiro_nb import errors
from wiro_nb.errors import InvalidFile, TimedOut, UnknownModel, UnknownRun, WiroError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, WiroError)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_keeps_its_text_and_fields_when_pickled(kind: type[WiroError]) -> None:
    error = kind("What happened.", hint="%wiro", billed="Nothing.", details=["more"], near=["a"], run_id="1")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.lines(), again.near, again.run_id) == (str(error), error.lines(), ["a"], "1")


@pytest.mark.parametrize("kind", KINDS)
def test_the_tree_in_the_docstring_names_every_error(kind: type[WiroError]) -> None:
    assert f" {kind.__name__}" in str(errors.__doc__)


@pytest.mark.parametrize(
    ("kind", "base"),
    [(TimedOut, TimeoutError), (InvalidFile, ValueError), (UnknownModel, LookupError), (UnknownRun, LookupError)],
)
def test_errors_are_caught_by_their_built_in_base(kind: type[WiroError], base: type[Exception]) -> None:
    with pytest.raises(base, match=r"^What happened\.$"):
        raise kind("What happened.", near=[])


def test_a_shown_error_is_only_named() -> None:
    error = UnknownRun("There is no run 7.")
    assert error._render_traceback_()[0] == "UnknownRun: There is no run 7."
    assert len(error._render_traceback_()) > 1
    error.is_shown = True
    assert error._render_traceback_() == ["UnknownRun"]


def test_in_a_terminal_an_error_breaks_between_words_and_elsewhere_not() -> None:
    error = UnknownRun("There is no run of this name in the ledger.", hint="%wiro runs --all shows every run")
    assert error._render_traceback_()[0] == "UnknownRun: There is no run of this name in the ledger."
    with terminal_stream(30) as stream, contextlib.redirect_stdout(stream):
        lines = "\n".join(error._render_traceback_()).split("\n")
    assert max(map(len, lines)) <= 30
    assert " ".join(" ".join(lines).split()) == f"UnknownRun: {error.message} next: {error.hint}"
