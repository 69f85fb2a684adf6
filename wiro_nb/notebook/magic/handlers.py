"""The handlers of the `%wiro` commands and of `%%wiro` cells: they call the public functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from IPython.core.error import UsageError

from wiro_nb.errors import WiroError
from wiro_nb.notebook import account
from wiro_nb.notebook.browser.models import info, models
from wiro_nb.notebook.context import current_context
from wiro_nb.notebook.display import publish
from wiro_nb.notebook.magic import films
from wiro_nb.notebook.magic.options import (
    assign,
    cell_values,
    check_variable,
    evaluate_values,
    read_amount,
    show_view,
    submit_options,
    wait_option,
)
from wiro_nb.notebook.magic.parser import Parsed, parse_cell_line, parse_line
from wiro_nb.notebook.run import actions
from wiro_nb.notebook.run.actions import find_run, source_text
from wiro_nb.notebook.run.listing import monitor
from wiro_nb.notebook.run.submit import origin_of
from wiro_nb.notebook.run.view import RunView
from wiro_nb.notebook.session import session
from wiro_nb.presentation.command_table import FILM, find_command
from wiro_nb.presentation.models import preview_rerun, preview_run
from wiro_nb.presentation.output import message
from wiro_nb.schema.types import ModelSchema
from wiro_nb.session.submission import Batch
from wiro_nb.sweeps.axes import read_axis


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
    return _run(parsed, schema, cell_values(schema, parsed, body))


def show_error(error: WiroError) -> WiroError:
    """Shows an error as a card in a live front end, and returns it ready to be raised compactly."""
    if current_context().is_live:
        from wiro_nb.presentation.output import error_output

        publish(error_output(error))
        error.is_shown = True
    return error


# Runs and sweeps ----------------------------------------------------------------------------


def _run(parsed: Parsed, schema: ModelSchema, values: Mapping[str, Any]) -> Any:
    """Starts a run or sweep, shows it in the cell, and returns its handle; None for a dry run."""
    check_variable(parsed)
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
    handle, notice = actions.start(schema.slug, values, submit_options(parsed))
    assign(parsed, handle)
    return show_view(RunView(handle, notice), parsed)


def _extend(parsed: Parsed, body: str = "") -> Any:
    """Starts the run that goes on from a clip; the body of a cell holds settings and the prompt."""
    from wiro_nb.films.extend import plan_extension

    check_variable(parsed)
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
        cell_values(schema, parsed, body, may_be_bare=True),
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
    handle = start(plan, submit_options(parsed), yes=parsed.has("yes"))
    assign(parsed, handle)
    return show_view(SweepView(handle), parsed)


def _rerun(parsed: Parsed) -> Any:
    from wiro_nb.notebook.compare import reproduce
    from wiro_nb.notebook.film.actions import plan_again

    source, context, is_many = parsed.arguments["RUN|FILE"], current_context(), parsed.has("all")
    check_variable(parsed)
    if not is_many:
        found = plan_again(source_text(source), submit_options(parsed), force=parsed.has("force"))
        if found is not None:
            return films.rebuild(parsed, found)
    replays = reproduce.plan(source, parsed.values, context, "magic", all=is_many, force=parsed.has("force"))
    if parsed.has("dry_run"):
        for replay in replays:
            publish(preview_rerun(session.manager(), replay))
        return message(f"in all {reproduce.confirm(replays, yes=True)}; nothing was sent") if is_many else None
    forecast = reproduce.confirm(replays, parsed.has("yes"))
    started = [reproduce.start(replay, context, submit_options(parsed)) for replay in replays]
    handles = [handle for handle, _ in started]
    assign(parsed, handles if is_many else handles[0])
    if is_many:
        return reproduce.wait_and_list(handles, wait_option(parsed), forecast)
    lines = (f"{line[0].upper()}{line[1:]}." for line in replays[0].lines if line)
    return show_view(RunView(handles[0], " ".join(filter(None, (started[0][1], *lines)))), parsed)


# Other commands -----------------------------------------------------------------------------


def _form(parsed: Parsed) -> Any:
    from wiro_nb.notebook.form.actions import form

    return form(parsed.arguments["MODEL"], parsed.values, source=parsed.option("from"))


def _runs(parsed: Parsed) -> Any:
    limit = parsed.option("limit") or "50"
    if re.fullmatch(r"0*[1-9][0-9]{0,8}", limit) is None:
        _fail(f"--limit needs a whole number above 0, not {limit[:20]!r}")
    return actions.runs(
        all=parsed.has("all"),
        model=parsed.option("model"),
        state=parsed.option("state"),
        text=parsed.option("text"),
        since=parsed.option("since"),
        limit=int(limit),
    )


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
    return account.set_budget(None if text.lower() == "none" else read_amount(text, "%wiro budget"))


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
    "status": lambda parsed: monitor(),
    "models": lambda parsed: models(parsed.arguments.get("QUERY", "")),
    "info": lambda parsed: info(parsed.arguments["MODEL"]),
    "form": _form,
    "run": lambda parsed: _run(parsed, session.schema(parsed.arguments["MODEL"]), parsed.values),
    "runs": _runs,
    "show": lambda parsed: (actions.tree if parsed.has("tree") else actions.show)(parsed.arguments["RUN"]),
    "rerun": _rerun,
    "extend": _extend,
    "join": films.join,
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
