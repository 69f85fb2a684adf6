"""The handlers of the `%wiro` commands and of `%%wiro` cells: they call the public functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from IPython.core.error import UsageError

from wiro_nb.errors import WiroError
from wiro_nb.films.extend import plan_extension
from wiro_nb.notebook import account
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
)
from wiro_nb.notebook.magic.parser import Parsed, parse_cell_line, parse_line
from wiro_nb.notebook.models import info, models
from wiro_nb.notebook.run import actions
from wiro_nb.notebook.run.listing import monitor
from wiro_nb.notebook.run.submit import origin_of
from wiro_nb.notebook.run.view import RunView
from wiro_nb.notebook.session import find_run, session, source_text
from wiro_nb.presentation.command_table import CELL, COMMANDS, FILM, Command, find_command
from wiro_nb.presentation.html import code, command, h, join, line, name_table
from wiro_nb.presentation.models import preview_rerun, preview_run
from wiro_nb.presentation.output import Block, Output, compose, message
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
    return show_view(RunView(actions.start(schema.slug, values, submit_options(parsed))), parsed)


def _extend(parsed: Parsed, body: str = "") -> Any:
    """Starts the run that goes on from a clip; the body of a cell holds settings and the prompt."""
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
    from wiro_nb.notebook.sweep.rendering import preview_sweep
    from wiro_nb.notebook.sweep.view import SweepView, make_plan, start

    context, axes = current_context(), [read_axis(text) for text in parsed.listed("sweep")]
    plan = make_plan(
        schema.slug, axes, values, context, "magic", zipped=parsed.has("zip"), fresh=parsed.has("fresh")
    )
    if parsed.has("dry_run"):
        publish(preview_sweep(plan))
        return None
    return show_view(SweepView(start(plan, submit_options(parsed), yes=parsed.has("yes"))), parsed)


def _rerun(parsed: Parsed) -> Any:
    from wiro_nb.notebook import reproduce
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
    handles = [reproduce.start(replay, context, submit_options(parsed)) for replay in replays]
    if is_many:
        assign(parsed, handles)
        return reproduce.wait_and_list(handles, parsed.has("wait") or None, forecast)
    lines = (f"{line[0].upper()}{line[1:]}." for line in replays[0].lines if line)
    notice = session.take_notice(handles[0].id)
    session.set_notice(handles[0].id, " ".join(filter(None, (notice, *lines))))
    return show_view(RunView(handles[0]), parsed)


# Other commands -----------------------------------------------------------------------------


def _form(parsed: Parsed) -> Any:
    from wiro_nb.notebook.form.controller import form

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
    from wiro_nb.notebook.reproduce import compare

    return compare(*parsed.arguments.values())


def _verify(parsed: Parsed) -> Any:
    from wiro_nb.notebook.reproduce import verify

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


def help_output(about: Command | None = None) -> Output:
    """Returns the list of commands, or everything about one."""
    return _one_command(about) if about is not None else _all_commands()


def _all_commands() -> Output:
    listed = (CELL, FILM, *COMMANDS)
    width = max(len(item.title) for item in listed)
    shown = join(h("b", "Commands"), name_table((code(item.title), item.summary) for item in listed))
    lines = (f"  {item.title:<{width}}  {item.summary}" for item in listed)
    more = "%wiro help COMMAND"
    return compose(
        Block(shown, ("wiro: commands", *lines)),
        Block(line("More about one: ", command(more)), (f"  next: {more}",)),
    )


def _one_command(about: Command) -> Output:
    rows = [(argument.name, argument.help) for argument in about.arguments]
    if about.takes_values:
        rows.append(
            (
                "name=value",
                "a setting of the model; quotes around values with spaces, name={expression} for a Python value",
            )
        )
    rows += [(f"{flag.name} {flag.value}".strip(), flag.help) for flag in about.flags]
    head = join(code(about.usage), line(about.summary))
    table = name_table((code(name), text) for name, text in rows) if rows else join()
    return compose(
        Block(head, (f"wiro: {about.usage}", f"  {about.summary}")),
        Block(table, tuple(f"  {name}: {text}" for name, text in rows)),
        Block(line("For example: ", command(about.example)), (f"  next: {about.example}",)),
    )
