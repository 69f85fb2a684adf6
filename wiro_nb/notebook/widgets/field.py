"""Fields of a form: one small widget a parameter, drawn by the form that holds them.

A field is a real widget with a `value` trait, so reading, setting, `observe` and `jslink` work. Its
script is a few lines: it asks the form's script to draw it. So twelve fields cost twelve messages,
not thirty-six, and still show on their own when displayed alone.
"""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import traitlets

from wiro_nb.notebook.widgets.base import OwnWidget

_random = random.SystemRandom()


class FieldValue(traitlets.TraitType[Any, Any]):
    """What a field holds; the field brings it into its own form, None included."""

    def validate(self, obj: Any, value: Any) -> Any:
        """Returns the value as the field keeps it."""
        return obj.normal_value(value)


class Field(OwnWidget):
    """A text, number or choice.

    `value` keeps what was given: a text or a number. A number typed in the browser arrives as a
    number when writing it out gives the same text again ("7"), else as text ("5.0").
    """

    script = "field.js"
    name = traitlets.Unicode(help="Parameter name on the wire.").tag(sync=True)
    form_key = traitlets.Unicode(help="Key of the form that draws this field.").tag(sync=True)
    value = FieldValue("", help="What the user gave: text or number.").tag(sync=True)

    def normal_value(self, value: Any) -> Any:
        """Returns the value as the field keeps it.

        Raises:
            traitlets.TraitError: Not a text or a number.
        """
        if value is None:
            return ""
        if isinstance(value, Decimal):
            return str(value)
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise traitlets.TraitError(f"{self.name} takes a text or a number, not {type(value).__name__}")
        return value

    def __repr__(self) -> str:
        """Returns name and value, shown where widgets are not available."""
        return f"{type(self).__name__}({self.name}={self.value!r})"


class SeedField(Field):
    """A seed with a pin: pinned, every run uses it; not pinned, each run draws a new one."""

    pinned = traitlets.Bool(True, help="False: a new seed is drawn for each run.").tag(sync=True)
    highest = traitlets.Int(2**31 - 1, help="Largest seed that is drawn.")

    def draw(self) -> int:
        """Puts a new random seed into the field and returns it."""
        seed = _random.randint(1, self.highest)
        self.value = seed
        return seed


class FlagField(Field):
    """Yes or no; holds "true", "false", or the empty text while nothing was chosen."""

    def normal_value(self, value: Any) -> Any:
        """Returns "true" or "false" for a bool, and any text as it is."""
        return ("true" if value else "false") if isinstance(value, bool) else super().normal_value(value)


class ChoicesField(Field):
    """Several choices of a list, in the order of the list."""

    value = FieldValue([], help="The values chosen.").tag(sync=True)

    def normal_value(self, value: Any) -> Any:
        """Returns a list of texts; one text is a list of one."""
        if value is None or value == "":
            return []
        items = value if isinstance(value, (list, tuple)) else [value]
        return [str(super(ChoicesField, self).normal_value(item)) for item in items]


class PairsField(Field):
    """Free `name=value` pairs, for a model that publishes no inputs."""

    value = FieldValue({}, help="Names and values, both text, in the order given.").tag(sync=True)

    def normal_value(self, value: Any) -> Any:
        """Returns a dict of text to text; numbers become text."""
        if value is None or value == "":
            return {}
        if not isinstance(value, dict):
            raise traitlets.TraitError(f"{self.name} takes a dict of names and values")
        return {
            str(name): item if isinstance(item, (str, int, float)) else str(item) for name, item in value.items()
        }
