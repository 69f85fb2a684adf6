"""Reads the text of a model page ("## Basic tool info ... ## Model Inputs: - name: ...").

The text is meant to have line breaks, and is also found flattened into one long line. Both are read by one
grammar: keys in their known order, where a key must start a line in the first form and follow a blank in the
second. Values are taken verbatim, so colons, commas, quotes and emoji in them mean nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from wiro_nb.schema.detail import read_tool, unreadable
from wiro_nb.schema.types import KINDS, ModelSchema, is_slug

_MAX_PAGE_CHARS = 500_000

_INPUTS = re.compile(r"(?:^|\s)##\s+(?:Model|Tool)\s+Inputs:")
_INPUTS_END = re.compile(
    r"\s##\s+(?:Integration|Run Command|(?:Model|Tool) Parameter|(?:Get|Kill|Cancel) Task|Task Status)\b"
)
_RUN_CALL = re.compile(r"/Run/[^\s\"']+\"")
_BODY = re.compile(r"\s-d\s+'")
_RUN_URL = re.compile(r"/Run/([^\s\"'?#]+)")
_SHEET_SLUG = re.compile(r"API Sample:\s+(\S+)")
_HEADER_START = re.compile(r"##\s+Basic\s+(?:tool|model)\s+info|(?m:^)(?=(?:Model|Tool) name:)")
_HEADER_KEY = re.compile(
    r"(?:^|(?<=\s))(?:(?:Model|Tool)\s+(name|description|cover|categories|tags)|"
    r"(Run) Task Endpoint \(POST\)|(Get) Task Detail Endpoint \(POST\)):(?=\s|$)"
)


_LINES, _FLAT = r"(?:^|\n)[ \t]*", r"(?:^|(?<=\s))"
"""What stands before a key: the start of a line, or any blank."""


def read_page(text: str, *, source_name: str = "page") -> ModelSchema:
    """Reads a model page.

    A page that names its model but lists no inputs gives a free-form schema, so that the model can still be
    run with any name=value pairs. Template placeholders ({{toolSlugOwner}}) are never taken for a model.

    Args:
        text: The page, with line breaks or flattened into one line.
        source_name: Where the text is from (file name or URL), for messages and `schema.source`.

    Raises:
        UnreadableSchema: The text is empty, binary, HTML, cut, or names no model.
    """
    text = _clean(text, source_name)
    inputs = _INPUTS.search(text)
    header = _read_header(text[: inputs.start()] if inputs else text)
    run_path, slug = _paths(text, header)
    if not slug:
        what = "names no model (no 'Model name:' and no Run endpoint)"
        if "{{toolSlug" in text:
            what = "has only template placeholders where the model's name should be"
        hint = "give the model's llms.txt, or name the model itself: %wiro info OWNER/MODEL"
        raise unreadable(source_name, what, hint)
    tool = {
        "title": header.get("title"),
        "description": header.get("description"),
        "categories": _bullets(header.get("categories", "")),
        "tags": _bullets(header.get("tags", "")),
        "cover": header.get("cover", "").partition(" ")[0],
        "parameters": _read_inputs(text, inputs.end(), source_name) if inputs else [],
    }
    source = {"kind": "page", "name": source_name}
    if not tool["parameters"]:
        source["note"] = "the page lists no inputs"
    return read_tool(tool, slug, run_path or slug, source)


def _clean(text: str, source_name: str) -> str:
    is_html = re.match(r"\s*<(?:!doctype|html|\?xml|head|body)\b", text.lstrip("\ufeff"), re.IGNORECASE)
    for what, is_wrong in {
        "is empty": not text.strip("\ufeff \t\r\n"),
        "is far longer than a model page": len(text) > _MAX_PAGE_CHARS,
        "is not text": "\0" in text or text.count("\ufffd") > len(text) // 20,
        "is an HTML page, not the model's text page": is_html,
    }.items():
        if is_wrong:
            raise unreadable(source_name, what, "give the model's llms.txt")
    return text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _read_header(text: str) -> dict[str, str]:
    """Returns the header's values. A repeated key counts once: name and description first, the others last."""
    start = _HEADER_START.search(text)
    chosen: dict[str, re.Match[str]] = {}
    for match in _HEADER_KEY.finditer(text, start.end()) if start else ():
        key = match[match.lastindex or 0]
        if key not in {"name", "description"}:
            chosen.pop(key, None)
        chosen.setdefault(key, match)
    return dict(zip(chosen, _values_between(list(chosen.values()), text), strict=True)) or _read_sheet(text)


def _read_sheet(text: str) -> dict[str, str]:
    """Reads a flattened web page: "owner/ name", title and description in its first lines, "API Sample: slug"."""
    sample = _SHEET_SLUG.search(text)
    if not sample or not is_slug(sample[1]):
        return {}
    lines = [line.strip() for line in text[: sample.start()].split("\n") if line.strip()]
    named = bool(lines) and lines[0].replace(" ", "") == sample[1]
    return {
        "name": sample[1],
        "title": lines[1] if named and len(lines) > 1 else "",
        "description": lines[2] if named and len(lines) > 2 else "",
    }


