"""The model catalogue: bundled models, the service's models, and a disk cache of its answers.

The schemas that runs were planned with are archived by hash, `<data folder>/schemas/<sha256>.json`, so that a
later replay can name what has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from wiro_nb.api.answers import ModelCard, ModelDetail
from wiro_nb.api.pricing import read_pricing
from wiro_nb.config import LOCAL
from wiro_nb.errors import NotAccessible, TransportError, UnknownModel, UnreadableSchema, WiroError
from wiro_nb.files import write_atomically
from wiro_nb.json_values import hash_json
from wiro_nb.local_models import find
from wiro_nb.local_models.weights import missing, pull_command
from wiro_nb.schema import bundled_models, find_bundled, near_models
from wiro_nb.schema.types import ModelSchema, describe_changes, schema_from_dict
from wiro_nb.services.connection import Connection

_FOLDER = "schemas"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_log = logging.getLogger(__name__)
_FRESH = timedelta(hours=24)
_REFUSED_S = 300.0
_UNREACHABLE_S = 10.0
_SLUG = re.compile(r"[\w.\-]+/[\w.\-]+")


def archive_schema(schema: ModelSchema, folder: Path) -> None:
    """Stores a schema, once each.

    Args:
        schema: The inputs.
        folder: The data folder.
    """
    path = folder / _FOLDER / f"{schema.sha256}.json"
    if not path.exists():
        _store_json(path, schema.to_dict())


def _store_json(path: Path, data: Mapping[str, Any]) -> None:
    """Stores JSON; a full disk must not stop a run, so it only goes to the log."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, json.dumps(data, ensure_ascii=True).encode())
    except OSError as error:
        _log.info("%s could not be stored: %s", path.name, error.strerror)


