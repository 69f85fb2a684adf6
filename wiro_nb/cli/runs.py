"""`wiro-nb run`, `runs`, `show`, `wait`, `cancel`, `attach`, `forget`, `record`."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from wiro_nb.cli.output import (
    Exit,
    ProgressLine,
    exit_code,
    open_manager,
    print_answer,
    print_json,
    print_text,
    report_error,
    say,
)
from wiro_nb.errors import BadRecord, InputError, InvalidParameter, UnknownRun
from wiro_nb.execution.requests import Origin
from wiro_nb.formatting import format_estimate, read_usd
from wiro_nb.ledger.state import RunState
from wiro_nb.presentation.models import describe_request, preview_run
from wiro_nb.presentation.reproduction import tree_output
from wiro_nb.presentation.run import run_text
from wiro_nb.presentation.run_list import describe_filters, runs_in_state, runs_output
from wiro_nb.provenance.find import find_settings
from wiro_nb.provenance.made_by import made_by_notes
from wiro_nb.reproduce import find_sources
from wiro_nb.session.lineage import chain_text, tree
from wiro_nb.session.submission import Batch
from wiro_nb.terminal import escape_controls

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run
    from wiro_nb.session.manager import Manager

_POLL_S = 0.05


def run(arguments: argparse.Namespace) -> int:
    """Sends one request, waits for it unless `--detach`, prints the files or the record."""
    manager = open_manager(arguments)
    prepared = manager.prepare(arguments.model, read_values(arguments.values, arguments.file))
    for note in prepared.notes:
        say(note)
    batch = Batch([prepared], Origin(kind="cli"), fresh=arguments.fresh)
    if arguments.dry_run:
        estimate = manager.prices.estimate(prepared)
        low, high = (estimate.low_usd, estimate.high_usd) if estimate.known else (None, None)
        forecast = {"low_usd": low, "high_usd": high, "basis": estimate.basis}
        facts = {"service": manager.service_name, "price": forecast, "seconds": estimate.seconds}
        print_answer({**describe_request(prepared), **facts}, preview_run(manager, batch), as_json=arguments.json)
        return Exit.DONE
    handle = submit(manager, batch, arguments)
    if arguments.detach:
        _wait_until_sent(handle)
        say(f"To wait for it: wiro-nb wait {handle.short_id}")
        return _report(handle, as_json=arguments.json)
    return follow(handle, as_json=arguments.json)


def submit(manager: Manager, batch: Batch, arguments: argparse.Namespace) -> Run:
    """Says the price of a batch's one request and sends it; or says which run answers it and gets its files."""
    limit, (prepared,) = read_max_cost(arguments), batch.requests
    if manager.find_made(batch) == [None]:
        price = format_estimate(manager.prices.estimate(prepared), "free" if manager.choice.is_free else "")
        say(f"{prepared.schema.slug} on {manager.service_name}: {price}")
    (submission,) = manager.submit(batch, max_cost_usd=limit, out_dir=arguments.out)
    run = submission.run
    if run.state is RunState.SUCCEEDED:
        _download_missing(run)
    if submission.notice:
        say(submission.notice)
    return run


def runs(arguments: argparse.Namespace) -> None:
    """Lists runs of the ledger, newest first; or prints all of it as a backup."""
    manager = open_manager(arguments)
    if arguments.export:
        for line in manager.ledger.export_lines():
            print(escape_controls(line))
        return
    chosen = {"model": arguments.model, "text": arguments.text}
    found = runs_in_state(manager, arguments.state, limit=arguments.limit, **chosen)
    if arguments.json:
        for item in found:
            print_json(_facts(item))
    else:
        filters = describe_filters(**chosen, state=arguments.state)
        snapshots = [item.snapshot for item in found]
        print_text(runs_output(snapshots, where="in the ledger", filters=filters).text)


def _find_run(arguments: argparse.Namespace) -> tuple[Manager, Run]:
    manager = open_manager(arguments)
    return manager, manager.get(arguments.run)


def show(arguments: argparse.Namespace) -> None:
    """Shows one run of the ledger, and what it was made from."""
    manager, handle = _find_run(arguments)
    if arguments.tree:
        found = tree(manager.ledger, handle.snapshot)
        print_answer(found.to_dict(), tree_output(found, handle.id), as_json=arguments.json)
        return
    _report(handle, as_json=arguments.json)
    if chain := chain_text(manager.ledger, handle.snapshot):
        print(f"  made from  {chain}", file=sys.stderr if arguments.json else sys.stdout)


def wait(arguments: argparse.Namespace) -> int:
    """Resumes a run and waits for it."""
    manager, handle = _find_run(arguments)
    if handle.state is RunState.SUCCEEDED:
        _download_missing(handle)
    else:
        manager.follow(handle)
    return follow(handle, as_json=arguments.json)


def cancel(arguments: argparse.Namespace) -> None:
    """Cancels a run that is waiting or running."""
    manager, handle = _find_run(arguments)
    if handle.state.is_final:
        raise InputError(
            f"run {handle.short_id} has ended already ({handle.status}), so nothing was cancelled",
            hint=f"wiro-nb show {handle.short_id}",
        )
    if not handle.done:
        manager.follow(handle)
    handle.cancel()
    handle.wait(check=False)
    _report(handle, as_json=arguments.json)


