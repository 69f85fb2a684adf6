"""Estimates the cost of a run from the service's price table and the billed units of its inputs.

Arithmetic is exact; a broken table never raises. The service documents the names of its methods, not
every detail of `priceExtra` and `priceInput`. Where a figure can be read in two ways the estimate is a range that
holds both, and says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from wiro_nb.json_values import as_decimal, as_list, as_mapping, as_optional_text, as_seconds, as_text

TIER_PIXELS = 1_048_576
"""Source: the service's price page; `cp-pixel` counts begun tiers of this size."""

# Spelling differs from model to model; compared in lower case without "_" and "-".
_DURATIONS = ("duration", "videolength", "videoduration", "durationseconds", "seconds", "videoseconds")
FRAMES = ("numframes", "framenum", "framenumber", "frames", "numberofframes", "framecount")
_RATES = ("fps", "framerate", "framespersecond")
_OUTPUTS = ("numoutputs", "outputs", "numberofoutputs", "numimages", "samples", "batchsize", "n")
_PROMPTS = ("prompt", "text", "inputtext")
_TOKENS = ("maxtokens", "maxnewtokens", "maxoutputtokens")
_TURNS = ("turns", "maxturns")
_SIZES = ("size", "resolution", "imagesize", "videosize", "dimensions")
_SIZE = re.compile(r"(\d{2,5})\s*[x*×]\s*(\d{2,5})", re.IGNORECASE)
_LINES = re.compile(r"(\d{3,4})\s*p\b", re.IGNORECASE)
_SLOWEST_FPS, _FASTEST_FPS = Decimal(8), Decimal(30)
_QUANTITY = "QUANTITY:"
_NO_PRICE = "the service lists no price for this model"


class Inputs:
    """What the inputs of a run tell about its work; models differ in how they spell the names.

    Args:
        parameters: As they are sent.
        named: Name of the one that counts before all others, or None.
    """

    def __init__(self, parameters: Mapping[str, Any], named: str | None = None) -> None:
        self._values = {_plain(name): value for name, value in parameters.items()}
        self._first = [parameters.get(named)] if named else []

    def pick(self, names: Iterable[str]) -> list[Any]:
        """Returns the values given under any of these plain names, in this order."""
        return [*self._first, *(self._values[name] for name in names if name in self._values)]

    def number(self, names: Iterable[str]) -> Decimal | None:
        """Returns the first number above 0, or None."""
        return next(filter(_is_positive, map(as_decimal, self.pick(names))), None)

    def seconds(self, names: Iterable[str]) -> Decimal | None:
        """Returns the first duration above 0, or None."""
        return next(filter(_is_positive, (as_decimal(as_seconds(value)) for value in self.pick(names))), None)

    def pixels(self) -> int | None:
        """Returns the pixels of a frame: by width and height, "832*480" or "720p"; None when not told."""
        sides = [as_decimal(self._values.get(name)) for name in ("width", "height")]
        if all(map(_is_positive, sides)):
            return math.prod(int(side) for side in sides if side is not None)
        for text in map(as_text, self.pick(_SIZES)):
            if found := _SIZE.search(text):
                return int(found[1]) * int(found[2])
            if found := _LINES.search(text):
                return int(found[1]) ** 2 * 16 // 9  # "720p" without a ratio: the widest usual one
        return None


@lru_cache(maxsize=1024)
def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _is_positive(number: Decimal | None) -> bool:
    return number is not None and number > 0


# Units of a price method -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Units:
    """A count, from `low` to `high`, and its description; `high` None: it is not known."""

    low: Decimal
    high: Decimal | None
    text: str


def as_plain(number: Decimal) -> str:
    """Returns a number without exponent and trailing zeros."""
    return format(number.normalize(), "f")


def count_units(
    method: str, parameters: Mapping[str, Any], *, seconds: Decimal | None, named: str | None
) -> Units:
    """Counts the units of a price method.

    Args:
        method: The service's word.
        parameters: As they will be sent.
        seconds: That runs of this model usually take, or None.
        named: The parameter that the row says to count by, or None.
    """
    inputs = Inputs(parameters, named)
    match method:
        case "cpr":
            return _count(Decimal(1), "a run")
        case "cps":
            unknown = "a second of work, and no run has been timed yet"
            return _count(seconds, "a second, and runs like this took {} s", unknown)
        case "cpo":
            count = inputs.number(_OUTPUTS)
            text = "an output, {} asked for" if count else "an output, taking one output"
            return _count(count or Decimal(1), text)
        case "cpt":
            return _up_to(inputs.number(_TOKENS), "a token")
        case "cp-realtimeturn":
            return _up_to(inputs.number(_TURNS), "a turn")
        case "cp-pixel":
            pixels = inputs.pixels()
            tiers = None if pixels is None else Decimal(max(1, math.ceil(pixels / TIER_PIXELS)))
            unknown = f"for each {TIER_PIXELS:,} pixels, and the inputs do not tell the size"
            return _count(tiers, f"for each begun {TIER_PIXELS:,} pixels, {{}} of them", unknown)
        case "cp-audiosecondslength":
            unknown = "a second of sound, and the inputs do not tell how long it is"
            return _count(inputs.seconds(_DURATIONS), "a second of sound, {} s", unknown)
        case "cp-outputVideoLength":
            return _video_seconds(inputs)
        case "cp-promptlength":
            return _prompt_length(next(filter(None, map(as_text, inputs.pick(_PROMPTS))), ""))
        case "cp-readoutput":
            return _count(None, "", "times a figure that only the finished output shows")
        case _:
            return _count(None, "", f"by a method that is not known here ({method[:40]})")


