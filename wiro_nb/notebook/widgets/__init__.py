"""The anywidgets of the notebook, in plain ES modules and style sheets without a build step.

Widgets hold no policy: they show a plain state and report what the user did. Validation, prices,
runs and records are given to them as callables, so that each can be made and tested without a
kernel, a browser or a service. May import ipywidgets, anywidget, `wiro_nb.presentation`, and the
packages below `wiro_nb.services`; nothing here reaches the network or the ledger.

A widget's script reaches the browser as one text, in which a relative `import` cannot resolve.
The files in `static/` are ordinary ES modules: `bundle_script` prepends the imported helpers,
each once, and strips the `import` lines and the helpers' `export` keywords.
The helpers share one scope, so their top-level names differ.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar

import anywidget
import traitlets

from wiro_nb.errors import WiroError
from wiro_nb.redaction import redact

_log = logging.getLogger(__name__)
_IMPORT = re.compile(r"^import \{[^}]*\} from \"\./([a-z_]+\.js)\";\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|let|class) )", re.MULTILINE)


@cache
def read_static(name: str) -> str:
    """Returns the text of one file in `notebook/static`."""
    return (files("wiro_nb") / "notebook" / "static" / name).read_text(encoding="utf-8")


@cache
def bundle_script(name: str) -> str:
    """Returns a script with every helper it imports in front of it.

    Args:
        name: File in `notebook/static`, for example "form.js".
    """
    helpers: dict[str, str] = {}

    def collect(script: str) -> str:
        text = read_static(script)
        for helper in _IMPORT.findall(text):
            if helper not in helpers:
                helpers[helper] = _EXPORT.sub("", collect(helper))
        return _IMPORT.sub("", text)

    entry = collect(name)
    return "\n".join([*helpers.values(), entry])


class OwnWidget(anywidget.AnyWidget):
    """An anywidget whose script and styles are read from `notebook/static` at first use.

    Attributes:
        script: File name of its script.
        styles: File names of its style sheets.
    """

    script: ClassVar[str]
    styles: ClassVar[tuple[str, ...]] = ()
    _esm = traitlets.Unicode(help="The script.").tag(sync=True)
    _css = traitlets.Unicode(help="The style sheets.").tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.on_msg(self._receive)

    @traitlets.default("_esm")
    def _default_esm(self) -> str:
        return bundle_script(self.script)

    @traitlets.default("_css")
    def _default_css(self) -> str:
        return "".join(map(read_static, self.styles))

    def _receive(self, _widget: Any, content: Any, buffers: Any) -> None:
        """Handles a message; an error is shown in the widget, since a message belongs to no cell."""
        if not isinstance(content, dict):
            return
        try:
            self.on_message(content, buffers)
        except WiroError as error:
            self.show_error(error.lines())
        except Exception as error:
            _log.exception("a message of a page could not be answered")
            text = redact(f"{type(error).__name__}: {error}")
            self.show_error([text, "If a run was started, it is in the list: %wiro runs"])

    def on_message(self, content: dict[str, Any], buffers: Any) -> None:
        """Handles a message from the browser; messages of unknown kinds are ignored."""

    def show_error(self, lines: list[str]) -> None:
        """Shows why a message could not be answered; a widget without a place for it logs it."""
        _log.warning("%s", " ".join(lines))

    def reply(self, kind: str, **content: Any) -> None:
        """Sends a reply to the page."""
        self.send({"type": kind, **content})

    def close(self) -> None:
        """Closes the widget and its layout.

        ipywidgets leaves the layout and its comm open: a kernel that shows a thousand runs would leak a thousand
        comms.
        """
        layout = self.layout
        super().close()
        if layout is not None:
            layout.close()


class OutputWidget(OwnWidget):
    """A widget displayed in its own output, beside its static form.

    Attributes:
        actions: Action names of its buttons; messages with other actions are ignored.
    """

    styles: ClassVar[tuple[str, ...]] = ("wiro.css",)
    actions: ClassVar[frozenset[str]] = frozenset()
    view_key = traitlets.Unicode(help="Finds its output in the notebook.").tag(sync=True)
    attached = traitlets.Unicode(help="Model id of a widget that is shown below, or none.").tag(sync=True)
    _below: anywidget.AnyWidget | None = None

    def __init__(self, *, on_action: Callable[..., object] = lambda *_: None, **traits: Any) -> None:
        """Makes a widget.

        Args:
            on_action: Called with a word of `actions`, and the message.
            **traits: Values of traits.
        """
        self._on_action = on_action
        super().__init__(**traits)

    def on_message(self, content: dict[str, Any], buffers: Any) -> None:
        """Calls `on_action` for a button."""
        if content.get("action") in self.actions:
            self._on_action(content["action"], content)

    def send_poster(self, position: int, picture: bytes) -> None:
        """Answers a page that cannot fetch files: the poster's bytes."""
        self.send({"type": "poster", "p": position}, buffers=[picture])

    def attach(self, widget: anywidget.AnyWidget | None) -> None:
        """Shows a widget below this one, in place of the one before, which is closed."""
        before, self._below = self._below, widget
        self.attached = "" if widget is None else widget.model_id
        if before is not None:
            before.close()

    def close(self) -> None:
        """Closes the widget and what is shown below it."""
        self.attach(None)
        super().close()

    @traitlets.default("view_key")
    def _default_view_key(self) -> str:
        return uuid.uuid4().hex
