"""The table of commands is complete: every entry has a function, an example that reads, and words for people."""

from __future__ import annotations

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from wiro_nb.notebook.extension import WiroMagics, let_through_without_body
from wiro_nb.notebook.magic.handlers import HANDLERS
from wiro_nb.notebook.magic.parser import parse_cell_line, parse_line
from wiro_nb.presentation.command_table import CELL, COMMANDS, FILM, SHOT, Command


def test_every_command_has_a_function_and_every_function_a_command() -> None:
    assert set(HANDLERS) == {command.name for command in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_example_of_a_command_calls_it(command: Command) -> None:
    assert command.example.startswith(command.title)
    assert parse_line(command.example.removeprefix("%wiro")).command is command
    assert command.summary


@pytest.mark.parametrize("command", [CELL, FILM, SHOT], ids=lambda command: command.name)
def test_the_example_of_a_cell_magic_reads(command: Command) -> None:
    assert parse_cell_line(command.example.removeprefix(command.words), command).command is command


@pytest.mark.parametrize("command", [CELL, FILM, SHOT, *COMMANDS], ids=lambda command: command.name)
def test_arguments_and_options_are_explained(command: Command) -> None:
    assert all(item.help for item in (*command.arguments, *command.flags))
    required = [item.required for item in command.arguments]
    assert required == sorted(required, reverse=True)


def test_every_setting_of_the_magics_has_a_help_and_none_is_a_secret() -> None:
    traits = WiroMagics.class_own_traits(config=True)
    assert all(trait.help for trait in traits.values())
    assert not any(word in name for name in traits for word in ("key", "secret", "token"))


@pytest.mark.parametrize(
    ("cell", "sent"),
    [
        ("%%wiro a/b seed=7", "'wiro', 'a/b seed=7', '\\n'"),
        ("\n%%wiro a/b\n", "'wiro', 'a/b', '\\n'"),
        ("%%wiro", "'wiro', '', '\\n'"),
        ("%%wiro a/b\na lake\n", "'wiro', 'a/b', 'a lake\\n'"),
        ("%%wirox a/b", "'wirox', 'a/b', ''"),
    ],
)
def test_a_cell_without_a_body_reaches_the_magic(cell: str, sent: str) -> None:
    steps = TransformerManager()
    steps.line_transforms.insert(0, let_through_without_body)
    assert steps.transform_cell(cell) == f"get_ipython().run_cell_magic({sent})\n"
    assert "pinfo" in steps.transform_cell("%%wiro?")
