"""Answers survive whatever comes: missing, null, extra and wrongly typed fields."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiro_nb.api.answers import (
    Preview,
    Progress,
    Submitted,
    read_event,
    read_outputs,
    read_task,
    read_tasks,
    read_tool,
)
from wiro_nb.json_values import as_decimal, as_moment, as_seconds, as_whole, as_words

TOKEN = "eDcCm5yyUfIvMFspTwww49OUfgXkQt"
TASK: dict[str, Any] = {
    "id": "2221",
    "socketaccesstoken": TOKEN,
    "parameters": {"prompt": "a"},
    "debugoutput": "line",
    "debugerror": "",
    "starttime": "1734513809",
    "endtime": "1734513813",
    "elapsedseconds": "6.0000",
    "status": "task_postprocess_end",
    "cps": "0.000585000000",
    "totalcost": "0.003510000000",
    "createtime": "1734513807",
    "canceltime": "0",
    "postprocessendtime": "1734513814",
    "pexit": "0",
    "categories": '["tool","image-to-image"]',
    "outputs": [
        {"id": "6b", "name": "0.png", "contenttype": "image/png", "size": "202472", "url": "https://x/0.png"}
    ],
    "a field of tomorrow": {"kept": True},
}

NAMES = [
    *TASK,
    "modelslugowner",
    "modelslugproject",
    "type",
    "message",
    "tasktoken",
    "result",
    "percentage",
    "taskid",
]
NAMES += ["elapsedTime", "remainingTime", "stepCurrent", "contenttype", "name", "url", "size", "content", "inputs"]
STATUSES = [
    "task_output",
    "task_postprocess_end",
    "task_error",
    "progressGenerate",
    "0",
    "6.0000",
    "1e999",
    "NaN",
    "-1",
]
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(STATUSES)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=8),
    max_leaves=20,
)


def test_a_task_as_the_service_sends_it() -> None:
    task = read_task(TASK)
    assert (task.id, task.token, task.is_success, task.is_terminal) == ("2221", TOKEN, True, True)
    assert task.total_cost_usd == Decimal("0.00351")
    assert task.compute_s == 6.0
    assert task.created == datetime(2024, 12, 18, 9, 23, 27, tzinfo=UTC)
    assert task.finished == datetime(2024, 12, 18, 9, 23, 34, tzinfo=UTC)
    assert task.cancelled is None
    assert task.outputs[0].size_bytes == 202472


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"engine": "own", "seed": 7}, {"engine": "own", "seed": 7}),
        ('{"engine": "own"}', {"engine": "own"}),
        (None, {}),
        (["engine"], {}),
        ({"seed": float("nan")}, {}),
        ({"text": "x" * 70_000}, {}),
    ],
)
def test_how_outputs_were_made_is_kept_when_a_record_can_carry_it(value: Any, expected: dict[str, Any]) -> None:
    assert read_task({**TASK, "madeby": value}).made_by == expected


@pytest.mark.parametrize(
    ("status", "exit_code", "terminal", "success"),
    [
        ("task_postprocess_end", "0", True, True),
        ("task_postprocess_end", 0, True, True),
        ("task_postprocess_end", "1", True, False),
        ("task_postprocess_end", None, True, False),
        ("task_postprocess_end", "", True, False),
        ("task_cancel", "0", True, False),
        ("task_error", "0", False, False),
        ("task_end", "0", False, False),
        ("a status of tomorrow", "0", False, False),
    ],
)
def test_success_is_a_finished_task_with_exit_code_zero_and_nothing_else(
    status: str, exit_code: Any, terminal: bool, success: bool
) -> None:
    task = read_task({**TASK, "status": status, "pexit": exit_code})
    assert (task.is_terminal, task.is_success) == (terminal, success)


def test_no_representation_shows_a_token() -> None:
    event = read_event(json.dumps({"type": "task_start", "id": "1", "tasktoken": TOKEN}))
    for value in (read_task(TASK), Submitted("1", TOKEN), event):
        assert TOKEN not in repr(value)


@given(JSON)
def test_no_json_makes_a_reader_raise(value: Any) -> None:
    task = read_task(value)
    assert isinstance(task.id, str)
    assert task.compute_s is None or task.compute_s >= 0
    for reader in (read_tasks, read_outputs, read_tool):
        reader(value)
    read_tasks({"tasklist": value})
    read_task(value if isinstance(value, dict) else {**TASK, "outputs": value, "categories": value})


@given(JSON | st.builds(lambda message: {"type": "task_output", "message": message}, JSON))
def test_no_frame_makes_the_event_reader_raise(value: Any) -> None:
    event = read_event(json.dumps(value))
    if event is not None and event.progress is not None and event.progress.percent is not None:
        assert 0 <= event.progress.percent <= 100


@given(st.binary() | st.text())
def test_binary_and_garbage_frames_are_ignored(frame: bytes | str) -> None:
    event = read_event(frame)
    assert event is None or isinstance(frame, str)


@pytest.mark.parametrize(
    "frame", [b'{"type": "task_start"}', "", "[]", "null", '{"type": null}', '{"typ', "[" * 100_000]
)
def test_a_frame_without_a_status_is_none(frame: bytes | str) -> None:
    assert read_event(frame) is None


def test_progress_is_read_from_an_object_and_from_its_text() -> None:
    message = {
        "type": "progressGenerate",
        "task": "Generate",
        "percentage": "60",
        "stepCurrent": "6",
        "stepTotal": "10",
        "speed": "1.2",
        "speedType": "it/s",
        "elapsedTime": "5s",
        "remainingTime": "3s",
    }
    wanted = Progress("Generate", 60.0, 6, 10, 1.2, "it/s", 3.0)
    for form in (message, json.dumps(message)):
        event = read_event(json.dumps({"type": "task_output", "id": "7", "message": form}))
        assert event is not None
        assert (event.progress, event.text, event.task_id) == (wanted, None, "7")


def test_log_lines_are_text_and_the_last_event_has_the_outputs() -> None:
    line = read_event(json.dumps({"type": "task_error", "message": "warning: slow", "result": True}))
    assert line is not None
    assert (line.text, line.is_terminal) == ("warning: slow", False)
    last = read_event(json.dumps({"type": "task_postprocess_end", "message": TASK["outputs"], "result": True}))
    assert last is not None
    assert last.outputs is not None
    assert (last.outputs[0].name, last.is_terminal) == ("0.png", True)


def test_raw_outputs_keep_their_content() -> None:
    (output,) = read_outputs([{"contenttype": "raw", "content": {"raw": "hi", "answer": ["hi"]}}])
    assert (output.content, output.url, output.name) == ({"raw": "hi", "answer": ["hi"]}, None, "")


@pytest.mark.parametrize(
    "value",
    [
        ["tool", "video"],
        '["tool","video"]',
        '["tool", "video"',
        "[tool,video]",
        "tool, video",
        r"[\"tool\",\"video\"]",
    ],
)
def test_categories_are_read_in_every_form_seen(value: Any) -> None:
    assert as_words(value) == ("tool", "video")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5s", 5),
        ("1m 5s", 65),
        ("01:05", 65),
        ("1:01:05", 3665),
        ("6.0000", 6),
        (2.5, 2.5),
        ("250ms", 0.25),
        ("soon", None),
        ("", None),
        (None, None),
        ("-3", None),
        ("5 parsecs", None),
        (float("nan"), None),
    ],
)
def test_durations(value: Any, seconds: float | None) -> None:
    assert as_seconds(value) == seconds


@pytest.mark.parametrize("value", ["0", 0, "", None, "soon", "-5", "1e30", float("inf"), [], True])
def test_no_time_is_none(value: Any) -> None:
    assert as_moment(value) is None


def test_numbers_as_text() -> None:
    assert as_whole("6.0000") == 6
    assert as_decimal("0.003510000000") == Decimal("0.00351")
    assert as_moment("1734513807000") == as_moment(1734513807)
    for value in ("NaN", "Infinity", "1e400", "9" * 100, True, {}, "0x10"):
        assert as_decimal(value) is None


def test_a_model_of_the_catalogue_is_named_by_its_slug_not_its_run_path() -> None:
    tool = read_tool(
        {"slugowner": "wiro", "slugproject": "wan2.2-effects-extra", "cleanslugowner": "wiro"}
        | {"cleanslugproject": "wan2-2-effects-extra", "categories": '["video"]', "tags": None}
    )
    assert tool.slug == "wiro/wan2.2-effects-extra"
    assert (tool.title, tool.categories) == (tool.slug, ("video",))


@pytest.mark.parametrize(
    ("stat", "runs"), [({"runcount": 1204, "errorcount": "3"}, 1204), ('{"runcount": "7"}', 7), (None, None)]
)
def test_how_often_a_model_ran_is_read_from_its_statistics(stat: Any, runs: int | None) -> None:
    assert read_tool({"slugowner": "a", "slugproject": "b", "taskstat": stat}).run_count == runs


LOOK = {"image": "data:image/jpeg;base64,anBlZw==", "width": 104, "height": 60, "step": 3, "steps": 25}


@pytest.mark.parametrize(
    ("message", "is_shown"),
    [
        (LOOK, True),
        (LOOK | {"image": "https://elsewhere.test/pixel.png"}, False),
        (LOOK | {"image": "data:image/svg+xml;base64,anBlZw=="}, False),
        (LOOK | {"image": "data:image/jpeg;base64," + "A" * 70_000}, False),
        (LOOK | {"image": 'data:image/jpeg;base64,AA" onload="x'}, False),
        (LOOK | {"width": 0}, False),
        (LOOK | {"height": "tall"}, False),
        ("a line", False),
        (None, False),
    ],
)
def test_a_preview_is_a_small_picture_or_nothing_and_never_a_line_of_the_log(message: Any, is_shown: bool) -> None:
    event = read_event(json.dumps({"type": "task_preview", "id": "7", "message": message, "result": True}))
    assert event is not None
    assert event.preview == (Preview(str(LOOK["image"]), 104, 60) if is_shown else None)
    assert event.text is None
