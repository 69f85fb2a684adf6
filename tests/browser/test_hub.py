"""As JupyterHub serves it: an address below a path, a token, a notebook in a sub-folder with blanks."""

from __future__ import annotations

import re
from collections.abc import Iterator

import nbformat
import pytest

from .conftest import OpenNotebook, Server, expect, run_server

pytestmark = pytest.mark.browser

CELLS = [
    "%load_ext wiro_nb",
    "%%wiro sandbox/plain-clip frames=9 seed=7 --as clip --wait\na paper boat",
    "%wiro form sandbox/plain-clip",
]


@pytest.fixture(scope="module")
def jupyter_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with run_server(tmp_path_factory.mktemp("hub"), "--ServerApp.base_url=/user/maja/") as server:
        assert server.url.endswith("/user/maja/")
        yield server


def test_clip_form_and_metadata_work_below_a_path(open_notebook: OpenNotebook, jupyter_server: Server) -> None:
    folder = jupyter_server.root / "my films"
    folder.mkdir(parents=True)
    notebook_file = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS])
    notebook_file.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook_file, folder / "film.ipynb")

    notebook = open_notebook(folder / "film.ipynb")
    video = notebook.page.locator(".jp-OutputArea video").first
    video.wait_for()
    expect(video).to_have_attribute("src", re.compile("/files/"))
    # Asked for as the player asks: from below the path, with the page's cookie. Not every Chromium has H.264.
    answer = video.evaluate(
        """async (video) => {
            const answer = await fetch(video.src);
            const data = await answer.arrayBuffer();
            const type = answer.headers.get('Content-Type');
            return {url: answer.url, status: answer.status, type, size: data.byteLength};
        }"""
    )
    assert (answer["status"], answer["type"]) == (200, "video/mp4")
    assert answer["url"].startswith(f"{jupyter_server.url}files/")
    clip = next((folder / "wiro_outputs").glob("*/0.mp4"))
    assert answer["size"] == clip.stat().st_size
    notebook.page.get_by_role("button", name="Run").first.wait_for()
    notebook.wait_for_runs("succeeded")
    (record,) = notebook.saved()["metadata"]["wiro"]["runs"].values()
    assert record["status"] == "succeeded"
    assert (folder / record["outputs"][0]["path"]).exists()
