"""Static pages around runs: the runs table, the status, a model's inputs, the models. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from wiro_nb.ledger.state import RunState, Snapshot
from wiro_nb.presentation import markup
from wiro_nb.presentation.formatting import (
    format_budget,
    format_count,
    format_duration,
    format_forecast,
    format_usd,
    format_when,
    state_label,
)
from wiro_nb.presentation.output import Displayable, Output
from wiro_nb.schema.coerce import is_free_text
from wiro_nb.schema.normalise import as_decimal
from wiro_nb.schema.types import ModelSchema, Parameter

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run

_KEY_SETTINGS = 3
_LONGEST_SETTING = 28
_OPTIONS_SHOWN = 40
_OPEN_OPTIONS = 8
_WIDE = "font-size:13px;line-height:1.35"
PAGE = "font-size:13px;line-height:1.45;max-width:820px"
_THUMB = "display:block;width:64px;height:37px;max-width:none;margin:0;border-radius:2px"


@dataclass(frozen=True, slots=True)
class Status:
    """What `%wiro` tells.

    Attributes:
        service: Name of the service. is_sandbox: True when nothing costs money.
        account: Where the key comes from, in words.
        spent_usd: In this notebook. budget_usd: Its budget, or None.
        in_flight: Unfinished runs of this notebook.
        files: What its finished runs keep on disk, in words.
        notes: Further lines (what the service said of itself).
    """

    service: str
    is_sandbox: bool
    account: str
    spent_usd: Decimal
    budget_usd: Decimal | None
    in_flight: tuple[Snapshot, ...] = ()
    files: str = ""
    notes: tuple[str, ...] = field(default=())


def status_output(status: Status) -> Output:
    """Returns the answer of `%wiro`."""
    service = "sandbox: local, free, no account" if status.is_sandbox else status.service
    now = _in_flight_words(status.in_flight)
    budget = "nothing to spend in the sandbox"
    if not status.is_sandbox or status.budget_usd is not None:
        budget = format_budget(status.spent_usd, status.budget_usd)
        budget += " (make-believe money: the sandbox costs nothing)" if status.is_sandbox else ""
    rows = [("Service", service), ("Account", status.account), ("Budget", budget), ("Now", now)]
    rows += [("Files", status.files)] if status.files else []
    rows += [("Note", note) for note in status.notes]
    if status.is_sandbox:
        other, other_words = "%wiro login", "to use your Wiro account"
    else:
        other, other_words = "%wiro use sandbox", "for free practice"
    steps = [
        ("%wiro models", "to browse"),
        ("%wiro form MODEL", "to fill in a form"),
        (other, other_words),
        ("%wiro help", "for everything"),
    ]
    next_html = ", ".join(f"{markup.command(command)} {markup.escape(why)}" for command, why in steps)
    html = (
        f'<div style="{PAGE}"><div>{markup.mark(markup.DONE)}<b>Ready</b></div>'
        + markup.pairs([(name, markup.escape(value)) for name, value in rows])
        + markup.block(f"Next: {next_html}.", f"margin:8px 0 0 0;font-size:12px;{markup.QUIET}")
        + "</div>"
    )
    text = ["wiro: ready", *(f"  {name.lower()}: {value}" for name, value in rows)]
    text += [f"  next: {command} {why}" for command, why in steps]
    return Output(html, "\n".join(text))


def _in_flight_words(snapshots: Sequence[Snapshot]) -> str:
    if not snapshots:
        return "no runs in flight"
    tally: dict[str, int] = {}
    for snapshot in snapshots:
        word = state_label(snapshot).lower()
        tally[word] = tally.get(word, 0) + 1
    return ", ".join(f"{number} {word}" for word, number in tally.items())


class RunList(Displayable, list["Run"]):
    """Runs, newest first, that show as a table.

    Args:
        runs: The runs.
        spent: A sentence about money; called when the table is shown.
        pictures: As in `runs_output`.
        where: As in `runs_output`.
        chosen: As in `runs_output`.
        schemas: Returns the models that are known.
    """

    def __init__(
        self,
        runs: Iterable[Run],
        *,
        spent: str | Callable[[], str] = "",
        pictures: bool = True,
        where: str = "in this notebook",
        chosen: str = "",
        schemas: Callable[[], Sequence[ModelSchema]] = tuple,
    ) -> None:
        super().__init__(runs)
        self._spent, self._schemas = spent, schemas
        self._pictures, self._where, self._chosen = pictures, where, chosen

    def output(self) -> Output:
        """Returns the table, with the runs as they are now."""
        return runs_output(
            [run.snapshot for run in self],
            spent=self._spent if isinstance(self._spent, str) else self._spent(),
            pictures=self._pictures,
            where=self._where,
            chosen=self._chosen,
            schemas=self._schemas(),
        )


def runs_output(
    snapshots: Sequence[Snapshot],
    *,
    spent: str,
    pictures: bool = True,
    where: str = "in this notebook",
    chosen: str = "",
    now: datetime | None = None,
    schemas: Sequence[ModelSchema] = (),
) -> Output:
    """Returns the table of runs.

    Args:
        snapshots: Newest first.
        spent: A sentence about money, or "".
        pictures: True links the posters; their paths start from the folder of the runs' own notebook.
        where: Which runs these are.
        chosen: The filters in use, as `chosen_words` gives them.
        now: The present moment; for tests.
        schemas: The models that are known: they order the settings and name the choices.
    """
    if not snapshots:
        return _no_runs(where, chosen)
    moment = now or datetime.now(UTC)
    known = {schema.slug: schema for schema in schemas}
    settings = [key_settings(snapshot, known.get(snapshot.model)) for snapshot in snapshots]
    head = format_count(len(snapshots), "run")
    where += chosen
    money_html = f" {markup.escape(spent)}" if spent else ""
    html = (
        f'<div style="{_WIDE}"><div style="margin:0 0 6px 0"><b>{head} {markup.escape(where)}</b> '
        + markup.quiet(f"newest first.{money_html}")
        + "</div>"
        + markup.grid_table(
            ("Run", "Clip", "Status, when", "Model, key settings", "Cost, time", "Next command"),
            [_run_row(snapshot, key, moment, pictures) for snapshot, key in zip(snapshots, settings, strict=True)],
            right=frozenset({4}),
        )
        + markup.block(_runs_next(snapshots), f"margin:8px 0 0 0;font-size:12px;{markup.QUIET}")
        + "</div>"
    )
    text = [f"wiro: {head} {where}, newest first. {spent}".rstrip()]
    text += [_run_line(snapshot, key, moment) for snapshot, key in zip(snapshots, settings, strict=True)]
    return Output(html, "\n".join(text))


def _no_runs(where: str, chosen: str) -> Output:
    """Says that there are no runs, or none that fit the filters."""
    if chosen:
        said = f"No run {where} fits{chosen.removeprefix(',')}."
        start = "%wiro runs for all of them" if where == "in this notebook" else "%wiro runs --all for all of them"
    else:
        said, start = f"No runs {where} yet.", "%wiro models, then %wiro form MODEL"
    html = f'<div style="{PAGE}">{markup.escape(said)} Next: {markup.escape(start)}</div>'
    return Output(html, f"wiro: {said[0].lower()}{said[1:-1]}\n  next: {start}")


def _runs_next(snapshots: Sequence[Snapshot]) -> str:
    done = [snapshot.short_id for snapshot in snapshots if snapshot.state is RunState.SUCCEEDED][:2]
    pair = f"Two runs side by side: {markup.command('%wiro compare ' + ' '.join(done))}. " if len(done) > 1 else ""
    narrower = markup.command("%wiro runs --state done --since 7d")
    return f"{pair}All notebooks: {markup.command('%wiro runs --all')}. Fewer: {narrower}"


def _run_row(snapshot: Snapshot, settings: str, now: datetime, pictures: bool) -> list[str]:
    picture = (
        '<span style="display:block;box-sizing:border-box;width:64px;height:37px;'
        f'border:1px dashed {markup.LINE};border-radius:2px"></span>'
    )
    # A link and not the picture itself: fifty rows of pictures would outweigh the notebook.
    poster = next((output.poster_path for output in snapshot.outputs if output.poster_path), None)
    if poster and pictures:
        picture = (
            f'<img src="{markup.url(poster)}" alt="Clip of run {markup.attribute(snapshot.short_id)}" '
            f'width="64" height="37" style="{_THUMB}">'
        )
    small = f"font-size:12px;{markup.QUIET}"
    state = _state_with_percent(snapshot)
    when = _when(snapshot, now)
    elapsed = format_duration(snapshot.elapsed_s) if snapshot.elapsed_s is not None else ""
    return [
        f'<code style="background:transparent;padding:0">{markup.escape(snapshot.short_id)}</code>',
        picture,
        f"{markup.mark(markup.mark_of(snapshot))}{markup.escape(state)}<br>"
        f'<span style="margin-left:15px;{small}">{markup.escape(when)}</span>',
        f'{markup.escape(snapshot.model)}<br><span style="{small}">{markup.escape(settings)}</span>',
        f'<span>{markup.escape(_table_cost(snapshot))}</span><br><span style="{small}">{elapsed}</span>',
        f'<code style="font-size:12px;white-space:normal">%wiro show {markup.escape(snapshot.short_id)}</code>',
    ]


def _run_line(snapshot: Snapshot, settings: str, now: datetime) -> str:
    state = _state_with_percent(snapshot)
    return (
        f"  {snapshot.short_id}  {state:<24} {_when(snapshot, now):<16} "
        f"{snapshot.model}  {settings}  {_table_cost(snapshot)}"
    ).rstrip()


def _state_with_percent(snapshot: Snapshot) -> str:
    moving = snapshot.percent is not None and not snapshot.state.is_final
    return state_label(snapshot) + (f" {snapshot.percent:.0f}%" if moving else "")


def _when(snapshot: Snapshot, now: datetime) -> str:
    moment = snapshot.finished or snapshot.created
    if not snapshot.state.is_final or moment is None:
        return "now"
    return format_when(moment, now)


def _table_cost(snapshot: Snapshot) -> str:
    if snapshot.is_sandbox:
        return "free"
    if snapshot.cost_usd is not None:
        return format_usd(snapshot.cost_usd)
    if snapshot.state in (RunState.FAILED, RunState.CANCELLED):
        return "$0"
    return format_forecast(snapshot.estimated_usd) if snapshot.estimated_usd is not None else "not listed"


def key_settings(snapshot: Snapshot, schema: ModelSchema | None = None) -> str:
    """Returns the seed and the first short settings that tell runs apart.

    With the model's schema they stand in its order, those that are not the default first, choices by their label.
    """
    seed = str((snapshot.seed or {}).get("parameter") or "")
    parts = [f"seed {snapshot.seed['value']}"] if snapshot.seed and snapshot.seed.get("value") else []
    for name, value in _telling_first(snapshot.parameters, schema):
        if len(parts) >= _KEY_SETTINGS:
            break
        if name != seed and value != "" and "rompt" not in name and len(value) <= _LONGEST_SETTING:
            parts.append(f"{name} {value}")
    return ", ".join(parts)


def _telling_first(given: Mapping[str, object], schema: ModelSchema | None) -> list[tuple[str, str]]:
    """Returns settings as people read them; those that are not the model's default come first."""
    if schema is None:
        return [(name, str(value)) for name, value in given.items()]
    telling: list[tuple[str, str]] = []
    usual: list[tuple[str, str]] = []
    for item in schema.parameters:
        if item.id in given:
            pair = (item.id, _in_words(item, given[item.id]))
            (usual if _same(given[item.id], item.default) else telling).append(pair)
    unknown = [(name, str(value)) for name, value in given.items() if schema.get(name) is None]
    return telling + usual + unknown