def _count(count: Decimal | None, text: str, unknown: str = "") -> Units:
    """Returns a count that `text` describes, with {} for the count; `unknown` says why there is none."""
    if count is None:
        return Units(Decimal(0), None, unknown)
    return Units(count, count, text.format(as_plain(count)))


def _up_to(most: Decimal | None, unit: str) -> Units:
    if most is None:
        return _count(None, "", f"{unit}, and how many there will be is open")
    return Units(min(Decimal(1), most), most, f"{unit}, at most {as_plain(most)}")


def _prompt_length(text: str) -> Units:
    if not text.strip():
        return _count(None, "", "by the length of the prompt, and there is none")
    words, characters = Decimal(len(text.split())), Decimal(len(text))
    counted = f"{words} words, {characters} characters: the service does not say which it counts"
    return Units(words, characters, f"by the length of the prompt ({counted})")


def _video_seconds(inputs: Inputs) -> Units:
    if (seconds := inputs.seconds(_DURATIONS)) is not None:
        return _count(seconds, "a second of video, {} s")
    frames, rate = inputs.number(FRAMES), inputs.number(_RATES)
    if frames is None:
        return _count(None, "", "a second of video, and the inputs do not tell how long it will be")
    if rate is not None:
        length = (frames / rate).quantize(Decimal("0.0001"))
        return _count(length, f"a second of video, {as_plain(frames)} frames at {as_plain(rate)} a second")
    low, high = ((frames / fps).quantize(Decimal("0.0001")) for fps in (_FASTEST_FPS, _SLOWEST_FPS))
    return Units(low, high, f"a second of video, {as_plain(frames)} frames at 8 to 30 a second")


# Prices ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """One row of a price table.

    Attributes:
        inputs: Parameter name and the value (or values) it has to have; empty fits everything.
        price: USD a unit of the method.
        method: The service's word, such as "cpr".
        extra: `priceExtra` in USD, or None.
        input_price: `priceInput` when it is an amount in USD. input_name: when it names a parameter.
        unclear: True when the row has a figure that could not be read.
    """

    inputs: tuple[tuple[str, Any], ...]
    price: Decimal
    method: str
    extra: Decimal | None = None
    input_price: Decimal | None = None
    input_name: str | None = None
    unclear: bool = False


@dataclass(frozen=True, slots=True)
class Pricing:
    """How a model is priced.

    Attributes:
        entries: The price table, else one row for the price of a second; may be empty.
        approximate_usd: The service's own forecast.
        note: What could not be read, or "".
    """

    entries: tuple[PriceEntry, ...] = ()
    approximate_usd: Decimal | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimated cost of a run, or of several together.

    Attributes:
        low_usd: The run costs at least this; 0 when nothing is known.
        high_usd: It should not cost more; None when unknown.
        basis: How it was calculated, as text; empty for several runs.
        known: False means that no figure can be shown.
        seconds: Of work; None when no earlier run compares.
    """

    low_usd: Decimal
    high_usd: Decimal | None
    basis: str
    known: bool
    seconds: float | None = None

    @property
    def most_usd(self) -> Decimal | None:
        """The most it is expected to cost, or None when that is unknown."""
        return (self.low_usd if self.high_usd is None else self.high_usd) if self.known else None


def read_pricing(tool: Mapping[str, Any]) -> Pricing:
    """Reads the price of a model from its catalogue entry. Never raises; see `Pricing.note`."""
    tool = as_mapping(tool)
    table = tool.get("dynamicprice")
    rows = as_list(table)
    entries = tuple(entry for entry in map(_read_entry, rows) if entry is not None)
    note = ""
    if table and not rows and as_text(table).strip() not in ("", "[]", "null", "0"):
        note = "its price table cannot be read"
    elif len(entries) < len(rows):
        note = "a row of its price table cannot be read"
    if not entries and (per_second := _above_zero(tool.get("cps"))) is not None:
        entries = (PriceEntry((), per_second, "cps"),)
    return Pricing(entries, _above_zero(tool.get("approximatelycost")), note)


