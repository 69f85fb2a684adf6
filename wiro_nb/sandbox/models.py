"""The sandbox's models and their prices: the bundled models, and a few of its own with every type of input.

The amounts are made up, the pricing methods are the service's: each bundled model uses another one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property
from typing import Any

from wiro_nb.sandbox.engines import Kind
from wiro_nb.schema.types import CHOICE_TYPES, FLAG_TYPES, JSON_TYPES, ModelSchema, Option, Parameter

MIN_BALANCE_USD = Decimal("0.50")
_TRAINING_BALANCE_USD = Decimal(10)
_NO_LIMIT_ABOVE_USD = Decimal(250)
_TIER_PIXELS = 1_048_576
_UNIT = Decimal("0.000000000001")
_PRICE_NOTE = "Prices in the sandbox are made up. Nothing is charged."
_FREE_NOTE = "It runs on this machine. Nothing is charged."


@dataclass(frozen=True)
class Price:
    """A model's price: the service's `dynamicprice` entries, or elapsed seconds times `cps`.

    Attributes:
        as_list: True shows `dynamicprice` as a list, in place of a text that holds one.
        is_free: True when nothing is ever billed, and no balance is needed.
    """

    entries: tuple[dict[str, Any], ...] = ()
    cps: Decimal = Decimal(0)
    approximate_usd: Decimal = Decimal(0)
    as_list: bool = False
    is_free: bool = False


@dataclass(frozen=True)
class Usage:
    """What a run used: seconds run, outputs made, seconds of video, pixels a frame, words in and out."""

    elapsed_s: float
    outputs: int = 1
    clip_s: float = 0.0
    pixels: int = 0
    tokens: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """One model of the sandbox.

    Attributes:
        schema: Its inputs.
        price: Price of a run, made up.
        kind: Kind of its output.
        number: The service's `id` of the model.
        refusal: Code and message with which Run refuses it, or None.
    """

    schema: ModelSchema
    price: Price
    number: int
    kind: Kind = "clip"
    refusal: tuple[int, str] | None = None

    @cached_property
    def file_names(self) -> frozenset[str] | None:
        """Names of the file inputs; None when the model publishes no inputs."""
        if self.schema.free_form:
            return None
        ids = [parameter.id for parameter in self.schema.parameters if parameter.is_file]
        return frozenset([*ids, *(f"{name}Url" for name in ids)])

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The model as Tool/List shows it."""
        schema = self.schema
        owner, _, project = schema.slug.partition("/")
        clean_owner, _, clean_project = schema.run_path.partition("/")
        return {
            "id": str(self.number),
            "title": schema.title,
            "slugowner": owner,
            "slugproject": project,
            "cleanslugowner": clean_owner,
            "cleanslugproject": clean_project,
            "description": schema.description,
            "image": schema.cover,
            "computingtime": "3 seconds",
            "categories": list(schema.categories),
            "tags": list(schema.tags),
            "cps": f"{self.price.cps:.12f}",
            "approximatelycost": f"{self.price.approximate_usd:.12f}",
            "dynamicprice": self._price_table(),
            "taskstat": {"runcount": "0", "successcount": "0", "errorcount": "0"},
        }

    @property
    def least_balance_usd(self) -> Decimal:
        """The balance that a run needs to start."""
        return _TRAINING_BALANCE_USD if "training" in self.schema.categories else MIN_BALANCE_USD

    def _price_table(self) -> str | list[dict[str, Any]]:
        entries = list(self.price.entries)
        return entries if self.price.as_list else json.dumps(entries) if entries else ""

    @cached_property
    def detail(self) -> dict[str, Any]:
        """The model as Tool/Detail shows it."""
        schema = self.schema
        groups: dict[str, list[dict[str, Any]]] = {}
        for parameter in schema.parameters:
            groups.setdefault(parameter.group, []).append(_item(parameter))
        listed = [{"title": title, "items": items} for title, items in groups.items()]
        sample = {item.id: _default(item) for item in schema.parameters if item.default}
        return {
            **self.summary,
            "parameters": None if schema.free_form else listed,
            "inspire": [sample] if sample else [],
            "samples": [schema.cover] if schema.cover else [],
            "readme": f"<p>{schema.title} in the sandbox. {_FREE_NOTE if self.price.is_free else _PRICE_NOTE}</p>",
        }