def _same(value: object, default: str | tuple[str, ...] | None) -> bool:
    if isinstance(value, (list, tuple)):
        return [str(item) for item in value] == list(default or ())
    number = as_decimal(str(value))
    return str(value) == (default or "") or (
        isinstance(default, str) and number is not None and number == as_decimal(default)
    )


def _in_words(parameter: Parameter, value: object) -> str:
    """Returns a value with the labels of its choices in place of what is sent."""
    labels = {option.value: option.label or option.value for option in parameter.options}
    items = value if isinstance(value, (list, tuple)) else (value,)
    return ", ".join(labels.get(str(item), str(item)) for item in items)


def info_output(schema: ModelSchema, price: str, notes: Sequence[str] = ()) -> Output:
    """Returns a model's inputs, choices and price."""
    heads = ("Input", "Type", "Default", "Choices and rules")
    rows = [
        [markup.name(item.id), markup.escape(item.type), _default(item, html=True), _rules(item, html=True)]
        for item in schema.parameters
    ]
    intro = [markup.block(markup.escape(schema.description))] if schema.description else []
    intro += [markup.block(markup.escape(note)) for note in notes]
    table = (
        markup.grid_table(heads, rows)
        if rows
        else markup.block("This model publishes no inputs: every name=value pair is sent as it is.")
    )
    cell = f"%%wiro {schema.slug}"
    html = (
        f'<div style="font-size:13px;line-height:1.45"><div style="font-size:15px;font-weight:600">'
        f"{markup.escape(schema.title)}</div>"
        f"<div>{markup.name(schema.slug)} {markup.quiet(f'<span>{markup.escape(price)}</span>')}</div>"
        f'{"".join(intro)}<div style="margin:8px 0 0 0">{table}</div>'
        + markup.block(
            f"Run it: {markup.command(cell)}. Fill in a form: {markup.command(f'%wiro form {schema.slug}')}"
        )
        + "</div>"
    )
    text = [f"wiro: {schema.title}  {schema.slug}, {price}"]
    text += [f"  {line}" for line in (schema.description, *notes) if line]
    for item in schema.parameters:
        kind = f"{item.type}, default {_default(item, html=False)}"
        text.append(f"  {item.id}  ({kind})  {_rules(item, html=False)}".rstrip())
    text.append(f"  next: %wiro form {schema.slug}")
    return Output(html, "\n".join(text))


