"""Tutorials run again send nothing; sweeps, dry runs and budgets in real kernels, by the service's books."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from tests.notebook.kernels import CLIP_MODEL, SMALL, LiveKernel
from wiro_nb.provenance.find import records_in_notebook

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Execute = Callable[[Any], Any]
TUTORIALS = Path(__file__).resolve().parents[2] / "notebooks"
SWEEP = f"%%wiro {CLIP_MODEL} --sweep seed=1..3 {SMALL}"


@pytest.fixture
def service(sandbox: Any, kernel_env: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The sandbox as the cloud, so that prices, limits and budgets count as they would there."""
    sandbox.sent_before = int(sandbox.audit()["requests"].get("Run", 0))
    monkeypatch.setenv("WIRO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WIRO_SERVICE", "cloud")
    monkeypatch.setenv("WIRO_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("WIRO_SOCKET_URL", sandbox.socket_url)
    monkeypatch.setenv("WIRO_API_KEY", sandbox.api_key)
    monkeypatch.setenv("WIRO_API_SECRET", sandbox.api_secret)
    return sandbox


def sent(service: Any) -> int:
    """Counts the Run requests of this test."""
    return int(service.audit()["requests"].get("Run", 0)) - int(service.sent_before)


def notebook(*cells: str) -> Any:
    sources = ["%load_ext wiro_nb", *cells]
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in sources],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )


def text_of(cell: Any) -> str:
    outputs = cell.outputs
    return "\n".join(str(item.get("data", {}).get("text/plain") or item.get("text") or "") for item in outputs)


def test_a_tutorial_run_again_from_the_top_sends_nothing_and_is_billed_nothing(
    service: Any, execute: Execute, kernel_env: Path
) -> None:
    """The one with single runs and sweeps."""
    name = "04-explore.ipynb"
    execute(nbformat.read(TUTORIALS / name, as_version=4))
    runs, balance = sent(service), service.audit()["balance_usd"]
    assert runs > 0
    again = execute(nbformat.read(TUTORIALS / name, as_version=4))
    assert sent(service) == runs
    assert service.audit()["balance_usd"] == balance
    assert "No charge" in "\n".join(text_of(cell) for cell in again.cells if cell.cell_type == "code")


def test_a_sweep_leaves_table_sheet_and_every_record_in_the_notebook(
    service: Any, execute: Execute, kernel_env: Path
) -> None:
    nb = execute(notebook(f"{SWEEP} --as found\na sea", "print(found.tally())"))
    output = nb.cells[1].outputs[0]
    assert set(output["data"]) == {"text/html", "text/plain", "image/jpeg"}
    assert str(kernel_env) not in str(output)
    records = records_in_notebook(nb)
    assert sorted(record["parameters"]["seed"] for record in records.values()) == ["1", "2", "3"]
    assert text_of(nb.cells[2]) == "3 done\n"


def test_a_sweep_with_a_failure_raises_after_all_have_ended(
    service: Any, execute: Execute, kernel_env: Path
) -> None:
    nb = notebook(f'%wiro run {CLIP_MODEL} --sweep prompt="a sea","a sea [fail]","a lake" {SMALL}')
    with pytest.raises(CellExecutionError, match="1 of 3 runs"):
        execute(nb)
    assert "2 done, 1 failed" in text_of(nb.cells[1])


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (f"%%wiro {CLIP_MODEL} --sweep seed=1..40\na sea", "more than 12 runs"),
        (f"%%wiro {CLIP_MODEL} --sweep seed=1..100 --sweep steps=1..100\na sea", "10,000 runs, about"),
        (f"%%wiro {CLIP_MODEL} --sweep sed=1..3\na sea", "Did you mean seed"),
        (f"%%wiro {CLIP_MODEL} --sweep seed=\na sea", "empty"),
        (f"%%wiro {CLIP_MODEL} --sweep seed=1..\na sea", "never ends"),
        (f"%%wiro {CLIP_MODEL} --zip\na sea", "belongs to a sweep"),
        (f"%%wiro {CLIP_MODEL} --max-cost 0.001 --sweep seed=1..2\na sea", "at most"),
    ],
)
def test_a_sweep_that_should_not_start_does_not(
    service: Any, execute: Execute, kernel_env: Path, cell: str, reason: str
) -> None:
    with pytest.raises(CellExecutionError, match=reason):
        execute(notebook(cell))
    assert sent(service) == 0


def test_a_dry_run_shows_request_and_price_and_sends_nothing(
    service: Any, execute: Execute, kernel_env: Path
) -> None:
    nb = execute(notebook(f"%%wiro {CLIP_MODEL} seed=7 --dry-run\na sea for $5", f"{SWEEP} --dry-run\na sea"))
    assert sent(service) == 0
    one, many = text_of(nb.cells[1]), text_of(nb.cells[2])
    assert '"prompt": "a sea for $5"' in one
    assert "price: about $0.03 (0.03 USD for each begun 1,048,576 pixels, 1 of them)" in one
    assert "3 runs, about $0.09" in many


def test_a_budget_is_kept_over_restarts_and_refuses_by_how_much(
    service: Any, execute: Execute, kernel_env: Path
) -> None:
    execute(notebook("%wiro budget 0.05", f"%%wiro {CLIP_MODEL} {SMALL} seed=1\na sea"))
    nb = notebook(f"%%wiro {CLIP_MODEL} {SMALL} seed=2\na sea")
    with pytest.raises(CellExecutionError, match=r"budget of \$0\.05 by \$0\.01"):
        execute(nb)
    assert sent(service) == 1
    told = execute(notebook("%wiro budget", "%wiro spent --by day"))
    assert "spent $0.03 of $0.05" in text_of(told.cells[1])
    assert "$0.03" in text_of(told.cells[2])


def test_a_live_sweep_shows_a_grid_with_its_static_form_and_unloads_cleanly(
    service: Any, kernel: LiveKernel
) -> None:
    kernel.run("%load_ext wiro_nb")
    answer = kernel.run(f"{SWEEP} --as grid --wait\na live sea")
    card = next(item for item in answer.shown if "Sweep" in item["data"].get("text/html", ""))
    assert "application/vnd.jupyter.widget-view+json" in card["data"]
    display_id = card["transient"]["display_id"]

    def is_final(message: dict[str, Any]) -> bool:
        # Runs that end before their grid is drawn are all in its first form, and no other follows.
        if message["msg_type"] not in ("display_data", "update_display_data"):
            return False
        content = message["content"]
        runs = content["metadata"].get("wiro", {}).get("runs", [])
        return content["transient"].get("display_id") == display_id and len(runs) == 3

    final = kernel.wait_for(is_final, since=answer)["content"]
    assert "image/jpeg" in final["data"]
    again = kernel.run(f"{SWEEP} --as grid\na live sea")
    assert "already" in again.shown[0]["data"]["text/html"]
    assert sent(service) == 3
    left = kernel.run("%unload_ext wiro_nb").of("update_display_data")
    assert left
    assert all("application/vnd.jupyter.widget-view+json" not in item["data"] for item in left)
