"""What a form does when its page says something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wiro_nb.notebook.form.form import ModelForm


def answer_message(form: ModelForm, content: Mapping[str, Any]) -> None:
    """Does what a press in the browser asks for.

    Raises:
        WiroError: As the action raises it; the form shows it under its button.
    """
    action = content.get("type")
    name = str(content.get("name") or "")
    # Typing may still be on its way: what stood in the browser at the press counts.
    if action in ("run", "vary_check", "vary_send", "copy", "preset_save"):
        form.take_values(content.get("values"))
    if action == "run":
        form.run()
    elif action in ("vary_check", "vary_send"):
        _answer_vary(form, str(content.get("text") or ""), send=action == "vary_send")
    elif action == "copy":
        form.send({"type": "copy", "text": form.python() if content.get("what") == "python" else form.cell()})
    elif action == "reset":
        form.reset(*([name] if name in form else []))
    elif action == "preset_save":
        form.save_preset(name)
    elif action == "preset_load":
        form.load_preset(name)
    elif action == "preset_delete":
        form.delete_preset(name)


def _answer_vary(form: ModelForm, text: str, *, send: bool) -> None:
    """Says what a sweep would send; sends it only on the second press, which has the number on it."""
    from wiro_nb.notebook.form.vary import read_axes
    from wiro_nb.sweeps.plan import describe_plan

    if form.starts_sweeps is None:
        return
    plan = form.starts_sweeps.plan(form.values, read_axes(text))
    if send or not plan.missing:
        form.starts_sweeps.start(plan, yes=True)
        started = "Sweep started. The form can be used again."
        form.say([started if plan.missing else "All of it is made already: shown at no cost."])
    else:
        form.say([f"{describe_plan(plan)}."])
    form.send({"type": "vary", "text": text, "count": 0 if send else len(plan.missing)})