def _default(parameter: Parameter, *, html: bool) -> str:
    default = parameter.default
    text = _in_words(parameter, default or "")
    if text and (parameter.is_file or (parameter.required and is_free_text(parameter))):
        text = "a sample of the service, not sent"
    if not html:
        return text or "empty"
    return markup.escape(text) if text else markup.quiet("empty")


def _rules(parameter: Parameter, *, html: bool) -> str:
    parts = [parameter.help] if parameter.help else []
    if parameter.min is not None or parameter.max is not None:
        parts.append(f"{parameter.min if parameter.min is not None else '…'} to {parameter.max or '…'}")
    if parameter.rule:
        parts.append(f"must be {parameter.rule}")
    plain = ". ".join(part.rstrip(".") for part in parts)
    shown = parameter.options[:_OPTIONS_SHOWN]
    if not html:
        choices = ", ".join(option.label or option.value for option in shown)
        return "; ".join(part for part in (plain, choices) if part)
    chips = markup.chips(option.label or option.value for option in shown)
    if len(parameter.options) > _OPEN_OPTIONS:
        chips = markup.details(f"{len(parameter.options)} choices", markup.block(chips))
    return markup.escape(plain) + (f"<div>{chips}</div>" if shown else "")


def form_output(schema: ModelSchema, cell: str) -> Output:
    """Returns what stands in for a form where no widget can be shown.

    Args:
        schema: The model.
        cell: The cell that sends what the form holds.
    """
    again = f"%wiro form {schema.slug}"
    start = cell if "\n" in cell else f"%%wiro {schema.slug}\nthe prompt"
    code = f'<pre style="margin:6px 0 0 0;font-size:12px;white-space:pre-wrap">{markup.escape(start)}</pre>'
    html = (
        f'<div style="{PAGE}">{markup.quiet("Form of")} {markup.name(schema.slug)}. '
        f"Open it again: {markup.command(again)}"
        + markup.details("The same in a cell, where forms cannot be shown", code)
        + "</div>"
    )
    text = [f"wiro: form of {schema.slug}", "  where this front end shows no form, a cell does the same:"]
    text += [f"    {line}" for line in start.split("\n")]
    text += [f"  inputs: %wiro info {schema.slug}", f"  next: {again}"]
    return Output(html, "\n".join(text))


