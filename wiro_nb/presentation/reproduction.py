"""Static outputs about reproducing runs: comparisons, run trees, and the findings of `verify`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from wiro_nb.formatting import DONE, FAILED, LOST, as_sentence, format_count, shorten, status_of
from wiro_nb.ids import short_id
from wiro_nb.ledger.state import Snapshot
from wiro_nb.presentation.html import Child, Html, code, details, h, join, line, muted, name_table, table
from wiro_nb.presentation.output import NOTHING, Block, Displayable, Output, card, heading, paragraphs, status_dot
from wiro_nb.provenance.made_by import made_by_facts, made_by_notes, made_by_summary
from wiro_nb.reproduce.compare import Comparison
from wiro_nb.reproduce.verify import Finding
from wiro_nb.session.lineage import Branch

_LONGEST = 400
_SPARKLINE_WIDTH = 60
_SMALLEST_RANGE_DB = 0.5
_BARS = "▁▂▃▄▅▆▇█"
_SHOWN = 60
_PROMPT, _DEEPEST = 60, 24
_LEVELS = {"problem": FAILED, "note": LOST, "ok": DONE}


def comparison_output(comparison: Comparison, *, with_settings: bool = True) -> Output:
    """Returns the result of a comparison, with a plot where frames differ.

    Args:
        comparison: What was found.
        with_settings: False leaves the table of settings out, where another view shows it.
    """
    title = "Came out the same" if comparison.is_same else _title_of(comparison)
    names = f"{comparison.left.label} and {comparison.right.label}"
    said = tuple(f"  {sentence}" for sentence in comparison.sentences)
    sentences = join(line(as_sentence(sentence)) for sentence in comparison.sentences)
    status = DONE if comparison.is_same else LOST
    blocks = [
        heading(title, names, status=status, text=f"{title.lower()}: {names}"),
        Block(sentences, said),
        Block(join(line(text) for text in _sparklines(comparison))),
    ]
    if with_settings and comparison.settings is not None:
        blocks.append(_settings(comparison, comparison.settings))
    return card(*blocks)


def _settings(comparison: Comparison, settings: Mapping[str, tuple[Any, ...]]) -> Block:
    text = differ_title(len(settings))
    rows: list[list[Child]] = [[code(name), *map(_cell, values)] for name, values in settings.items()]
    shown = table(("setting", comparison.left.label, comparison.right.label), rows) if rows else ""
    lines = (f"  {name}: {'  |  '.join(map(setting_text, values))}" for name, values in settings.items())
    head = line(f"{text[0].upper()}{text[1:]}", style="margin:8px 0 0 0")
    return Block(join(head, shown), (f"  {text}", *lines))


def differ_title(count: int) -> str:
    """Returns "no setting differs", "1 setting differs" or "2 settings differ"."""
    return f"{format_count(count, 'setting')} differ" if count > 1 else f"{count or 'no'} setting differs"


def tree_output(root: Branch, wanted: str) -> Output:
    """Returns a tree of runs; `wanted` is the id of the run that was asked for, which stands out."""
    rows = list(_branches(root, wanted, 0))
    title = f"Runs made from {short_id(root.run_id)}"
    return card(
        heading(title, format_count(len(rows), "run")),
        Block(join(html for html, _ in rows), tuple(text for _, text in rows)),
    )


def _branches(branch: Branch, wanted: str, depth: int) -> Iterator[tuple[Html, str]]:
    row, name = branch.row, short_id(branch.run_id)
    about = "not in this ledger" if row is None else f"{row.model}, {status_of(Snapshot.of(row)).label.lower()}"
    prompt = "" if row is None else shorten(" ".join(str(row.parameters.get("prompt") or "").split()), _PROMPT)
    link = {"made again from": "made again", "": ""}.get(branch.link, branch.link.removesuffix(" of"))
    told = ", ".join(filter(None, (link, about, prompt)))
    mark = h("b", name) if branch.run_id == wanted else code(name)
    indent = f"margin:2px 0 0 {18 * min(depth, _DEEPEST)}px"
    text = f"  {'  ' * min(depth, _DEEPEST)}{'* ' if branch.run_id == wanted else '- '}{name}  {told}"
    yield line(mark, " ", muted(told), style=indent), text
    for child in branch.children:
        yield from _branches(child, wanted, depth + 1)


class Verified(Displayable):
    """What verify found.

    Attributes:
        findings: One by one.
        ok: True when none is a problem.
    """

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        self.ok = not any(item.level == "problem" for item in self.findings)

    def output(self) -> Output:
        """Returns a table with problems first; what is well is only counted."""
        count = Counter(item.level for item in self.findings)
        title = f"{format_count(count['problem'], 'problem')} found" if count["problem"] else "No problem found"
        about = f"{format_count(count['ok'], 'check')} passed, {format_count(count['note'], 'note')}"
        order = sorted(
            (item for item in self.findings if item.level != "ok"), key=lambda item: item.level != "problem"
        )
        shown, more = order[:_SHOWN], len(order) - _SHOWN
        rows: list[list[Child]] = [
            [(status_dot(_LEVELS[item.level]), item.level), item.where, item.message] for item in shown
        ]
        lines = tuple(f"  {item.level}  {item.where}: {item.message}" for item in order)
        return card(
            heading(title, about, status=FAILED if count["problem"] else DONE, text=f"{title.lower()}; {about}"),
            Block(table(("", "where", "what"), rows) if rows else Html(""), lines),
            paragraphs([f"and {more} more"] if more > 0 else []),
        )


def _title_of(comparison: Comparison) -> str:
    if any(item.verdict == "different" for item in comparison.outputs):
        return "Came out different"
    return "Not all of it could be compared"


def _sparklines(comparison: Comparison) -> list[str]:
    """Returns one line for each pair of clips that differ: the PSNR of their frames as a row of bars."""
    lines = []
    for item in comparison.outputs:
        values = item.psnr_db
        if item.verdict != "different" or len(values) < 2:
            continue
        step = -(-len(values) // _SPARKLINE_WIDTH)
        shown = [min(values[start : start + step]) for start in range(0, len(values), step)]
        low, high = min(shown), max(shown)
        if high - low < _SMALLEST_RANGE_DB:
            continue  # bars would show noise
        bars = "".join(_BARS[round((value - low) / (high - low) * (len(_BARS) - 1))] for value in shown)
        lines.append(f"PSNR by frame, {low:.1f} to {high:.1f} dB: {bars}")
    return lines


def setting_text(value: Any, longest: int = _LONGEST) -> str:
    """Returns the value of a setting as a table of differences shows it, cut where it is long."""
    if value in (None, ""):
        return "none" if value is None else "empty"
    return shorten(", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value), longest)


def _cell(value: Any) -> Child:
    return muted(setting_text(value)) if value in (None, "") else setting_text(value)


def made_by_block(record: Mapping[str, Any]) -> Block:
    """Returns how a run's outputs were made, if a local service reports it; else nothing."""
    maker, notes = made_by_summary(record), made_by_notes(record)
    if not maker:
        return NOTHING
    rows = [(name, value) for name, value in made_by_facts(record).items() if not name.startswith("notes")]
    html = join([*(line(note) for note in notes), details(f"Made by {maker}", name_table(rows))])
    return Block(html, (f"  made by {maker}", *(f"  note: {note}" for note in notes)))
