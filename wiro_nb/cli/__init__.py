"""The `wiro-nb` command, for shells, scripts and scheduled jobs.

The top layer; it imports the others at first use, so that `wiro-nb --help` is quick.
With `--json` one JSON value goes to stdout and everything else to stderr.

Exit codes: 0 done, 1 a run failed or was cancelled, 2 bad input, 3 service, network or ledger,
130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line.

    Args:
        argv: The words after `wiro-nb`; those of the process when None.

    Returns:
        The exit code.
    """
    from wiro_nb.terminal import safe_streams

    with safe_streams():
        return _run_command(list(sys.argv[1:] if argv is None else argv))


def _run_command(words: list[str]) -> int:
    from wiro_nb.cli.parser import build_parser, parse_words
    from wiro_nb.errors import WiroError
    from wiro_nb.terminal import discard

    try:
        if words[:1] == ["sandbox"]:
            from wiro_nb import sandbox

            return sandbox.main(words[1:])
        arguments = parse_words(build_parser(), words)
        module, _, function = arguments.handler.partition(":")
        code = getattr(import_module(f"wiro_nb.cli.{module}"), function)(arguments) or 0
        sys.stdout.flush()  # here a reader that left early is no error; at the interpreter's exit it would be one
        return int(code)
    except WiroError as error:
        from wiro_nb.cli.output import report_error

        return report_error(error)
    except KeyboardInterrupt as stop:
        if not stop.args:  # a command that waits for a run has printed which one continues
            print("stopped; a run that was sent continues: wiro-nb runs", file=sys.stderr)
        return 130
    except BrokenPipeError:
        discard(sys.stdout)
        return 141
    finally:
        _close_manager()


def _close_manager() -> None:
    """Ends the I/O thread; runs in flight stay in the ledger."""
    session = sys.modules.get("wiro_nb.session")
    if session is not None and session.has_manager():
        for notice in session.get_manager().take_notices():
            print(notice, file=sys.stderr)
        session.close_manager()
