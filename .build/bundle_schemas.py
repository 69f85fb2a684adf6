"""Writes the bundled schemas from saved model pages.

    python .build/bundle_schemas.py --date 2026-11-21 PAGE.txt ...

Each page that lists inputs becomes `wiro_nb/schema/bundled/OWNER--NAME.json`; the manifest records the source, the
date and the SHA-256 of each source text. The one model whose page lists no inputs (SkyReels-V1) is written from
the input list of the service's n8n node, kept below. Run the script again when pages change; never edit the JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import wiro_nb.schema
from wiro_nb.schema.detail import mark_required
from wiro_nb.schema.page import read_page
from wiro_nb.schema.types import ModelSchema, schema_from_dict

FOLDER = Path(wiro_nb.schema.__file__).with_name("bundled")

_SKYREELS_HELP = "Number of frames. If N is divisible by 4, the length should be N+1"
NODE_LIST: dict[str, Any] = {
    "slug": "wiro/SkyReels-V1",
    "run_path": "wiro/SkyReels-V1",
    "title": "SkyReels Image To Video",
    "description": "SkyReels V1 is the first and most advanced open-source human-centric video model.",
    "categories": ["image-to-video"],
    "parameters": [
        {"id": "inputImage", "type": "fileinput", "label": "Input image"},
        {"id": "prompt", "type": "textarea", "label": "Prompt", "required": True},
        {"id": "negativePrompt", "type": "textarea", "label": "Negative prompt"},
        {"id": "scale", "type": "number", "label": "Guidance scale"},
        {"id": "numFrames", "type": "number", "label": "Number of frames", "help": _SKYREELS_HELP, "rule": "4n+1"},
        {
            "id": "size",
            "type": "select",
            "label": "Size",
            "options": [{"value": "960x544"}, {"value": "544x960"}],
        },
        {"id": "steps", "type": "number", "label": "Steps"},
    ],
}
"""The list requires the prompt alone and gives no defaults: they stay None and the service's own apply."""


def write_bundle(pages: Sequence[Path], date: str, folder: Path = FOLDER) -> list[Path]:
    """Writes one JSON per model and the manifest.

    Args:
        pages: Saved model pages. Those that list no inputs are left out.
        date: When the pages were read, ISO 8601.
        folder: Where to write.

    Returns:
        The files written, the manifest last.

    Raises:
        UnreadableSchema: A page has no model in it.
    """
    found = [_from_page(page) for page in pages]
    schemas = [(schema, sha256) for schema, sha256 in found if not schema.free_form]
    node_text = json.dumps(NODE_LIST, sort_keys=True, ensure_ascii=False)
    stated = [item["id"] for item in NODE_LIST["parameters"]]
    node_schema = mark_required(schema_from_dict(NODE_LIST), stated=stated)
    node_source = {"kind": "bundled", "name": "the service's own n8n node list"}
    schemas.append((replace(node_schema, source=node_source), hashlib.sha256(node_text.encode()).hexdigest()))
    folder.mkdir(parents=True, exist_ok=True)
    written, entries = [], []
    for schema, sha256 in schemas:
        schema = replace(schema, source={**schema.source, "date": date, "sha256": sha256})
        path = folder / (schema.slug.replace("/", "--") + ".json")
        path.write_text(_json(schema.to_dict()), encoding="utf-8")
        entries.append({"file": path.name, "slug": schema.slug, **schema.source})
        written.append(path)
    manifest = folder / "manifest.json"
    manifest.write_text(_json({"format": 1, "models": entries}), encoding="utf-8")
    return [*written, manifest]


def _from_page(page: Path) -> tuple[ModelSchema, str]:
    content = page.read_bytes()
    schema = read_page(content.decode("utf-8"), source_name=page.name)
    source = {"kind": "bundled", "name": "the model's page, saved as text"}
    return replace(schema, source=source), hashlib.sha256(content).hexdigest()


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, indent=2) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line and writes the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="+", type=Path, metavar="PAGE")
    parser.add_argument("--date", required=True, help="when the pages were read, YYYY-MM-DD")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    chosen = parser.parse_args(arguments)
    for path in write_bundle(chosen.pages, chosen.date, chosen.out):
        print(path.name)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
