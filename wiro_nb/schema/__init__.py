"""Model schemas as data: reading them, typing values by them, writing the body of a Run.

Imports `wiro_nb.errors` and `wiro_nb.redaction` and the standard library only, so that every other room (the
sandbox too) can share one understanding of a model's inputs without pulling in HTTP, widgets or video code.
Nothing here talks to a network; files are read only by `files.py`, the bundled schemas by `catalog.py`.

Readers: `read_page` (a model's text page), `read_detail` (a Tool/Detail answer), `bundled_models`.
Values: `prepare` types what a person gave by the schema and reports every problem at once; `check` is the same
for a form's fields. Wire: `encode`, `request_sha256`.
"""

from wiro_nb.schema.catalog import bundled_models, find_bundled, free_form_schema, near_models
from wiro_nb.schema.detail import read_detail
from wiro_nb.schema.encode import WireBody, encode, request_sha256
from wiro_nb.schema.files import MAX_FILE_BYTES, FileInput, open_file_input
from wiro_nb.schema.normalise import Rule
from wiro_nb.schema.page import read_page
from wiro_nb.schema.types import (
    FILE_TYPES,
    KNOWN_TYPES,
    NUMBER_TYPES,
    TEXT_TYPES,
    ModelSchema,
    Option,
    Parameter,
    schema_from_dict,
)
from wiro_nb.schema.values import Prepared, Problem, Seed, check, prepare

__all__ = [
    "FILE_TYPES",
    "KNOWN_TYPES",
    "MAX_FILE_BYTES",
    "NUMBER_TYPES",
    "TEXT_TYPES",
    "FileInput",
    "ModelSchema",
    "Option",
    "Parameter",
    "Prepared",
    "Problem",
    "Rule",
    "Seed",
    "WireBody",
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
