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

from wiro_nb.errors import UnreadableSchema
from wiro_nb.schema.detail import read_tool, unreadable
from wiro_nb.schema.types import FILE_TYPES, ModelSchema, is_slug

MAX_PAGE_CHARS = 500_000

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
        raise _no_model(text, source_name)
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
    for is_wrong, what, hint in (
        (not text.strip("\ufeff \t\r\n"), "is empty", "fetch the model's llms.txt again"),
        (len(text) > MAX_PAGE_CHARS, "is far longer than a model page", "give the model's llms.txt"),
        ("\0" in text or text.count("\ufffd") > len(text) // 20, "is not text", "give the model's llms.txt"),
        (is_html, "is an HTML page, not the model's text page", "give the model's llms.txt"),
    ):
        if is_wrong:
            raise unreadable(source_name, what, hint)
    return text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _no_model(text: str, source_name: str) -> UnreadableSchema:
    what = "names no model (no 'Model name:' and no Run endpoint)"
    if "{{toolSlug" in text:
        what = "has only template placeholders where the model's name should be"
    hint = "give the model's llms.txt, or name the model itself: %wiro info OWNER/MODEL"
    return unreadable(source_name, what, hint)


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
    ending = _INPUTS_END.search(text, start)
    section = text[start : ending.start() if ending else len(text)]
    before = _LINES if _find(_LINES, "type:", section) else _FLAT
    chunks = _split_entries(section, before, _sample_prose(text))
    items: list[dict[str, Any]] = []
    for name, chunk in chunks:
        item = _read_entry(name, chunk, before)
        if item is None:
            is_cut = len(items) == len(chunks) - 1 and not ending
            what = f"is cut inside the input {name}" if is_cut else f"has no type for the input {name}"
            raise unreadable(source_name, what, "fetch the model's llms.txt again")
        items.append(item)
    return items


def _find(before: str, key: str, text: str, start: int = 0) -> re.Match[str] | None:
    return re.compile(rf"{before}{key}(?=\s|$)").search(text, start)


def _split_entries(section: str, before: str, sample: str) -> list[tuple[str, str]]:
    """Returns (id, rest) of each input.

    In the flattened form a prompt may hold text that looks like an input. The Run sample of the same page
    tells: what a sample's value contains is part of that value.
    """
    marker = re.compile(rf"{before}- name:\s+(\S+)(?=\s+(?:label|help|type):)")
    starts = [
        match
        for match in marker.finditer(section)
        if " ".join(section[match.start() : match.start() + 60].split()) not in sample
    ]
    return list(zip((match[1] for match in starts), _values_between(starts, section), strict=True))


def _read_entry(name: str, chunk: str, before: str) -> dict[str, Any] | None:
    """Returns an input as Tool/Detail describes it, or None when it has no type."""
    kind = _find(before, r"type:\s+([\w\-]+)", chunk)
    if kind is None:
        return None
    head, item = chunk[: kind.start()], {"id": name, "type": kind[1]}
    keys = {key: match for key in ("label", "help") if (match := _find(before, f"{key}:", head))}
    found = sorted(keys, key=lambda key: keys[key].start())
    item |= zip(found, _values_between([keys[key] for key in found], head), strict=True)
    if default_key := _find(before, "default:", chunk, kind.end()):
        text, options = chunk[default_key.end() :], ""
        choices = re.search(rf"{before}options:(?=\s*(?:- value:|$))", text) if kind[1] != "textarea" else None
        if choices:
            text, options = text[: choices.start()], text[choices.end() :]
        return {**item, "default": _default(kind[1], text), "options": _read_options(options, before)}
    return item


def _default(kind: str, text: str) -> str:
    text = text.strip()
    if kind in FILE_TYPES:
        return text.strip('"')
    return text if kind == "textarea" and text != '""' else _unquote(text)


def _read_options(text: str, before: str) -> list[dict[str, Any]]:
    marker = re.compile(rf"{before}- value:\s*")
    return [_read_option(value) for value in _values_between(list(marker.finditer(text)), text)]


def _read_option(text: str) -> dict[str, Any]:
    quoted = re.match(r"\".*?\"(?=\s+label:)|\S*", text, re.DOTALL)
    value = _unquote(quoted[0]) if quoted else ""
    rest = text[quoted.end() :] if quoted else ""
    rest, words = _cut_at("triggerwords:", rest)
    rest, description = _cut_at("description:", rest)
    _, label = _cut_at("label:", rest)
    trigger_words = _trigger_words(words.strip())
    return {"value": value, "label": label.strip(), "description": description, "triggerwords": trigger_words}


def _cut_at(key: str, text: str) -> tuple[str, str]:
    """Returns what stands before and after the first such key."""
    found = re.search(rf"\s{key}(?=\s|$)", text)
    return (text[: found.start()], text[found.end() :]) if found else (text, "")


def _trigger_words(text: str) -> list[str]:
    if not text.startswith("["):
        return []
    words = _decode_at(text, 0) or re.findall(r'"([^"]*)"', text.partition("]")[0])
    return [word for word in words if isinstance(word, str)]


def _sample_prose(text: str) -> str:
    """Returns the values in the body of the page's Run command as one line; empty when there is none."""
    call = _RUN_CALL.search(text)
    start = _BODY.search(text, call.end()) if call else None
    if start is None:
        return ""
    body = _decode_at(text, start.end())
    values = body.values() if isinstance(body, dict) else ()
    return " ".join(" ".join(str(value) for value in values).split())


def _decode_at(text: str, at: int) -> Any:
    """Returns the JSON value that begins here, or None."""
    try:
        return json.JSONDecoder(strict=False).raw_decode(text, at)[0]
    except (ValueError, RecursionError):
        return None


def _unquote(text: str) -> str:
    """Takes one pair of quotes off a wholly quoted value; anything else stays as it is."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        try:
            value = json.loads(text, strict=False)
        except ValueError:
            return text
        return value if isinstance(value, str) else text
    return text


def _values_between(keys: Sequence[re.Match[str]], text: str) -> list[str]:
    """Returns what stands between each key and the next, or the end of the text."""
    ends = [*(match.start() for match in keys[1:]), len(text)]
    return [text[match.end() : end].strip() for match, end in zip(keys, ends, strict=False)]
