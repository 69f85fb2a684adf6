"""The grid on paper: rows and columns, tiles, counts, the static table, what was spent."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from PIL import Image

from tests.snapshots import change, make_snapshot
from wiro_nb.api.pricing import Estimate
from wiro_nb.ledger.budget import Spending
from wiro_nb.ledger.state import RunOutput, RunState, Snapshot, Stage
from wiro_nb.notebook.account import Spent
from wiro_nb.notebook.compare import compare_runs, mark_words
from wiro_nb.notebook.sweep.rendering import (
    axis_value_label,
    head_data,
    lay_out,
    point_labels,
    render_sweep,
    sweep_tiles,
)
from wiro_nb.schema import find_bundled
from wiro_nb.session.prices import Total
from wiro_nb.session.submission import Batch
from wiro_nb.sweeps.axes import list_points, read_axis
from wiro_nb.sweeps.plan import SweepPlan

SCHEMA = find_bundled("wiro/animate-diff")
CLIP = RunOutput(
    "a.mp4", "video/mp4", path="out/a b/a.mp4", poster_path="out/p.jpg", width=832, height=480, fps=16.0, frames=81
)


def plan_of(*axes: str, zipped: bool = False, free_label: str = "", **changes: Any) -> SweepPlan:
    assert SCHEMA is not None
    read = tuple(read_axis(text) for text in axes)
    points = tuple(list_points(read, zipped=zipped))
    cost = Estimate(Decimal("0.24"), Decimal("0.24"), "", known=True, seconds=54.0)
    values = {"made": {}, **changes}
    total = Total(len(points) - len(values["made"]), cost, free_label, len(values["made"]))
    return SweepPlan("sweep", SCHEMA, read, zipped, {}, points, Batch(()), values["made"], total)


def snapshot(state: RunState = RunState.SUCCEEDED, stage: Stage = Stage.DONE, **changes: Any) -> Snapshot:
    values: dict[str, Any] = {
        "run_id": "01KAJ0000000000000000K3F9A",
        "model": "wiro/animate-diff",
        "prompt": "a <b>sea</b> for $5",
        "elapsed_s": 9.0,
        "cost_usd": Decimal("0.038") if state is RunState.SUCCEEDED else None,
        "outputs": (CLIP,) if state is RunState.SUCCEEDED else (),
    }
    return make_snapshot(state, stage, **{**values, **changes})


def poster(colour: str = "teal") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (416, 240), colour).save(stream, "JPEG")
    return stream.getvalue()


def test_the_last_axis_makes_the_columns_and_the_others_the_rows() -> None:
    layout = lay_out(plan_of("seed=7,8", "loraType=ZoomIn,PanLeft,PanRight"))
    assert (layout.row_name, layout.column_name) == ("seed", "loraType")
    assert (layout.rows, layout.columns) == (("7", "8"), ("ZoomIn", "PanLeft", "PanRight"))
    assert layout.cells == ((0, 1, 2), (3, 4, 5))
    deep = lay_out(plan_of("steps=1,2", "seed=7,8", "loraType=ZoomIn,PanLeft"))
    assert deep.rows == ("1, 7", "1, 8", "2, 7", "2, 8")


@pytest.mark.parametrize(
    "plan", [plan_of("seed=7,8"), plan_of("seed=7,8", "loraType=ZoomIn,PanLeft", zipped=True)]
)
def test_one_axis_and_paired_axes_make_a_list(plan: SweepPlan) -> None:
    layout = lay_out(plan)
    assert not layout.rows
    assert layout.cells == ((0, 1),)


def test_points_are_named_by_labels_and_numbers_by_their_setting() -> None:
    assert point_labels(plan_of("seed=7,8", "loraType=FILE:169584"))[0] == f"seed 7, {label_of('FILE:169584')}"
    assert label_of("zoomin") == "ZoomIn"
    assert label_of("x" * 200).endswith("…")


def label_of(value: str) -> str:
    assert SCHEMA is not None
    return axis_value_label(SCHEMA, "loraType", value)


def test_tiles_say_state_progress_money_and_what_can_be_done() -> None:
    shots = [
        snapshot(starred=True),
        snapshot(RunState.SUBMITTED, Stage.GENERATING, percent=40.0, step=4, steps=10),
        snapshot(RunState.PLANNED, Stage.WAITING, ahead=2),
        snapshot(RunState.FAILED, Stage.GENERATING, message="out of memory"),
    ]
    done, moving, waiting, failed = sweep_tiles(plan_of("seed=7..10"), shots)
    assert (done["word"], done["cost"], done["path"], done["duration"]) == (
        "Best",
        "$0.038",
        "out/a b/a.mp4",
        81 / 16,
    )
    assert not done["cancel"]
    assert (moving["percent"], moving["step"], moving["cancel"]) == (40.0, "step 4 of 10", True)
    assert waiting["middle"] == "starts after 2 more"
    assert (failed["kind"], failed["middle"], failed["percent"]) == ("failed", "out of memory", None)


def test_the_head_counts_and_sets_what_was_spent_against_the_forecast() -> None:
    plan = plan_of("seed=1..4")
    shots = [
        snapshot(),
        snapshot(RunState.FAILED, Stage.GENERATING),
        snapshot(RunState.SUBMITTED, Stage.GENERATING, percent=50.0),
        snapshot(RunState.PLANNED, Stage.WAITING, ahead=0),
    ]
    head = head_data(plan, shots, 25.0)
    assert (head["title"], head["percent"], head["left"]) == ("Sweep: 1 of 4 done", 62.5, "about 25 s left")
    assert head["counts"] == "1 done, 1 failed, 1 generating, 1 waiting for a slot"
    assert head["spent"] == "spent $0.038 of about $0.24"
    assert head["waiting"] == 1


def test_the_static_table_has_posters_links_and_survives_hostile_text() -> None:
    plan = plan_of("seed=7,8", "loraType=ZoomIn,PanLeft")
    failed = snapshot(RunState.FAILED, Stage.GENERATING, message="<script>x</script> $1 $2")
    shots = [snapshot(), snapshot(starred=True), snapshot(), failed]
    bundle = render_sweep(plan, shots, {0: poster(), 1: poster("navy"), 2: poster("olive")}, ["4 runs, $1"])
    html = bundle.html
    assert html.count('href="out/a%20b/a.mp4"') == 3
    assert html.count("data:image/jpeg;base64,") == 3
    assert html.count("<b>Best</b>") == 1
    assert "<script>" not in html
    assert "<b>sea</b>" not in html
    assert "class=" not in html
    assert "<style" not in html
    assert " for $5" not in html, "an amount outside a tag of its own would be typeset as maths"
    assert base64.b64decode(bundle.jpeg) == poster("navy"), "a viewer without HTML gets the best one's poster"
    text = bundle.text
    assert "sweep: 3 of 4 done" in text
    assert " * seed 7, PanLeft" in text


def test_a_point_whose_file_is_gone_says_how_to_get_it_again_and_links_to_nothing() -> None:
    plan, shot = plan_of("seed=7,8"), snapshot()
    gone = snapshot(outputs=(replace(CLIP, path=None, problem=f"%wiro download {shot.short_id}"),))
    html = render_sweep(plan, [shot, gone], {}).html
    assert html.count(f"%wiro download {shot.short_id}") == 1
    assert html.count('href="out/a%20b/a.mp4"') == 1
    data = sweep_tiles(plan, [shot, gone])[1]
    assert (data["path"], data["poster"]) == ("", "")
    assert data["middle"].endswith(f"%wiro download {shot.short_id}")


def test_thirty_six_runs_stay_small() -> None:
    plan = plan_of("seed=1..6", "steps=1..6")
    noisy = io.BytesIO()
    Image.effect_noise((416, 240), 90).convert("RGB").save(noisy, "JPEG", quality=60)
    bundle = render_sweep(plan, [snapshot()] * 36, dict.fromkeys(range(36), noisy.getvalue()))
    assert sum(map(len, bundle.data.values())) / 36 < 24_000


def test_unfinished_sweeps_say_how_to_go_on() -> None:
    plan = plan_of("seed=7,8")
    shots = [snapshot(), snapshot(RunState.SUBMITTED, Stage.GENERATING, percent=10.0)]
    assert "Run the cell again" in render_sweep(plan, shots, {}).html
    assert render_sweep(plan, shots, {}).jpeg == ""
    assert "generating" in render_sweep(plan, shots, {}).text


def test_only_what_differs_is_listed_and_changed_words_are_marked() -> None:
    first = snapshot(parameters={"prompt": "a lighthouse above a stormy sea", "seed": "7", "steps": 10})
    second = change(first, parameters={"prompt": "a lighthouse above a calm sea", "seed": "12", "steps": 10})
    found = compare_runs([first, second])
    assert [row.name for row in found.differ] == ["prompt", "seed"]
    assert [piece for piece in found.differ[0].cells[0] if piece[1]] == [("stormy ", True)]
    assert [piece for piece in found.differ[0].cells[1] if piece[1]] == [("calm ", True)]
    assert found.same == ("model", "service", "steps")
    assert [row.name for row in found.results] == ["cost", "elapsed"]
    assert ["".join(text for text, _ in cell) for cell in mark_words(["a b c d", "a b x d"])] == [
        "a b c d",
        "a b x d",
    ]


def test_what_was_spent_is_a_table_with_bars_and_no_private_path() -> None:
    rows = (
        Spending("/home/anna/secret/clips.ipynb", 3, Decimal("0.30"), Decimal("0.04")),
        Spending("", 1, Decimal("0.1"), Decimal(0)),
    )
    spent = Spent("notebook", rows, Decimal("0.30"), "cloud")
    assert (spent.total_usd, spent.reserved_usd) == (Decimal("0.4"), Decimal("0.04"))
    page = spent.output()
    assert "clips.ipynb" in page.html
    assert "anna" not in f"{page.html}{spent!r}"
    assert "outside notebooks" in page.text
    told = "spent $0.40 in all notebooks (cloud), $0.30 of it in this one; runs in flight may add $0.04"
    assert told in page.text
    assert "75%" in page.html
    assert "nothing spent" in Spent("day", (), Decimal(0), "sandbox").output().text
