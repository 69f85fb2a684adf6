"""`wiro-nb models`, `schema`, `login`, `logout`: what a service offers, and the key to it."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from pathlib import Path

from wiro_nb.cli.output import open_manager, print_answer, print_json, print_text, say
from wiro_nb.errors import ConnectFailed, InputError, UnreadableSchema
from wiro_nb.presentation.models import ModelInfo, listed_models, models_output
from wiro_nb.provenance.reading import is_there
from wiro_nb.redaction import SecretText, register_secret
from wiro_nb.schema import ModelSchema

_CARD_FACTS = ("slug", "title", "description", "categories", "tags", "cover", "run_count", "notice")
_MAX_PAGE_BYTES = 5_000_000


def models(arguments: argparse.Namespace) -> None:
    """Lists the service's models, or the bundled ones where it cannot be reached."""
    query = " ".join(arguments.query)
    manager = open_manager(arguments)
    cards, choice = listed_models(manager.models(query), query), manager.choice
    if arguments.json:
        for card in cards:
            print_json({name: getattr(card, name) for name in _CARD_FACTS})
    else:
        print_text(models_output(cards, query, choice.label, choice.free_label).text)


def schema(arguments: argparse.Namespace) -> None:
    """Prints a model's inputs, read from the service, a file or an address."""
    found = _read(arguments)
    print_answer(found.to_dict(), ModelInfo(found).output().text, as_json=arguments.json)


def _read(arguments: argparse.Namespace) -> ModelSchema:
    source, path = arguments.source, Path(arguments.source)
    if is_there(path) and path.is_file():
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UnreadableSchema(f"{path.name} cannot be read: {error.strerror}") from None
        return read_schema_text(content, path.name)
    if source.startswith(("http://", "https://")):
        return read_schema_text(_fetch(source), source)
    return open_manager(arguments).schema(source)


def read_schema_text(data: bytes, name: str) -> ModelSchema:
    """Reads a model from the text of its page or from a saved Tool/Detail answer.

    Raises:
        UnreadableSchema: Neither reader finds a model in it.
    """
    from wiro_nb.schema import read_detail, read_page

    text = data.decode("utf-8", "replace")
    if text.lstrip().startswith("{"):
        try:
            answer = json.loads(text)
        except ValueError:
            raise UnreadableSchema(f"{name} is not whole JSON", source=name) from None
        return read_detail(answer, source_name=name)
    return read_page(text, source_name=name)


def _fetch(url: str) -> bytes:
    import httpx2

    failure = ""
    try:
        with httpx2.stream("GET", url, timeout=30, follow_redirects=True) as answer:
            if answer.status_code != 200:
                raise UnreadableSchema(f"{url} answered with HTTP {answer.status_code}", source=url)
            data = bytearray()
            for chunk in answer.iter_bytes():
                data += chunk
                if len(data) > _MAX_PAGE_BYTES:
                    raise UnreadableSchema(f"{url} is too large for a model page", source=url)
            return bytes(data)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        failure = str(error) or type(error).__name__
    raise ConnectFailed(
        f"{url} cannot be read: {failure}", hint="check the address, or save the page and give the file"
    )


# Keys ----------------------------------------------------------------------------------------


def login(arguments: argparse.Namespace) -> None:
    """Checks a key with its service and stores it; from a pipe the first two lines are key and secret."""
    from wiro_nb.session import get_manager

    key = _read_secret("API key (it is not shown): ")
    if not key:
        raise InputError("no key was given, nothing was changed", hint="wiro-nb login")
    secret = _read_secret("API secret (Enter if the project has none): ")
    services = get_manager().services
    place = services.login(key, secret or None, name=arguments.name, base_url=arguments.base_url)
    where = "system's keyring" if place == "keyring" else "data folder of wiro_nb, readable by you alone"
    say(f"The key works and is kept in the {where}. To use it: --service {arguments.name}")


def logout(arguments: argparse.Namespace) -> None:
    """Removes a stored key."""
    from wiro_nb.session import get_manager

    removed = get_manager().services.logout(arguments.name)
    say(f"The key of {arguments.name} is removed." if removed else f"No key of {arguments.name} was stored.")


def _read_secret(prompt: str) -> SecretText:
    text = getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline()
    secret = SecretText(text.strip())
    register_secret(secret)
    return secret
