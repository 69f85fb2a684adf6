"""Runs for papers and spreadsheets: a methods paragraph and a CSV table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

_COLUMNS = (
    "run_id", "model", "service", "status", "created", "finished", "elapsed_s", "seed",
    "estimated_usd", "cost_usd", "outputs", "sha256",
)  # fmt: skip
_LISTED_SETTINGS = 12
_LONGEST_SETTING = 60


def write_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """Returns one row a run; settings follow the fixed columns as `setting.NAME`.

    Cells that a spreadsheet would read as a formula are written with a leading apostrophe.
    """
    settings = sorted({name for record in records for name in record["parameters"]})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, *(f"setting.{name}" for name in settings)])
    for record in records:
        row = [
            record["run_id"],
            record["model"]["slug"],
            record["service"]["name"],
            record["status"],
            record["times"]["created"],
            record["times"]["finished"],
            record["elapsed_s"],
            (record["seed"] or {}).get("value"),
            record["price"]["estimated_usd"],
            record["price"]["cost_usd"],
            " ".join(output["path"] or output["name"] for output in record["outputs"]),
            " ".join(output.get("sha256") or "" for output in record["outputs"]).strip(),
        ]
        values = [record["parameters"].get(name) for name in settings]
        writer.writerow([_safe_cell(value) for value in [*row, *values]])
    return text.getvalue()


def _safe_cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def write_methods(records: Sequence[Mapping[str, Any]]) -> str:
    """Returns a paragraph a paper can use: models, settings, dates, service, versions, cost."""
    sentences = []
    for slug in dict.fromkeys(record["model"]["slug"] for record in records):
        mine = [record for record in records if record["model"]["slug"] == slug]
        sentences.append(_describe_model(slug, mine))
    versions = sorted({record["environment"]["wiro_nb"] for record in records})
    hashes = sorted(
        {record["model"]["schema_sha256"][:12] for record in records if record["model"]["schema_sha256"]}
    )
    sentences.append(f"Runs were made and recorded with wiro_nb {', '.join(versions)}.")
    if hashes:
        sentences.append(f"Input definitions of the models are identified by SHA-256 {', '.join(hashes)}.")
    costs = [Decimal(record["price"]["cost_usd"]) for record in records if record["price"]["cost_usd"]]
    real = [record for record in records if record["service"]["name"] != "sandbox"]
    if costs and real:
        sentences.append(f"The service billed {sum(costs, Decimal(0)):f} US dollars in all.")
    if len(real) < len(records):
        sentences.append(
            "Clips of the service called sandbox are drawn locally by a stand-in and use no model's weights."
        )
    return " ".join(sentences)


def _describe_model(slug: str, records: Sequence[Mapping[str, Any]]) -> str:
    days = sorted({record["times"]["created"][:10] for record in records})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    services = ", ".join(dict.fromkeys(record["service"]["name"] for record in records))
    count = f"{len(records)} clip{'s' if len(records) != 1 else ''}"
    same = {
        name: value
        for name, value in records[0]["parameters"].items()
        if all(record["parameters"].get(name) == value for record in records) and value not in ("", None)
    }
    varied = sorted({name for record in records for name in record["parameters"]} - set(same))
    verb = "was" if len(records) == 1 else "were"
    text = f"{count} {verb} generated with {slug} through the service {services} ({when})"
    if same:
        listed = [f"{name} = {_shorten(value)}" for name, value in same.items()][:_LISTED_SETTINGS]
        text += f", with {'; '.join(listed)}"
    filled = [
        name for name in varied if any(record["parameters"].get(name) not in ("", None) for record in records)
    ]
    if filled:
        text += f"; {', '.join(filled)} varied between runs"
    return f"{text}."


def _shorten(value: Any) -> str:
    text = " ".join(str(value).split())
    text = text if len(text) <= _LONGEST_SETTING else text[: _LONGEST_SETTING - 1].rstrip() + "…"
    return f'"{text}"' if " " in text else text
