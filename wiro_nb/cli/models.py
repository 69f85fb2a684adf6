"""`wiro-nb models` and `wiro-nb schema`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wiro_nb.cli.output import EXIT_DONE, print_json, print_table
from wiro_nb.errors import ConnectFailed, UnreadableSchema
from wiro_nb.provenance.reading import is_there
from wiro_nb.schema import ModelSchema

if TYPE_CHECKING:
    from wiro_nb.services.catalogue import ModelCard

_MAX_PAGE_BYTES = 5_000_000


def models(arguments: argparse.Namespace) -> int:
    """Lists the service's models, or the bundled ones where it cannot be reached."""
    from wiro_nb.session.manager import get_manager

    manager = get_manager()
    if arguments.service:
        manager.use(arguments.service)
    cards = manager.models(" ".join(arguments.query))
    if arguments.json:
        for card in cards:
            print_json(_card_facts(card))
        return EXIT_DONE
    if not cards and arguments.query:
        print(f"no model fits “{' '.join(arguments.query)}”; all of them: wiro-nb models")
        return EXIT_DONE
    print_table(
        [(card.slug, ", ".join(card.categories[:3]), card.description) for card in cards],
        heads=("model", "categories", "what it does"),
    )
    return EXIT_DONE


def _card_facts(card: ModelCard) -> dict[str, Any]:
    names = ("slug", "title", "description", "categories", "tags", "cover", "run_count")
    return {name: getattr(card, name) for name in names}


def schema(arguments: argparse.Namespace) -> int:
    """Prints a model's inputs, read from the service, a file or an address."""
    found = _read(arguments.source, arguments.service)
    if arguments.json:
        print_json(found.to_dict())
        return EXIT_DONE
    print(f"{found.slug}: {found.description or found.title}")
    if found.free_form:
        print("this model publishes no inputs: any name=value is sent as it stands")
        return EXIT_DONE
    rows = []
    for parameter in found.parameters:
        default = parameter.default or ""
        default = default if isinstance(default, str) else ", ".join(default)
        choices = ", ".join(option.label for option in parameter.options)
        rows.append(
            (
                parameter.id + (" (required)" if parameter.required else ""),
                parameter.type,
                default if len(default) <= 24 else default[:23] + "…",
                "; ".join(text for text in (parameter.help, choices, parameter.rule) if text),
            )
        )
    print_table(rows, heads=("input", "type", "default", "help and choices"))
    return EXIT_DONE


def _read(source: str, service: str | None) -> ModelSchema:
    path = Path(source)
    if is_there(path) and path.is_file():
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UnreadableSchema(f"{path.name} cannot be read: {error.strerror}") from None
        return read_schema_text(content, path.name)
    if source.startswith(("http://", "https://")):
        return read_schema_text(_fetch(source), source)
    from wiro_nb.session.manager import get_manager

    manager = get_manager()
    if service:
        manager.use(service)
    return manager.schema(source)


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
