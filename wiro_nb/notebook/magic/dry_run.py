"""What would be sent, and what it would cost: the request of a run or the points of a sweep, sent nowhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wiro_nb.notebook.host import Host
from wiro_nb.notebook.session import session
from wiro_nb.presentation import formatting, markup
from wiro_nb.presentation.run_page import Bundle
from wiro_nb.schema.encode import encode
from wiro_nb.schema.values import Prepared

if TYPE_CHECKING:
    from wiro_nb.api.pricing.prices import Estimate
    from wiro_nb.sweeps.plan import SweepPlan

NOTHING = "Nothing was sent."
_MOST_POINTS = 60
_LONGEST = 4000


def request_facts(prepared: Prepared) -> dict[str, Any]:
    """Returns the request that a run would send, as plain JSON data; files by name, size and hash."""
    body = encode(prepared)
    facts: dict[str, Any] = {"endpoint": f"POST /Run/{prepared.schema.run_path}", "notes": list(prepared.notes)}
    if body.json is not None:
        return {**facts, "content_type": "application/json", "body": body.json}
    files = [
        {"field": name, "name": item.name, "size_bytes": item.size_bytes, "sha256": item.sha256}
        for name, item in body.parts
    ]
    fields = [{"field": name, "value": value} for name, value in body.fields]
    return {**facts, "content_type": "multipart/form-data", "fields": fields, "files": files}


def price_words(estimate: Estimate, is_sandbox: bool) -> str:
    """Returns a forecast with its basis: "about $0.04 (0.03 USD for each begun 1,048,576 pixels, 1 of them)"."""
    if not estimate.known:
        told = f"price not listed ({estimate.basis})"
    elif estimate.high_usd is not None and estimate.high_usd != estimate.low_usd:
        told = f"{formatting.money(estimate.low_usd)} to {formatting.money(estimate.high_usd)} ({estimate.basis})"
    else:
        told = f"about {formatting.money(estimate.low_usd)} ({estimate.basis})"
    return f"free, sandbox; its make-believe price: {told}" if is_sandbox else told


def preview(model: str, values: Mapping[str, Any], host: Host) -> Bundle:
    """Returns the page of one run that is not sent.

    Args:
        model: "owner/name".
        values: Its inputs, as given.
        host: Whose notebook is asked for an earlier result.

    Raises:
        InputError: A value or a file does not fit.
    """
    from wiro_nb.notebook.run.submit import origin_of

    manager = session.manager()
    prepared = manager.prepare(model, dict(values), origin=origin_of(host, "magic"))
    ((estimate, seconds),) = manager.forecast([prepared])
    facts = request_facts(prepared)
    rows = [
        ("Request", facts["endpoint"]),
        ("Service", manager.service_name),
        ("Price", price_words(estimate, manager.choice.is_sandbox)),
        ("Time", "no earlier run compares" if seconds is None else f"about {formatting.clock(seconds)} of work"),
    ]
    done = manager.find_done(prepared, host.notebook)
    if done is not None:
        rows.append(("Already made", f"run {done.short_id}: a cell that asks for this shows it at no cost"))
    rows += [("Note", note) for note in prepared.notes]
    shown = {name: facts[name] for name in ("body", "fields", "files") if name in facts}
    return _page("Dry run", rows, json.dumps(shown.get("body", shown), ensure_ascii=False, indent=1))


def preview_sweep(plan: SweepPlan) -> Bundle:
    """Returns the page of a sweep that is not sent: how many runs, price, time, and every point."""
    from wiro_nb.notebook.sweep.grid_view import point_labels
    from wiro_nb.sweeps.plan import describe_plan

    labels = point_labels(plan)
    lines = [
        f"{label}{'  already made or under way' if position in plan.made else ''}"
        for position, label in enumerate(labels[:_MOST_POINTS])
    ]
    if len(labels) > _MOST_POINTS:
        lines.append(f"and {len(labels) - _MOST_POINTS} more")
    rows = [("Request", f"POST /Run/{plan.schema.run_path}"), ("Would send", describe_plan(plan))]
    rows += [("Note", note) for note in plan.notes]
    return _page(f"Dry run of a sweep, {formatting.count(len(labels), 'point')}", rows, "\n".join(lines))


def _page(title: str, rows: Sequence[tuple[str, str]], listing: str) -> Bundle:
    shown = listing if len(listing) <= _LONGEST else listing[:_LONGEST] + "\n…"
    pre = f'<pre style="margin:8px 0 0 0;font-size:12px;white-space:pre-wrap">{markup.escape(shown)}</pre>'
    html = (
        f"<div>{markup.mark(markup.WAITING)}<b>{markup.escape(title)}</b> {markup.quiet(NOTHING)}</div>"
        + markup.pairs([(name, markup.escape(value)) for name, value in rows])
        + pre
    )
    text = [f"wiro: {title.lower()}. {NOTHING}", *(f"  {name.lower()}: {value}" for name, value in rows)]
    text += [f"  {line}" for line in shown.split("\n")]
    return {"text/html": markup.card(html), "text/plain": "\n".join(text)}
