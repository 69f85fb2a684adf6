"""Model schemas as data: reading them, typing values by them, writing the body of a Run.

`read_page` reads a model's text page, `read_detail` a Tool/Detail answer, `bundled_models` the schemas in the
package. `prepare` types a request's values by the schema and reports all problems at once; `check` does the same
for the fields of a form. `encode` writes the body of a Run, `request_sha256` identifies a request.

The package needs the standard library only, so that the client and the sandbox share it without loading HTTP,
widget or video code. Nothing here uses the network; files are read by `files`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from functools import lru_cache

from wiro_nb.errors import UnknownModel
from wiro_nb.schema.detail import read_detail
from wiro_nb.schema.encode import encode, request_sha256
from wiro_nb.schema.files import MAX_FILE_BYTES, FileInput, open_file_input
from wiro_nb.schema.normalise import Rule, is_slug
from wiro_nb.schema.page import read_page
from wiro_nb.schema.types import ModelSchema, Option, Parameter, schema_from_dict
from wiro_nb.schema.values import Prepared, Problem, Seed, check, prepare

__all__ = [
    "MAX_FILE_BYTES",
    "FileInput",
    "ModelSchema",
    "Option",
    "Parameter",
    "Prepared",
    "Problem",
    "Rule",
    "Seed",
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
    "schema_from_dict",
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


def near_models(query: str, slugs: Iterable[str], count: int = 3) -> list[str]:
    """Returns the slugs closest to what was typed, best first.

    A slug that contains the query counts more than a similar spelling. A query without an owner ("vace") is
    compared with the names alone.

    Args:
        query: What was typed, with or without the owner.
        slugs: The slugs to choose from.
        count: How many at most.
    """
    wanted = query.strip().lower()
    if not wanted:
        return []
    scored = []
    for slug in dict.fromkeys(slugs):
        lower = slug.lower()
        compared = lower if "/" in wanted else lower.partition("/")[2]
        score = difflib.SequenceMatcher(None, wanted, compared).ratio() + (1.0 if wanted in lower else 0.0)
        if score >= 0.5:
            scored.append((-score, slug))
    return [slug for _, slug in sorted(scored)[:count]]


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
