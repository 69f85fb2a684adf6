"""Static outputs about models and requests: model list, inputs of a model, preview of a request and its cost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wiro_nb.formatting import (
    SLOT,
    format_count,
    format_duration,
    format_estimate,
    shorten,
)
from wiro_nb.ledger.state import Snapshot
from wiro_nb.presentation.html import WIDE, Child, Html, chips, code, command, details, h, line, muted, pre, table
from wiro_nb.presentation.output import (
    NOTHING,
    Block,
    Displayable,
    Output,
    card,
    compose,
    facts,
    heading,
    next_steps,
    paragraphs,
    row_table,
    text_table,
)
from wiro_nb.redaction import redact_value
from wiro_nb.schema import encode
from wiro_nb.schema.types import ModelSchema, Parameter

if TYPE_CHECKING:
    from wiro_nb.api.answers import ModelCard
    from wiro_nb.api.pricing import Estimate, Pricing
    from wiro_nb.reproduce.replay import Replay
    from wiro_nb.schema.values import Prepared
    from wiro_nb.session.manager import Manager
    from wiro_nb.session.submission import Batch

_NOTHING = "Nothing was sent."
_LONGEST_BODY = 4000
_OPTIONS_SHOWN = 40
_OPEN_OPTIONS = 8
_LONGEST_DEFAULT = 40
_TASK = re.compile(r"-to-|video|image|audio|music|voice|speech|lip|upscal|camera|avatar|text|3d")


# Requests that are not sent ------------------------------------------------------------------


def describe_request(prepared: Prepared) -> dict[str, Any]:
    """Returns the request that a run would send, as plain JSON data; files by name, size and hash.

    Secrets are masked, queries of presigned addresses too: it is shown in notebooks.
    """
    body = encode(prepared)
    request: dict[str, Any] = {"endpoint": f"POST /Run/{prepared.schema.run_path}", "notes": list(prepared.notes)}
    if body.json is not None:
        return {**request, "content_type": "application/json", "body": redact_value(body.json)}
    files = [
        {"field": name, "name": item.name, "size_bytes": item.size_bytes, "sha256": item.sha256}
        for name, item in body.parts
    ]
    fields = [{"field": name, "value": redact_value(value)} for name, value in body.fields]
    return {**request, "content_type": "multipart/form-data", "fields": fields, "files": files}


def explain_estimate(estimate: Estimate, free: str = "") -> str:
    """Returns an estimate with its basis: "about $0.04 (0.03 USD for each begun 1,048,576 pixels, 1 of them)"."""
    text = f"{format_estimate(estimate)} ({estimate.basis})"
    if free and not estimate.high_usd:  # the models on this machine have no prices
        return free
    return f"{free}; simulated price: {text}" if free else text


def preview_run(manager: Manager, batch: Batch) -> Output:
    """Returns what the one request of a batch would send, cost and take, and the run that answers it already."""
    (prepared,), (made,) = batch.requests, manager.find_made(batch)
    estimate = manager.prices.estimate(prepared)
    seconds = estimate.seconds
    rows = [
        ("Request", describe_request(prepared)["endpoint"]),
        ("Service", manager.service_name),
        ("Price", explain_estimate(estimate, manager.choice.free_label)),
        ("Time", "no earlier run compares" if seconds is None else f"about {format_duration(seconds)} of work"),
    ]
    if made is not None:
        label = "Already made" if made.done else "Under way"
        rows.append((label, f"run {made.short_id} answers this request at no cost"))
    rows += [("Note", note) for note in prepared.notes]
    return unsent_output("Dry run", rows, _body_of(prepared))


def preview_rerun(manager: Manager, replay: Replay) -> Output:
    """Returns what making a run again would send and cost, what has changed since, and what is missing."""
    source, prepared = replay.source, replay.prepared
    rows = [("Run", f"{source.run_id}, {source.model}"), ("Service", manager.service_name)]
    if prepared is None:
        title = f"Run {source.short_id} cannot be made again as it was"
        return unsent_output(title, rows, None, notes=replay.lines)
    rows.append(("Request", describe_request(prepared)["endpoint"]))
    rows.append(("Price", explain_estimate(manager.prices.estimate(prepared), manager.choice.free_label)))
    return unsent_output(f"Dry run, rerun of {source.short_id}", rows, _body_of(prepared), notes=replay.lines)


def _body_of(prepared: Prepared) -> Any:
    facts = describe_request(prepared)
    return facts.get("body") or {name: facts[name] for name in ("fields", "files") if name in facts}


def unsent_output(title: str, rows: Iterable[tuple[str, str]], body: Any, *, notes: Iterable[str] = ()) -> Output:
    """Returns a request that is not sent.

    Args:
        title: What it would do.
        rows: Facts, by name.
        body: What would be sent, as text or JSON data; None when it cannot be made.
        notes: What has changed, what is missing, what is worth knowing.
    """
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, indent=1)
    shown = text if len(text) <= _LONGEST_BODY else f"{text[:_LONGEST_BODY]}\n…"
    return card(
        heading(title, _NOTHING, status=SLOT, text=f"{title[:1].lower()}{title[1:]}. {_NOTHING}"),
        facts(rows),
        paragraphs(notes, label="note: "),
        Block(pre(shown), tuple(f"  {row}" for row in shown.split("\n"))) if body not in (None, "") else NOTHING,
    )


# Models --------------------------------------------------------------------------------------


def estimate_default(pricing: Pricing | None, schema: ModelSchema | None = None) -> Estimate | None:
    """Returns the price of a run with a model's default settings; None without a price list."""
    from wiro_nb.api.pricing import estimate

    parameters = schema.parameters if schema is not None else ()
    defaults = {item.id: item.default for item in parameters if isinstance(item.default, str)}
    return None if pricing is None else estimate(pricing, defaults, {})