@dataclass(frozen=True, slots=True)
class ModelLine:
    """One model of a list: `price` is in words."""

    slug: str
    title: str
    description: str
    categories: tuple[str, ...]
    price: str


def models_output(models: Sequence[ModelLine], query: str, service: str) -> Output:
    """Returns the list of models."""
    if query and not models:
        said = f"No model fits “{markup.escape(query)}”. All: {markup.command('%wiro models')}"
        html = f'<div style="{PAGE}">{said}</div>'
        return Output(html, f"wiro: no model fits “{query}”\n  next: %wiro models, for all")
    head = f"{format_count(len(models), 'model')}" + (f" for “{query}”" if query else "")
    rows = [
        [
            f"<b>{markup.escape(model.title)}</b><br>{markup.name(model.slug)}",
            markup.escape(model.description) + (f"<br>{markup.quiet(markup.escape(', '.join(model.categories)))}"),
            f"<span>{markup.escape(model.price)}</span>",
            f'<code style="font-size:12px;white-space:nowrap">%wiro form {markup.escape(model.slug)}</code>',
        ]
        for model in models
    ]
    table = markup.grid_table(("Model", "What it does", "Price", "Next command"), rows) if rows else ""
    html = (
        f'<div style="{_WIDE}"><div style="margin:0 0 6px 0"><b>{markup.escape(head)}</b> '
        f"{markup.quiet(markup.escape(service))}</div>{table}</div>"
    )
    text = [f"wiro: {head}, {service}"]
    text += [f"  {model.slug}  {model.title}, {model.price}" for model in models]
    text.append("  next: %wiro info MODEL, or %wiro form MODEL")
    return Output(html, "\n".join(text))