class Catalogue:
    """All models, found by run path or by slug.

    Args:
        schemas: The models that an engine offers, all free; None for the sandbox's own with made-up prices.
    """

    def __init__(self, schemas: Iterable[ModelSchema] | None = None) -> None:
        if schemas is None:
            chosen = _all_models()
        else:
            chosen = tuple(Model(schema, _FREE, number) for number, schema in enumerate(schemas, 501))
        self.models = tuple(model for model in chosen if model.refusal is None)
        self._by_run_path = {model.schema.run_path: model for model in chosen}
        self._by_slug = {model.schema.slug: model for model in chosen}

    def at_run_path(self, path: str) -> Model | None:
        """Returns the model that runs at `owner/name`; the slug alone is no path."""
        return self._by_run_path.get(path)

    def by_slug(self, slug: str) -> Model | None:
        """Returns the model of a page, by its slug or its run path."""
        return self._by_slug.get(slug) or self._by_run_path.get(slug)

    def search(self, text: str, owner: str, categories: Iterable[str], tags: Iterable[str]) -> list[Model]:
        """Returns the models that contain every word and have the owner, all categories and all tags."""
        return [
            model
            for model in self.models
            if all(word in _searched_text(model.schema) for word in text.lower().split())
            and set(categories) <= set(model.schema.categories)
            and set(tags) <= set(model.schema.tags)
            and (not owner or model.schema.owner.lower() == owner.lower())
        ]

    def slugs_like(self, name: str) -> set[str]:
        """Returns the slugs meant by a model name with or without its owner."""
        return {
            model.schema.slug
            for model in self.models
            if name in (model.schema.slug, model.schema.run_path, *model.schema.slug.split("/")[1:])
        }


def _searched_text(schema: ModelSchema) -> str:
    return " ".join((schema.slug, schema.title, schema.description, *schema.categories, *schema.tags)).lower()


def _item(parameter: Parameter) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": parameter.id,
        "type": parameter.type,
        "label": parameter.label,
        "description": parameter.help,
        "required": parameter.required,
        "placeholder": "",
        "note": "",
    }
    if parameter.type == "multiselect":
        item["options"] = [{"id": option.value, "text": option.label} for option in parameter.options]
    elif parameter.type in CHOICE_TYPES:
        item["options"] = [_option(option) for option in parameter.options]
    if parameter.default is not None:
        item["default"] = _default(parameter)
    bounds = {"min": parameter.min, "max": parameter.max, "step": parameter.step}
    return {**item, **{name: value for name, value in bounds.items() if value is not None}}


def _option(option: Option) -> dict[str, Any]:
    item: dict[str, Any] = {"label": option.label, "value": option.value}
    if option.description:
        item["description"] = option.description
    if option.trigger_words:
        item["triggerwords"] = list(option.trigger_words)
    return item


def _default(parameter: Parameter) -> Any:
    default = parameter.default
    if parameter.type == "multiselect":
        return list(default or ())
    if isinstance(default, str) and parameter.type in FLAG_TYPES | JSON_TYPES:
        return json.loads(default)
    return ",".join(default) if isinstance(default, tuple) else default or ""


def _entry(method: str, price: str, **inputs: str) -> dict[str, Any]:
    return {"inputs": inputs, "price": float(price), "priceMethod": method}


_FREE = Price((_entry("cpr", "0"),), is_free=True)


def _bundled_prices() -> dict[str, Price]:
    return {
        "wiro/animate-diff": Price(cps=Decimal("0.000585"), approximate_usd=Decimal("0.0035")),
        "wiro/wan2-2-effects-extra": Price((_entry("cpr", "0.05"),)),
        "pruna/vace": Price(
            (
                _entry("cp-outputVideoLength", "0.012", resolution="480p"),
                _entry("cp-outputVideoLength", "0.024", resolution="720p"),
            )
        ),
        "Wan-AI/Wan2.2-TI2V-5B-text-to-video": Price((_entry("cp-pixel", "0.03"),)),
        "wiro/SkyReels-V1": Price((_entry("cpo", "0.06"),)),
    }


def _all_models() -> tuple[Model, ...]:
    from wiro_nb.schema import bundled_models  # late: reads files

    prices = _bundled_prices()
    bundled = [
        Model(schema, prices.get(schema.run_path, Price((_entry("cpr", "0.01"),))), number)
        for number, schema in enumerate(bundled_models(), 501)
    ]
    return (*bundled, *_own_models())


def _own(
    name: str, title: str, description: str, *parameters: Parameter, category: str, opened: bool = False
) -> ModelSchema:
    return ModelSchema(
        slug=f"sandbox/{name}",
        run_path=f"sandbox/{name}",
        title=title,
        description=description,
        categories=("sandbox", category),
        tags=("sandbox",),
        parameters=parameters,
        source={"kind": "bundled", "name": "sandbox"},
        free_form=opened,
    )


_PROMPT = Parameter("prompt", "textarea", "Prompt", "What to show.", "A paper boat on a pond", required=True)
_SEED = Parameter("seed", "text", "Seed", "The same seed gives the same result.", "42")


