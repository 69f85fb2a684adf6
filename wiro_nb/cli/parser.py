"""The grammar of the command line: one table of commands and options with their help."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from wiro_nb.errors import InputError
from wiro_nb.presentation.commands import find_command
from wiro_nb.presentation.status import STATE_FILTERS

_EXITS = "Exit codes: 0 done, 1 run failed or cancelled, 2 bad input, 3 service, network or ledger"

Argument = tuple[str, dict[str, Any]]
"""Name and options of `ArgumentParser.add_argument`."""


def _argument(name: str, metavar: str, help: str, **options: Any) -> Argument:
    return name, {"metavar": metavar, "help": help, **options}


def read_count(text: str) -> int:
    """Reads a count as the type of an option."""
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError("a whole number of up to nine digits")
    return int(text)


def _switch(name: str, help: str) -> Argument:
    return name, {"action": "store_true", "help": help}


@dataclass(frozen=True, slots=True)
class Command:
    """One command of `wiro-nb`.

    Attributes:
        summary: One line for the help.
        handler: "module:function" in `wiro_nb.cli`, imported when the command is called.
        arguments: In order.
    """

    summary: str
    handler: str
    arguments: tuple[Argument, ...] = ()


_ANY_RUN = "RUN, FILE, or NOTEBOOK#RUN"
_SERVICE = _argument("--service", "NAME|URL", "sandbox, local, cloud, a named one, or an address")
_NAME = _argument(
    "--name", "NAME", "the service; a name of your own with --base-url (default: cloud)", default="cloud"
)
_JSON = _switch("--json", "print JSON on stdout, one object a line; everything else on stderr")
_FILE = _argument("--file", "NAME=PATH|URL", "an input file; may be repeated", action="append", default=[])
_OUT = _argument("--out", "DIR", "folder for the clips (default: wiro_outputs)")
_FORCE = _switch("--force", "read a record that was changed after it was written")
_RUN = (_argument("run", "RUN", "id of a run; its first or last letters are enough"), _JSON)

COMMANDS: dict[str, Command] = {
    "demo": Command(
        "run the quickstart notebook against the sandbox, end to end",
        "tutorials:demo",
        (_argument("--out", "DIR", "folder for the results (default: a new wiro_demo folder here)"),),
    ),
    "lab": Command(
        "open the tutorials in JupyterLab",
        "tutorials:lab",
        (
            _argument("folder", "DIR", "where to put the tutorials (default: wiro_tutorials)", nargs="?"),
            _switch("--no-browser", "print the address only"),
            _argument("--port", "PORT", "port of JupyterLab (default: a free one)", type=int, default=0),
        ),
    ),
    "sandbox": Command("start the local service: wiro-nb sandbox --help", ""),
    "local": Command(
        "models on this machine: download their weights, list, delete; what the machine can run",
        "local:local",
        (
            _argument(
                "action",
                "ACTION",
                "pull MODEL, list, doctor (what this machine can run, and why not), or rm MODEL",
                choices=("pull", "list", "doctor", "rm"),
            ),
            _argument("model", "MODEL", "owner/name", nargs="?"),
            _argument(
                "values",
                "name=value",
                "with pull: settings that need weights of their own, for example loraType=PanLeft",
                nargs="*",
            ),
            _switch("--accept-licence", "with pull: accept the licences that are shown, without being asked"),
            _JSON,
        ),
    ),
    "completion": Command(
        "print the script that completes commands and options in a shell",
        "parser:completion",
        (_argument("shell", "SHELL", "bash or zsh", nargs="?", choices=("bash", "zsh"), default="bash"),),
    ),
    "login": Command(
        "store the API key of a service; it is asked for, or read from stdin",
        "models:login",
        (
            _NAME,
            _argument("--base-url", "URL", "address of a service of your own, stored under its name"),
        ),
    ),
    "logout": Command("remove the stored key of a service", "models:logout", (_NAME,)),
    "models": Command(
        "list or search models",
        "models:models",
        (_argument("query", "QUERY", "words to look for", nargs="*"), _SERVICE, _JSON),
    ),
    "schema": Command(
        "show a model's inputs in normal form",
        "models:schema",
        (
            _argument("source", "MODEL|FILE|URL", "owner/name, a saved page or answer, or its address"),
            _SERVICE,
            _JSON,
        ),
    ),
    "run": Command(
        "run a model and fetch its files",
        "runs:run",
        (
            _argument("model", "MODEL", "owner/name"),
            _argument("values", "name=value", 'settings, for example prompt="a lighthouse" seed=7', nargs="*"),
            _FILE,
            _OUT,
            _argument("--max-cost", "USD", "refuse when the price may be higher or is unknown"),
            _switch("--fresh", "run again even if this very request is already made"),
            _switch("--dry-run", "show the request and its price; send nothing"),
            _switch("--detach", "do not wait: print the run and come back with wait"),
            _SERVICE,
            _JSON,
        ),
    ),
    "runs": Command(
        "list runs, newest first",
        "runs:runs",
        (
            _argument("--model", "MODEL", "only of this model"),
            _argument(
                "--state",
                "STATE",
                f"only in this state: {', '.join(STATE_FILTERS)}",
                type=str.lower,
                choices=tuple(STATE_FILTERS),
            ),
            _argument("--text", "TEXT", "only with this text in model or settings"),
            _argument("--limit", "N", "how many (default 50)", type=read_count, default=50),
            _switch("--export", "print the whole ledger, one JSON a line, as a backup"),
            _JSON,
        ),
    ),
    "show": Command(
        "show one run",
        "runs:show",
        (*_RUN, _switch("--tree", "print the tree of runs it was made from and that were made from it")),
    ),
    "wait": Command("wait for a run and fetch its files", "runs:wait", _RUN),
    "cancel": Command("cancel a run; it says what that costs", "runs:cancel", _RUN),
    "forget": Command("take a run off the list; its files stay", "runs:forget", _RUN),
    "attach": Command(
        "follow a task that was started elsewhere, and fetch its files",
        "runs:attach",
        (_argument("task", "TASK", "id of the task, as the service names it"), _SERVICE, _JSON),
    ),
    "record": Command(
        "print the record found in a clip, notebook, run.json or the ledger",
        "runs:record",
        (_argument("source", "SOURCE", "RUN, FILE, or NOTEBOOK#RUN"), _FORCE, _JSON),
    ),
    "rerun": Command(
        "make a run again with the settings, files and seed it had",
        "reproduce:rerun",
        (
            _argument("source", "SOURCE", _ANY_RUN),
            _argument("values", "name=value", "settings to change, for example seed=8", nargs="*"),
            _FILE,
            _switch("--all", "every run of a notebook or folder"),
            _switch("--fresh", "run again even if it was made again already"),
            _switch("--yes", "with --all: send more than 12 runs, above 1 USD, or at an unknown price"),
            _switch("--dry-run", "print the request and what has changed; send nothing"),
            _OUT,
            _argument("--max-cost", "USD", "refuse a run whose price may be higher or is unknown; for each run"),
            _FORCE,
            _SERVICE,
            _JSON,
        ),
    ),
    "join": Command(
        "join clips into one film that holds the record of every part",
        "reproduce:join",
        (
            _argument("sources", "RUN|FILE", "runs or clips, in order", nargs="+"),
            _argument("--out", "FILE", "the file to write (default: film.mp4)", default="film.mp4"),
            _argument(
                "--crossfade",
                "SECONDS",
                "blend so many seconds at each seam where no clip goes on from the one before",
                type=float,
                default=0.0,
            ),
            _argument("--audio", "FILE", "sound in place of that of the clips"),
            _JSON,
        ),
    ),
    "compare": Command(
        "what differs between two runs or clips",
        "reproduce:compare",
        (
            _argument("left", "A", _ANY_RUN),
            _argument("right", "B", "what to compare it with; without it the run it was made from", nargs="?"),
            _JSON,
        ),
    ),
    "verify": Command(
        "check hashes, files, records, and that no secret is in them",
        "reproduce:verify",
        (
            _argument(
                "paths", "PATH", "notebooks, folders, clips; without any the ledger and its files", nargs="*"
            ),
            _JSON,
        ),
    ),
    "seal": Command(
        "write the records of a closed notebook into its metadata",
        "reproduce:seal",
        (
            _argument("notebooks", "NOTEBOOK", "a notebook that is not open", nargs="+"),
            _JSON,
        ),
    ),
    "export": Command(
        "write runs as an RO-Crate or a CSV table",
        "reproduce:export",
        (
            _argument("sources", "RUN|NOTEBOOK", f"{_ANY_RUN}; a notebook stands for all its runs", nargs="+"),
            _argument("--to", "DIR", "a new folder for the crate: clips, inputs, records"),
            _switch("--csv", "print a table with one row a run"),
            _argument("--title", "TEXT", "title of the crate"),
        ),
    ),
}


def completion(arguments: argparse.Namespace) -> int:
    """Prints a completion script: `eval "$(wiro-nb completion bash)"`."""
    cases = []
    for name, command in COMMANDS.items():
        options = [option for option, _ in command.arguments if option.startswith("--")]
        choices = [str(choice) for _, given in command.arguments for choice in given.get("choices", ())]
        cases.append(f'    {name}) words="{" ".join([*choices, *options, "--help"])}";;')
    script = [
        *(["autoload -U +X bashcompinit && bashcompinit"] if arguments.shell == "zsh" else []),
        "_wiro_nb() {",
        '  local words=""',
        '  case "${COMP_WORDS[1]}" in',
        *cases,
        "  esac",
        f'  [ "$COMP_CWORD" -eq 1 ] && words="{" ".join(COMMANDS)}"',
        '  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))',
        "}",
        "complete -o default -F _wiro_nb wiro-nb",
    ]
    print("\n".join(script))
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `wiro-nb` with every command."""
    parser = argparse.ArgumentParser(
        prog="wiro-nb",
        description="Run generative-video models of the Wiro service, or of the free local sandbox.",
        epilog=f"Without an account everything runs against the sandbox. {_EXITS}.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"wiro_nb {metadata.version('wiro_nb')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=command.summary,
            description=f"{command.summary[:1].upper()}{command.summary[1:]}.",
            epilog=_EXITS,
            allow_abbrev=False,
            add_help=bool(command.handler),
        )
        sub.set_defaults(handler=command.handler, service=None)
        for argument, options in command.arguments:
            sub.add_argument(argument, **options)
    return parser


def parse_words(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parses a command line whose `name=value` settings may stand before, between and behind options.

    Raises:
        InputError: The command is one of the notebook's.
        SystemExit: The line is wrong (2), or help was asked for (0); the message is printed.
    """
    if not words:
        parser.print_help(sys.stderr)
        parser.exit(2, "\na command is missing; the first one to try: wiro-nb demo\n")
    magic = find_command(words[0])
    if magic is not None and words[0] not in COMMANDS:
        raise InputError(f"{words[0]} is a command of notebooks; wiro-nb has none of that name", hint=magic.title)
    arguments, rest = parser.parse_known_args(words)
    is_setting = [not word.startswith("-") and "=" in word for word in rest]
    if rest and not (hasattr(arguments, "values") and all(is_setting)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.values = [*arguments.values, *rest]
    return arguments
