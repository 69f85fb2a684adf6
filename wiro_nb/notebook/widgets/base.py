"""What all own widgets share."""

from __future__ import annotations

import anywidget


class OwnWidget(anywidget.AnyWidget):
    """An anywidget that takes its layout along when it is closed.

    ipywidgets makes a layout for every widget, with a comm of its own, and leaves it open: a kernel that shows a
    thousand runs would keep a thousand.
    """

    def close(self) -> None:
        """Closes the widget and its layout."""
        layout = self.layout
        super().close()
        if layout is not None:
            layout.close()
