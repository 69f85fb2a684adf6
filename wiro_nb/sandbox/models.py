"""The sandbox's models and prices: the bundled models, and test models that cover every type of input.

`models.toml` holds the prices and the sandbox's own models.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

from wiro_nb.sandbox.engines import Kind
from wiro_nb.schema import bundled_models
from wiro_nb.schema.types import ModelSchema, Parameter, schema_from_dict

_FIRST_NUMBER = 501
_OWN_FIELDS = {"number", "entries", "cps", "approximate_usd", "as_list", "kind", "refusal"}
_UNIT = Decimal("0.000000000001")
_PRICE_NOTE = "Prices in the sandbox are made up. Nothing is charged."
_FREE_NOTE = "It runs on this machine. Nothing is charged."


@dataclass(frozen=True)
class Model:
    """One model of the sandbox.

    Attributes:
        schema: Its inputs.
        number: The service's `id` of the model.
        entries: Its price, the service's `dynamicprice`; a run that no entry fits costs seconds times `cps`.
        cps, approximate_usd: US dollars a second, and what a run costs about, as decimal texts.
        as_list: True shows `dynamicprice` as a list, in place of a text that holds one.
        is_free: True when nothing is ever billed, and no balance is needed.
        kind: Kind of its output.
        refusal: Code and message with which Run refuses it, or None.
    """

    schema: ModelSchema
    number: int
    entries: Sequence[Mapping[str, Any]] = ()
    cps: str = "0"
    approximate_usd: str = "0"
    as_list: bool = False
    is_free: bool = False
    kind: Kind = "clip"
    refusal: tuple[int, str] | None = None

    def takes_file(self, name: str) -> bool:
        """True for the file inputs, and for any input of a model that publishes none."""
        parameter = self.schema.get(name.removesuffix("Url"))
        return self.schema.free_form or (parameter is not None and parameter.is_file)

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
            "cps": f"{Decimal(self.cps):.12f}",
            "approximatelycost": f"{Decimal(self.approximate_usd):.12f}",
            "dynamicprice": self.entries if self.as_list else json.dumps(self.entries) if self.entries else "",
            "taskstat": {"runcount": "0", "successcount": "0", "errorcount": "0"},
        }

    def cost_usd(self, parameters: Mapping[str, Any], quantities: Mapping[str, float]) -> Decimal:
        """Returns the cost of a run, 12 decimal places.

        Args:
            parameters: Of the run; they select the price.
            quantities: What the run used, by pricing method; "cps" is the seconds it ran, and others are 1 unless
                given.
        """
        for entry in self.entries:
            if all(str(parameters.get(name, "")) == str(value) for name, value in entry["inputs"].items()):
                amount = Decimal(str(entry["price"])) * Decimal(str(quantities.get(entry["priceMethod"], 1)))
                break
        else:
            amount = Decimal(self.cps) * Decimal(str(quantities["cps"]))
        return amount.quantize(_UNIT, ROUND_HALF_UP)

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
            "readme": f"<p>{schema.title} in the sandbox. {_FREE_NOTE if self.is_free else _PRICE_NOTE}</p>",
        }


class Catalogue:
    """All models.

    Args:
        schemas: The models that an engine offers, all free; None for the sandbox's own with made-up prices.

    Attributes:
        by_run_path: By `owner/name` of the Run endpoint.
        by_slug: By the slug of the page, and by run path.
    """

    def __init__(self, schemas: Iterable[ModelSchema] | None = None) -> None:
        models = _read_models() if schemas is None else [_make_free(*item) for item in enumerate(schemas)]
        self.by_run_path = {model.schema.run_path: model for model in models}
        self.by_slug = {**self.by_run_path, **{model.schema.slug: model for model in models}}

    def search(self, text: str, categories: Iterable[str]) -> list[Model]:
        """Returns the models that can be run, contain every word and have all categories."""
        return [
            model
            for model in self.by_run_path.values()
            if model.refusal is None
            and all(word in _searched_text(model.schema) for word in text.lower().split())
            and set(categories) <= set(model.schema.categories)
        ]


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
    elif parameter.kind == "choice":
        item["options"] = [
            {
                "label": option.label,
                "value": option.value,
                "description": option.description,
                "triggerwords": option.trigger_words,
            }
            for option in parameter.options
        ]
    if parameter.default is not None:
        item["default"] = _default(parameter)
    bounds = {"min": parameter.min, "max": parameter.max, "step": parameter.step}
    return {**item, **{name: value for name, value in bounds.items() if value is not None}}


def _default(parameter: Parameter) -> Any:
    default = parameter.default
    if parameter.type == "multiselect":
        return list(default or ())
    if isinstance(default, str) and parameter.kind in ("flag", "json"):
        return json.loads(default)
    return ",".join(default) if isinstance(default, tuple) else default or ""


def _make_free(index: int, schema: ModelSchema) -> Model:
    entries = [{"inputs": {}, "price": 0.0, "priceMethod": "cpr"}]
    return Model(schema, _FIRST_NUMBER + index, entries, is_free=True)


def _read_models() -> list[Model]:
    content = tomllib.loads(Path(__file__).with_name("models.toml").read_text("utf-8"))
    prices = content["prices"]
    found = [
        Model(schema, number, **prices.get(schema.run_path, prices["default"]))
        for number, schema in enumerate(bundled_models(), _FIRST_NUMBER)
    ]
    for item in content["models"]:
        places = {"categories": ["sandbox", item["category"]], "tags": ["sandbox"], "run_path": item["slug"]}
        schema = schema_from_dict({**item, **places, "source": {"kind": "bundled", "name": "sandbox"}})
        found.append(Model(schema, **{name: item[name] for name in _OWN_FIELDS & item.keys()}))
    return found