def models_output(models: Sequence[ModelCard], query: str, service: str, free: str) -> Output:
    """Returns the list of models; `free` is the label of a free service, else ""."""
    if query and not models:
        return compose(heading(f"No models match “{query}”"), next_steps(("%wiro models", "for all")))
    prices = [model.notice or format_estimate(estimate_default(model.price), free) for model in models]
    head = format_count(len(models), "model") + (f" for “{query}”" if query else "")
    rows: list[list[Child]] = [
        [
            (h("b", model.title), h("br"), code(model.slug)),
            (model.description, h("br"), muted(", ".join(task_categories(model.categories)))),
            price,
            h("code", f"%wiro form {model.slug}", style="font-size:12px;white-space:nowrap"),
        ]
        for model, price in zip(models, prices, strict=True)
    ]
    texts = (
        (model.slug, price, ": ".join(filter(None, (model.title, model.description))))
        for model, price in zip(models, prices, strict=True)
    )
    return compose(
        heading(head, service),
        row_table(("Model", "What it does", "Price", "Next command"), rows, texts),
        Block(Html(""), ("  next: %wiro info MODEL, or %wiro form MODEL",)),
        style=WIDE,
    )


@dataclass(frozen=True, slots=True, repr=False)
class ModelInfo(Displayable):
    """A model's inputs, choices and price.

    Attributes:
        schema: Its inputs.
        price: What a run at default settings costs.
        notes: Where the inputs come from, and what changed.
    """

    schema: ModelSchema
    price: str = ""
    notes: tuple[str, ...] = ()

    def output(self) -> Output:
        """Returns the table of inputs."""
        schema = self.schema
        rows = [
            [
                code(item.id),
                item.type,
                "required" if item.required else _default(item) or muted("empty"),
                _rules(item),
            ]
            for item in schema.parameters
        ]
        shown: Child = "This model publishes no inputs: every name=value pair is sent as it is."
        inputs: tuple[str, ...] = (f"  {shown}",)
        if rows:
            shown = table(("Input", "Type", "Default", "Choices and rules"), rows)
            inputs = text_table(map(_input_texts, schema.parameters))
        typed, form = command(f"%%wiro {schema.slug}"), f"%wiro form {schema.slug}"
        head = (
            h("div", schema.title, style="font-size:15px;font-weight:600"),
            h("div", code(schema.slug), " ", muted(self.price)),
        )
        about = ", ".join(filter(None, (schema.slug, self.price)))
        return compose(
            Block(h("div", head), (f"wiro: {schema.title}  {about}",)),
            paragraphs((schema.description, *self.notes)),
            Block(line(shown, style="margin:8px 0 0 0"), inputs),
            Block(line("Run it: ", typed, ". Fill in a form: ", command(form)), (f"  next: {form}",)),
            style="font-size:13px;line-height:1.45",
        )


