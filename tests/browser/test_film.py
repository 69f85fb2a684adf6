"""A film in JupyterLab: it plays, a click jumps to a shot, a changed shot is run, the notebook keeps it."""

from __future__ import annotations

import json

import pytest

from .conftest import OpenNotebook, expect

pytestmark = pytest.mark.browser

FILM = """%%wiro_film pruna/vace frameNum=17 sampleSteps=4 seed=7 --out storm.mp4 --as film
--- opening
a lighthouse in a storm
--- waves from=previous
the waves grow
--- calm from=previous
the storm is over"""
DONE_MS = 90_000
# Where the film is and the shot that is marked then, also when it plays on to its end and begins again.
KEEP_PLACES = """() => {
    window.places = [];
    const film = document.querySelector('.wiro-film-v');
    const keep = () => {
        const shot = document.querySelector('.wiro-shot[aria-current]');
        window.places.push([film.currentTime, shot?.ariaLabel ?? '']);
    };
    new MutationObserver(keep).observe(document.querySelector('.wiro-film'), {
        subtree: true, childList: true, attributeFilter: ['aria-current'],
    });
    film.addEventListener('timeupdate', () => requestAnimationFrame(keep));
}"""


def test_a_film_is_played_shot_by_shot_and_a_changed_shot_is_run(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook(["%load_ext wiro_nb", FILM])
    page = notebook.page
    expect(page.locator(".wiro-film")).to_contain_text("all 3 shots done", timeout=DONE_MS)
    notebook.wait_for_answer("film.path is not None", "True")
    page.wait_for_function(
        """() => {
            const film = document.querySelector('.wiro-film-v');
            return film.readyState >= 2 && film.duration > 2.5;
        }""",
        timeout=DONE_MS,
    )
    assert page.evaluate("document.querySelector('.wiro-film-v').error") is None
    expect(page.locator(".wiro-shot img[src^='data:image/jpeg']")).to_have_count(3)
    page.evaluate(KEEP_PLACES)
    page.get_by_role("button", name="calm: Done").click()
    page.wait_for_function("window.places.some(([seconds, shot]) => seconds >= 1.8 && shot.startsWith('calm'))")
    page.evaluate("document.querySelector('.wiro-film-v').pause()")

    page.get_by_role("button", name="Edit this shot").click()
    prompt = page.get_by_label("Prompt")
    expect(prompt).to_have_value("the storm is over")
    prompt.fill("the sun comes out")
    page.get_by_role("button", name="Show price").click()
    expect(page.locator(".wiro-film-edit")).to_contain_text("Would send 1 run, free, sandbox")
    before = json.loads(notebook.answer("len(film.runs)"))
    assert before == 3
    page.get_by_role("button", name="Run changed shots").click()
    expect(page.locator(".wiro-film")).to_contain_text("The cell holds the former prompt", timeout=DONE_MS)
    expect(page.locator(".wiro-film")).to_contain_text("all 3 shots done", timeout=DONE_MS)
    expect(page.locator(".wiro-film-edit")).not_to_contain_text("Would send")
    page.wait_for_function(
        """() => [...window.jupyterapp.shell.currentWidget.context.model.cells]
            .flatMap((cell) => cell.outputs?.toJSON() ?? [])
            .map((output) => output.metadata?.wiro?.film?.parts?.at(-1)?.record.parameters.prompt)
            .some((prompt) => prompt?.includes('sun'))""",
        timeout=DONE_MS,
    )
    output = notebook.saved()["cells"][1]["outputs"][0]
    html = "".join(output["data"]["text/html"])
    assert html.count("data:image/jpeg;base64,") == 4
    assert "storm.mp4#t=" in html
    assert "application/vnd.jupyter.widget-view+json" not in output["data"]
