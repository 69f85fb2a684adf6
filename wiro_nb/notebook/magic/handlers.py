"""What each `%wiro` command does: reads the typed words and calls its Python twin in `actions`."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, NoReturn

from IPython.core.error import UsageError

from wiro_nb.errors import WiroError
from wiro_nb.notebook import account
from wiro_nb.notebook.browser.models import info, models
from wiro_nb.notebook.context import current_context, current_shell
from wiro_nb.notebook.display import publish, show_and_wait
from wiro_nb.notebook.magic import dry_run
from wiro_nb.notebook.magic.parser import (
    Expression,
    Parsed,
    Values,
    parse_body,
    parse_cell_line,
    parse_line,
    read_settings,
)
from wiro_nb.notebook.magic.prompts import prompt_name
from wiro_nb.notebook.run import actions
from wiro_nb.notebook.run.display import RunView
from wiro_nb.notebook.run.submit import SubmitOptions
from wiro_nb.notebook.session import session
from wiro_nb.presentation.formatting import MAX_USD, parse_usd
from wiro_nb.presentation.grammar import find_command
from wiro_nb.presentation.output import message
from wiro_nb.schema.types import ModelSchema
from wiro_nb.sweeps.axes import read_axis

Handler = Callable[[Parsed], Any]
HANDLERS: dict[str, Handler] = {}


def handles(name: str) -> Callable[[Handler], Handler]:
    """Marks the function of a command."""

    def mark(function: Handler) -> Handler:
        HANDLERS[name] = function
        return function

    return mark


def call_line(line: str) -> Any:
    """Does what a line says and returns what the cell shows.

    Raises:
        UsageError: The line cannot be read.
        WiroError: The command failed.
    """
    parsed = evaluate_values(parse_line(line))
    return HANDLERS[parsed.command.name](parsed)


def call_cell(line: str, body: str) -> None:
    """Runs a `%%wiro` cell; the run shows itself.

    Raises:
        UsageError: The line or the body cannot be read.
        WiroError: The run could not start, or failed in a cell that waits.
    """
    parsed = evaluate_values(parse_cell_line(line))
    model = parsed.arguments["MODEL"]
    _refuse_command_as_model(model)
    schema = session.schema(model)
    _start(parsed, schema, _cell_values(schema, parsed.values, body, _varied(parsed)))


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


def tell_error(error: WiroError) -> WiroError:
    """Shows an error as a card where a person watches, and returns it ready to be raised compactly."""
    if current_context().is_live:
        from wiro_nb.presentation.errors import error_output

        publish(error_output(error))
        error.is_shown = True
    return error


def _cell_values(schema: ModelSchema, values: Values, body: str, varied: Collection[str]) -> dict[str, Any]:
    """Joins the settings of line and header block with the prompt; `varied` are the inputs of a sweep.

    Raises:
        UsageError: Something stands twice, or the body is empty or not wanted.
    """
    read = parse_body(body)
    head, prompt = dict(read.values), read.prompt
    target = prompt_name(schema)
    if target is None and prompt:
        more = read_settings(line for line in prompt.split("\n") if line.strip())
        if more is None:
            _fail(f"{schema.slug} takes no prompt: write name: value lines, or type %wiro run {schema.slug}")
        head, prompt = {**head, **more}, ""
    twice = next((name for name in head if name in values), None)
    if twice is not None:
        _fail(f"{twice} is given on the first line and again in the body")
    joined: dict[str, Any] = {**values, **head}
    if prompt and target is not None:
        if target in joined:
            _fail(f"{target} is given as a setting and again as the body of the cell")
        joined[target] = prompt
    elif target is not None and target not in (*joined, *varied) and not head:
        _fail(f"the cell has no prompt: write it below the first line, or use %wiro run {schema.slug} for none")
    return joined


def _start(parsed: Parsed, schema: ModelSchema, values: Mapping[str, Any]) -> None:
    variable = _variable(parsed.option("as"))
    for name, value in values.items():
        parameter = schema.get(name)
        if isinstance(value, list) and parameter is not None and not parameter.multiple:
            _fail(f"{name} is given {len(value)} times; it takes one value")
    if not parsed.lists.get("sweep"):
        stray = next((name for name in ("zip", "yes") if parsed.options.get(name)), None)
        if stray is not None:
            _fail(f"--{stray} belongs to a sweep: --sweep seed=1..6")
    else:
        _start_sweep(parsed, schema, values, variable)
        return
    if parsed.options.get("dry_run"):
        publish(dry_run.preview(schema.slug, values, current_context()))
        return
    handle, notice = actions.start(schema.slug, values, _submit_options(parsed))
    _keep(variable, handle)
    show_and_wait(RunView(handle, notice), wait=_wait_option(parsed))


def _start_sweep(parsed: Parsed, schema: ModelSchema, values: Mapping[str, Any], variable: str | None) -> None:
    from wiro_nb.notebook.sweep.actions import make_plan, start
    from wiro_nb.notebook.sweep.view import SweepView

    axes = [read_axis(text) for text in parsed.listed("sweep")]
    plan = make_plan(
        schema.slug,
        axes,
        values,
        current_context(),
        "magic",
        zipped=bool(parsed.options.get("zip")),
        fresh=bool(parsed.options.get("fresh")),
    )
    if parsed.options.get("dry_run"):
        publish(dry_run.preview_sweep(plan))
        return
    handle = start(plan, current_context(), _submit_options(parsed), yes=bool(parsed.options.get("yes")))
    _keep(variable, handle)
    show_and_wait(SweepView(handle), wait=_wait_option(parsed))


def _submit_options(parsed: Parsed) -> SubmitOptions:
    limit = _money(parsed.option("max_cost"), "--max-cost")
    return SubmitOptions("magic", fresh=bool(parsed.options.get("fresh")), max_cost_usd=limit)


def _wait_option(parsed: Parsed) -> bool | None:
    return True if parsed.options.get("wait") else None


def _varied(parsed: Parsed) -> list[str]:
    return [read_axis(text).name for text in parsed.listed("sweep")]


def _keep(variable: str | None, run: Any) -> None:
    shell = current_shell()
    if variable and shell is not None:
        shell.user_ns[variable] = run


def _variable(name: str | None) -> str | None:
    if name is not None and (not name.isidentifier() or keyword.iskeyword(name)):
        _fail(f"--as needs a variable name, not {name!r}")
    if name is not None and hasattr(builtins, name):
        _fail(f"--as {name} would hide Python's own {name}: choose another name")
    return name


def _money(text: str | None, what: str) -> Decimal | None:
    if text is None:
        return None
    amount = parse_usd(text)
    if amount is None:
        _fail(f"{what} needs an amount from 0 to {MAX_USD} USD such as 0.50, not {text!r}")
    return amount


def _refuse_command_as_model(model: str) -> None:
    if "/" not in model and find_command(model) is not None:
        _fail(f"%%wiro runs a model; the command is a line of its own: %wiro {model}")


def _fail(message: str) -> NoReturn:
    raise UsageError(message)


@handles("status")
def _status(_parsed: Parsed) -> Any:
    return account.status()


@handles("models")
def _models(parsed: Parsed) -> Any:
    return models(parsed.arguments.get("QUERY", ""))


@handles("info")
def _info(parsed: Parsed) -> Any:
    return info(parsed.arguments["MODEL"])


@handles("form")
def _form(parsed: Parsed) -> Any:
    from wiro_nb.notebook.form.controller import form

    return form(parsed.arguments["MODEL"], parsed.values, source=parsed.option("source"))


@handles("run")
def _run(parsed: Parsed) -> None:
    _start(parsed, session.schema(parsed.arguments["MODEL"]), parsed.values)


@handles("runs")
def _runs(parsed: Parsed) -> Any:
    limit = parsed.option("limit") or "50"
    if not limit.isdigit() or limit == "0":
        _fail(f"--limit needs a whole number above 0, not {limit!r}")
    return actions.runs(
        all=bool(parsed.options.get("all")),
        model=parsed.option("model"),
        state=parsed.option("state"),
        text=parsed.option("text"),
        since=parsed.option("since"),
        limit=int(limit),
    )


@handles("show")
def _show(parsed: Parsed) -> Any:
    return actions.show(parsed.arguments["RUN"])


@handles("rerun")
def _rerun(parsed: Parsed) -> Any:
    from wiro_nb.notebook.compare import reproduce

    source, context = parsed.arguments["RUN|FILE"], current_context()
    force, is_many = bool(parsed.options.get("force")), bool(parsed.options.get("all"))
    variable = _variable(parsed.option("as"))
    if is_many:
        replays = reproduce.plan_all(source, parsed.values, context, "magic", force=force)
    else:
        replays = [reproduce.plan(source, parsed.values, context, "magic", force=force)]
    if parsed.options.get("dry_run"):
        for replay in replays:
            publish(reproduce.preview(replay))
        return message(f"in all {reproduce.confirm(replays, yes=True)}; nothing was sent") if is_many else None
    forecast, wait = reproduce.confirm(replays, bool(parsed.options.get("yes"))), _wait_option(parsed)
    started = [reproduce.start(replay, context, _submit_options(parsed)) for replay in replays]
    handles = [handle for handle, _ in started]
    if is_many:
        _keep(variable, handles)
        return reproduce.wait_and_list(handles, wait, forecast)
    _keep(variable, handles[0])
    lines = (f"{line[0].upper()}{line[1:]}." for line in replays[0].lines if line)
    show_and_wait(RunView(handles[0], " ".join(filter(None, (started[0][1], *lines)))), wait=wait)
    return None


@handles("compare")
def _compare(parsed: Parsed) -> Any:
    from wiro_nb.notebook.compare.reproduce import compare

    return compare(*parsed.arguments.values())


@handles("verify")
def _verify(parsed: Parsed) -> Any:
    from wiro_nb.notebook.compare.reproduce import verify

    return verify(*parsed.listed("PATH"))


@handles("wait")
def _wait(parsed: Parsed) -> Any:
    return actions.wait(parsed.arguments.get("RUN"))


@handles("cancel")
def _cancel(parsed: Parsed) -> Any:
    return actions.cancel(parsed.arguments["RUN"])


@handles("attach")
def _attach(parsed: Parsed) -> Any:
    task = parsed.arguments["TASK"]
    if not task.isdigit():
        _fail(f"%wiro attach needs a task id, which is digits only, not {task!r}")
    return actions.attach(task)


@handles("forget")
def _forget(parsed: Parsed) -> Any:
    return actions.forget(parsed.arguments["RUN"])


@handles("download")
def _download(parsed: Parsed) -> Any:
    return actions.download(parsed.arguments["RUN"])


@handles("budget")
def _budget(parsed: Parsed) -> Any:
    text = parsed.arguments.get("USD")
    if text is None:
        return account.budget()
    return account.set_budget(None if text.lower() == "none" else _money(text, "%wiro budget"))


@handles("spent")
def _spent(parsed: Parsed) -> Any:
    return account.spent(parsed.option("by") or "model")


@handles("login")
def _login(_parsed: Parsed) -> Any:
    return account.login()


@handles("logout")
def _logout(_parsed: Parsed) -> Any:
    return account.logout()


@handles("use")
def _use(parsed: Parsed) -> Any:
    return account.use(parsed.arguments["SERVICE"])


@handles("help")
def _help(parsed: Parsed) -> Any:
    from wiro_nb.notebook.magic.help import help_output

    name = parsed.arguments.get("COMMAND")
    if name is None:
        return help_output()
    command = find_command(name)
    if command is None:
        if session.known_schema(name) is not None:
            return info(name)
        _fail(f"no command {name!r}. All commands: %wiro help")
    return help_output(command)
