"""What a file says of its making in the words of other programs: IPTC's digital source type, A1111's parameters.

Source: IPTC, "Digital Source Type" (https://cv.iptc.org/newscodes/digitalsourcetype/); Adobe, "XMP Specification
Part 3: Storage in Files".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import metadata
from typing import Any
from xml.sax.saxutils import escape

from wiro_nb.media import KEYWORD, XMP_MARK
from wiro_nb.provenance.made_by import made_by_summary
from wiro_nb.provenance.other_tools import INPUT_NAMES, plain_name

_VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TRAINED = f"{_VOCABULARY}trainedAlgorithmicMedia"
COMPOSITE = f"{_VOCABULARY}compositeWithTrainedAlgorithmicMedia"
ALGORITHMIC = f"{_VOCABULARY}algorithmicMedia"


def source_type(record: Mapping[str, Any]) -> str:
    """Returns the IPTC term for a recorded run; placeholders, of which no model is recorded, a program draws."""
    parts = [part["record"] for part in (record.get("film") or {}).get("parts", ()) if part.get("record")]
    if parts:
        kinds = {source_type(part) for part in parts}
        return kinds.pop() if len(kinds) == 1 else COMPOSITE
    is_here = record["service"]["name"] == "sandbox" or bool(record.get("made_by"))
    return ALGORITHMIC if is_here and not made_by_summary(record) else TRAINED


def describe_maker(record: Mapping[str, Any]) -> str:
    """Returns the model and the service that made a recorded run, or that none did."""
    if source_type(record) == ALGORITHMIC:
        return "wiro_nb sandbox: a placeholder, not made by a model"
    return f"{record['model']['slug']} on {record['service']['name']}"


def xmp_packet(record: Mapping[str, Any]) -> str:
    """Returns XMP that names the digital source type and the model; of a placeholder only that it is one."""
    kind = source_type(record)
    mark = "" if kind == ALGORITHMIC else f"<Iptc4xmpExt:DigitalSourceType>{kind}</Iptc4xmpExt:DigitalSourceType>"
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/" {XMP_MARK}>'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        ' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
        f"{mark}<xmp:CreatorTool>{escape(describe_maker(record))}</xmp:CreatorTool>"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )


def parameters_text(record: Mapping[str, Any]) -> str:
    """Returns the settings as A1111 writes them and galleries read them; "" for a model without steps."""
    values = {plain_name(name): value for name, value in record["parameters"].items()}

    def find(name: str) -> Any:
        return next((values[item] for item in INPUT_NAMES[name] if values.get(item) not in (None, "")), None)

    if not str(find("steps") or "").isdecimal():
        return ""
    size = find("size") or (f"{find('width')}x{find('height')}" if find("width") and find("height") else None)
    named = {
        "Steps": find("steps"),
        "Sampler": values.get("sampler"),
        "CFG scale": find("guidance"),
        "Seed": (record["seed"] or {}).get("value"),
        "Size": str(size).replace("*", "x") if size else None,
        "Model": "placeholder" if source_type(record) == ALGORITHMIC else record["model"]["slug"],
        "Version": f"{KEYWORD} {metadata.version('wiro_nb')}",
    }
    negative = find("negative_prompt")
    lines = [str(find("prompt") or ""), f"Negative prompt: {negative}" if negative else ""]
    pairs = (f"{name}: {_quote(value)}" for name, value in named.items() if value not in (None, ""))
    return "\n".join([*filter(None, lines), ", ".join(pairs)])


def _quote(value: Any) -> str:
    """Returns a value as one of the pairs of A1111: in quotes where it would end its pair."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(letter in text for letter in ',:\n"') else text
