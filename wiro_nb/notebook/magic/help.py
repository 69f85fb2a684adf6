"""The help: all commands, or one."""

from __future__ import annotations

from wiro_nb.presentation.command_table import CELL, COMMANDS, FILM, Command
from wiro_nb.presentation.html import code, command, h, join, line, name_table
from wiro_nb.presentation.output import Block, Output, compose


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
