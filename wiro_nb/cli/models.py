"""`wiro-nb models`, `schema`, `login`, `logout`, `local`: models of a service, its key, models of this machine."""

from __future__ import annotations

import argparse
import getpass
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wiro_nb import local_models
from wiro_nb.cli.output import Exit, open_manager, print_answer, print_json, print_table, print_text, say
from wiro_nb.cli.runs import read_values
from wiro_nb.errors import ConfirmationNeeded, ConnectFailed, InputError, UnknownModel, UnreadableSchema
from wiro_nb.files import is_there
from wiro_nb.formatting import format_size, format_time_left
from wiro_nb.json_values import load_json
from wiro_nb.local_models import LocalModel, Repository, weights
from wiro_nb.local_models.doctor import check_machine, check_models, probe_machine
from wiro_nb.local_models.weights import Download, locate, missing
from wiro_nb.presentation.models import ModelInfo, listed_models, models_output
from wiro_nb.redaction import SecretText, register_secret
from wiro_nb.schema import ModelSchema, find_bundled, near_models, read_detail, read_page
from wiro_nb.schema.coerce import Problem, coerce
from wiro_nb.terminal import StatusLine

_CARD_FACTS = ("slug", "title", "description", "categories", "tags", "cover", "run_count", "notice")
_MAX_PAGE_BYTES = 5_000_000
_LOOK_EVERY_S = 0.5


def models(arguments: argparse.Namespace) -> None:
    """Lists the service's models, or the bundled ones where it cannot be reached."""
    query = " ".join(arguments.query)
    manager = open_manager(arguments)
    cards, choice = listed_models(manager.models(query), query), manager.choice
    if not arguments.json:
        print_text(models_output(cards, query, choice.label, choice.free_label).text)
        return
    for card in cards:
        print_json({name: getattr(card, name) for name in _CARD_FACTS})


def schema(arguments: argparse.Namespace) -> None:
    """Prints a model's inputs, read from the service, a file or an address."""
    found = _read_schema(arguments)
    print_answer(found.to_dict(), ModelInfo(found), as_json=arguments.json)


def _read_schema(arguments: argparse.Namespace) -> ModelSchema:
    """Reads a model by name, from the text of its page, or from a saved Tool/Detail answer.

    Raises:
        UnknownModel, UnreadableSchema: There is no such model, or none in the text.
    """
    source, path = arguments.source, Path(arguments.source)
    if is_there(path) and path.is_file():
        try:
            name, content = path.name, path.read_bytes()
        except OSError as error:
            raise UnreadableSchema(f"{path.name} cannot be read: {error.strerror}") from None
    elif source.startswith(("http://", "https://")):
        name, content = source, _fetch_page(source)
    else:
        return open_manager(arguments).schema(source)
    text = content.decode("utf-8", "replace")
    if not text.lstrip().startswith("{"):
        return read_page(text, source_name=name)
    answer = load_json(text)
    if not isinstance(answer, dict):
        raise UnreadableSchema(f"{name} is not whole JSON", source=name)
    return read_detail(answer, source_name=name)


def _fetch_page(url: str) -> bytes:
    import httpx2

    try:
        with httpx2.stream("GET", url, timeout=30, follow_redirects=True) as answer:
            data = next(answer.iter_bytes(_MAX_PAGE_BYTES), b"")
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ConnectFailed(
            f"{url} cannot be read: {str(error) or type(error).__name__}",
            hint="check the address, or save the page and give the file",
        ) from None
    if answer.status_code != 200:
        raise UnreadableSchema(f"{url} answered with HTTP {answer.status_code}", source=url)
    if len(data) == _MAX_PAGE_BYTES:
        raise UnreadableSchema(f"{url} is too large for a model page", source=url)
    return data


# Keys ----------------------------------------------------------------------------------------


def login(arguments: argparse.Namespace) -> None:
    """Checks a key with its service and stores it; from a pipe the first two lines are key and secret."""
    key = _read_secret("API key (it is not shown): ")
    if not key:
        raise InputError("no key was given, nothing was changed", hint="wiro-nb login")
    secret = _read_secret("API secret (Enter if the project has none): ")
    services = open_manager(arguments).services
    place = services.login(key, secret or None, name=arguments.name, base_url=arguments.base_url)
    say(f"The key works and is kept in the {place}. To use it: --service {arguments.name}")


def logout(arguments: argparse.Namespace) -> None:
    """Removes a stored key."""
    removed = open_manager(arguments).services.logout(arguments.name)
    say(f"The key of {arguments.name} is removed." if removed else f"No key of {arguments.name} was stored.")


def _read_secret(prompt: str) -> SecretText:
    text = getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline()
    secret = SecretText(text.strip())
    register_secret(secret)
    return secret


# Models on this machine ----------------------------------------------------------------------


def local(arguments: argparse.Namespace) -> int:
    """Downloads or deletes the weights of a model, lists them, or says what this machine can run."""
    if arguments.action == "list":
        return _list(as_json=arguments.json)
    if arguments.action == "doctor":
        return _doctor(as_json=arguments.json)
    if not arguments.model:
        raise InputError("a model is missing", hint=f"wiro-nb local {arguments.action} wiro/animate-diff")
    model = local_models.find(arguments.model)
    if model is None:
        near = near_models(arguments.model, (item.name for item in local_models.models()))
        raise UnknownModel(
            f"no weights are known for {arguments.model}",
            details=[f"Did you mean {' or '.join(near)}?"] if near else [],
            hint="wiro-nb local list; local.toml adds models", billed="", model=arguments.model, near=near,
        )  # fmt: skip
    return _pull(model, arguments) if arguments.action == "pull" else _remove(model)


