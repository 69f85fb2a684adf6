"""Text from the service, from files and records is text in every page: never a tag, an attribute, an address."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.snapshots import change
from tests.unit.notebook.snapshots import CANCELLED, CLIP, DONE, FAILED, GENERATING, POSTER, UNCERTAIN
from tests.unit.notebook.test_static_html import ATTRIBUTES, TAGS, Page
from wiro_nb.api.answers import ModelCard
from wiro_nb.errors import BadRecord, InvalidParameter, RunFailed, SubmitUncertain
from wiro_nb.ledger.state import RunOutput, Snapshot
from wiro_nb.notebook.account import AccountStatus, Budget
from wiro_nb.presentation.models import ModelInfo, form_output, models_output, unsent_output
from wiro_nb.presentation.output import error_output
from wiro_nb.presentation.reproduction import Verified
from wiro_nb.presentation.run import run_output
from wiro_nb.presentation.run_list import runs_output
from wiro_nb.provenance.embed import read_embedded
from wiro_nb.provenance.find import records_in_notebook
from wiro_nb.provenance.record import add_hash, check_record, read_sidecar
from wiro_nb.reproduce.verify import Finding
from wiro_nb.schema.types import Option, Parameter, schema_from_dict

ATTACKS = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</pre></details></div><iframe src=//evil.example>", "javascript:alert(1)", "https://evil.example/x.mp4",
    "//evil.example/x.png", "data:text/html,<b>x", "&lt;script&gt;", "<!--", "]]>", "\0<b\0>",
    "$$\\href{javascript:1}{x}$$",
    "<style>*{display:none}</style>", "{{7*7}}", "\u202e<b>", "<a href=javascript:alert(1)>x</a>", "`${alert(1)}`",
]  # fmt: skip
hostile = st.one_of(
    st.sampled_from(ATTACKS),
    st.builds("{}{}".format, st.sampled_from(ATTACKS), st.text(max_size=8)),
    st.text(max_size=30),
)

texts = st.lists(hostile, min_size=1, max_size=5)


def spoil(value: Any, draw: Callable[[], str]) -> Any:
    """Puts hostile text into every text of a value, however deep; states and money stay."""
    if type(value) is str:
        return draw()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {item.name: spoil(getattr(value, item.name), draw) for item in dataclasses.fields(value)}
        return dataclasses.replace(value, **changes)
    if isinstance(value, dict):
        return {draw(): spoil(item, draw) for item in value.values()} | {
            key: spoil(item, draw) for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(spoil(item, draw) for item in value)
    return value


def check_page(page: str) -> None:
    read = Page(page)
    assert read.tags <= TAGS
    assert {name for _, name, _ in read.attributes} <= ATTRIBUTES
    for tag, name, value in read.attributes:
        if name == "style":
            assert "url(" not in value.lower()
            assert "expression" not in value.lower()
        if name in ("src", "href", "poster"):
            check_address(tag, name, value)


def check_address(tag: str, name: str, value: str) -> None:
    """An address leads to a file beside the notebook, or is a picture inside the page."""
    parts = urlsplit(value.strip())
    if parts.scheme == "data":
        assert value.startswith("data:image/jpeg;base64,"), (tag, name, value)
        return
    assert parts.scheme == "", (tag, name, value)
    assert parts.netloc == "", (tag, name, value)
    assert not unquote(value).strip().startswith(("//", "\\", "/")), (tag, name, value)


@pytest.mark.parametrize(
    "snapshot", [DONE, FAILED, CANCELLED, GENERATING, UNCERTAIN], ids=lambda item: str(item.state)
)
@given(texts=texts)
def test_a_run_whose_every_text_is_hostile_stays_text(snapshot: Snapshot, texts: list[str]) -> None:
    draw = itertools.cycle(texts).__next__
    text = RunOutput("", "raw", content={"answer": ["x"], "thinking": ["y"], "raw": "z"})
    full = change(snapshot, outputs=(CLIP, text), files={"inputImage": [{"name": "a.png", "url": "u"}]})
    bad = spoil(full, draw)
    # The kinds that decide how an output is shown stay, so that each way of showing is tried.
    outputs = (dataclasses.replace(bad.outputs[0], content_type="video/mp4"), bad.outputs[1])
    bad = dataclasses.replace(bad, outputs=outputs)
    posters = {str(output.poster_path): POSTER for output in bad.outputs}
    check_page(run_output(bad, posters, notice=draw(), labels={draw(): draw()}).html)
    check_page(runs_output([bad, bad], spent=draw()).html)


@given(texts=texts)
def test_models_and_accounts_whose_every_text_is_hostile_stay_text(texts: list[str]) -> None:
    draw = itertools.cycle(texts).__next__
    card = spoil(ModelCard("a/b", "t", "d", ("c", "d"), notice="n"), draw)
    check_page(models_output([card, card], draw(), draw(), draw()).html)
    status = AccountStatus(Budget(Decimal(2), Decimal(1), Decimal(0), draw()), False, "a", (DONE,), "f")
    check_page(spoil(status, draw).output().html)
    schema = hostile_schema(draw)
    check_page(ModelInfo(schema, draw(), notes=(draw(),)).output().html)
    check_page(form_output(schema, draw()).html)
    findings = [Finding(level, draw(), draw(), draw()) for level in ("ok", "note", "problem")]
    check_page(Verified(findings).output().html)
    check_page(unsent_output(draw(), [(draw(), draw())], {draw(): [draw()]}, notes=[draw()]).html)


def hostile_schema(draw: Callable[[], str]) -> Any:
    base = schema_from_dict({"slug": "a/b", "run_path": "a/b", "parameters": []})
    parameter = Parameter(id="p", type="select", label="l", help="h", default="d", rule="r", group="g")
    option = spoil(Option(value="v", label="l"), draw)
    parameter = dataclasses.replace(spoil(parameter, draw), type="select", options=(option, option))
    return dataclasses.replace(base, slug=draw(), run_path=draw(), parameters=(parameter,))


@given(message=hostile, more=st.lists(hostile, max_size=3))
def test_errors_whose_every_text_is_hostile_stay_text(message: str, more: list[str]) -> None:
    hint = more[0] if more else message
    for error in (
        InvalidParameter(message, near=more, allowed=more, name=message, details=more, hint=hint, billed=message),
        RunFailed(message, details=more, log_tail=more, stage=message, run_id=message, hint=hint),
        SubmitUncertain(message, candidates=more, run_id=message, hint=hint),
    ):
        check_page(error_output(error).html)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), hostile),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(hostile, inner, max_size=3)),
    max_leaves=8,
)
RECORD = {
    "format": 1, "run_id": "01JD5Q9W8R7T6Y5V4K3H28K2QF",
    "model": {"slug": "a/b", "run_path": "a/b", "schema_sha256": None},
    "service": {"name": "cloud", "base_url": "https://api.wiro.ai/v1"}, "parameters": {"prompt": "x"}, "files": {},
    "seed": None, "task_id": "1", "status": "succeeded", "exit_code": "0", "outputs": [], "price": {}, "times": {},
    "elapsed_s": 1, "parent": None, "cell": None, "environment": {},
}  # fmt: skip


@given(data=st.data())
def test_no_record_makes_a_reader_fail_in_another_way_than_its_own(data: st.DataObject) -> None:
    """Read from a sidecar, a notebook or a clip, a record is either one of ours or refused in plain words."""
    value: Any = data.draw(json_values)
    if data.draw(st.booleans()):
        value = {**RECORD, data.draw(st.sampled_from(sorted(RECORD))): value}
    if data.draw(st.booleans()) and isinstance(value, dict):
        try:
            value = add_hash(value)
        except (BadRecord, ValueError):
            pass
    for ignore_hash in (False, True):
        try:
            check_record(value, ignore_hash=ignore_hash)
        except BadRecord:
            pass
    book = {"metadata": {"wiro": value}, "cells": [{"outputs": [{"metadata": {"wiro": value}}]}], "nbformat": 4}
    assert isinstance(records_in_notebook(book), dict)
    assert isinstance(records_in_notebook({"metadata": {"wiro": {"runs": value}}, "cells": value}), dict)


@given(content=st.one_of(st.binary(max_size=200), json_values.map(lambda value: json.dumps(value).encode())))
def test_no_file_makes_a_reader_of_records_fail_in_another_way_than_its_own(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder: Path = tmp_path_factory.mktemp("files")
    (folder / "run.json").write_bytes(content)
    try:
        read_sidecar(folder / "run.json")
    except BadRecord:
        pass
    for head, name in ((b"\x89PNG\r\n\x1a\n", "a.png"), (b"\0\0\0\x18ftypisom", "a.mp4"), (b"", "b.mp4")):
        (folder / name).write_bytes(head + content)
        try:
            assert read_embedded(folder / name) is None
        except BadRecord:
            pass
