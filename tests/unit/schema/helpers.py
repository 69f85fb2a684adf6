"""What several schema tests share: the saved pages and their line-broken form."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from wiro_nb.schema import ModelSchema, find_bundled

PAGES = Path(__file__).with_name("pages")
PAGE_SLUGS = {
    "animate-diff": "wiro/animate-diff",
    "wan2.2-effects-extra": "wiro/wan2.2-effects-extra",
    "vace": "pruna/vace",
    "Wan2.2-TI2V-5B-text-to-video": "Wan-AI/Wan2.2-TI2V-5B-text-to-video",
}
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40
MP4 = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + b"\0" * 40


def page(name: str) -> str:
    return (PAGES / f"{name}.txt").read_text(encoding="utf-8")


def sample_body(name: str) -> dict[str, Any]:
    """Returns the body of the page's Run command as it stands there, types included."""
    command = page(name).partition("/Run/")[2]
    body: dict[str, Any] = json.JSONDecoder(strict=False).raw_decode(command, command.index("-d '") + 4)[0]
    del body["callbackUrl"]
    return body


def bundled(name: str) -> ModelSchema:
    schema = find_bundled(PAGE_SLUGS.get(name, name))
    assert schema is not None
    return schema


def broken_into_lines(flat: str) -> str:
    """Returns a flattened page as the service writes it: one key a line, lists indented."""
    head, heading, rest = flat.partition("Inputs: ")
    inputs, integration, tail = rest.partition(" ## Integration")
    head = re.sub(r" (?=(?:Model|Tool) \w+:|Run Task|Get Task|## )", "\n", head)
    head = "\n".join(
        line.replace(" - ", "\n  - ") if re.match(r"(Model|Tool) (categories|tags):", line) else line
        for line in head.split("\n")
    )
    inputs = re.sub(r"(?:^| )- name:", "\n- name:", inputs)
    inputs = re.sub(r" (label|help|type|default|options):(?= |$|\n)", r"\n  \1:", inputs)
    inputs = re.sub(r" - value:", "\n    - value:", inputs)
    inputs = re.sub(r" (description|triggerwords|generatesettings):", r"\n      \1:", inputs)
    inputs = re.sub(r"(- value: \S[^\n]*)\n  label:", r"\1\n      label:", inputs)
    tail = re.sub(r"(?<=[{,]) (?=\")", "\n  ", tail).replace(" ## ", "\n\n## ").replace(" ```", "\n```\n")
    return head + heading.rstrip() + "\n" + inputs + "\n\n" + integration.strip() + tail