def _read_entry(row: object) -> PriceEntry | None:
    data = as_mapping(row)
    price = as_decimal(data.get("price"))
    if price is None or price < 0:
        return None
    extra, per_input = as_decimal(data.get("priceExtra")), as_decimal(data.get("priceInput"))
    has_odd_extra = bool(data.get("priceExtra")) and (extra is None or extra < 0)
    return PriceEntry(
        inputs=tuple(as_mapping(data.get("inputs")).items()),
        price=price,
        method=as_text(data.get("priceMethod")).strip() or "cpr",
        extra=_above_zero(extra),
        input_price=_above_zero(per_input),
        input_name=as_optional_text(data.get("priceInput")) if per_input is None else None,
        unclear=has_odd_extra or (per_input is not None and per_input < 0),
    )


def _above_zero(value: object) -> Decimal | None:
    # The service writes 0 for "not set"; free is a row of the table with price 0.
    number = as_decimal(value)
    return number if _is_positive(number) else None


def estimate(
    pricing: Pricing,
    parameters: Mapping[str, Any],
    files: Mapping[str, Sized],
    *,
    history_s: float | None = None,
) -> Estimate:
    """Estimates the price of one run.

    Args:
        pricing: Of the model.
        parameters: As they will be sent.
        files: Parameter name to the files given for it.
        history_s: Seconds that runs of this model usually take here, or None.
    """
    if pricing.entries:
        found = _from_table(pricing.entries, parameters, files, _above_zero(history_s))
    else:
        found = Estimate(Decimal(0), None, pricing.note or _NO_PRICE, known=False)
    if not found.known and pricing.approximate_usd is not None:
        return Estimate(pricing.approximate_usd, None, "the service's own forecast", known=True)
    return found


def _from_table(
    entries: Sequence[PriceEntry],
    parameters: Mapping[str, Any],
    files: Mapping[str, Sized],
    seconds: Decimal | None,
) -> Estimate:
    fitting = [
        entry
        for entry in entries
        if all(_value_fits(wanted, name, parameters, files) for name, wanted in entry.inputs)
    ]
    if fitting:
        # The row that asks for most is the one meant: a row for everything may stand anywhere.
        return _price_row(max(fitting, key=lambda entry: len(entry.inputs)), parameters, files, seconds)
    priced = [_price_row(entry, parameters, files, seconds) for entry in entries]
    known = [row for row in priced if row.known]
    if len(known) < len(priced):
        return Estimate(Decimal(0), None, "no row of its price table fits these inputs", known=False)
    highs = [row.high_usd for row in known if row.high_usd is not None]
    low, high = min(row.low_usd for row in known), max(highs) if len(highs) == len(known) else None
    return Estimate(
        low, high, "no row of its price table fits these inputs; this is from the lowest to the highest row", True
    )


def _value_fits(wanted: Any, name: str, parameters: Mapping[str, Any], files: Mapping[str, Sized]) -> bool:
    if isinstance(wanted, list):
        return any(_value_fits(item, name, parameters, files) for item in wanted)
    given = parameters.get(name)
    text = _normal(wanted)
    if text.upper().startswith(_QUANTITY):
        count = len(files[name]) if name in files else _quantity(given)
        return as_decimal(text[len(_QUANTITY) :]) == Decimal(count)
    if isinstance(given, (list, tuple)):
        return any(_normal(item) == text for item in given)
    return _normal(given) == text or (as_decimal(given) is not None and as_decimal(given) == as_decimal(wanted))


def _quantity(value: Any) -> int:
    if isinstance(value, (list, tuple)):
        return len(value)
    return 1 if as_text(value).strip() else 0


def _normal(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else as_text(value).strip().casefold()


def _price_row(
    entry: PriceEntry, parameters: Mapping[str, Any], files: Mapping[str, Sized], seconds: Decimal | None
) -> Estimate:
    units = count_units(entry.method, parameters, seconds=seconds, named=entry.input_name)
    basis = f"{as_plain(entry.price)} USD {units.text}"
    if units.high is None:
        free = entry.price == 0 and not (entry.extra or entry.input_price or entry.unclear)
        return Estimate(Decimal(0), Decimal(0) if free else None, basis, known=free)
    amounts = _readings(entry, {units.low, units.high}, sum(len(given) for given in files.values()))
    if len(amounts) > 1 and (entry.extra is not None or entry.input_price is not None):
        basis += "; the table adds an amount that the service does not explain, so this is a range"
    return Estimate(min(amounts), None if entry.unclear else max(amounts), basis, known=True)


def _readings(entry: PriceEntry, counts: set[Decimal], file_count: int) -> set[Decimal]:
    """Returns the amounts that the row can mean for these counts of its unit."""
    amounts: set[Decimal] = set()
    for count in counts:
        plain = entry.price * count
        if entry.extra is None:
            readings = {plain}
        else:
            # Once on top, or for each unit after the first.
            readings = {plain + entry.extra, entry.price + entry.extra * max(Decimal(0), count - 1)}
        if entry.input_price is not None:
            readings |= {amount + entry.input_price * max(1, file_count) for amount in readings}
        amounts |= readings
    return amounts