def _paths(text: str, header: dict[str, str]) -> tuple[str, str]:
    """Returns run path and slug; each empty when unknown."""
    name = header.get("name", "").split(" ")[0].strip()
    found = (_RUN_URL.search(place) for place in (header.get("Run", ""), text))
    run_path = next((path for match in found if match and is_slug(path := match[1].rstrip("/"))), "")
    return run_path, name if is_slug(name) else run_path


def _bullets(text: str) -> list[str]:
    return re.split(r"(?:^|\s)-\s+", text)


def _read_inputs(text: str, start: int, source_name: str) -> list[dict[str, Any]]:
    """Returns the inputs as Tool/Detail describes them."""
    ending = _INPUTS_END.search(text, start)
    section = text[start : ending.start() if ending else len(text)]
    before = _LINES if re.search(rf"{_LINES}type:(?=\s|$)", section) else _FLAT
    entries = _split_entries(section, before, _sample_prose(text))
    for number, (name, chunk) in enumerate(entries, 1):
        if not chunk.get("type"):
            is_cut = number == len(entries) and not ending
            what = f"is cut inside the input {name}" if is_cut else f"has no type for the input {name}"
            raise unreadable(source_name, what, "fetch the model's llms.txt again")
    return [_read_entry(name, chunk, before) for name, chunk in entries]


def _split_entries(section: str, before: str, sample: str) -> list[tuple[str, dict[str, str]]]:
    """Returns the id and the values of each input.

    In the flattened form a prompt may hold text that looks like an input. The Run sample of the same page
    tells: what a sample's value contains is part of that value.
    """
    starts = [
        match
        for match in re.finditer(rf"{before}- name:\s+(\S+)(?=\s+(?:label|help|type):)", section)
        if " ".join(section[match.start() : match.start() + 60].split()) not in sample
    ]
    chunks = zip((match[1] for match in starts), _values_between(starts, section), strict=True)
    return [(name, _cut_at(("label", "help", "type", "default"), chunk, before)) for name, chunk in chunks]


def _read_entry(name: str, chunk: dict[str, str], before: str) -> dict[str, Any]:
    kind = re.split(r"[^\w\-]", chunk["type"], maxsplit=1)[0]
    item: dict[str, Any] = {**chunk, "id": name, "type": kind}
    text = chunk.get("default", "")
    choices = re.search(rf"{before}options:(?=\s*(?:- value:|$))", text) if kind != "textarea" else None
    if choices:
        markers = list(re.finditer(rf"{before}- value:\s*", text[choices.end() :]))
        item["options"] = [_read_option(value) for value in _values_between(markers, text[choices.end() :])]
        text = text[: choices.start()].strip()
    if "default" in chunk:
        is_text = kind == "textarea" and text != '""'
        item["default"] = text.strip('"') if KINDS.get(kind) == "file" else text if is_text else _unquote(text)
    return item


def _read_option(text: str) -> dict[str, Any]:
    quoted = next(re.finditer(r"\".*?\"(?=\s+label:)|\S*", text, re.DOTALL))[0]
    fields = _cut_at(("label", "description", "triggerwords"), text[len(quoted) :], r"\s")
    words = fields.get("triggerwords", "")
    found = _decode_at(words, 0) or re.findall(r'"([^"]*)"', words.partition("]")[0])
    trigger_words = [word for word in found if isinstance(word, str)] if words.startswith("[") else []
    return {**fields, "value": _unquote(quoted), "triggerwords": trigger_words}


def _cut_at(keys: Sequence[str], text: str, before: str) -> dict[str, str]:
    """Returns what stands after the first of each key, in their order, up to the next key that is there."""
    found: list[re.Match[str]] = []
    for key in keys:
        match = re.compile(rf"{before}{key}:(?=\s|$)").search(text, found[-1].end() if found else 0)
        found += [match] if match else []
    names = (match[0].strip()[:-1] for match in found)
    return dict(zip(names, _values_between(found, text), strict=True))


def _sample_prose(text: str) -> str:
    """Returns the values in the body of the page's Run command as one line; empty when there is none."""
    call = _RUN_CALL.search(text)
    start = _BODY.search(text, call.end()) if call else None
    body = _decode_at(text, start.end()) if start else None
    return " ".join(" ".join(map(str, body.values())).split()) if isinstance(body, dict) else ""


def _decode_at(text: str, at: int) -> Any:
    """Returns the JSON value that begins here, or None."""
    try:
        return json.JSONDecoder(strict=False).raw_decode(text, at)[0]
    except (ValueError, RecursionError):
        return None


def _unquote(text: str) -> str:
    """Takes one pair of quotes off a wholly quoted value; anything else stays as it is."""
    try:
        return str(json.loads(text, strict=False)) if text.startswith('"') else text
    except ValueError:
        return text


def _values_between(keys: Sequence[re.Match[str]], text: str) -> list[str]:
    """Returns what stands between each key and the next, or the end of the text."""
    ends = [*(match.start() for match in keys[1:]), len(text)]
    return [text[match.end() : end].strip() for match, end in zip(keys, ends, strict=False)]
