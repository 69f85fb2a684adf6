"""Writes the body of a Run and names a request by its hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wiro_nb.schema.files import FileInput, is_url
from wiro_nb.schema.types import JSON_TYPES
from wiro_nb.schema.values import Prepared


@dataclass(frozen=True, slots=True)
class WireBody:
    """The body of a Run.

    Attributes:
        json: The JSON body when nothing is uploaded, else None.
        fields: Text fields of a multipart body, in order; a name may repeat.
        parts: File parts of a multipart body, in order; a name may repeat.
    """

    json: dict[str, Any] | None
    fields: tuple[tuple[str, str], ...] = ()
    parts: tuple[tuple[str, FileInput], ...] = ()


def encode(prepared: Prepared) -> WireBody:
    """Writes the body of a Run: JSON when nothing is uploaded, multipart when a file is.

    How a file input travels depends on its type:

    - `fileinput`: a file as part `id`, a URL as field `idUrl`.
    - `multifileinput`: files as repeated part `id`, URLs comma-separated in `idUrl`.
    - `combinefileinput` (and inputs we know nothing of): files as repeated part `id`, URLs as repeated field
      `id`; in JSON one text, or an array when there are several.

    In a multipart body, a list of choices and the value of a `json` input are one JSON text.

    Bare names of the service's own sample files travel in `id` itself, as the pages' samples do.

    Args:
        prepared: Values typed by the schema.
    """
    texts: list[tuple[str, Any]] = list(prepared.parameters.items())
    parts: list[tuple[str, FileInput]] = []
    for parameter, inputs in prepared.files.items():
        texts += _url_fields(_file_type(prepared, parameter), parameter, [item.url for item in inputs if item.url])
        parts += [(parameter, item) for item in inputs if item.path is not None]
    if not parts:
        return WireBody(json=dict(texts))
    fields = [
        (name, _as_text(item))
        for name, value in texts
        for item in (value if isinstance(value, list) and not _is_json(prepared, name) else [value])
    ]
    return WireBody(json=None, fields=tuple(fields), parts=tuple(parts))


def request_sha256(prepared: Prepared) -> str:
    """Returns the identity of a request: the same for the same model, values and file contents.

    A seed that was drawn counts as "any seed": a cell that leaves the seed open asks for the same thing each
    time it runs, and must find what it already paid for.

    Args:
        prepared: Values typed by the schema. Service and callback do not count; files count by content.
    """
    files = {name: [item.sha256 or item.url for item in inputs] for name, inputs in prepared.files.items()}
    seed = prepared.seed
    open_seed = seed.parameter if seed is not None and not seed.pinned else None
    return hash_request(prepared.schema.run_path, prepared.parameters, files, open_seed)


def hash_request(
    run_path: str,
    parameters: Mapping[str, Any],
    files: Mapping[str, Sequence[str | None]],
    open_seed: str | None,
) -> str:
    """Returns `request_sha256` of a request known by its parts.

    Args:
        run_path: The model's path.
        parameters: As sent.
        files: By parameter the SHA-256, or else the URL, of each file in order.
        open_seed: The parameter of a seed that was drawn, or None.
    """
    known = {**parameters, open_seed: None} if open_seed is not None else dict(parameters)
    core = {"run_path": run_path, "parameters": known, "files": files}
    text = json.dumps(core, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _is_json(prepared: Prepared, parameter: str) -> bool:
    """True for lists that travel as one JSON text in a multipart body."""
    known = prepared.schema.get(parameter)
    return known is not None and (known.type in JSON_TYPES or known.type == "multiselect")


def _file_type(prepared: Prepared, parameter: str) -> str:
    known = prepared.schema.get(parameter)
    return known.type if known else ""


def _url_fields(kind: str, parameter: str, urls: list[str]) -> list[tuple[str, Any]]:
    if not urls:
        return []
    if kind == "fileinput" and is_url(urls[0]):
        return [(parameter + "Url", urls[0])]
    if kind == "multifileinput" and all(is_url(url) for url in urls):
        return [(parameter + "Url", ",".join(url.replace(",", "%2C") for url in urls))]
    return [(parameter, urls[0] if len(urls) == 1 else urls)]


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