def attach(arguments: argparse.Namespace) -> int:
    """Takes a task of the service into the ledger and waits for it."""
    manager = open_manager(arguments)
    return follow(manager.attach(arguments.task, origin=Origin(kind="cli")), as_json=arguments.json)


def forget(arguments: argparse.Namespace) -> None:
    """Hides a run from the lists; its cost still counts, its files are kept."""
    manager, handle = _find_run(arguments)
    manager.ledger.forget(handle.id)
    say(f"Removed run {handle.short_id} from the list. Its files are kept.")
    if arguments.json:
        print_json(_data_of(handle))


def record(arguments: argparse.Namespace) -> None:
    """Prints the records of a source, one JSON value a line, or the settings that another program wrote."""
    manager = open_manager(arguments)
    try:
        found = find_sources(manager, arguments.source, ignore_hash=arguments.force)
    except BadRecord as error:
        settings = find_settings(arguments.source) if error.reason == "none" else None
        if settings is None:
            raise
        print_json(settings)
        return
    for item in found:
        if item.kind == "ledger" and manager.get(item.run_id).record is None:
            raise UnknownRun(
                f"run {item.short_id} has no record yet: it is {item.record['status']}",
                hint=f"%wiro wait {item.short_id}",
            )
        print_json(item.record)


def _download_missing(handle: Run) -> None:
    """Downloads the files of a finished run that are missing here. Raises as `Run.download`."""
    if handle.lacks_files:
        say(f"Some files are missing in {handle.folder}. Downloading them again at no cost.")
        handle.download()


def _wait_until_sent(handle: Run) -> None:
    """Waits until the service knows the run, for a process that ends must not leave one half sent."""
    line = ProgressLine()
    stop = handle.on_change(line)
    while handle.state in (RunState.PLANNED, RunState.SUBMITTING) and not handle.done:
        time.sleep(_POLL_S)
    stop()
    line.close()


def follow(handle: Run, *, as_json: bool) -> int:
    """Waits for a run with a moving line, prints it, and returns the exit code."""
    line = ProgressLine()
    with contextlib.ExitStack() as ends:
        ends.callback(line.close)
        try:
            ends.callback(handle.on_change(line))
            if not handle.done:
                line(handle.snapshot)  # where it stands: its next change may be far away
            handle.wait(check=False)
        except KeyboardInterrupt:
            line.close()
            say(notice := f"Stopped waiting. The run continues: wiro-nb wait {handle.short_id}")
            raise KeyboardInterrupt(notice) from None
    if handle.error is not None and not as_json:
        return report_error(handle.error)  # it says all that the run's text says
    return _report(handle, as_json=as_json)


def _report(handle: Run, *, as_json: bool) -> int:
    if as_json:
        print_json(_data_of(handle))
    else:
        print_text(run_text(handle.snapshot))
        for note in made_by_notes(handle.record or {}):
            print(f"  note: {note}")
    if handle.error is not None:
        return report_error(handle.error)
    if handle.state is RunState.SUCCEEDED and handle.lacks_files:
        say(f"Some files were not saved. To download them at no cost: wiro-nb wait {handle.short_id}")
        return Exit.SERVICE
    return exit_code(handle.state)


def _data_of(handle: Run) -> dict[str, Any]:
    """Returns the record of a run, or what is known while it has none."""
    return handle.record or _facts(handle)


def _facts(handle: Run) -> dict[str, Any]:
    shot = handle.snapshot
    return {
        "run_id": handle.id,
        "model": handle.model,
        "service": shot.service,
        "status": str(handle.state),
        "created": shot.created.isoformat() if shot.created else None,
        "task_id": handle.task_id,
        "cost_usd": handle.cost_usd,
        "parameters": handle.parameters,
        "paths": [output.path for output in handle.outputs],
    }


def read_max_cost(arguments: argparse.Namespace) -> Decimal | None:
    """Returns the amount of `--max-cost` in US dollars, or None. Raises as `read_usd`."""
    return read_usd(arguments.max_cost, "--max-cost", "--max-cost 0.50")


def read_values(pairs: list[str], files: list[str]) -> dict[str, object]:
    """Reads `name=value` settings and `--file NAME=PATH` inputs.

    Raises:
        InputError: One is written otherwise, or an input is given both ways.
    """
    values: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise InputError(f"{pair!r} is not name=value", hint='wiro-nb run MODEL prompt="a lighthouse" seed=7')
        if name in values:
            raise InvalidParameter(f"{name} is given twice; it takes one value", name=name)
        values[name] = value
    for pair in files:
        name, _, path = pair.partition("=")
        if not (name and path):
            hint = "wiro-nb run MODEL --file inputImage=photo.png"
            raise InputError(f"--file {pair!r} is not NAME=PATH", hint=hint)
        given = values.setdefault(name, [])
        if not isinstance(given, list):
            raise InvalidParameter(f"{name} is given twice", name=name)
        given.append(path)
    return values