def _pull(model: LocalModel, arguments: argparse.Namespace) -> int:
    downloads, root = [], weights.weights_dirs()[0]
    if lacking := missing(model, _settings(model, arguments.values)):
        downloads = [weights.plan_download(repository, root) for repository in lacking]
        rows = [
            (
                item.repository.id,
                format_size(item.total_bytes),
                format_size(sum(item.missing.values())),
                item.manifest.commit[:12],
                _licence(item),
            )
            for item in downloads
        ]
        print_table(rows, heads=("repository", "size", "to download", "commit", "licence"))
        total = format_size(sum(sum(item.missing.values()) for item in downloads))
        print(f"{total} to download, into {root}")
        weights.check_space(downloads, root)
        _accept(weights.open_licences(downloads), given=arguments.accept_licence)
    for download in downloads:
        with _progress(download):
            weights.fetch(download, root)
    print(f"The weights of {model.name} are here.{' Next: wiro-nb local doctor' if downloads else ''}")
    return Exit.DONE


def _settings(model: LocalModel, values: list[str]) -> Mapping[str, Any]:
    """Returns the settings of a run: the defaults, and the given ones typed as for a run."""
    schema = find_bundled(model.name)
    parameters = {item.id: item for item in schema.parameters} if schema is not None else {}
    chosen: dict[str, Any] = {name: item.default for name, item in parameters.items()}
    for name, value in read_values(values, []).items():
        try:
            chosen[name] = coerce(parameters[name], value)
        except (KeyError, Problem) as error:
            is_known = name in parameters
            problem = f"{name}={value}: {error}" if is_known else f"{name} is no input of {model.name}"
            raise InputError(problem, hint=f"wiro-nb schema {model.name}", name=name) from None
    return chosen


def _licence(download: Download) -> str:
    known, page = download.repository.licence, download.page_licence
    return known if page.lower() in known.lower() else f"{known}; its page says: {page}"


def _accept(downloads: Sequence[Download], *, given: bool) -> None:
    """Asks once for the licences that were not accepted on this machine."""
    if not downloads:
        return
    if not given and not sys.stdin.isatty():
        names = ", ".join(item.repository.id for item in downloads)
        raise ConfirmationNeeded(
            f"the licences of {names} were not accepted on this machine",
            hint="read them, then add --accept-licence", billed="", runs=0, low_usd=None, high_usd=None,
        )  # fmt: skip
    if not given:
        for item in downloads:
            print(f"{_licence(item)}: https://huggingface.co/{item.repository.id}")
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


def _list(*, as_json: bool) -> int:
    rows = []
    for model in local_models.models():
        lacking, state = missing(model, {}), "here"
        if lacking:
            known = sum(item.bytes_estimate for item in lacking)
            about = "about" if all(item.bytes_estimate for item in lacking) else "over"
            state = f"not here, {about} {format_size(known)}" if known else "not here"
        here = {item.id: locate(item) is not None for item in model.repositories}
        extra = [here[item.id] for item in model.repositories if item.settings]
        present = f"{sum(extra)} of {len(extra)}" if extra else ""
        rows.append((model.name, state, present, weights.pull_command(model) if lacking else ""))
        if as_json:
            print_json({"model": model.name, "is_here": not lacking, "repositories": here})
    if not as_json:
        print_table(rows, heads=("model", "weights", "for settings", "next"))
        print("Weights for one setting: wiro-nb local pull MODEL name=value")
    return Exit.DONE


def _doctor(*, as_json: bool) -> int:
    say("Asking the interpreter that generates; torch takes a moment to load.")
    machine = probe_machine()
    here, checks = check_machine(machine), check_models(machine)
    for check in (*here, *checks):
        if as_json:
            print_json(asdict(check))
            continue
        print(f"{'ok' if check.is_fine else 'no':3}{check.subject}: {check.finding}")
        if check.hint:
            print(f"     next: {check.hint}")
    return Exit.DONE if any(check.is_fine for check in checks) else Exit.RUN


def _remove(model: LocalModel) -> int:
    """Deletes what pulls stored for a model; what another model here needs too, or another program, stays."""
    others: set[str] = set()
    for other in local_models.models():
        if other.name != model.name and not missing(other):
            others.update(item.id for item in other.repositories)
    freed, left = 0, []
    for repository in model.repositories:
        if repository.id not in others:
            freed += _delete_pulled(repository)
        if locate(repository) is not None:
            left.append(repository.id)
    print(f"{format_size(freed)} freed." if freed else f"No pulled weights of {model.name} are here.")
    if left:
        print(f"Left, since wiro-nb did not fetch them or another model needs them: {', '.join(left)}")
    return Exit.DONE if freed or not left else Exit.INPUT


def _delete_pulled(repository: Repository) -> int:
    """Deletes what a pull stored of a repository, and returns its size in bytes."""
    freed = 0
    for root in weights.weights_dirs():
        folder = weights.repository_dir(root, repository.id)
        if (manifest := weights.read_manifest(folder)) is not None:
            freed += sum(manifest.files.values())
            shutil.rmtree(folder)
    return freed
