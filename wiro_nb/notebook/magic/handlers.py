"""The handlers of the `%wiro` commands and of `%%wiro` cells: they call the public functions."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

from IPython.core.error import UsageError

from wiro_nb.errors import BudgetExceeded, ConfirmationNeeded, WiroError
from wiro_nb.notebook import account
from wiro_nb.notebook.browser.models import info, models
from wiro_nb.notebook.context import current_context, current_shell
from wiro_nb.notebook.display import View, publish, show_and_wait
from wiro_nb.notebook.magic.parser import (
    Expression,
    Parsed,
    parse_body,
    parse_cell_line,
    parse_line,
    read_settings,
    refuse_keys_in_body,
    split_shots,
)
from wiro_nb.notebook.run import actions
from wiro_nb.notebook.run.actions import find_run, source_text
from wiro_nb.notebook.run.submit import SubmitOptions, origin_of
from wiro_nb.notebook.run.view import RunView
from wiro_nb.notebook.session import session
from wiro_nb.presentation.film import plan_output
from wiro_nb.presentation.formatting import MAX_USD, parse_usd
from wiro_nb.presentation.grammar import FILM, SHOT, find_command
from wiro_nb.presentation.output import message
from wiro_nb.presentation.request import preview_rerun, preview_run
from wiro_nb.schema.types import ModelSchema
from wiro_nb.session.submission import Batch
from wiro_nb.sweeps.axes import read_axis

if TYPE_CHECKING:
    from wiro_nb.films.film import FilmTarget
    from wiro_nb.films.plan import FilmPlan


def call_line(line: str) -> Any:
    """Does what a line says and returns what the cell shows.

    Raises:
        UsageError: The line cannot be read.
        WiroError: The command failed.
    """
    parsed = evaluate_values(parse_line(line))
    return HANDLERS[parsed.command.name](parsed)


def call_cell(line: str, body: str) -> Any:
    """Runs a `%%wiro` cell and returns the handle, which is displayed already.

    Raises:
        UsageError: The line or the body cannot be read.
        WiroError: The run could not start, or failed in a cell that waits.
    """
    command = find_command(line.split(maxsplit=1)[0]) if line.strip() else None
    if command is not None and command.takes_body:
        return _extend(evaluate_values(parse_line(line)), body)
    parsed = evaluate_values(parse_cell_line(line))
    model = parsed.arguments["MODEL"]
    if "/" not in model and find_command(model) is not None:
        _fail(f"%%wiro runs a model; the command is a line of its own: %wiro {model}")
    schema = session.schema(model)
    return _run(parsed, schema, _cell_values(schema, parsed, body))


def call_film(line: str, body: str) -> Any:
    """Makes the film of a `%%wiro_film` cell and returns the handle, which is displayed already.

    Raises:
        UsageError: The line or the body cannot be read.
        WiroError: The film could not start, or failed in a cell that waits.
    """
    from wiro_nb.notebook.film.actions import FilmOptions, make_plan, start
    from wiro_nb.notebook.film.view import FilmView

    refuse_keys_in_body(body)
    parsed = evaluate_values(parse_cell_line(line, FILM))
    _check_variable(parsed)
    shots = [_read_shot(head, prompt) for head, prompt in split_shots(body)]
    options = FilmOptions(
        parsed.option("out") or "film.mp4",
        _read_crossfade(parsed),
        parsed.option("audio"),
        _submit_options(parsed),
    )
    plan = make_plan(shots, options, model=parsed.arguments.get("MODEL"), shared=parsed.values)
    if parsed.has("dry_run"):
        publish(plan_output(plan))
        return None
    try:
        handle = start(plan, options, yes=parsed.has("yes"))
    except (ConfirmationNeeded, BudgetExceeded):
        publish(plan_output(plan))  # the question is about these shots and prices
        raise
    _assign(parsed, handle)
    return _show(FilmView(handle), parsed)


def _read_shot(head: str, prompt: str) -> dict[str, Any]:
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


def evaluate_values(parsed: Parsed) -> Parsed:
    """Returns what was typed with the Python values of its `name={expression}` settings.

    Raises:
        UsageError: An expression raises.
    """
    shell = current_shell()

    def evaluate(value: Any) -> Any:
        if isinstance(value, list):
            return [evaluate(item) for item in value]
        if not isinstance(value, Expression) or shell is None:
            return value
        try:
            return shell.ev(value.source)
        except Exception as error:
            raise UsageError(f"{{{value.source}}} raises {type(error).__name__}: {error}") from None

    return replace(parsed, values={name: evaluate(value) for name, value in parsed.values.items()})


def show_error(error: WiroError) -> WiroError:
    """Shows an error as a card in a live front end, and returns it ready to be raised compactly."""
    if current_context().is_live:
        from wiro_nb.presentation.errors import error_output

        publish(error_output(error))
        error.is_shown = True
    return error


def _cell_values(schema: ModelSchema, parsed: Parsed, body: str, *, may_be_bare: bool = False) -> dict[str, Any]:
    """Joins the settings of line and header block with the prompt; `may_be_bare` True allows for no prompt.

    Raises:
        UsageError: Something stands twice, or the body is empty or not wanted.
    """
    refuse_keys_in_body(body)
    names = [parameter.id for parameter in schema.parameters]
    read, values = parse_body(body, names), parsed.values
    head, prompt = dict(read.values), read.prompt
    target = schema.prompt_input
    if target is None and prompt:
        more = read_settings((line for line in prompt.split("\n") if line.strip()), names)
        if more is None:
            _fail(f"{schema.slug} takes no prompt: write name: value lines, or type %wiro run {schema.slug}")
        head, prompt = {**head, **more}, ""
    twice = next((name for name in head if name in values), None)
    if twice is not None:
        _fail(f"{twice} is given on the first line and again in the body")
    joined: dict[str, Any] = {**values, **head}
    varied = [read_axis(text).name for text in parsed.listed("sweep")]
    if prompt and target is not None:
        if target in joined:
            _fail(f"{target} is given as a setting and again as the body of the cell")
        joined[target] = prompt
    elif target is not None and target not in (*joined, *varied) and not head and not may_be_bare:
        _fail(f"the cell has no prompt: write it below the first line, or use %wiro run {schema.slug} for none")
    return joined


# Runs and sweeps ----------------------------------------------------------------------------


def _run(parsed: Parsed, schema: ModelSchema, values: Mapping[str, Any]) -> Any:
    """Starts a run or sweep, shows it in the cell, and returns its handle; None for a dry run."""
    _check_variable(parsed)
    for name, value in values.items():
        parameter = schema.get(name)
        if isinstance(value, list) and parameter is not None and not parameter.multiple:
            _fail(f"{name} is given {len(value)} times; it takes one value")
    if parsed.listed("sweep"):
        return _sweep(parsed, schema, values)
    stray = next((name for name in ("zip", "yes") if parsed.has(name)), None)
    if stray is not None:
        _fail(f"--{stray} belongs to a sweep: --sweep seed=1..6")
    if parsed.has("dry_run"):
        manager, origin = session.manager(), origin_of(current_context(), "magic")
        publish(preview_run(manager, Batch([manager.prepare(schema.slug, values, origin=origin)], origin)))
        return None
    handle, notice = actions.start(schema.slug, values, _submit_options(parsed))
    _assign(parsed, handle)
    return _show(RunView(handle, notice), parsed)


def _extend(parsed: Parsed, body: str = "") -> Any:
    """Starts the run that goes on from a clip; the body of a cell holds settings and the prompt."""
    from wiro_nb.films.extend import plan_extension

    _check_variable(parsed)
    handle, model = find_run(parsed.arguments["RUN"]), parsed.arguments.get("MODEL")
    frame, at = parsed.option("frame"), parsed.option("at")
    if frame is not None and re.fullmatch(r"-?\d{1,6}", frame) is None:
        _fail(f"--frame needs a whole number, not {frame!r}")
    if at is not None and re.fullmatch(r"\d{1,6}(\.\d{1,6})?s?", at) is None:
        _fail(f"--at needs a time in seconds such as 3.2s, not {at!r}")
    schema = session.schema(model or handle.model)
    plan = plan_extension(
        session.manager(),
        handle,
        _cell_values(schema, parsed, body, may_be_bare=True),
        model=schema.slug,
        frame=None if frame is None else int(frame),
        at_s=None if at is None else float(at.rstrip("s")),
    )
    return _run(parsed, schema, plan.values)


def _sweep(parsed: Parsed, schema: ModelSchema, values: Mapping[str, Any]) -> Any:
    from wiro_nb.notebook.sweep.actions import make_plan, start
    from wiro_nb.notebook.sweep.rendering import preview_sweep
    from wiro_nb.notebook.sweep.view import SweepView

    context, axes = current_context(), [read_axis(text) for text in parsed.listed("sweep")]
    plan = make_plan(
        schema.slug, axes, values, context, "magic", zipped=parsed.has("zip"), fresh=parsed.has("fresh")
    )
    if parsed.has("dry_run"):
        publish(preview_sweep(plan))
        return None
    handle = start(plan, _submit_options(parsed), yes=parsed.has("yes"))
    _assign(parsed, handle)
    return _show(SweepView(handle), parsed)


def _rerun(parsed: Parsed) -> Any:
    from wiro_nb.notebook.compare import reproduce
    from wiro_nb.notebook.film.actions import plan_again

    source, context, is_many = parsed.arguments["RUN|FILE"], current_context(), parsed.has("all")
    _check_variable(parsed)
    if not is_many:
        found = plan_again(source_text(source), _submit_options(parsed), force=parsed.has("force"))
        if found is not None:
            return _rebuild(parsed, found)
    replays = reproduce.plan(source, parsed.values, context, "magic", all=is_many, force=parsed.has("force"))
    if parsed.has("dry_run"):
        for replay in replays:
            publish(preview_rerun(session.manager(), replay))
        return message(f"in all {reproduce.confirm(replays, yes=True)}; nothing was sent") if is_many else None
    forecast = reproduce.confirm(replays, parsed.has("yes"))
    started = [reproduce.start(replay, context, _submit_options(parsed)) for replay in replays]
    handles = [handle for handle, _ in started]
    _assign(parsed, handles if is_many else handles[0])
    if is_many:
        return reproduce.wait_and_list(handles, _wait_option(parsed), forecast)
    lines = (f"{line[0].upper()}{line[1:]}." for line in replays[0].lines if line)
    return _show(RunView(handles[0], " ".join(filter(None, (started[0][1], *lines)))), parsed)


def _rebuild(parsed: Parsed, found: tuple[FilmPlan, FilmTarget]) -> Any:
    """Makes a film again and shows it; None for a dry run."""
    from wiro_nb.notebook.film.actions import start_at
    from wiro_nb.notebook.film.view import FilmView

    if parsed.values:
        _fail("a film is made again as it was; Edit this shot, in its view, changes a shot")
    if parsed.has("dry_run"):
        publish(plan_output(found[0]))
        return None
    handle = start_at(*found, yes=parsed.has("yes"))
    _assign(parsed, handle)
    return _show(FilmView(handle), parsed)


def _show(view: View, parsed: Parsed) -> Any:
    show_and_wait(view, wait=_wait_option(parsed))
    return view.handle


def _submit_options(parsed: Parsed) -> SubmitOptions:
    limit = _amount(parsed.option("max_cost"), "--max-cost")
    return SubmitOptions("magic", fresh=parsed.has("fresh"), max_cost_usd=limit)


def _wait_option(parsed: Parsed) -> bool | None:
    return True if parsed.has("wait") else None


def _assign(parsed: Parsed, value: Any) -> None:
    """Assigns a handle to the variable that `--as` names, before anything is waited for."""
    name, shell = parsed.option("as"), current_shell()
    if name and shell is not None:
        shell.user_ns[name] = value


def _check_variable(parsed: Parsed) -> None:
    name = parsed.option("as")
    if name is not None and (not name.isidentifier() or keyword.iskeyword(name)):
        _fail(f"--as needs a variable name, not {name!r}")
    if name is not None and hasattr(builtins, name):
        _fail(f"--as {name} would hide Python's own {name}: choose another name")
    shell = current_shell()
    if name is not None and (name.startswith("_") or (shell is not None and name in shell.user_ns_hidden)):
        _fail(f"--as {name} would hide a name that IPython uses: choose another name")


def _amount(text: str | None, what: str) -> Decimal | None:
    amount = None if text is None else parse_usd(text)
    if text is not None and amount is None:
        _fail(f"{what} needs an amount from 0 to {MAX_USD} USD such as 0.50, not {text!r}")
    return amount


# Other commands -----------------------------------------------------------------------------


def _form(parsed: Parsed) -> Any:
    from wiro_nb.notebook.form.actions import form

    return form(parsed.arguments["MODEL"], parsed.values, source=parsed.option("source"))


def _runs(parsed: Parsed) -> Any:
    limit = parsed.option("limit") or "50"
    if not limit.isdigit() or limit == "0":
        _fail(f"--limit needs a whole number above 0, not {limit!r}")
    return actions.runs(
        all=parsed.has("all"),
        model=parsed.option("model"),
        state=parsed.option("state"),
        text=parsed.option("text"),
        since=parsed.option("since"),
        limit=int(limit),
    )


def _join(parsed: Parsed) -> Any:
    from wiro_nb.notebook.film.actions import join

    return join(
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


def _compare(parsed: Parsed) -> Any:
    from wiro_nb.notebook.compare.reproduce import compare

    return compare(*parsed.arguments.values())


def _verify(parsed: Parsed) -> Any:
    from wiro_nb.notebook.compare.reproduce import verify

    return verify(*parsed.listed("PATH"))


def _attach(parsed: Parsed) -> Any:
    task = parsed.arguments["TASK"]
    if not task.isdigit():
        _fail(f"%wiro attach needs a task id, which is digits only, not {task!r}")
    return actions.attach(task)


def _budget(parsed: Parsed) -> Any:
    text = parsed.arguments.get("USD")
    if text is None:
        return account.budget()
    return account.set_budget(None if text.lower() == "none" else _amount(text, "%wiro budget"))


def _help(parsed: Parsed) -> Any:
    from wiro_nb.notebook.magic.help import help_output

    name = parsed.arguments.get("COMMAND")
    if name is None:
        return help_output()
    command = FILM if name == FILM.name else find_command(name)
    if command is None:
        if session.known_schema(name) is not None:
            return info(name)
        _fail(f"no command {name!r}. All commands: %wiro help")
    return help_output(command)


def _fail(message: str) -> NoReturn:
    raise UsageError(message)


HANDLERS: dict[str, Callable[[Parsed], Any]] = {
    "status": lambda parsed: account.status(),
    "models": lambda parsed: models(parsed.arguments.get("QUERY", "")),
    "info": lambda parsed: info(parsed.arguments["MODEL"]),
    "form": _form,
    "run": lambda parsed: _run(parsed, session.schema(parsed.arguments["MODEL"]), parsed.values),
    "runs": _runs,
    "show": lambda parsed: (actions.tree if parsed.has("tree") else actions.show)(parsed.arguments["RUN"]),
    "rerun": _rerun,
    "extend": _extend,
    "join": _join,
    "compare": _compare,
    "verify": _verify,
    "wait": lambda parsed: actions.wait(parsed.arguments.get("RUN")),
    "cancel": lambda parsed: actions.cancel(parsed.arguments["RUN"]),
    "attach": _attach,
    "forget": lambda parsed: actions.forget(parsed.arguments["RUN"]),
    "download": lambda parsed: actions.download(parsed.arguments["RUN"]),
    "budget": _budget,
    "spent": lambda parsed: account.spent(parsed.option("by") or "model"),
    "login": lambda parsed: account.login(),
    "logout": lambda parsed: account.logout(),
    "use": lambda parsed: account.use(parsed.arguments["SERVICE"]),
    "help": _help,
}
"""The function of each command."""
