"""How the outputs of a record were made: facts that a local service reports, and the digital source type.

Records are untrusted, so nothing here relies on the shape of the field `made_by`.
Source: IPTC, "Digital Source Type" (https://cv.iptc.org/newscodes/digitalsourcetype/); Adobe, "XMP Specification
Part 3: Storage in Files".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any
from xml.sax.saxutils import escape

from wiro_nb.media import XMP_MARK

_MOST_FACTS = 80
_LONGEST_FACT = 300
_MOST_NOTES = 10
_VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TRAINED = f"{_VOCABULARY}trainedAlgorithmicMedia"
COMPOSITE = f"{_VOCABULARY}compositeWithTrainedAlgorithmicMedia"
ALGORITHMIC = f"{_VOCABULARY}algorithmicMedia"


def made_by_facts(record: Mapping[str, Any]) -> dict[str, str]:
    """Returns the facts by name, nested ones as "repositories pipeline revision"; none for other services."""
    return dict(islice(_flatten(_facts(record), ()), _MOST_FACTS))


def made_by_summary(record: Mapping[str, Any]) -> str:
    """Returns "diffusers, WanPipeline, NVIDIA H100, bfloat16"; "" for a placeholder and for other services."""
    facts = made_by_facts(record)
    if facts.keys() <= {"engine"}:  # the label of a placeholder says what it is
        return ""
    return ", ".join(facts[name] for name in ("engine", "pipeline", "device", "dtype") if name in facts)


def made_by_notes(record: Mapping[str, Any]) -> list[str]:
    """Returns the substitutions for settings that could not be applied, as sentences."""
    notes = _facts(record).get("notes")
    return [str(note)[:_LONGEST_FACT] for note in notes[:_MOST_NOTES]] if isinstance(notes, list) else []


def used_repositories(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the id and the revision of each repository of weights that was used."""
    by_role, loras = _facts(record).get("repositories"), _facts(record).get("loras")
    items = list(by_role.values()) if isinstance(by_role, Mapping) else []
    items += loras if isinstance(loras, list) else []
    pairs = [(item.get("id"), item.get("revision")) for item in items if isinstance(item, Mapping)]
    named = [(name, revision) for name, revision in pairs if isinstance(name, str) and isinstance(revision, str)]
    return list(dict.fromkeys((name[:_LONGEST_FACT], revision[:_LONGEST_FACT]) for name, revision in named))


def _facts(record: Mapping[str, Any]) -> Mapping[str, Any]:
    facts = record.get("made_by")
    return facts if isinstance(facts, Mapping) else {}


def _flatten(value: object, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flatten(item, (*path, str(name)))
    elif isinstance(value, list):
        for number, item in enumerate(value, 1):
            yield from _flatten(item, (*path, str(number)) if len(value) > 1 else path)
    else:
        yield " ".join(path)[:_LONGEST_FACT], str(value)[:_LONGEST_FACT]


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
