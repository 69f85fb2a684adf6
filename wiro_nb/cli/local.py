"""`wiro-nb local`: weights of the models that run on this machine, and what the machine can run."""

from __future__ import annotations

import argparse
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wiro_nb.cli.output import EXIT_DONE, EXIT_INPUT, EXIT_RUN, StatusLine, print_json, print_table, say
from wiro_nb.cli.runs import read_values
from wiro_nb.errors import ConfirmationNeeded, InputError, UnknownModel
from wiro_nb.local_models import weights
from wiro_nb.local_models.catalog import LocalModel, Repository, find, models
from wiro_nb.local_models.doctor import Check, check_machine, check_models, probe_machine
from wiro_nb.local_models.weights import Download, locate, missing
from wiro_nb.presentation.formatting import format_size, format_time_left
from wiro_nb.schema import find_bundled, near_models
from wiro_nb.schema.coerce import ValueRefused, coerce

ACTIONS = ("pull", "list", "doctor", "rm")
_LOOK_EVERY_S = 0.5


def local(arguments: argparse.Namespace) -> int:
    """Performs one of `ACTIONS`."""
    if arguments.action in ("pull", "rm") and not arguments.model:
        raise InputError("a model is missing", hint=f"wiro-nb local {arguments.action} wiro/animate-diff")
    if arguments.action == "rm":
        return _remove(_find(arguments.model))
    if arguments.action == "doctor":
        return _doctor(arguments)
    (_pull if arguments.action == "pull" else _list)(arguments)
    return EXIT_DONE


def _find(name: str) -> LocalModel:
    model = find(name)
    if model is None:
        near = near_models(name, (item.name for item in models()))
        details = [f"Did you mean {' or '.join(near)}?"] if near else []
        hint = "wiro-nb local list; local.toml adds models"
        raise UnknownModel(
            f"no weights are known for {name}", details=details, hint=hint, billed="", model=name, near=near
        )
    return model


# pull --------------------------------------------------------------------------------------------


def _pull(arguments: argparse.Namespace) -> None:
    model = _find(arguments.model)
    lacking = missing(model, _settings(model, arguments.values))
    if not lacking:
        print(f"The weights of {model.name} are here.")
        return
    root = weights.weights_dirs()[0]
    downloads = [weights.plan_download(repository, root) for repository in lacking]
    _show(downloads, root)
    weights.check_space(downloads, root)
    _accept(weights.open_licences(downloads), given=arguments.accept_licence)
    for download in downloads:
        with _progress(download):
            weights.fetch(download, root)
    print(f"The weights of {model.name} are here. Next: wiro-nb local doctor")


def _settings(model: LocalModel, values: list[str]) -> Mapping[str, Any]:
    """Returns the settings of a run: the defaults, and the given ones typed as for a run."""
    schema = find_bundled(model.name)
    parameters = {item.id: item for item in schema.parameters} if schema is not None else {}
    chosen: dict[str, Any] = {name: item.default for name, item in parameters.items()}
    for name, value in read_values(values, []).items():
        if name not in parameters:
            raise InputError(f"{name} is no input of {model.name}", hint=f"wiro-nb schema {model.name}", name=name)
        try:
            chosen[name] = coerce(parameters[name], value)
        except ValueRefused as refusal:
            raise InputError(
                f"{name}={value}: {refusal}", hint=f"wiro-nb schema {model.name}", name=name
            ) from None
    return chosen


def _show(downloads: Sequence[Download], root: Path) -> None:
    rows = [
        (
            item.repository.id,
            format_size(item.total_bytes),
            format_size(sum(item.missing.values())),
            item.manifest.commit[:12],
            _licence(item.repository, item.page_licence),
        )
        for item in downloads
    ]
    print_table(rows, heads=("repository", "size", "to download", "commit", "licence"))
    total = format_size(sum(sum(item.missing.values()) for item in downloads))
    print(f"{total} to download, into {root}")


def _licence(repository: Repository, page_licence: str) -> str:
    if not page_licence or page_licence.lower() in repository.licence.lower():
        return repository.licence
    return f"{repository.licence}; its page says: {page_licence}"