_COLOURS = (Option("red", "Red"), Option("blue", "Blue"), Option("green", "Green"))
_TYPED = (
    Parameter("palette", "multiselect", "Palette", default=("red",), multiple=True, options=_COLOURS),
    Parameter("look", "selectwithcover", "Look", default="", options=(Option("", "None"), Option("film", "Film"))),
    Parameter("path", "json-array", "Path", "Points of the camera's path.", "[0, 1]"),
    Parameter("extra", "json", "Extra", default='{"grain": 0}'),
    Parameter("loop", "checkbox", "Loop", default="false"),
    Parameter("tint", "color", "Tint", default="#336699"),
    Parameter("copies", "integer", "Copies", default="1", min="1", max="4"),
    Parameter("strength", "numeric", "Strength", default="0.5"),
)
"""Inputs of the types that the bundled models do not have."""


def _own_models() -> tuple[Model, ...]:
    options = (Option("plain", "Plain"), Option("warm", "Warm colours"), Option("cold", "Cold colours"))
    plain = _own(
        "plain-clip",
        "Plain clip",
        "A short clip with an input of every type.",
        _PROMPT,
        Parameter("style", "select", "Style", "Colours of the clip.", "plain", options=options),
        Parameter(
            "frames", "range", "Frames", "Length in frames.", "25", min="9", max="121", step="4", rule="4n+1"
        ),
        Parameter("fps", "number", "Frames a second", "", "8", min="1", max="60", step="1"),
        Parameter(
            "scale", "float", "Guidance scale", "How closely to follow the prompt.", "5.0", min="0", max="20"
        ),
        Parameter("title", "text", "Title", "Shown in the clip."),
        *_TYPED,
        _SEED,
        Parameter("startImage", "fileinput", "Start image", "The first frame.", group="Files"),
        Parameter("references", "multifileinput", "References", multiple=True, group="Files"),
        Parameter("inputImage", "combinefileinput", "Images", "Files or URLs.", multiple=True, group="Files"),
        category="text-to-video",
    )
    image = _own("image", "Image", "One picture.", _PROMPT, _SEED, category="text-to-image")
    text = _own("text", "Text", "Says the prompt back, as a language model's output.", _PROMPT, category="llm")
    loose = _own("no-schema", "No published schema", "Takes any inputs.", category="text-to-video", opened=True)
    return (
        Model(plain, Price((_entry("cpr", "0.01"),)), 601),
        Model(image, Price((_entry("cpo", "0.002"),), as_list=True), 602, kind="image"),
        Model(text, Price((_entry("cpt", "0.00001"),)), 603, kind="text"),
        Model(loose, Price(cps=Decimal("0.001"), approximate_usd=Decimal("0.003")), 604),
        Model(
            _own("trainer", "Trainer", "Needs 10 USD to start.", _PROMPT, category="training"),
            Price((_entry("cpr", "2"),)),
            607,
        ),
        Model(
            _own("admins-only", "Admins only", "", category="closed"),
            Price(),
            608,
            refusal=(97, "Only a team admin can run this model."),
        ),
        Model(_own("closed", "Closed", "", category="closed"), Price(), 605, refusal=(1, "tool-not-accessible")),
        Model(
            _own("members-only", "Members only", "", category="closed"),
            Price(),
            606,
            refusal=(98, "Sign in to use this model."),
        ),
    )


def slots_for(balance_usd: Decimal) -> int | None:
    """Returns how many tasks may run at once with a balance; None for no limit."""
    if balance_usd > _NO_LIMIT_ABOVE_USD:
        return None
    return max(1, int(balance_usd * Decimal("0.10")))


def cost_usd(price: Price, usage: Usage) -> Decimal:
    """Returns the cost of a successful run, 12 decimal places."""
    entry = _fitting(price.entries, usage.parameters)
    seconds = Decimal(str(usage.elapsed_s))
    amount = seconds * price.cps if entry is None else Decimal(str(entry["price"])) * _quantity(entry, usage)
    return amount.quantize(_UNIT, ROUND_HALF_UP)


def _fitting(entries: Sequence[dict[str, Any]], parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    for entry in entries:
        if all(str(parameters.get(name, "")) == str(value) for name, value in entry["inputs"].items()):
            return entry
    return None


def _quantity(entry: dict[str, Any], usage: Usage) -> Decimal:
    match entry["priceMethod"]:
        case "cps":
            return Decimal(str(usage.elapsed_s))
        case "cpo":
            return Decimal(usage.outputs)
        case "cpt":
            return Decimal(usage.tokens)
        case "cp-pixel":
            return Decimal(max(1, math.ceil(usage.pixels / _TIER_PIXELS)))
        case "cp-outputVideoLength":
            return Decimal(str(round(usage.clip_s, 3)))
        case _:
            return Decimal(1)
