"""The hint at Colab's widget manager: given there, until it is followed."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from wiro_nb.notebook.extension import missing_widgets_hint


def test_the_hint_is_given_in_colab_until_it_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_widgets_hint() is None
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    hint = missing_widgets_hint()
    assert hint is not None
    assert "output.enable_custom_widget_manager()" in hint
    widgets = ModuleType("google.colab.output._widgets")
    monkeypatch.setitem(sys.modules, widgets.__name__, widgets)
    vars(widgets)["_installed_url"] = None
    assert missing_widgets_hint() == hint
    vars(widgets)["_installed_url"] = "https://cdn.example/widgets.js"
    assert missing_widgets_hint() is None