def find_schema(sha256: str | None, folder: Path) -> ModelSchema | None:
    """Returns the schema of this hash, archived or bundled; None when they are not known or were altered.

    Args:
        sha256: As a record names it.
        folder: The data folder.
    """
    if sha256 is None or _SHA256.fullmatch(sha256) is None:
        return None
    bundled = next((schema for schema in bundled_models() if schema.sha256 == sha256), None)
    if bundled is not None:
        return bundled
    try:
        archived = schema_from_dict(json.loads((folder / _FOLDER / f"{sha256}.json").read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return archived if archived.sha256 == sha256 else None


class Catalogue:
    """The models of one service.

    Args:
        connection: To the service; its coroutines run on the I/O thread.
        folder: Of this service's cache.
    """

    def __init__(self, connection: Connection, folder: Path) -> None:
        self._connection = connection
        self._folder = folder
        self._details: dict[str, tuple[datetime, ModelDetail]] = {}
        self._failures: dict[str, tuple[float, WiroError]] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def schema(self, model: str) -> ModelSchema:
        """Returns a model's inputs: of a bundled model as they are known here, else as the service says.

        Args:
            model: "owner/name".

        Raises:
            UnknownModel: Neither bundled nor known to the service; `near` has likely ones.
            TransportError: The service cannot be asked and nothing is cached here.
        """
        if find_bundled(model) is not None and (known := self.known_schema(model)) is not None:
            return known
        if not _SLUG.fullmatch(model.strip()):
            raise await self._unknown(model)
        try:
            return (await self.detail(model)).schema
        except (NotAccessible, UnreadableSchema):
            raise await self._unknown(model) from None

    async def detail(self, model: str, *, ask_again: bool = True) -> ModelDetail:
        """Returns a model's page: from memory or disk while younger than a day, else from the service.

        Args:
            model: "owner/name".
            ask_again: False takes a failure of the last minutes as the answer, so that a loop of runs asks once.

        Raises:
            NotAccessible: The service does not have it.
            TransportError: It cannot be asked, and nothing is cached here.
        """
        slug = _slug_of(model)
        key = slug.lower()
        async with self._turns[key]:  # one answer serves all who wait for it
            cached = self._cached(slug)
            # The models on this machine change with a file of it; asking costs nothing there.
            fresh = timedelta(0) if self._connection.name == LOCAL else _FRESH
            if cached is not None and datetime.now(UTC) - cached[0] < fresh:
                return cached[1]
            until, failure = self._failures.pop(key, (0.0, None))
            if failure is None or ask_again or time.monotonic() > until:
                try:
                    detail = await self._connection.call(lambda client: client.tool_detail(slug))
                    self._store(slug, detail)
                    return detail
                except WiroError as error:
                    failure = error
                    is_refusal = isinstance(error, (NotAccessible, UnreadableSchema))
                    until = time.monotonic() + (_REFUSED_S if is_refusal else _UNREACHABLE_S)
            self._failures[key] = until, failure
            if cached is None or not isinstance(failure, TransportError):
                raise failure.with_traceback(None)
            _log.info("the page of %s is from %s: the service cannot be asked", slug, cached[0].date())
            return cached[1]

    def cached_detail(self, model: str) -> ModelDetail | None:
        """Returns a model's page as far as it is known here, however old; no request is sent."""
        cached = self._cached(_slug_of(model))
        return cached[1] if cached is not None else None

    def known_schema(self, model: str) -> ModelSchema | None:
        """Returns a model's inputs as the service showed them last, else the bundled ones; no request is sent."""
        bundled, cached = find_bundled(model), self.cached_detail(model)
        if cached is None or bundled is None:
            return bundled if cached is None else cached.schema
        is_newer = not cached.schema.free_form and cached.schema.sha256 != bundled.sha256
        return replace(cached.schema, slug=bundled.slug) if is_newer else bundled

    async def models(self, query: str, categories: Sequence[str], limit: int) -> tuple[ModelCard, ...]:
        """Lists the service's models; when it cannot be asked, the bundled ones that fit."""
        try:
            tools = await self._search(query, limit, categories)
        except WiroError as error:
            _log.info("the catalogue cannot be read: %s", error.message)
            return bundled_cards(query, categories)[:limit]
        if self._connection.name == LOCAL:
            tools = tuple(replace(tool, notice=_weights_notice(tool.slug)) for tool in tools)
        return tools[:limit]

    async def _unknown(self, model: str) -> UnknownModel:
        slugs = [schema.slug for schema in bundled_models()]
        name = model.strip().rpartition("/")[2]
        with contextlib.suppress(WiroError):
            for words in filter(None, dict.fromkeys((name, re.split(r"[-_.\d]", name)[0]))):
                slugs += [tool.slug for tool in await self._search(words, 20)]
        near = near_models(model, slugs)
        details = [f"Did you mean {' or '.join(near)}?"] if near else []
        return UnknownModel(f"there is no model {model[:80]}", details=details, model=model, near=near)

    async def _search(self, query: str, limit: int, categories: Sequence[str] = ()) -> tuple[ModelCard, ...]:
        sort = "relevance" if query else "id"
        return await self._connection.call(lambda client: client.tool_list(query, limit, categories, sort))

    def _cached(self, slug: str) -> tuple[datetime, ModelDetail] | None:
        key = slug.lower()
        if key not in self._details and (read := self._read(slug)) is not None:
            self._details[key] = read
        return self._details.get(key)

    def _store(self, slug: str, detail: ModelDetail) -> None:
        now, old = datetime.now(UTC), self._cached(slug)
        content = {"fetched": now.isoformat(), "sha256": hash_json(detail.raw), "tool": detail.raw}
        if old is not None and (changes := "; ".join(describe_changes(old[1].schema, detail.schema))):
            content["changed"] = f"since {old[0].date().isoformat()}: {changes}"
        self._details[slug.lower()] = _read_page(content)
        _store_json(self._path(slug), content)

    def _read(self, slug: str) -> tuple[datetime, ModelDetail] | None:
        try:
            return _read_page(json.loads(self._path(slug).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, UnreadableSchema):
            return None

    def _path(self, slug: str) -> Path:
        # A hash beside the readable part: two slugs must never share a file, on no file system.
        digest = hashlib.sha256(slug.lower().encode()).hexdigest()[:12]
        plain = re.sub(r"[^a-z0-9]+", "-", slug.lower())[:60]
        return self._folder / f"{plain}-{digest}.json"


def _slug_of(model: str) -> str:
    bundled = find_bundled(model)
    return bundled.slug if bundled is not None else model.strip()


def _read_page(content: Mapping[str, Any]) -> tuple[datetime, ModelDetail]:
    """Returns when a stored page was read, and the page; its schema says so too, and what had changed then."""
    from wiro_nb.schema.detail import read_detail

    fetched, raw = datetime.fromisoformat(content["fetched"]), content["tool"]
    schema = read_detail(raw)
    source = {**schema.source, "date": fetched.date().isoformat(), "sha256": str(content.get("sha256", ""))}
    if isinstance(content.get("changed"), str):
        source["changed"] = content["changed"]
    return fetched, ModelDetail(replace(schema, source=source), read_pricing(raw), raw)


def _weights_notice(slug: str) -> str:
    """Returns the command that downloads a model's weights where they are not on this machine; else ""."""
    model = find(slug)
    return f"weights not here: {pull_command(model)}" if model is not None and missing(model, {}) else ""


def bundled_cards(query: str = "", categories: Sequence[str] = ()) -> tuple[ModelCard, ...]:
    """Returns the bundled models whose words fit a query and that are in all given categories."""
    words = query.lower().split()
    wanted = {category.lower() for category in categories}
    found = []
    for schema in bundled_models():
        text = " ".join((schema.slug, schema.title, schema.description, *schema.tags, *schema.categories)).lower()
        if all(word in text for word in words) and wanted <= {category.lower() for category in schema.categories}:
            found.append(ModelCard(schema.slug, schema.title, schema.description, schema.categories, schema.cover))
    return tuple(found)
