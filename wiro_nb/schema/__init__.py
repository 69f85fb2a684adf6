"""Model schemas as data: reading them, typing values by them, writing the body of a Run.

`read_page` reads a model's text page, `read_detail` a Tool/Detail answer, `bundled_models` the schemas in the
package. `prepare` types a request's values by the schema and reports all problems at once; `check` does the same
for the fields of a form. `encode` writes the body of a Run, `request_sha256` identifies a request.

The package needs the standard library only, so that the client and the sandbox share it without loading HTTP,
widget or video code. Nothing here uses the network; files are read by `files`, bundled schemas by `catalog`.
"""

from wiro_nb.schema.bundled import bundled_models, find_bundled, free_form_schema, near_models
from wiro_nb.schema.detail import read_detail
from wiro_nb.schema.encode import encode, request_sha256
from wiro_nb.schema.files import MAX_FILE_BYTES, FileInput, open_file_input
from wiro_nb.schema.normalise import Rule
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
