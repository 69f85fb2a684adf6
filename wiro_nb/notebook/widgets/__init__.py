"""The anywidgets of the notebook, in plain ES modules and style sheets without a build step.

Widgets hold no policy: they show a plain state and report what the user did. Validation, prices,
runs and records are given to them as callables, so that each can be made and tested without a
kernel, a browser or a service. May import ipywidgets, anywidget, `wiro_nb.schema` and
`wiro_nb.ledger.state`; nothing here reaches the network or the ledger.

Every class reads its JavaScript and CSS when its first instance is made, not at import.
"""

from __future__ import annotations

from wiro_nb.notebook.widgets.bridge_widget import BridgeWidget
from wiro_nb.notebook.widgets.card import RunCard, card_view
from wiro_nb.notebook.widgets.field import Field, PairsField, SeedField
from wiro_nb.notebook.widgets.file_field import FileField
from wiro_nb.notebook.widgets.views import ModelBrowser

__all__ = ["BridgeWidget", "Field", "FileField", "ModelBrowser", "PairsField", "RunCard", "SeedField", "card_view"]
