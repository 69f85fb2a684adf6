"""Reads the sample values a model page shows, and holds the small text tools both page readers use."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

_INSPIRES = re.compile(r"(?:^|\s)##\s+(?:Model|Tool)\s+Parameter\s+Inspires:")
_RUN_CALL = re.compile(r"/Run/[^\s\"']+\"")
_BODY = re.compile(r"\s-d\s+'")


def page_samples(text: str) -> list[dict[str, str]]:
    """Returns the sample values a page shows, best effort, never raising.

    Args:
        text: The page.

    Returns:
        One dict of parameter id to text per sample: first the body of the Run command, then each entry of
        "Parameter Inspires". Several files are joined by commas. `callbackUrl` is left out.
    """
    samples = [run_body(text), *_inspires(text)]
    return [sample for sample in samples if sample]


def run_body(text: str) -> dict[str, str]:
    """Returns the values in the body of the page's Run command; empty when it has none or cannot be read."""
    call = _RUN_CALL.search(text)
    start = _BODY.search(text, call.end()) if call else None
    if start is None:
        return {}
    try:
        body, _ = json.JSONDecoder(strict=False).raw_decode(text, start.end())
    except (ValueError, RecursionError):
        return {}
    return _sample(body)


def _sample(body: Any) -> dict[str, str]:
    if not isinstance(body, dict):
        return {}
    sample: dict[str, str] = {}
    for name, value in body.items():
        if isinstance(value, list):
            sample[name] = ",".join(str(item) for item in value)
        elif isinstance(value, str | int | float) and name != "callbackUrl":
            sample[name] = str(value)
    return sample


def _inspires(text: str) -> list[dict[str, str]]:
    """Reads the trailing sample section: JSON, or "- id: value" pairs, a repeated id opening the next sample."""
    heading = _INSPIRES.search(text)
    if heading is None:
        return []
    section = text[heading.end() :]
    ending = re.search(r"\s##\s", section)
    section = section[: ending.start()].strip() if ending else section.strip()
    try:
        body, _ = json.JSONDecoder(strict=False).raw_decode(section)
    except (ValueError, RecursionError):
        return _pairs(section, text)
    return [_sample(item) for item in (body if isinstance(body, list) else [body])]


def _pairs(section: str, text: str) -> list[dict[str, str]]:
    names = re.findall(r"(?:^|\s)- name:\s+(\S+)(?=\s+(?:label|help|type):)", text)
    if not names:
        return []
    either = "|".join(re.escape(name) for name in names)
    found = list(re.finditer(rf"(?:^|(?<=\s))(?:-\s+)?({either}):(?=\s|$)", section))
    samples: list[dict[str, str]] = []
    for match, value in zip(found, values_between(found, section), strict=True):
        if not samples or match[1] in samples[-1]:
            samples.append({})
        samples[-1][match[1]] = unquote(value)
    return samples


def unquote(text: str) -> str:
    """Takes one pair of quotes off a wholly quoted value; anything else stays as it is."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        try:
            value = json.loads(text, strict=False)
        except ValueError:
            return text
        return value if isinstance(value, str) else text
    return text


def values_between(keys: Sequence[re.Match[str]], text: str) -> list[str]:
    """Returns what stands between each key and the next, or the end of the text."""
    ends = [*(match.start() for match in keys[1:]), len(text)]
    return [text[match.end() : end].strip() for match, end in zip(keys, ends, strict=False)]
