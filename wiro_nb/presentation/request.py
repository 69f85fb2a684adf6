"""The request a run would send and its estimated price, without sending it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from wiro_nb.presentation.formatting import format_duration, format_forecast, format_usd
from wiro_nb.presentation.output import Output, card, facts, heading, listing, paragraphs
from wiro_nb.presentation.status import SLOT
from wiro_nb.schema.encode import encode

if TYPE_CHECKING:
    from wiro_nb.api.pricing import Estimate
    from wiro_nb.reproduce.replay import Replay
    from wiro_nb.schema.values import Prepared
    from wiro_nb.session.manager import Manager
    from wiro_nb.session.submission import Batch

_NOTHING = "Nothing was sent."
_LONGEST_BODY = 4000


def describe_request(prepared: Prepared) -> dict[str, Any]:
    """Returns the request that a run would send, as plain JSON data; files by name, size and hash."""
    body = encode(prepared)
    request: dict[str, Any] = {"endpoint": f"POST /Run/{prepared.schema.run_path}", "notes": list(prepared.notes)}
    if body.json is not None:
        return {**request, "content_type": "application/json", "body": body.json}
    files = [
        {"field": name, "name": item.name, "size_bytes": item.size_bytes, "sha256": item.sha256}
        for name, item in body.parts
    ]
    fields = [{"field": name, "value": value} for name, value in body.fields]
    return {**request, "content_type": "multipart/form-data", "fields": fields, "files": files}


def format_estimate(estimate: Estimate, free: str = "") -> str:
    """Returns an estimate as text: "about $0.04", "$0.03 to $0.12", "price not listed", or what is free."""
    if free:
        return free
    if not estimate.known:
        return "price not listed"
    if estimate.high_usd is not None and estimate.high_usd != estimate.low_usd:
        return f"{format_usd(estimate.low_usd)} to {format_usd(estimate.high_usd)}"
    return format_forecast(estimate.low_usd)


def explain_estimate(estimate: Estimate, free: str = "") -> str:
    """Returns an estimate with its basis: "about $0.04 (0.03 USD for each begun 1,048,576 pixels, 1 of them)"."""
    text = f"{format_estimate(estimate)} ({estimate.basis})"
    if free and not estimate.high_usd:  # the models on this machine have no prices
        return free
    return f"{free}; simulated price: {text}" if free else text


def preview_run(manager: Manager, batch: Batch) -> Output:
    """Returns what the one request of a batch would send, cost and take, and the run that answers it already."""
    (prepared,), (made,) = batch.requests, manager.find_made(batch)
    ((estimate, seconds),) = manager.prices.forecast([prepared])
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
    rows = [("Run", f"{source.run_id}, {source.record['model']['slug']}"), ("Service", manager.service_name)]
    body = None
    if prepared is not None:
        rows.append(("Request", describe_request(prepared)["endpoint"]))
        rows.append(("Price", explain_estimate(manager.prices.estimate(prepared), manager.choice.free_label)))
        body = _body_of(prepared)
    return unsent_output(f"Run {source.short_id} made again", rows, body, notes=replay.lines)


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
    text = (
        "" if body is None else body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, indent=1)
    )
    return card(
        heading(title, _NOTHING, status=SLOT, text=f"{title[:1].lower()}{title[1:]}. {_NOTHING}"),
        facts(rows),
        paragraphs(notes, label="note: "),
        listing(text, _LONGEST_BODY),
    )
