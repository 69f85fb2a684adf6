"""README and reference are true: the tables are those of the parsers, the commands exist."""

from __future__ import annotations

import re
from pathlib import Path

from tests.reference_tables import README, REFERENCE, TABLES, rewrite
from wiro_nb.cli import build_parser
from wiro_nb.notebook.extension import WiroMagics
from wiro_nb.presentation.command_table import CELL, COMMANDS, SHELL_COMMANDS, STATUS, find_command

PAGES = {path: path.read_text("utf-8") for path in (README, REFERENCE)}
TEXT = "\n".join(PAGES.values())
CODE = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", TEXT, re.DOTALL))
PACKAGE = README.with_name("wiro_nb")


def commands_in(text: str) -> set[str]:
    """Returns the words after `%wiro`, where a word follows."""
    return set(re.findall(r"(?<!%)%wiro +([a-z][\w-]*)", text))


def test_the_tables_are_those_of_the_grammars() -> None:
    assert rewrite(PAGES[REFERENCE]) == PAGES[REFERENCE], "run: python -m tests.reference_tables"
    assert re.findall(r"<!-- table: (\w+) -->", TEXT) == list(TABLES)


def test_the_tables_name_every_command_and_option() -> None:
    magic, cli = TABLES["magic"](), TABLES["cli"]()
    assert {command.name for command in COMMANDS} - {STATUS} == commands_in(magic)
    flags = {flag.name for command in (CELL, *COMMANDS) for flag in command.flags}
    assert flags == set(re.findall(r"`(--[\w-]+)", magic))
    assert set(SHELL_COMMANDS) == set(re.findall(r"`wiro-nb (\w+)", cli)) | {"sandbox"}
    assert {"--json", "--max-cost", "--faults", "--speed"} <= set(re.findall(r"`(--[\w-]+)", cli))


def test_a_bar_in_a_usage_line_does_not_end_its_cell() -> None:
    for table in TABLES.values():
        for block in table().split("\n\n"):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.split("\n")}) == 1, block


def test_every_magic_in_the_readme_exists() -> None:
    used = commands_in(CODE)
    assert used, "no %wiro command is shown at all"
    assert {name for name in used if find_command(name) is None} == set()


def test_every_shell_command_and_option_in_the_readme_exists() -> None:
    used = re.findall(r"wiro-nb ([a-z]+)", CODE)
    assert used
    assert set(used) <= set(SHELL_COMMANDS)
    line = next(line for line in TEXT.split("\n") if line.startswith("wiro-nb run "))
    known, rest = build_parser().parse_known_args([word for word in line.split()[1:] if '"' not in word])
    assert (known.json, rest) == (True, [])


def test_every_setting_and_variable_in_the_readme_exists() -> None:
    assert set(re.findall(r"WiroMagics\.(\w+)", TEXT)) <= set(WiroMagics.class_trait_names(config=True))
    source = "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    named = set(re.findall(r"WIRO_[A-Z_]+", TEXT))
    assert named
    assert {name for name in named if not re.search(rf"\b{name}\b", source)} == set()


def test_the_files_that_a_page_links_to_exist() -> None:
    links = [
        (page, link)
        for page, text in PAGES.items()
        for link in re.findall(r"\]\(([^)\s]+)\)", text)
        if "://" not in link
    ]
    assert links
    assert [link for page, link in links if not Path(page.parent, link).exists()] == []


def test_the_readme_is_short() -> None:
    assert PAGES[README].count("\n") <= 200