def _accept(downloads: Sequence[Download], *, given: bool) -> None:
    """Asks once for the licences that were not accepted on this machine."""
    if not downloads:
        return
    if not given:
        if not sys.stdin.isatty():
            names = ", ".join(item.repository.id for item in downloads)
            raise ConfirmationNeeded(
                f"the licences of {names} were not accepted on this machine",
                hint="read them, then add --accept-licence", billed="", runs=0, low_usd=None, high_usd=None,
            )  # fmt: skip
        for item in downloads:
            licence = _licence(item.repository, item.page_licence)
            print(f"{licence}: https://huggingface.co/{item.repository.id}")
        if input("Do you accept these licences? [yes/no] ").strip().lower() not in ("y", "yes"):
            raise InputError("the licences were not accepted, so nothing was downloaded", hint="")
    weights.accept_licences(downloads)


@contextmanager
def _progress(download: Download) -> Iterator[None]:
    """Shows the bytes on disk while a repository is fetched: one line in a terminal, else its begin and end."""
    ended, total, line = threading.Event(), format_size(download.total_bytes), StatusLine()

    def follow() -> None:
        began, first = time.monotonic(), download.stored_bytes
        while not ended.wait(_LOOK_EVERY_S):
            stored = download.stored_bytes
            rate = (stored - first) / (time.monotonic() - began)
            left = f", {format_time_left((download.total_bytes - stored) / rate)}" if rate > 0 else ""
            line.rewrite(f"{download.repository.id}: {format_size(stored)} of {total}{left}")

    follower = threading.Thread(target=follow, name="wiro-pull-progress", daemon=True)
    follower.start()
    if not line.is_terminal:
        say(f"{download.repository.id}: {total}")
    try:
        yield
    finally:
        ended.set()
        follower.join()
        line.rewrite("")
    say(f"{download.repository.id}: {total}, whole")


# list, doctor, rm --------------------------------------------------------------------------------


def _list(arguments: argparse.Namespace) -> None:
    rows = []
    for model in models():
        lacking = missing(model, {})
        known = sum(item.bytes_estimate for item in lacking)
        about = "about" if all(item.bytes_estimate for item in lacking) else "over"
        size = f", {about} {format_size(known)}" if known else ""
        state = f"not here{size}" if lacking else "here"
        if arguments.json:
            here = {item.id: locate(item) is not None for item in model.repositories}
            print_json({"model": model.name, "is_here": not lacking, "repositories": here})
        extra = [item for item in model.repositories if item.settings]
        present = f"{sum(locate(item) is not None for item in extra)} of {len(extra)}" if extra else ""
        rows.append((model.name, state, present, weights.pull_command(model) if lacking else ""))
    if not arguments.json:
        print_table(rows, heads=("model", "weights", "for settings", "next"))
        print("Weights for one setting: wiro-nb local pull MODEL name=value")


def _doctor(arguments: argparse.Namespace) -> int:
    say("Asking the interpreter that generates; torch takes a moment to load.")
    machine = probe_machine()
    here, checks = check_machine(machine), check_models(machine)
    if arguments.json:
        for check in (*here, *checks):
            print_json(asdict(check))
    else:
        for check in (*here, *checks):
            _print_check(check)
    return EXIT_DONE if any(check.is_fine for check in checks) else EXIT_RUN


def _print_check(check: Check) -> None:
    print(f"{'ok' if check.is_fine else 'no':3}{check.subject}: {check.finding}")
    if check.hint:
        print(f"     next: {check.hint}")


def _remove(model: LocalModel) -> int:
    """Deletes what pulls stored for a model; what another model here needs too, or another program, stays."""
    others = {
        item.id
        for other in models()
        if other.name != model.name and not missing(other)
        for item in other.repositories
    }
    freed, left = 0, []
    for repository in model.repositories:
        for folder in (weights.repository_dir(root, repository.id) for root in weights.weights_dirs()):
            manifest = weights.read_manifest(folder)
            if manifest is not None and repository.id not in others:
                freed += sum(manifest.files.values())
                shutil.rmtree(folder)
        if locate(repository) is not None:
            left.append(repository.id)
    print(f"{format_size(freed)} freed." if freed else f"No pulled weights of {model.name} are here.")
    if left:
        print(f"Left, since wiro-nb did not fetch them or another model needs them: {', '.join(left)}")
    return EXIT_DONE if freed or not left else EXIT_INPUT
