"""Model schemas: parses them, validates values against them, and encodes the body of a Run.

`read_page` reads a model's text page, `read_detail` a Tool/Detail answer, `bundled_models` the schemas in the
package. `prepare` types a request's values by the schema and reports all problems at once; `check` does the same
for the fields of a form. `encode` writes the body of a Run, `request_sha256` identifies a request.

The package needs the standard library only, so that the client and the sandbox share it without loading HTTP,
widget or video code. Nothing here uses the network; files are read by `files`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from wiro_nb.errors import UnknownModel
from wiro_nb.json_values import hash_json
from wiro_nb.schema.coerce import near_values
from wiro_nb.schema.detail import read_detail
from wiro_nb.schema.files import FileInput, is_url, open_file_input
from wiro_nb.schema.page import read_page
from wiro_nb.schema.types import ModelSchema, Option, Parameter, is_slug, schema_from_dict
from wiro_nb.schema.values import Prepared, check, prepare

__all__ = [
    "FileInput",
    "ModelSchema",
    "Option",
    "Parameter",
    "Prepared",
    "bundled_models",
    "check",
    "encode",
    "find_bundled",
    "free_form_schema",
    "near_models",
    "open_file_input",
    "prepare",
    "read_detail",
    "read_page",
    "request_sha256",
]


@lru_cache(maxsize=1)
def bundled_models() -> tuple[ModelSchema, ...]:
    """Returns the bundled schemas in the order of the manifest."""
    # Not at the top: importlib.resources takes longer to load than the rest of this package.
    from importlib.resources import files

    folder = files(__package__).joinpath("bundled")
    manifest = json.loads(folder.joinpath("manifest.json").read_text(encoding="utf-8"))
    return tuple(
        schema_from_dict(json.loads(folder.joinpath(entry["file"]).read_text(encoding="utf-8")))
        for entry in manifest["models"]
    )


def find_bundled(slug: str) -> ModelSchema | None:
    """Returns the bundled model of this slug or run path, or None.

    Args:
        slug: "owner/name" in any case; blanks around it do not matter.

    Raises:
        UnknownModel: It is no text at all.
    """
    given: object = slug
    if not isinstance(given, str):
        raise UnknownModel(f"A model is named by text, OWNER/NAME, not by {type(given).__name__}.", near=[])
    wanted = slug.strip().lower()
    for schema in bundled_models():
        if wanted in {schema.slug.lower(), schema.run_path.lower()}:
            return schema
    return None


def near_models(query: str, slugs: Iterable[str]) -> list[str]:
    """Returns up to three slugs closest to what was typed, best first; those that contain it come first.

    A query without an owner ("vace") is compared with the names alone.

    Args:
        query: What was typed, with or without the owner.
        slugs: The slugs to choose from.
    """
    wanted = query.strip().lower()
    names = {slug: slug.lower() if "/" in wanted else slug.lower().partition("/")[2] for slug in slugs}
    near = near_values(wanted, {name: name for name in names.values()})
    similar = [slug for found in near for slug, name in names.items() if name == found]
    holding = sorted((slug for slug in names if wanted in slug.lower()), key=len) if wanted else []
    return list(dict.fromkeys([*holding, *similar]))[:3]


def free_form_schema(slug: str) -> ModelSchema:
    """Returns a schema for a model that publishes no inputs: any name=value pair is accepted and sent as text.

    Args:
        slug: "owner/name"; taken as the run path too.

    Raises:
        UnknownModel: The text is not of the form owner/name.
    """
    slug = slug.strip()
    if not is_slug(slug):
        near = near_models(slug, (schema.slug for schema in bundled_models()))
        raise UnknownModel(f"{slug[:80]}: a model is named owner/name, as in pruna/vace.", model=slug, near=near)
    return ModelSchema(
        slug=slug, run_path=slug, title=slug.partition("/")[2], source={"kind": "none", "name": ""}, free_form=True
    )


# The body of a Run ---------------------------------------------------------------------------


_ONE_TEXT = {"json", "json-array", "multiselect"}
"""Types whose lists travel as one JSON text in a multipart body."""


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
    types = {parameter.id: parameter.type for parameter in prepared.schema.parameters}
    texts: list[tuple[str, Any]] = list(prepared.parameters.items())
    parts: list[tuple[str, FileInput]] = []
    for name, inputs in prepared.files.items():
        texts += _url_fields(types.get(name, ""), name, [item.url for item in inputs if item.url])
        parts += [(name, item) for item in inputs if item.path is not None]
    if not parts:
        return WireBody(json=dict(texts))
    fields = [
        (name, item if isinstance(item, str) else json.dumps(item))
        for name, value in texts
        for item in (value if isinstance(value, list) and types.get(name) not in _ONE_TEXT else [value])
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
    return hash_json({"run_path": run_path, "parameters": known, "files": files})


def _url_fields(kind: str, parameter: str, urls: list[str]) -> list[tuple[str, Any]]:
    if not urls:
        return []
    if kind == "fileinput" and is_url(urls[0]):
        return [(parameter + "Url", urls[0])]
    if kind == "multifileinput" and all(is_url(url) for url in urls):
        return [(parameter + "Url", ",".join(url.replace(",", "%2C") for url in urls))]
    return [(parameter, urls[0] if len(urls) == 1 else urls)]
