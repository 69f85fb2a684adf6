"""The handlers of `%%wiro_film`, `%wiro join`, and `%wiro rerun` of a film."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from IPython.core.error import UsageError

from wiro_nb.errors import BudgetExceeded, ConfirmationNeeded
from wiro_nb.films.plan import FilmPlan, FilmTarget
from wiro_nb.notebook.display import publish
from wiro_nb.notebook.magic.keys import refuse_keys_in_body
from wiro_nb.notebook.magic.options import check_variable, evaluate_values, show_view, submit_options
from wiro_nb.notebook.magic.parser import Parsed, parse_cell_line, split_shots
from wiro_nb.presentation.command_table import FILM, SHOT
from wiro_nb.presentation.film import plan_output


def call_film(line: str, body: str) -> Any:
    """Makes the film of a `%%wiro_film` cell and returns the handle, which is displayed already.

    Raises:
        UsageError: The line or the body cannot be read.
        WiroError: The film could not start, or failed in a cell that waits.
    """
    from wiro_nb.notebook.film.actions import make_plan, make_target

    refuse_keys_in_body(body)
    parsed = evaluate_values(parse_cell_line(line, FILM))
    check_variable(parsed)
    shots = [read_shot(head, prompt) for head, prompt in split_shots(body)]
    options = submit_options(parsed)
    target = make_target(
        parsed.option("out") or "film.mp4", _read_crossfade(parsed), parsed.option("audio"), options
    )
    plan = make_plan(shots, target, options, model=parsed.arguments.get("MODEL"), shared=parsed.values)
    return _make(parsed, plan, target)


def _make(parsed: Parsed, plan: FilmPlan, target: FilmTarget) -> Any:
    """Makes a film and shows it; None for a dry run."""
    from wiro_nb.notebook.film.actions import start
    from wiro_nb.notebook.film.view import FilmView

    if parsed.has("dry_run"):
        publish(plan_output(plan))
        return None
    try:
        handle = start(plan, target, yes=parsed.has("yes"))
    except (ConfirmationNeeded, BudgetExceeded):
        publish(plan_output(plan))  # the question is about these shots and prices
        raise
    return show_view(FilmView(handle), parsed)


def read_shot(head: str, prompt: str) -> dict[str, Any]:
    """Returns a shot as `wiro_nb.film` takes it: from the words behind `---` and the prompt below.

    Raises:
        UsageError: The words cannot be read.
    """
    parsed = evaluate_values(parse_cell_line(head, SHOT))
    name, model = parsed.arguments.get("NAME", ""), parsed.arguments.get("MODEL", "")
    if "/" in name and not model:
        name, model = "", name
    found: dict[str, Any] = {"name": name, "model": model}
    values = dict(parsed.values)
    if "from" in values:
        found["from"] = values.pop("from")
    if prompt and "prompt" in values:
        _fail(f"the prompt of shot {name} is given as a setting and again below it")
    return {**found, "inputs": {**values, **({"prompt": prompt} if prompt else {})}}


def rebuild(parsed: Parsed, found: tuple[FilmPlan, FilmTarget]) -> Any:
    """Makes a film again and shows it; None for a dry run."""
    if parsed.values:
        _fail("a film is made again as it was; Edit this shot, in its view, changes a shot")
    return _make(parsed, *found)


def join(parsed: Parsed) -> Any:
    """Joins clips and returns the film."""
    from wiro_nb.notebook.film.actions import join as join_clips

    return join_clips(
        *parsed.listed("RUN|FILE"),
        out=parsed.option("out") or "film.mp4",
        crossfade_s=_read_crossfade(parsed),
        audio=parsed.option("audio"),
    )


def _read_crossfade(parsed: Parsed) -> float:
    text = parsed.option("crossfade") or "0"
    if re.fullmatch(r"\d{1,2}(\.\d{1,4})?s?", text) is None:
        _fail(f"--crossfade needs seconds such as 0.3, not {text!r}")
    return float(text.rstrip("s"))


def _fail(message: str) -> NoReturn:
    raise UsageError(message)
