"""`wiro-nb rerun`, `compare`, `join`, `verify`, `seal`, `export`."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wiro_nb import config
from wiro_nb.cli.output import (
    EXIT_DONE,
    EXIT_INPUT,
    EXIT_RUN,
    StatusLine,
    as_shell,
    open_manager,
    print_answer,
    print_json,
    say,
)
from wiro_nb.cli.runs import follow, read_amount, read_values, report_reuse
from wiro_nb.errors import InputError

if TYPE_CHECKING:
    from wiro_nb.films.film_file import JoinedFilm
    from wiro_nb.reproduce import Source
    from wiro_nb.reproduce.replay import Replay
    from wiro_nb.session.manager import Manager
    from wiro_nb.session.prices import Limits

_DEFAULT_TITLE = "Generated clips"


def rerun(arguments: argparse.Namespace) -> int:
    """Reruns runs, waits for them and prints them; an earlier rerun is shown instead of repeated."""
    from wiro_nb.execution.request_rows import Origin
    from wiro_nb.reproduce import find_source, find_sources
    from wiro_nb.reproduce.replay import plan_rerun, refuse, send

    manager = open_manager(arguments)
    limit = read_amount(arguments.max_cost)
    overrides = read_values(arguments.values, arguments.file)
    if arguments.all:
        found = find_sources(manager, arguments.source, ignore_hash=arguments.force)
    else:
        found = [find_source(manager, arguments.source, ignore_hash=arguments.force)]
    if not arguments.all and found[0].is_film:
        _rebuild(manager, found[0], arguments)
        return EXIT_DONE
    found = [item for item in found if not item.is_film]  # its shots are runs of their own
    replays = [plan_rerun(manager, item, overrides, origin=Origin(kind="cli")) for item in found]
    if arguments.dry_run:
        return _preview(manager, replays, as_json=arguments.json)
    stopped = next((item for item in replays if item.prepared is None), None)
    if stopped is not None:
        raise refuse(stopped)
    if arguments.all:
        _confirm(manager, replays, _limits(arguments.yes))
    codes = []
    for replay in replays:
        say(f"{replay.source.model} on {manager.service_name}: {_price(manager, replay)}")
        for line in replay.lines:
            say(f"  {as_shell(line)}")
        submission = send(
            manager,
            replay,
            origin=Origin(kind="cli"),
            max_cost_usd=limit,
            out_dir=arguments.out or None,
            fresh=arguments.fresh,
        )
        handle = submission.run
        if not submission.is_new:
            report_reuse(handle)
        codes.append(follow(handle, as_json=arguments.json))
        if handle.path is not None:
            say(f"  compare it with the first: wiro-nb compare {replay.source.typed_name} {handle.short_id}")
    return max(codes)


def compare(arguments: argparse.Namespace) -> None:
    """Prints what differs between two runs or clips; the exit code is 0 in any case."""
    from wiro_nb.presentation.reproduction import comparison_output
    from wiro_nb.reproduce.compare import compare_sides, find_side, parent_side

    manager = open_manager(arguments)
    left = find_side(manager, arguments.left)
    if arguments.right is None:
        left, right = parent_side(manager, left), left
    else:
        right = find_side(manager, arguments.right)
    found = compare_sides(left, right)
    print_answer(found.to_dict(), comparison_output(found).text, as_json=arguments.json)


def verify(arguments: argparse.Namespace) -> int:
    """Checks paths, or the ledger; the exit code is 1 when there is a problem."""
    from wiro_nb.presentation.reproduction import verify_output
    from wiro_nb.reproduce.verify import verify as check

    paths = [Path(path) for path in arguments.paths]
    findings = check(open_manager(arguments), paths, ledger=not paths)
    has_problem = any(item.level == "problem" for item in findings)
    facts = {"ok": not has_problem, "findings": [asdict(item) for item in findings]}
    print_answer(facts, verify_output(findings).text, as_json=arguments.json)
    return EXIT_RUN if has_problem else EXIT_DONE


def seal(arguments: argparse.Namespace) -> None:
    """Writes the records of closed notebooks into their metadata."""
    from wiro_nb.reproduce.seal import seal as seal_notebook

    manager = open_manager(arguments)
    done = [seal_notebook(manager, Path(path)) for path in arguments.notebooks]
    for item in done:
        if arguments.json:
            facts = {"runs": item.run_ids, "added": item.added, "changed": item.changed}
            print_json({"path": str(item.path), **facts})
        else:
            state = f"{len(item.added)} added" if item.changed else "nothing to add"
            print(f"{item.path}: {len(item.run_ids)} runs in its metadata, {state}")


def export(arguments: argparse.Namespace) -> None:
    """Writes a crate, and prints a table."""
    from wiro_nb.provenance.export import write_csv
    from wiro_nb.reproduce import find_sources

    if not (arguments.to or arguments.csv):
        raise InputError(
            "say what to export: --to DIR for a crate, --csv for a table",
            hint=f"wiro-nb export {arguments.sources[0]} --to DIR",
        )
    manager = open_manager(arguments)
    sources = {item.run_id: item for word in arguments.sources for item in find_sources(manager, word)}
    found = sorted(sources.values(), key=lambda item: item.run_id)
    if arguments.to:
        say(f"crate written: {_write_crate(manager, found, arguments)}")
    if arguments.csv:
        print(write_csv([item.record for item in found]), end="")


def _write_crate(manager: Manager, found: list[Source], arguments: argparse.Namespace) -> Path:
    from wiro_nb.provenance.export import CrateRun, export_crate
    from wiro_nb.reproduce import find_input
    from wiro_nb.reproduce.compare import find_side

    runs = []
    for item in found:
        side = find_side(manager, item.name if item.path is not None else item.run_id)
        runs.append(CrateRun(item.record, side.files))
    finders = [find_input(manager, Path.cwd(), item) for item in found]

    def find(sha256: str) -> Path | None:
        return next((path for finder in finders if (path := finder(sha256)) is not None), None)

    notebooks = {item.path for item in found if item.kind == "notebook"}
    notebook = notebooks.pop() if len(notebooks) == 1 and all(item.kind == "notebook" for item in found) else None
    title = arguments.title or (notebook.stem if notebook is not None else _DEFAULT_TITLE)
    done = export_crate(runs, Path(arguments.to), title=title, notebook=notebook, find_input=find)
    for line in done.left_out:
        say(line)
    return done.path


def _confirm(manager: Manager, replays: list[Replay], limits: Limits | None) -> None:
    """Prints the total estimate; requires `--yes` above the limits.

    Raises:
        ConfirmationNeeded: It is more than the limits.
    """
    from wiro_nb.session.prices import confirm_total

    requests = [item.prepared for item in replays if item.prepared is not None]
    say(f"in all {confirm_total(manager, requests, limits)}")


def _limits(yes: bool) -> Limits | None:
    from wiro_nb.session.prices import Limits

    return None if yes else Limits(config.SWEEP_LIMIT_USD, config.SWEEP_LIMIT_RUNS)


def _preview(manager: Manager, replays: list[Replay], *, as_json: bool) -> int:
    """Prints what would be sent; the exit code is 2 when one of the requests cannot be made."""
    from wiro_nb.presentation.models import preview_rerun

    for replay in replays:
        print_answer(_facts(manager, replay), preview_rerun(manager, replay).text, as_json=as_json)
    if len(replays) > 1:
        _confirm(manager, replays, None)
    return EXIT_DONE if all(replay.prepared is not None for replay in replays) else EXIT_INPUT


def _facts(manager: Manager, replay: Replay) -> dict[str, Any]:
    from wiro_nb.presentation.models import describe_request

    return {
        "made_from": replay.source.run_id,
        "model": replay.source.model,
        "service": manager.service_name,
        "ready": replay.prepared is not None,
        "price": _price(manager, replay),
        "drift": [asdict(item) for item in replay.drift],
        "notes": list(replay.notes),
        "request": None if replay.prepared is None else describe_request(replay.prepared),
    }


def _price(manager: Manager, replay: Replay) -> str:
    from wiro_nb.presentation.models import format_estimate

    if replay.prepared is None:
        return "no price, as it cannot be sent"
    return format_estimate(manager.prices.estimate(replay.prepared), manager.choice.free_label)


# Films ---------------------------------------------------------------------------------------


def join(arguments: argparse.Namespace) -> None:
    """Joins clips into one film and prints where it is."""
    from wiro_nb.films.film_file import find_parts, join_parts

    parts, line = find_parts(open_manager(arguments), arguments.sources), StatusLine()
    film = join_parts(
        parts,
        Path(arguments.out),
        base=Path.cwd(),
        crossfade_s=arguments.crossfade,
        audio=Path(arguments.audio) if arguments.audio else None,
        on_progress=lambda done, total: line.rewrite(f"{done} of {total} frames"),
    )
    line.close()
    _report(film, as_json=arguments.json)


def _rebuild(manager: Manager, source: Source, arguments: argparse.Namespace) -> None:
    """Makes a film again from its record, waits for it, and prints where it is."""
    from wiro_nb.execution.request_rows import Origin
    from wiro_nb.films import Film
    from wiro_nb.films.plan import plan_rebuild
    from wiro_nb.session.prices import describe_plan

    if arguments.values or arguments.file:
        raise InputError("a film is rerun unchanged: it takes no inputs", hint=f"%wiro rerun {source.name}")
    plan, target = plan_rebuild(manager, source, origin=Origin(kind="cli"), fresh=arguments.fresh)
    say(f"{source.name}, {len(plan.shots)} shots on {manager.service_name}: {describe_plan(plan)}")
    if arguments.dry_run:
        return
    target = replace(target, max_cost_usd=read_amount(arguments.max_cost), out_dir=arguments.out)
    film, line = Film.start(manager, plan, target, _limits(arguments.yes)), StatusLine()
    film.on_change(lambda: line.rewrite(f"{film!r}"))
    film.wait()
    line.close()
    if film.joined is None:
        raise InputError(f"{source.name} has one part: it is made, and nothing is joined", hint="%wiro runs")
    _report(film.joined, as_json=arguments.json)


def _report(film: JoinedFilm, *, as_json: bool) -> None:
    if as_json:
        print_json(film.record)
        return
    print(film.path)
    for sentence in film.sentences:
        say(f"  {as_shell(sentence)}")
