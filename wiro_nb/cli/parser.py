"""The command line's grammar: one place for commands, options and their help."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module, metadata

from wiro_nb.errors import InputError
from wiro_nb.presentation.grammar import find_command
from wiro_nb.presentation.status import STATE_FILTERS

Handler = Callable[[argparse.Namespace], int]

_EXITS = "Exit codes: 0 done, 1 run failed or cancelled, 2 bad input, 3 service, network or ledger"


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `wiro-nb` with every command."""
    parser = argparse.ArgumentParser(
        prog="wiro-nb",
        description="Run generative-video models of the Wiro service, or of the free local sandbox.",
        epilog=f"Without an account everything runs against the sandbox. {_EXITS}.",
    )
    parser.add_argument("--version", action="version", version=f"wiro_nb {metadata.version('wiro_nb')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_first_steps(commands)
    _add_models(commands)
    _add_runs(commands)
    _add_reproduce(commands)
    return parser


def parse_words(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parses a command line whose `name=value` settings may stand before, between and behind options.

    Raises:
        InputError: The command is one of the notebook's.
        SystemExit: The line is wrong (2), or help was asked for (0); what is to be said is printed.
    """
    if not words:
        parser.print_help(sys.stderr)
        parser.exit(2, "\na command is missing; the first one to try: wiro-nb demo\n")
    _refuse_magic(words[0])
    arguments, rest = parser.parse_known_args(words)
    is_setting = [not word.startswith("-") and "=" in word for word in rest]
    if rest and not (hasattr(arguments, "values") and all(is_setting)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.values = [*arguments.values, *rest]
    return arguments


def _refuse_magic(word: str) -> None:
    known = find_command(word)
    if known is not None and word not in command_names():
        raise InputError(f"{word} is a command of notebooks; wiro-nb has none of that name", hint=known.title)


def command_names() -> list[str]:
    """Returns the words after `wiro-nb`, in the order of the help."""
    parser = build_parser()
    action = next(item for item in parser._actions if isinstance(item, argparse._SubParsersAction))
    return list(action.choices)


def _add_first_steps(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = _command(commands, "demo", "run the quickstart notebook against the sandbox, end to end", "demo:demo")
    demo.add_argument("--out", metavar="DIR", help="folder for the results (default: a new wiro_demo folder here)")
    lab = _command(commands, "lab", "open the tutorials in JupyterLab", "lab:lab")
    lab.add_argument(
        "folder", nargs="?", metavar="DIR", help="where to put the tutorials (default: wiro_tutorials)"
    )
    lab.add_argument("--no-browser", action="store_true", help="print the address only")
    lab.add_argument("--port", type=int, default=0, help="port of JupyterLab (default: a free one)")
    commands.add_parser("sandbox", help="start the local service: wiro-nb sandbox --help", add_help=False)


def _add_models(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    models = _command(commands, "models", "list or search models", "models:models")
    models.add_argument("query", nargs="*", metavar="QUERY", help="words to look for")
    _service(models)
    _json(models)
    schema = _command(commands, "schema", "show a model's inputs in normal form", "models:schema")
    schema.add_argument(
        "source", metavar="MODEL|FILE|URL", help="owner/name, a saved page or answer, or its address"
    )
    _service(schema)
    _json(schema)


def _add_runs(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = _command(commands, "run", "run a model and fetch its files", "runs:run")
    run.add_argument("model", metavar="MODEL", help="owner/name")
    run.add_argument(
        "values", nargs="*", metavar="name=value", help='settings, for example prompt="a lighthouse" seed=7'
    )
    run.add_argument(
        "--file", action="append", default=[], metavar="NAME=PATH|URL", help="an input file; may be repeated"
    )
    run.add_argument("--out", metavar="DIR", help="folder for the clips (default: wiro_outputs)")
    run.add_argument("--max-cost", metavar="USD", help="refuse when the price may be higher or is unknown")
    run.add_argument("--fresh", action="store_true", help="run again even if this very request is already made")
    run.add_argument("--dry-run", action="store_true", help="show the request and its price; send nothing")
    run.add_argument("--detach", action="store_true", help="do not wait: print the run and come back with wait")
    _service(run)
    _json(run)
    runs = _command(commands, "runs", "list runs, newest first", "runs:runs")
    runs.add_argument("--model", metavar="MODEL", help="only of this model")
    runs.add_argument(
        "--state",
        type=str.lower,
        choices=STATE_FILTERS,
        metavar="STATE",
        help=f"only in this state: {', '.join(STATE_FILTERS)}",
    )
    runs.add_argument("--text", metavar="TEXT", help="only with this text in model or settings")
    runs.add_argument("--limit", type=int, default=50, metavar="N", help="how many (default 50)")
    runs.add_argument("--export", action="store_true", help="print the whole ledger, one JSON a line, as a backup")
    _json(runs)
    for name, summary in (
        ("show", "show one run"),
        ("wait", "wait for a run and fetch its files"),
        ("cancel", "cancel a run; it says what that costs"),
        ("forget", "take a run off the list; its files stay"),
    ):
        command = _command(commands, name, summary, f"runs:{name}")
        command.add_argument("run", metavar="RUN", help="id of a run; its first or last letters are enough")
        _json(command)
    attach = _command(
        commands, "attach", "follow a task that was started elsewhere, and fetch its files", "runs:attach"
    )
    attach.add_argument("task", metavar="TASK", help="id of the task, as the service names it")
    _service(attach)
    _json(attach)
    record = _command(
        commands, "record", "print the record found in a clip, notebook, run.json or the ledger", "runs:record"
    )
    record.add_argument("source", metavar="SOURCE", help="RUN, FILE, or NOTEBOOK#RUN")
    record.add_argument("--force", action="store_true", help="read a record that was changed after it was written")
    _json(record)


def _add_reproduce(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    what = "RUN, FILE, or NOTEBOOK#RUN"
    rerun = _command(
        commands, "rerun", "make a run again with the settings, files and seed it had", "reproduce:rerun"
    )
    rerun.add_argument("source", metavar="SOURCE", help=what)
    rerun.add_argument("values", nargs="*", metavar="name=value", help="settings to change, for example seed=8")
    rerun.add_argument(
        "--file", action="append", default=[], metavar="NAME=PATH|URL", help="an input file; may be repeated"
    )
    rerun.add_argument("--all", action="store_true", help="every run of a notebook or folder")
    rerun.add_argument(
        "--yes",
        action="store_true",
        help="with --all: send more than 12 runs, above 1 USD, or at an unknown price",
    )
    rerun.add_argument(
        "--dry-run", action="store_true", help="print the request and what has changed; send nothing"
    )
    rerun.add_argument("--out", metavar="DIR", help="folder for the clips (default: wiro_outputs)")
    rerun.add_argument(
        "--max-cost", metavar="USD", help="refuse a run whose price may be higher or is unknown; for each run"
    )
    rerun.add_argument("--force", action="store_true", help="read a record that was changed after it was written")
    _service(rerun)
    _json(rerun)
    compare = _command(commands, "compare", "what differs between two runs or clips", "reproduce:compare")
    compare.add_argument("left", metavar="A", help=what)
    compare.add_argument(
        "right", metavar="B", nargs="?", help="what to compare it with; without it the run it was made from"
    )
    _json(compare)
    verify = _command(
        commands, "verify", "check hashes, files, records, and that no secret is in them", "reproduce:verify"
    )
    verify.add_argument(
        "paths", nargs="*", metavar="PATH", help="notebooks, folders, clips; without any the ledger and its files"
    )
    _json(verify)
    seal = _command(commands, "seal", "write the records of a closed notebook into its metadata", "reproduce:seal")
    seal.add_argument("notebooks", nargs="+", metavar="NOTEBOOK", help="a notebook that nobody has open")
    _json(seal)
    export = _command(commands, "export", "write runs as an RO-Crate or a CSV table", "reproduce:export")
    export.add_argument(
        "sources", nargs="+", metavar="RUN|NOTEBOOK", help=f"{what}; a notebook stands for all its runs"
    )
    export.add_argument("--to", metavar="DIR", help="a new folder for the crate: clips, inputs, records")
    export.add_argument("--csv", action="store_true", help="print a table with one row a run")
    export.add_argument("--title", metavar="TEXT", help="title of the crate")


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, handler: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=summary, description=summary[:1].upper() + summary[1:] + ".", epilog=_EXITS
    )
    parser.set_defaults(handler=_lazy(handler))
    return parser


def _lazy(target: str) -> Handler:
    """Returns a handler whose module is imported when it is called."""
    module, _, function = target.partition(":")

    def call(arguments: argparse.Namespace) -> int:
        handler: Handler = getattr(import_module(f"wiro_nb.cli.{module}"), function)
        return handler(arguments)

    return call


def _service(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--service", metavar="NAME|URL", help="sandbox, cloud, a named one, or an address")


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="print JSON on stdout, one object a line; everything else on stderr"
    )
