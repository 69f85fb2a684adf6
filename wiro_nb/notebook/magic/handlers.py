"""The handlers of the `%wiro` commands and of `%%wiro` and `%%wiro_film` cells: they call the public functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from wiro_nb.errors import BudgetExceeded, ConfirmationNeeded
from wiro_nb.films.extend import plan_extension
from wiro_nb.films.plan import FilmPlan
from wiro_nb.formatting import as_sentence
from wiro_nb.notebook import account, reproduce
from wiro_nb.notebook.compare import compare
from wiro_nb.notebook.display import publish
from wiro_nb.notebook.film import actions as film
from wiro_nb.notebook.film.rendering import plan_output
from wiro_nb.notebook.film.view import FilmView
from wiro_nb.notebook.live import LiveView
from wiro_nb.notebook.magic.cells import fail, split_shots
from wiro_nb.notebook.magic.parser import Parsed, cell_values, parse_cell_line, parse_line, refuse_keys_in_body
from wiro_nb.notebook.models import info, models
from wiro_nb.notebook.run import actions
from wiro_nb.notebook.run.listing import monitor, runs
from wiro_nb.notebook.run.submit import SubmitOptions, origin_of
from wiro_nb.notebook.run.view import RunView
from wiro_nb.notebook.session import current_context, current_shell, find_run, session
from wiro_nb.notebook.sweep.rendering import preview_sweep
from wiro_nb.notebook.sweep.view import SweepView, make_plan, start
from wiro_nb.presentation.command_table import CELL, COMMANDS, FILM, SHOT, Command, find_command
from wiro_nb.presentation.html import code, h, join, line, name_table
from wiro_nb.presentation.models import preview_rerun, preview_run
from wiro_nb.presentation.output import Block, Output, compose, heading, message, next_steps, text_table
from wiro_nb.schema.types import ModelSchema
from wiro_nb.session.prices import confirm_total
from wiro_nb.session.submission import Batch
from wiro_nb.sweeps.axes import read_axis


def call_line(line: str) -> Any:
    """Executes a `%wiro` line and returns the value that the cell displays.

    Raises:
        UsageError: The line cannot be read.
        WiroError: The command failed.
    """
    parsed = parse_line(line)
    return HANDLERS[parsed.command.name](parsed)


def call_cell(line: str, body: str) -> Any:
    """Runs a `%%wiro` cell and returns the handle, which is displayed already.

    Raises:
        UsageError: The line or the body cannot be read.
        WiroError: The run could not start, or failed in a cell that waits.
    """
    command = find_command(line.split(maxsplit=1)[0]) if line.strip() else None
    if command is not None and command.takes_body:
        return _extend(parse_line(line), body)
    parsed = parse_cell_line(line)
    model = parsed.arguments["MODEL"]
    if "/" not in model and find_command(model) is not None:
        fail(f"%%wiro runs a model; the command is a line of its own: %wiro {model}")
    schema = session.schema(model)
    return _run(parsed, schema, cell_values(schema, parsed, body))


def _submit_options(parsed: Parsed) -> SubmitOptions:
    options = parsed.options
    return SubmitOptions("magic", fresh=options.get("fresh", False), max_cost_usd=options.get("max_cost"))


def _assign(parsed: Parsed, value: Any) -> None:
    """Assigns a handle to the variable that `--as` names, before anything is waited for."""
    if "as" in parsed.options and (shell := current_shell()) is not None:
        shell.user_ns[parsed.options["as"]] = value


def _show(view: LiveView[Any], parsed: Parsed) -> Any:
    """Assigns a handle to its variable, shows it, waits for it where that is wanted, and returns it."""
    _assign(parsed, view.handle)
    return view.show_and_wait(wait=parsed.options.get("wait"))


# Runs and sweeps ----------------------------------------------------------------------------


def _run(parsed: Parsed, schema: ModelSchema, values: Mapping[str, Any]) -> Any:
    """Starts a run or sweep, shows it in the cell, and returns its handle; None for a dry run."""
    for name, count in parsed.repeated.items():
        parameter = schema.get(name)
        if parameter is not None and not parameter.multiple:
            fail(f"{name} is given {count} times; it takes one value")
    if parsed.options.get("sweep"):
        return _sweep(parsed, schema, values)
    for name in ("zip", "yes"):
        if name in parsed.options:
            fail(f"--{name} belongs to a sweep: --sweep seed=1..6")
    if "dry_run" in parsed.options:
        manager, origin = session.manager(), origin_of(current_context(), "magic")
        publish(preview_run(manager, Batch([manager.prepare(schema, values, origin=origin)], origin)))
        return None
    return _show(RunView(actions.start(schema.slug, values, _submit_options(parsed))), parsed)


def _extend(parsed: Parsed, body: str = "") -> Any:
    """Starts the run that continues from a clip; the body of a cell holds settings and the prompt."""
    handle, model = find_run(parsed.arguments["RUN"]), parsed.arguments.get("MODEL")
    schema = session.schema(model or handle.model)
    _, inputs = plan_extension(
        session.manager(),
        handle,
        cell_values(schema, parsed, body, may_be_bare=True),
        model=schema.slug,
        frame=parsed.options.get("frame"),
        at_s=parsed.options.get("at"),
    )
    return _run(parsed, schema, inputs)


def _sweep(parsed: Parsed, schema: ModelSchema, values: Mapping[str, Any]) -> Any:
    axes, options = [read_axis(text) for text in parsed.options["sweep"]], _submit_options(parsed)
    plan = make_plan(schema.slug, axes, values, options, zipped="zip" in parsed.options)
    if "dry_run" in parsed.options:
        publish(preview_sweep(plan))
        return None
    return _show(SweepView(start(plan, options, yes="yes" in parsed.options)), parsed)


def _rerun(parsed: Parsed) -> Any:
    options, is_many = _submit_options(parsed), "all" in parsed.options
    found = reproduce.find(parsed.arguments["RUN|FILE"], all=is_many, force="force" in parsed.options)
    if found[0].is_film:
        if parsed.values:
            fail("a film is rerun unchanged; to change a shot, use Edit this shot in its view")
        return _make_film(parsed, film.plan_again(found[0], options))
    replays = reproduce.plan(found, parsed.values, options)
    if "dry_run" in parsed.options:
        for replay in replays:
            publish(preview_rerun(session.manager(), replay))
        if not is_many:
            return None
        requests = [replay.prepared for replay in replays if replay.prepared is not None]
        return message(f"in all {confirm_total(session.manager(), requests, None)}; nothing was sent")
    handles, forecast = reproduce.start(replays, options, all=is_many, yes="yes" in parsed.options)
    if is_many:
        _assign(parsed, handles)
        return reproduce.wait_and_list(handles, parsed.options.get("wait"), forecast)
    sentences = map(as_sentence, (session.notices.get(handles[0].id, ""), *replays[0].lines))
    session.notices[handles[0].id] = " ".join(filter(None, sentences))
    return _show(RunView(handles[0]), parsed)


# Films ---------------------------------------------------------------------------------------


def call_film(line: str, body: str) -> Any:
    """Makes the film of a `%%wiro_film` cell and returns the handle, which is displayed already.

    Raises:
        UsageError: The line or the body cannot be read.
        WiroError: The film could not start, or failed in a cell that waits.
    """
    refuse_keys_in_body(body)
    parsed = parse_cell_line(line, FILM)
    shots = [read_shot(head, prompt) for head, prompt in split_shots(body)]
    options = _submit_options(parsed)
    given = parsed.options
    out, crossfade_s, audio = given.get("out", "film.mp4"), given.get("crossfade", 0.0), given.get("audio")
    target = film.make_target(out, crossfade_s, audio, options)
    plan = film.make_plan(shots, target, options, model=parsed.arguments.get("MODEL"), shared=parsed.values)
    return _make_film(parsed, plan)


def _make_film(parsed: Parsed, plan: FilmPlan) -> Any:
    """Makes a film and shows it; None for a dry run."""
    if "dry_run" in parsed.options:
        publish(plan_output(plan))
        return None
    try:
        handle = film.start(plan, yes="yes" in parsed.options)
    except (ConfirmationNeeded, BudgetExceeded):
        publish(plan_output(plan))  # the question is about these shots and prices
        raise
    return _show(FilmView(handle), parsed)


def read_shot(head: str, prompt: str) -> dict[str, Any]:
    """Returns a shot as `wiro_nb.film` takes it: from the words behind `---` and the prompt below.

    Raises:
        UsageError: The words cannot be read.
    """
    parsed = parse_cell_line(head, SHOT)
    name, model = parsed.arguments.get("NAME", ""), parsed.arguments.get("MODEL", "")
    if "/" in name and not model:
        name, model = "", name
    found: dict[str, Any] = {"name": name, "model": model}
    values = dict(parsed.values)
    if "from" in values:
        found["from"] = values.pop("from")
    if prompt and "prompt" in values:
        fail(f"the prompt of shot {name} is given as a setting and again below it")
    return {**found, "inputs": {**values, **({"prompt": prompt} if prompt else {})}}


def _join(parsed: Parsed) -> Any:
    options = dict(parsed.options)
    return film.join(*parsed.arguments["RUN|FILE"], crossfade_s=options.pop("crossfade", 0.0), **options)


# Other commands -----------------------------------------------------------------------------


def _form(parsed: Parsed) -> Any:
    from wiro_nb.notebook.form.controller import form

    return form(parsed.arguments["MODEL"], parsed.values, source=parsed.options.get("from"))


def _budget(parsed: Parsed) -> Any:
    usd = parsed.arguments.get("USD")
    return account.budget() if usd is None else account.set_budget(None if usd.lower() == "none" else usd)


def _help(parsed: Parsed) -> Any:
    name = parsed.arguments.get("COMMAND")
    if name is None:
        return help_output()
    command = FILM if name == FILM.name else find_command(name)
    if command is None:
        if session.known_schema(name) is not None:
            return info(name)
        fail(f"no command {name!r}. All commands: %wiro help")
    return help_output(command)


def _plainly(function: Callable[..., Any]) -> Callable[[Parsed], Any]:
    """Returns the handler that passes arguments in order, and options by name."""
    return lambda parsed: function(*parsed.arguments.values(), **parsed.options)


HANDLERS: dict[str, Callable[[Parsed], Any]] = {
    "status": _plainly(monitor),
    "models": lambda parsed: models(" ".join(parsed.arguments["QUERY"])),
    "info": _plainly(info),
    "form": _form,
    "run": lambda parsed: _run(parsed, session.schema(parsed.arguments["MODEL"]), parsed.values),
    "runs": _plainly(runs),
    "show": lambda parsed: (actions.tree if parsed.options else actions.show)(parsed.arguments["RUN"]),
    "rerun": _rerun,
    "extend": _extend,
    "join": _join,
    "compare": _plainly(compare),
    "verify": lambda parsed: reproduce.verify(*parsed.arguments["PATH"]),
    "wait": _plainly(actions.wait),
    "cancel": _plainly(actions.cancel),
    "attach": _plainly(actions.attach),
    "forget": _plainly(actions.forget),
    "download": _plainly(actions.download),
    "budget": _budget,
    "spent": _plainly(account.spent),
    "login": _plainly(account.login),
    "logout": _plainly(account.logout),
    "use": _plainly(account.use),
    "help": _help,
}
"""The function of each command."""


def help_output(about: Command | None = None) -> Output:
    """Returns the list of commands, or everything about one."""
    head, rows = heading("Commands"), [(item.title, item.summary) for item in (CELL, FILM, *COMMANDS)]
    more = ("%wiro help COMMAND", "for everything about one")
    if about is not None:
        lines = (f"wiro: {about.usage}", f"  {about.summary}")
        head, more = Block(join(code(about.usage), line(about.summary)), lines), (about.example, "")
        what = "a setting of the model; quotes around values with spaces, name={expression} for a Python value"
        values = [("name=value", what)] if about.takes_values else []
        rows = [*((item.typed, item.help) for item in (*about.arguments, *about.flags)), *values]
    names = (h("span", code(name), style="white-space:nowrap") for name, _ in rows)
    table = name_table(zip(names, (text for _, text in rows), strict=True))
    return compose(head, Block(table, text_table(rows)), next_steps(more))
