"""Base classes of the package's widgets."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

import anywidget
import traitlets

from wiro_nb.notebook.widgets.assets import bundle_script, read_static


class OwnWidget(anywidget.AnyWidget):
    """An anywidget with a script and styles from `notebook/static`, which are read for its first instance.

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
        if isinstance(content, dict):
            self.on_message(content, buffers)

    def on_message(self, content: dict[str, Any], buffers: Any) -> None:
        """Takes a message from the browser; messages of unknown kinds are ignored."""

    def close(self) -> None:
        """Closes the widget and its layout.

        ipywidgets leaves the layout open, with a comm of its own: a kernel that shows a thousand runs would keep a
        thousand.
        """
        layout = self.layout
        super().close()
        if layout is not None:
            layout.close()


class OutputWidget(OwnWidget):
    """A widget that stands in an output of its own, beside its static form."""

    styles: ClassVar[tuple[str, ...]] = ("wiro.css",)
    view_key = traitlets.Unicode(help="Finds its output in the notebook.").tag(sync=True)

    @traitlets.default("view_key")
    def _default_view_key(self) -> str:
        return uuid.uuid4().hex
