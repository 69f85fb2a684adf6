"""Helpers that the command and cell handlers share: typed values, and common options."""

from __future__ import annotations

import builtins
import keyword
import re
from dataclasses import replace
from typing import Any

from IPython.core.error import UsageError

from wiro_nb.notebook.display import show_and_wait
from wiro_nb.notebook.live import LiveView
from wiro_nb.notebook.magic.keys import refuse_keys_in_body
from wiro_nb.notebook.magic.parser import Expression, Parsed, fail, parse_body, read_settings
from wiro_nb.notebook.run.submit import SubmitOptions
from wiro_nb.notebook.session import current_shell
from wiro_nb.presentation.formatting import read_usd
from wiro_nb.schema.types import ModelSchema
from wiro_nb.sweeps.axes import read_axis


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


def cell_values(schema: ModelSchema, parsed: Parsed, body: str, *, may_be_bare: bool = False) -> dict[str, Any]:
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
            fail(f"{schema.slug} takes no prompt: write name: value lines, or type %wiro run {schema.slug}")
        head, prompt = {**head, **more}, ""
    twice = next((name for name in head if name in values), None)
    if twice is not None:
        fail(f"{twice} is given on the first line and again in the body")
    joined: dict[str, Any] = {**values, **head}
    varied = [read_axis(text).name for text in parsed.listed("sweep")]
    if prompt and target is not None:
        if target in joined:
            fail(f"{target} is given as a setting and again as the body of the cell")
        joined[target] = prompt
    elif target is not None and target not in (*joined, *varied) and not head and not may_be_bare:
        fail(f"the cell has no prompt: write it below the first line, or use %wiro run {schema.slug} for none")
    return joined


def show_view(view: LiveView[Any], parsed: Parsed) -> Any:
    """Assigns a handle to the variable of `--as`, shows it, waits for it where that is wanted, and returns it."""
    assign(parsed, view.handle)
    return show_and_wait(view, wait=parsed.has("wait") or None)


def submit_options(parsed: Parsed) -> SubmitOptions:
    """Returns how runs are submitted.

    Raises:
        InputError: `--max-cost` is no amount.
    """
    limit = read_usd(parsed.option("max_cost"), "--max-cost", "--max-cost 0.50")
    return SubmitOptions("magic", fresh=parsed.has("fresh"), max_cost_usd=limit)


def assign(parsed: Parsed, value: Any) -> None:
    """Assigns a handle to the variable that `--as` names, before anything is waited for."""
    name, shell = parsed.option("as"), current_shell()
    if name and shell is not None:
        shell.user_ns[name] = value


def check_variable(parsed: Parsed) -> None:
    """Refuses a variable that `--as` cannot set.

    Raises:
        UsageError: It is no name, or would hide one.
    """
    name = parsed.option("as")
    if name is not None and (not name.isidentifier() or keyword.iskeyword(name)):
        fail(f"--as needs a variable name, not {name!r}")
    if name is not None and hasattr(builtins, name):
        fail(f"--as {name} would hide Python's own {name}: choose another name")
    shell = current_shell()
    if name is not None and (name.startswith("_") or (shell is not None and name in shell.user_ns_hidden)):
        fail(f"--as {name} would hide a name that IPython uses: choose another name")


def read_option(parsed: Parsed, key: str, pattern: str, what: str) -> str | None:
    """Returns the text of an option, or None.

    Raises:
        UsageError: It does not match the pattern.
    """
    text = parsed.option(key)
    if text is not None and re.fullmatch(pattern, text) is None:
        fail(f"--{key} needs {what}, not {text[:20]!r}")
    return text
