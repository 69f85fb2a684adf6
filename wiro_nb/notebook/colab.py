"""Google Colab shows widgets of other packages only after a setting: what to type there.

Source: `google/colab/output/_widgets.py` in googlecolab/colabtools.
"""

from __future__ import annotations

import sys

HINT = (
    "Forms and cards in Colab need: from google.colab import output; output.enable_custom_widget_manager(). "
    "It loads their script from a public CDN; without it runs end as poster and text all the same."
)


def missing_widgets_hint() -> str | None:
    """Returns what to type for widgets, or None where nothing is missing: outside Colab, or once it is done."""
    if "google.colab" not in sys.modules:
        return None
    enabled = getattr(sys.modules.get("google.colab.output._widgets"), "_installed_url", None)
    return None if enabled else HINT