def _default(parameter: Parameter) -> str:
    text = value_label(parameter, parameter.default or "")
    if text and parameter.is_file:
        return "a sample of the service, not sent"
    return text


def _input_texts(parameter: Parameter) -> tuple[str, str, str]:
    choices = ", ".join(option.label or option.value for option in parameter.options[:_OPTIONS_SHOWN])
    default = "required" if parameter.required else f"default {_default(parameter) or 'empty'}"
    about = shorten(f"{parameter.type}, {default}", _LONGEST_DEFAULT)
    return parameter.id, about, "; ".join(filter(None, (_limits(parameter), choices)))


def _rules(parameter: Parameter) -> Child:
    shown = chips(option.label or option.value for option in parameter.options[:_OPTIONS_SHOWN])
    if len(parameter.options) > _OPEN_OPTIONS:
        shown = details(f"{len(parameter.options)} choices", line(shown))
    return (_limits(parameter), h("div", shown) if shown else "")


def _limits(parameter: Parameter) -> str:
    parts = [parameter.help] if parameter.help else []
    if parameter.min is not None or parameter.max is not None:
        parts.append(f"{parameter.min if parameter.min is not None else '…'} to {parameter.max or '…'}")
    if parameter.rule and parameter.rule not in parameter.help.replace(" ", ""):
        parts.append(f"Must be {parameter.number_rule.text if parameter.number_rule else parameter.rule}")
    return ". ".join(part.rstrip(".") for part in parts)


def form_output(schema: ModelSchema, cell: str) -> Output:
    """Returns the static form of a model, shown where widgets are not available.

    Args:
        schema: The model.
        cell: The cell that sends what the form holds.
    """
    again = f"%wiro form {schema.slug}"
    start = cell if "\n" in cell else f"%%wiro {schema.slug}\nthe prompt"
    head = (muted("Form of"), " ", code(schema.slug), ". Open it again: ", command(again))
    body = details("The same in a cell, where forms cannot be shown", pre(start))
    lines = [f"wiro: form of {schema.slug}", "  where this front end shows no form, a cell does the same:"]
    lines += [f"    {text}" for text in start.split("\n")]
    lines += [f"  inputs: %wiro info {schema.slug}", f"  next: {again}"]
    return compose(Block(h("div", head, body), tuple(lines)))


def task_categories(categories: Iterable[str]) -> list[str]:
    """Returns the categories that say what a model does, without those that say how it is served."""
    return [word for word in categories if _TASK.search(word)]


def listed_models(cards: Iterable[ModelCard], query: str) -> list[ModelCard]:
    """Returns the models to list; the sandbox's test models only if the query names them."""
    return [card for card in cards if not card.slug.startswith("sandbox/") or "sandbox" in query.lower()]


def value_label(parameter: Parameter, value: object) -> str:
    """Returns a value as people read it, with the labels of choices in place of what is sent."""
    labels = {option.value: option.label or option.value for option in parameter.options}
    items = value if isinstance(value, (list, tuple)) else (value,)
    return ", ".join(labels.get(str(item), str(item)) for item in items)


def option_labels(snapshot: Snapshot, schema: ModelSchema | None) -> dict[str, str]:
    """Returns the labels of chosen values where they differ from the value that was sent."""
    given = snapshot.parameters
    chosen = (
        [item for item in schema.parameters if isinstance(given.get(item.id), str)] if schema is not None else []
    )
    labels = {item.id: value_label(item, given[item.id]) for item in chosen}
    return {name: label for name, label in labels.items() if label != given[name]}
