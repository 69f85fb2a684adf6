"""A run continues from a frame of another one's clip, and the same frame is the same request for ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.error import UsageError

from tests.manager_tools import VACE, submit, submit_request
from wiro_nb.errors import InputError, InvalidFile, WiroError
from wiro_nb.films.extend import plan_extension
from wiro_nb.notebook.magic import handlers
from wiro_nb.notebook.session import session
from wiro_nb.presentation.run import run_facts
from wiro_nb.schema import request_sha256
from wiro_nb.session.manager import Manager

SMALL: dict[str, Any] = {"prompt": "a storm", "frameNum": "9", "seed": "3"}


def test_the_last_frame_is_the_input_of_a_run_with_the_same_settings(manager: Manager) -> None:
    run = submit_request(manager, manager.prepare(VACE, SMALL)).wait(60)
    request = plan_extension(manager, run, {"prompt": "the storm is over"})
    handle = submit_request(manager, manager.prepare(*request)).wait(60)
    assert handle.model == VACE
    assert handle.parameters == {**run.parameters, "prompt": "the storm is over"}
    assert handle.record is not None
    assert handle.record["parent"] == {"run_id": run.id, "output": 0, "frame": -1}
    assert run_facts(handle.snapshot)["Continues"] == f"{run.short_id} at its last frame"
    assert "Continues" not in run_facts(run.snapshot)


def test_another_model_takes_the_prompt_and_a_frame_by_its_time(manager: Manager) -> None:
    run = submit(manager, "a cat").wait(60)
    request = plan_extension(manager, run, {}, model=VACE, at_s=0.3)  # 8 frames in a second
    assert request == (VACE, {"prompt": "a cat", "inputImage": f"run:{run.id}#2"})


def test_a_frame_keeps_its_bytes_so_that_nothing_is_paid_twice(manager: Manager) -> None:
    run = submit(manager, "a dog").wait(60)
    _, values = plan_extension(manager, run, {}, model=VACE)

    def request(frame: int) -> str:
        return request_sha256(manager.prepare(VACE, {**values, "inputImage": f"run:{run.id}#{frame}"}))

    first, last = request(-8), request_sha256(manager.prepare(VACE, values))
    assert run.path is not None
    run.path.write_bytes(b"no clip")  # no picture is decoded from here on
    assert request_sha256(manager.prepare(VACE, values)) == last
    assert [request(frame) for frame in (0, -8, 7, -1)] == [first, first, last, last]


@pytest.mark.parametrize(
    ("options", "kind", "reason"),
    [
        ({}, InputError, "takes no input picture"),
        ({"model": "wiro/animate-diff"}, InputError, "takes no input picture"),
        ({"model": VACE, "frame": 1, "at_s": 0.5}, InputError, "give one of them"),
        ({"model": VACE, "at_s": 1.0}, InvalidFile, "no frame at 1 s: it is 1 s long"),
        ({"model": VACE, "frame": 8}, InvalidFile, "no frame 8"),
    ],
)
def test_what_cannot_be_continued_is_a_sentence(
    manager: Manager, options: dict[str, Any], kind: type[WiroError], reason: str
) -> None:
    run = submit(manager, "a hen").wait(60)

    def prepare() -> None:
        manager.prepare(*plan_extension(manager, run, {}, **options))

    with pytest.raises(kind, match=reason) as caught:
        prepare()
    if "no input picture" in reason:
        assert VACE in caught.value.details[0], "models that take one are named"
        assert caught.value.hint == f"%wiro extend {run.short_id} {VACE}"


def test_a_run_without_a_clip_here_is_refused(manager: Manager) -> None:
    run = submit(manager, "a fox").wait(60)
    assert run.path is not None
    run.path.unlink()
    with pytest.raises(InputError, match="has no clip here"):
        plan_extension(manager, run, {}, model=VACE, at_s=0.5)


@pytest.fixture
def closed_session(manager: Manager) -> Iterator[None]:
    """What the magics made is closed with the test."""
    yield
    session.close()


@pytest.mark.usefixtures("closed_session")
def test_a_recorded_list_is_one_value_and_a_repeated_setting_is_refused(
    manager: Manager, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = "sandbox/plain-clip"
    run = submit_request(manager, manager.prepare(clip, {"prompt": "a cat", "path": [0, 1]})).wait(60)
    assert handlers.call_line(f"extend {run.short_id} --dry-run") is None
    assert "path" in capsys.readouterr().out
    with pytest.raises(UsageError, match="path is given 2 times"):
        handlers.call_line(f"extend {run.short_id} path=[0] path=[1] --dry-run")
