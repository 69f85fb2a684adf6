"""Makes the pictures of the README from the real thing: JupyterLab, the sandbox, a run from form to clip.

    python -m tests.browser.make_pictures

writes `notebooks/images/*.jpg`, each at most 60 kB.
"""

from __future__ import annotations

import io
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from PIL import Image
from playwright.sync_api import sync_playwright

from .conftest import Desk, NotebookPage, Server, launch_chromium, run_server

IMAGES = Path(__file__).resolve().parents[2] / "notebooks" / "images"
MOST_BYTES = 60_000
WIDTH = 1130
WAN = "Wan-AI/Wan2.2-TI2V-5B-text-to-video"
PROMPT = "a lighthouse above a stormy sea at sunset, slow camera pan"


def keep(name: str, picture: bytes) -> None:
    """Writes a picture as JPEG, at the best quality that stays small enough."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for quality in range(90, 30, -5):
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality, optimize=True, progressive=True)
        if len(stream.getvalue()) <= MOST_BYTES:
            break
    IMAGES.mkdir(exist_ok=True)
    (IMAGES / f"{name}.jpg").write_bytes(stream.getvalue())
    print(f"{name}.jpg  {image.width} x {image.height}, {len(stream.getvalue()) // 1000} kB")


def shoot(notebook: NotebookPage, name: str, selector: str) -> None:
    """Takes one part of the page."""
    part = notebook.page.locator(selector).first
    part.scroll_into_view_if_needed()
    keep(name, part.screenshot())


def open_cells(desk: Desk, server: Server, cells: list[str]) -> NotebookPage:
    """Opens a notebook in JupyterLab and runs it."""
    path = server.root / f"{secrets.token_hex(4)}.ipynb"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    page = desk.page(server, "lab")
    page.set_viewport_size({"width": WIDTH, "height": 1300})
    desk.visit(server, "lab", path.name)
    opened = NotebookPage(page, path, [])
    opened.wait_for_kernel()
    opened.run_all()
    return opened


def make_form_card_result(desk: Desk, server: Server) -> None:
    """From the form through a moving card to the clip."""
    notebook = open_cells(desk, server, ["%load_ext wiro_nb", f"%wiro form {WAN} numFrames=49 steps=30 seed=7"])
    page = notebook.page
    page.locator('.wiro-form [data-name="prompt"] textarea').fill(PROMPT)
    page.locator(".wiro-btn-run").hover()
    shoot(notebook, "form", ".wiro-form")
    page.locator(".wiro-btn-run").click()
    page.wait_for_function(
        "() => Number(document.querySelector('.wiro-run [role=progressbar]')?.ariaValueNow) >= 40", polling=20
    )
    keep("card", page.locator(".wiro-run").first.screenshot())
    page.locator(".wiro-run video").first.wait_for(timeout=60_000)
    page.wait_for_function("() => document.querySelector('.wiro-run[data-kind=done] video')")
    video = page.locator(".wiro-run video").first
    video.evaluate("(node) => { node.preload = 'auto'; node.muted = true; return node.play(); }")
    page.wait_for_function("() => document.querySelector('.wiro-run video').currentTime > 0.4")
    video.evaluate("(node) => node.pause()")
    shoot(notebook, "result", ".wiro-run")


def make_models(desk: Desk, server: Server) -> None:
    """The model browser, with one's own clips as covers."""
    runs = [
        f"%%wiro {WAN} numFrames=5 steps=2 seed=3 --wait\n{PROMPT}",
        "%%wiro pruna/vace frameNum=5 sampleSteps=2 seed=4 --wait\na deer in a snowy forest, early morning",
        "%%wiro wiro/animate-diff framenumber=4 steps=2 seed=5 --wait\na red fox running through tall grass",
        "%%wiro sandbox/plain-clip frames=9 seed=6 --wait\na paper boat on a river",
    ]
    notebook = open_cells(desk, server, ["%load_ext wiro_nb", *runs, "%wiro models"])
    notebook.page.locator(".wiro-cover img").nth(2).wait_for()
    notebook.use_theme("JupyterLab Dark")
    shoot(notebook, "models", ".wiro-browser")
    notebook.use_theme("JupyterLab Light")


def main() -> None:
    """Makes all pictures."""
    steps: tuple[Callable[[Desk, Server], Any], ...] = (make_form_card_result, make_models)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as engine, run_server(Path(folder)) as server:
        browser = launch_chromium(engine)
        if browser is None:
            raise SystemExit("Chromium is missing: python -m playwright install chromium")
        desk = Desk(browser)
        for step in steps:
            step(desk, server)
        browser.close()


if __name__ == "__main__":
    main()
