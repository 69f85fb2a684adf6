"""`wiro-nb rerun`, `compare`, `join`, `verify`, `seal`, `export`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from wiro_nb.cli.output import Exit, as_shell, open_manager, print_answer, print_json, say
from wiro_nb.cli.runs import follow, read_max_cost, read_values, submit
from wiro_nb.errors import InputError
from wiro_nb.execution.requests import Origin
from wiro_nb.films import Film
from wiro_nb.films.film_file import FilmTarget, find_parts, join_parts
from wiro_nb.films.plan import plan_rebuild
from wiro_nb.formatting import format_estimate
from wiro_nb.presentation.models import describe_request, preview_rerun
from wiro_nb.presentation.reproduction import Verified, comparison_output
from wiro_nb.provenance.export import CrateRun, export_crate, write_csv
from wiro_nb.reproduce import find_input, find_run, find_sources, find_to_rerun, locate_files
from wiro_nb.reproduce.compare import compare_sources
from wiro_nb.reproduce.replay import MissingFile, plan_rerun, require_ready
from wiro_nb.reproduce.seal import seal_notebook
from wiro_nb.reproduce.verify import verify as check
from wiro_nb.session.prices import Limits, confirm_total
from wiro_nb.session.submission import Batch
from wiro_nb.terminal import StatusLine

if TYPE_CHECKING:
    from wiro_nb.films.film_file import JoinedFilm
    from wiro_nb.provenance.find import Source
    from wiro_nb.reproduce.replay import Replay
    from wiro_nb.session.manager import Manager

_DEFAULT_TITLE = "Generated clips"


def rerun(arguments: argparse.Namespace) -> int:
    """Reruns runs, waits for them and prints them; an earlier rerun is shown instead of repeated."""
    manager, origin = open_manager(arguments), Origin(kind="cli")
    overrides = read_values(arguments.values, arguments.file)
    read_max_cost(arguments)  # refused in a dry run too
    found = find_to_rerun(manager, arguments.source, all=arguments.all, ignore_hash=arguments.force)
    if found[0].is_film:
        return _rebuild(manager, found[0], arguments)
    replays = [plan_rerun(manager, item, overrides, origin=origin) for item in found]
    if arguments.dry_run:
        return _preview(manager, replays, as_json=arguments.json)
    requests = require_ready(replays)
    if arguments.all:
        say(f"in all {confirm_total(manager, requests, None if arguments.yes else Limits())}")
    codes = []
    for replay, request in zip(replays, requests, strict=True):
        for line in replay.lines:
            say(as_shell(line))
        batch = Batch([request], origin, [replay.parent], fresh=arguments.fresh, is_rerun=True)
        handle = submit(manager, batch, arguments)
        codes.append(follow(handle, as_json=arguments.json))
        if handle.path is not None:
            say(f"  compare it with the first: wiro-nb compare {replay.source.typed_name} {handle.short_id}")
    return max(codes)


def _preview(manager: Manager, replays: Sequence[Replay], *, as_json: bool) -> int:
    """Prints what would be sent; the exit code is 2 when one of the requests cannot be made."""
    for replay in replays:
        price = "no price, as it cannot be sent"
        if replay.prepared is not None:
            price = format_estimate(manager.prices.estimate(replay.prepared), manager.choice.free_label)
        facts = {
            "made_from": replay.source.run_id,
            "model": replay.source.model,
            "service": manager.service_name,
            "ready": replay.prepared is not None,
            "price": price,
            "drift": [asdict(item) for item in replay.drift if not isinstance(item, MissingFile)],
            "missing": [_file_facts(item) for item in replay.drift if isinstance(item, MissingFile)],
            "notes": list(replay.notes),
            "request": None if replay.prepared is None else describe_request(replay.prepared),
        }
        print_answer(facts, preview_rerun(manager, replay), as_json=as_json)
    if len(replays) > 1:
        requests = [replay.prepared for replay in replays if replay.prepared is not None]
        say(f"in all {confirm_total(manager, requests, None)}")
    return Exit.DONE if all(replay.prepared is not None for replay in replays) else Exit.INPUT


def _file_facts(item: MissingFile) -> dict[str, str | None]:
    return {"parameter": item.parameter, "name": item.name, "sha256": item.sha256}


def compare(arguments: argparse.Namespace) -> None:
    """Prints what differs between two runs or clips; the exit code is 0 in any case."""
    sources = [arguments.left, *([arguments.right] if arguments.right else [])]
    (found,) = compare_sources(open_manager(arguments), sources)
    print_answer(found.to_dict(), comparison_output(found), as_json=arguments.json)


def verify(arguments: argparse.Namespace) -> int:
    """Checks paths, or the ledger; the exit code is 1 when there is a problem."""
    paths = [Path(path) for path in arguments.paths]
    found = Verified(check(open_manager(arguments), paths, ledger=not paths))
    facts = {"ok": found.ok, "findings": [asdict(item) for item in found.findings]}
    print_answer(facts, found, as_json=arguments.json)
    return Exit.DONE if found.ok else Exit.RUN


def seal(arguments: argparse.Namespace) -> None:
    """Writes the records of closed notebooks into their metadata."""
    manager = open_manager(arguments)
    for item in [seal_notebook(Path(path), manager) for path in arguments.notebooks]:
        if arguments.json:
            facts = {"runs": item.run_ids, "added": item.added, "changed": item.changed}
            print_json({"path": str(item.path), **facts})
        else:
            state = f"{len(item.added)} added" if item.changed else "nothing to add"
            print(f"{item.path}: {len(item.run_ids)} runs in its metadata, {state}")


def export(arguments: argparse.Namespace) -> None:
    """Writes a crate, and prints a table."""
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


def _write_crate(manager: Manager, found: Sequence[Source], arguments: argparse.Namespace) -> Path:
    runs = [CrateRun(item.record, locate_files(item, find_run(manager, item))) for item in found]

    def find(sha256: str) -> Path | None:
        places = (find_input(manager, Path.cwd(), item, sha256) for item in found)
        return next(filter(None, places), None)

    notebooks = {item.path if item.kind == "notebook" else None for item in found}
    notebook = notebooks.pop() if len(notebooks) == 1 else None
    title = arguments.title or (notebook.stem if notebook is not None else _DEFAULT_TITLE)
    done = export_crate(runs, Path(arguments.to), title=title, notebook=notebook, find_input=find)
    for line in done.left_out:
        say(line)
    return done.path


# Films ---------------------------------------------------------------------------------------


def join(arguments: argparse.Namespace) -> None:
    """Joins clips into one film and prints where it is."""
    parts, line = find_parts(open_manager(arguments), arguments.sources), StatusLine()
    audio = Path(arguments.audio) if arguments.audio else None
    target = FilmTarget(Path(arguments.out), Path.cwd(), arguments.crossfade, audio)
    film = join_parts(parts, target, on_progress=lambda done, total: line.rewrite(f"{done} of {total} frames"))
    line.close()
    _report(film, as_json=arguments.json)


def _rebuild(manager: Manager, source: Source, arguments: argparse.Namespace) -> int:
    """Makes a film again from its record, waits for it, and prints where it is."""
    if arguments.values or arguments.file:
        raise InputError("a film is rerun unchanged: it takes no inputs", hint=f"%wiro rerun {source.name}")
    limit, out_dir = read_max_cost(arguments), arguments.out
    origin = Origin(kind="cli")
    plan = plan_rebuild(manager, source, origin=origin, fresh=arguments.fresh, max_cost_usd=limit, out_dir=out_dir)
    say(f"{source.name}, {len(plan.shots)} shots on {manager.service_name}: {plan.total.describe()}")
    if arguments.dry_run:
        return Exit.DONE
    film, line = Film.start(manager, plan, None if arguments.yes else Limits()), StatusLine()
    film.on_change(lambda: line.rewrite(f"{film!r}"))
    film.wait()
    line.close()
    if film.joined is None:
        raise InputError(f"{source.name} has one part: it is made, and nothing is joined", hint="%wiro runs")
    _report(film.joined, as_json=arguments.json)
    return Exit.DONE


def _report(film: JoinedFilm, *, as_json: bool) -> None:
    if as_json:
        print_json(film.record)
        return
    print(film.path)
    for sentence in film.sentences:
        say(f"  {as_shell(sentence)}")
