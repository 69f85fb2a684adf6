"""Front-end files: bundles are whole, load lazily, and never parse data as HTML."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import wiro_nb
from wiro_nb.notebook.widgets import bundle_script, read_static

STATIC = files("wiro_nb.notebook") / "static"
SCRIPTS = sorted(item.name for item in STATIC.iterdir() if item.name.endswith(".js"))
ENTRIES = ["bridge.js", "card.js", "field.js", "film.js", "form.js"]


@pytest.mark.parametrize("name", ENTRIES)
def test_a_bundle_has_no_import_left_and_one_export(name: str) -> None:
    text = bundle_script(name)
    assert not re.search(r"^import ", text, re.MULTILINE)
    assert re.findall(r"^export .*", text, re.MULTILINE)[0].startswith("export default {")
    assert len(re.findall(r"^export ", text, re.MULTILINE)) == 1


@pytest.mark.parametrize("name", ENTRIES)
def test_no_two_parts_of_a_bundle_define_the_same_name(name: str) -> None:
    names = re.findall(r"^(?:async )?(?:function\*?|const|let|class) (\w+)", bundle_script(name), re.MULTILINE)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_never_parse_data_as_html_nor_load_from_elsewhere(name: str) -> None:
    text = read_static(name)
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert forbidden not in text
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg|\")", text)


def test_every_class_of_the_style_sheet_is_ours_and_used() -> None:
    css = re.sub(r"/\*.*?\*/", "", read_static("wiro.css"), flags=re.DOTALL)
    used = set(re.findall(r"\.([a-zA-Z][\w-]*)", re.sub(r"\{[^}]*\}", "{}", css)))
    # JupyterLab's own classes may say where ours stand.
    used = {name for name in used if not name.startswith("jp-")}
    assert {name for name in used if not name.startswith("wiro")} == set()
    scripts = "".join(read_static(name) for name in SCRIPTS)
    scripts += "".join(item.read_text("utf-8") for item in Path(wiro_nb.__file__).parent.rglob("*.py"))
    stems = {name for name in used if name not in scripts}
    # Names put together from a state: wiro-st-past, wiro-variant-ok, wiro-badge-cloud.
    assert {name for name in stems if not re.match(r"wiro-(st|variant|badge)-", name)} == set()


def test_importing_the_widgets_reads_no_front_end_file() -> None:
    code = (
        "import wiro_nb.notebook.widgets;"
        "from wiro_nb.notebook.widgets import bundle_script as b, read_static as r;"
        "print(r.cache_info().currsize + b.cache_info().currsize)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "0"
