"""The help as static pages: all commands, or one. Pure."""

from __future__ import annotations

from wiro_nb.presentation import markup
from wiro_nb.presentation.grammar import CELL, COMMANDS, Command
from wiro_nb.presentation.html import PAGE
from wiro_nb.presentation.output import Output


def help_output(command: Command | None = None) -> Output:
    """Returns the list of commands, or everything about one."""
    return _one_command(command) if command is not None else _all_commands()


def _all_commands() -> Output:
    listed = (CELL, *COMMANDS)
    rows = [(command.title, command.summary) for command in listed]
    html = (
        f'<div style="{PAGE}"><b>Commands</b>'
        + markup.pairs(((title, markup.escape(summary)) for title, summary in rows), code_names=True)
        + markup.block(f"More about one: {markup.command('%wiro help COMMAND')}")
        + "</div>"
    )
    width = max(len(title) for title, _ in rows)
    text = ["wiro: commands", *(f"  {title:<{width}}  {summary}" for title, summary in rows)]
    return Output(html, "\n".join([*text, "  next: %wiro help COMMAND"]))


def _one_command(command: Command) -> Output:
    rows = [(argument.name, argument.help) for argument in command.arguments]
    if command.takes_values:
        rows.append(("name=value", "a setting of the model; quotes around values with spaces"))
    rows += [(f"{flag.name} {flag.value}".strip(), flag.help) for flag in command.flags]
    html = (
        f'<div style="{PAGE}">'
        f"{markup.name(command.usage)}{markup.block(markup.escape(command.summary))}"
        + (markup.pairs(((key, markup.escape(value)) for key, value in rows), code_names=True) if rows else "")
        + markup.block(f"For example: {markup.command(command.example)}")
        + "</div>"
    )
    text = [f"wiro: {command.usage}", f"  {command.summary}", *(f"  {key}: {value}" for key, value in rows)]
    return Output(html, "\n".join([*text, f"  next: {command.example}"]))
