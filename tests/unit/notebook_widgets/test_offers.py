"""What a form starts with and offers: samples, empty choices, limits of files; the model browser's messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from wiro_nb.errors import UnknownModel, UnknownRun
from wiro_nb.execution.requests import read_run_text
from wiro_nb.notebook.form.form import ModelForm
from wiro_nb.notebook.form.layout import plan_form
from wiro_nb.notebook.widgets.fields import FileField
from wiro_nb.notebook.widgets.views import ModelBrowser
from wiro_nb.schema import bundled_models, find_bundled
from wiro_nb.schema.values import prepare

from .conftest import custom, send

PNG = bytes.fromhex("89504e470d0a1a0a") + bytes(100)


@pytest.mark.parametrize("schema", bundled_models(), ids=lambda schema: str(schema.slug))
def test_an_untouched_form_sends_what_nothing_given_sends(schema: Any) -> None:
    needed = {item.id: "fog" for item in schema.parameters if item.required and not item.is_file}
    needed |= {
        item.id: "https://example.org/a.png" for item in schema.parameters if item.required and item.is_file
    }
    sent: list[dict[str, Any]] = []
    form = ModelForm(schema, on_run=sent.append, values=needed)
    form.run()
    assert sent, form.problems
    given = {name: value for name, value in sent[0].items() if value not in ("", [], None)}
    plain, shown = prepare(schema, needed), prepare(schema, given)
    drawn = plain.seed.parameter if plain.seed is not None and not plain.seed.pinned else None
    assert {**shown.parameters, drawn: None} == {**plain.parameters, drawn: None}


def test_a_sample_prompt_is_offered_and_never_the_value() -> None:
    schema = find_bundled("pruna/vace")
    assert schema is not None
    prompt = plan_form(schema)["prompt"]
    assert "default" not in prompt
    assert prompt["sample"].startswith("A serene")


def test_a_default_outside_the_choices_is_called_none() -> None:
    schema = find_bundled("wiro/animate-diff")
    assert schema is not None
    plan = plan_form(schema)["selectedModel"]
    assert "default" not in plan
    assert plan["empty"] == "none"


def test_files_say_how_many_of_what() -> None:
    schema = find_bundled("pruna/vace")
    assert schema is not None
    plan = plan_form(schema)["inputImage"]
    assert (plan["media"], plan["most"]) == ("image", 3)
    assert "1 to 3 images (jpg, png, gif, webp, heic), up to 100 MB each" in plan["hint"]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("run:8c41", ("8c41", None)),
        (" run: 8c41#-1 ", ("8c41", -1)),
        ("run:8c41#0", ("8c41", 0)),
        ("run:", None),
        ("run:8c41#x", None),
        ("https://example.org/run:8c41", None),
    ],
)
def test_text_that_names_a_run(text: str, meant: Any) -> None:
    assert read_run_text(text) == meant


class Sources:
    """One earlier run."""

    def __init__(self, clip: Path) -> None:
        self.clip = clip

    def recent(self, media: str) -> list[dict[str, Any]]:
        return [{"id": "8c41", "kind": "video"}]

    def resolve(self, parameter: str, text: str) -> str:
        if text.startswith("run:") and "8c41" not in text:
            raise UnknownRun("No run 'gone' in the ledger.", query=text, near=[])
        return str(self.clip) if text.startswith("run:") else text


def test_a_run_is_taken_by_its_id_and_shown_with_its_picture(tmp_path: Path) -> None:
    clip = tmp_path / "frame.png"
    Image.new("RGB", (64, 36), "teal").save(clip)
    field = FileField(name="image", sources=Sources(clip))
    field.add("run:8c41#-1")
    assert field.value == ("run:8c41#-1",)
    assert field.resolved() == [str(clip)]
    assert field.items[0]["name"] == "run:8c41, last frame"
    assert field.items[0]["thumb"].startswith("data:image/jpeg;base64,")
    with pytest.raises(UnknownRun):
        field.add("run:gone")


def test_a_file_of_another_kind_is_refused_with_its_first_bytes(tmp_path: Path) -> None:
    said: list[dict[str, Any]] = []
    field = FileField(name="image", media="image", upload_dir=tmp_path)
    field.send = lambda content, *_: said.append(content)
    send(field, {"type": "begin", "upload": "u", "name": "a.mp4", "size": 90_000_000})
    send(field, {"type": "chunk", "upload": "u", "seq": 0}, b"\0\0\0\x20ftypisom" + bytes(500))
    assert said[-1]["type"] == "refused"
    assert "takes jpg, png" in said[-1]["message"]
    assert list(tmp_path.iterdir()) == []


def test_the_model_browser_reports_and_adds_each_model_once() -> None:
    asked: list[tuple[str, str]] = []
    browser = ModelBrowser(
        models=[{"slug": "a/b"}],
        on_action=lambda action, content: asked.append((action, content.get("query") or content.get("slug"))),
    )
    send(browser, {"action": "search", "query": "fox"})
    send(browser, {"action": "choose", "slug": "a/b"})
    send(browser, "nonsense")
    assert asked == [("search", "fox"), ("choose", "a/b")]
    browser.add([{"slug": "a/b"}, {"slug": "c/d"}])
    assert [model["slug"] for model in browser.models] == ["a/b", "c/d"]


@pytest.mark.parametrize("error", [UnknownModel("there is no a/b", hint="%wiro models"), ValueError("odd")])
def test_an_error_of_an_answer_is_shown_in_the_widget(error: Exception, messages: list[Any]) -> None:
    def refuse(*_: object) -> None:
        raise error

    browser = ModelBrowser(models=[], on_action=refuse)
    send(browser, {"action": "choose", "slug": "a/b"})
    shown = custom(messages)[-1]
    assert shown["type"] == "message"
    assert str(error).lower() in shown["lines"][0].lower()
    assert "%wiro" in " ".join(shown["lines"])
