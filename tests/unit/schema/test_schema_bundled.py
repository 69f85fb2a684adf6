from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from tests.unit.schema.helpers import PAGE_SLUGS, PAGES, page, sample_body
from wiro_nb.errors import UnknownModel
from wiro_nb.schema import (
    ModelSchema,
    bundled_models,
    check,
    encode,
    find_bundled,
    free_form_schema,
    near_models,
    prepare,
    read_page,
    schema_from_dict,
)

SLUGS = [schema.slug for schema in bundled_models()]


def test_the_five_models_are_bundled() -> None:
    assert set(SLUGS) == {*PAGE_SLUGS.values(), "wiro/SkyReels-V1"}


@pytest.mark.parametrize("schema", bundled_models(), ids=SLUGS)
def test_every_bundled_model_can_be_stored_prepared_and_encoded(schema: ModelSchema) -> None:
    assert schema_from_dict(schema.to_dict()) == schema
    raw = (
        {"inputImage": "https://example.org/a.png"}
        if schema.slug == "wiro/wan2.2-effects-extra"
        else {"prompt": "a fox"}
    )
    assert check(schema, raw) == {}
    body = encode(prepare(schema, raw)).json
    assert body is not None
    assert raw.items() <= body.items()
    assert json.loads(json.dumps(body)) == body


@pytest.mark.parametrize("name", PAGE_SLUGS)
def test_a_bundled_schema_is_what_its_page_says(name: str) -> None:
    schema = find_bundled(PAGE_SLUGS[name])
    assert schema is not None
    assert schema.source["sha256"] == hashlib.sha256((PAGES / f"{name}.txt").read_bytes()).hexdigest()
    assert replace(schema, source={}) == replace(read_page(page(name)), source={})


@pytest.mark.parametrize("name", PAGE_SLUGS)
def test_the_sample_prompt_alone_gives_the_sample_body_of_the_page(name: str) -> None:
    """Every other value comes from a default, in the page's own type."""
    schema, sample = find_bundled(PAGE_SLUGS[name]), sample_body(name)
    assert schema is not None
    files = {parameter.id for parameter in schema.parameters if parameter.is_file}
    raw: dict[str, object] = {"prompt": sample["prompt"]} if "prompt" in sample else {}
    required = {parameter.id for parameter in schema.parameters if parameter.required}
    raw |= dict.fromkeys(files & required, "https://example.org/a.png")
    samples = {parameter.id: parameter.default for parameter in schema.parameters if parameter.is_file}
    body = encode(prepare(schema, {**samples, **raw})).json
    assert body is not None
    # JSON text, so that 18 and "18" differ, and 18 and 18.0.
    body |= dict.fromkeys(files & required, "")
    assert json.dumps(body, sort_keys=True) == json.dumps(sample, sort_keys=True)


def test_the_manifest_names_source_date_and_hash_of_every_model() -> None:
    folder = files("wiro_nb.schema") / "bundled"
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    names = {entry["file"] for entry in manifest["models"]}
    assert names | {"manifest.json"} == {item.name for item in folder.iterdir()}
    for entry in manifest["models"]:
        assert entry["name"]
        assert len(entry["sha256"]) == 64
        assert len(entry["date"]) == 10


def test_bundling_again_writes_the_same_files(tmp_path: Path) -> None:
    folder = files("wiro_nb.schema") / "bundled"
    date = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["models"][0]["date"]
    pages = [str(PAGES / f"{name}.txt") for name in (*PAGE_SLUGS, "SkyReels-V1")]
    script = Path(__file__).parents[3] / ".build" / "bundle_schemas.py"
    subprocess.run([sys.executable, script, *pages, "--date", date, "--out", tmp_path], check=True)
    for item in folder.iterdir():
        assert (tmp_path / item.name).read_bytes() == item.read_bytes()


@pytest.mark.parametrize(
    "text", ["PRUNA/Vace", " pruna/vace ", "wiro/wan2-2-effects-extra", "wiro/wan2.2-effects-extra"]
)
def test_a_model_is_found_by_slug_or_run_path_in_any_case(text: str) -> None:
    assert find_bundled(text) is not None
    assert find_bundled("pruna/nothing") is None


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("vace", "pruna/vace"),
        ("pruna/vaec", "pruna/vace"),
        ("animatediff", "wiro/animate-diff"),
        ("skyreels", "wiro/SkyReels-V1"),
        ("pruna", "pruna/vace"),
        ("p", "pruna/vace"),
        ("wan-ai/wan2.2-text", "Wan-AI/Wan2.2-TI2V-5B-text-to-video"),
    ],
)
def test_near_models_leads_with_the_one_meant(query: str, first: str) -> None:
    assert near_models(query, SLUGS)[0] == first
    assert len(near_models(query, SLUGS)) <= 3


def test_near_models_is_empty_for_nonsense() -> None:
    assert near_models("zzzz qqq", SLUGS) == []
    assert near_models("  ", SLUGS) == []


def test_a_free_form_schema_needs_owner_and_name() -> None:
    assert free_form_schema("me/new-model").free_form
    for bad in ("vace", "{{owner}}/{{name}}", "../x", "a/b/c", ""):
        with pytest.raises(UnknownModel):
            free_form_schema(bad)
    with pytest.raises(UnknownModel) as caught:
        free_form_schema("vace")
    assert caught.value.near == ["pruna/vace"]


def test_a_model_is_named_by_text() -> None:
    with pytest.raises(UnknownModel, match="not by NoneType"):
        find_bundled(None)  # type: ignore[arg-type]
