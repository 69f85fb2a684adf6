"""How a file was made: what a record says of it, and settings as other programs read and write them.

Facts that a local service reports are listed, and the digital source type is named in XMP. Records are untrusted,
so nothing here relies on the shape of the field `made_by`. Settings of other programs are read from the text
`parameters` of A1111 and Civitai, and from the graph that ComfyUI writes as `prompt`, also inside a JSON comment.
Only unambiguous settings get the names used here; the rest is listed unchanged.
Source: IPTC, "Digital Source Type" (https://cv.iptc.org/newscodes/digitalsourcetype/); Adobe, "XMP Specification
Part 3: Storage in Files".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from xml.sax.saxutils import escape

from wiro_nb.json_values import as_list, as_mapping
from wiro_nb.media import KEYWORD, XMP_MARK
from wiro_nb.provenance.record import own_version, parse_json, parse_object

_MOST_FACTS = 80
_LONGEST_FACT = 300
_MOST_NOTES = 10
_VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TRAINED = f"{_VOCABULARY}trainedAlgorithmicMedia"
COMPOSITE = f"{_VOCABULARY}compositeWithTrainedAlgorithmicMedia"
ALGORITHMIC = f"{_VOCABULARY}algorithmicMedia"
_NEGATIVE = "Negative prompt:"
_PAIR = re.compile(r'(?:^|,)([^:,]+):\s*("(?:\\.|[^\\"])*"(?=,|$)|[^,]*)')
"""`name: value` or `name: "quoted, value"`, between commas."""
_INPUT_NAMES = {
    "prompt": ("prompt",),
    "negative_prompt": ("negativeprompt",),
    "seed": ("seed", "noiseseed"),
    "steps": ("steps", "samplesteps", "samplingsteps", "inferencesteps", "numinferencesteps"),
    "guidance": ("guidancescale", "guidance", "cfgscale", "cfg", "sampleguidescale"),
    "size": ("size",),
    "width": ("width",),
    "height": ("height",),
}
"""By our name of a setting, how models and programs call it, in lower case without separators; the best first."""
_OUR_NAMES = {theirs: ours for ours, names in _INPUT_NAMES.items() for theirs in names}
_SAMPLER_LINKS = {"positive", "negative", "latent_image"}
_Graph = dict[str, dict[str, Any]]


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
    return [str(note)[:_LONGEST_FACT] for note in as_list(_facts(record).get("notes"))[:_MOST_NOTES]]


def used_repositories(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the id and the revision of each repository of weights that was used."""
    by_role, loras = _facts(record).get("repositories"), _facts(record).get("loras")
    used: dict[tuple[str, str], None] = {}
    for item in (*as_mapping(by_role).values(), *as_list(loras)):
        match item:
            case {"id": str(name), "revision": str(revision)}:
                used[name[:_LONGEST_FACT], revision[:_LONGEST_FACT]] = None
    return list(used)


def _facts(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return as_mapping(record.get("made_by"))


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
    parts = (as_mapping(part).get("record") for part in as_list(as_mapping(record.get("film")).get("parts")))
    if kinds := {source_type(part) for part in map(as_mapping, parts) if part}:
        return kinds.pop() if len(kinds) == 1 else COMPOSITE
    is_here = as_mapping(record.get("service")).get("name") == "sandbox" or bool(record.get("made_by"))
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


# Settings of other programs ------------------------------------------------------------------


def read_settings(texts: Iterable[tuple[str, str]]) -> dict[str, Any] | None:
    """Returns the program, its settings under our names, and its other ones; None where there are none.

    Args:
        texts: The file's tags: name and text.
    """
    for name, text in texts:
        text = text.removeprefix("prompt:") if name in ("make", "model") else text
        content = parse_object(text)
        graph = _read_graph(content) or _read_graph(parse_object(content.get("prompt")))
        if graph:
            return {"written_by": "ComfyUI", "settings": _name_inputs(graph), "other": dict(_list_inputs(graph))}
        if name in ("parameters", "comment") and (found := _read_parameters(text)):
            return found
    return None


def match_inputs(settings: Mapping[str, Any], choices: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Returns the settings that a model takes, by its own names.

    Args:
        settings: By our names, from `read_settings`.
        choices: By the id of each input the values it has to choose from; none for a free one.
    """
    ids = {_plain(name): name for name in choices}
    width, _, height = str(settings.get("size") or "").partition("x")
    sizes = {"width": width, "height": height} if width.isdecimal() and height.isdecimal() else {}
    matched: dict[str, Any] = {}
    for ours, value in {**settings, **sizes}.items():
        name = next((ids[item] for item in _INPUT_NAMES.get(ours, ()) if item in ids), None)
        if name is None:
            continue
        fitting = {str(value), str(value).replace("x", "*")} if ours == "size" else {str(value)}
        chosen = next((item for item in choices[name] if item in fitting), None)
        if not choices[name] or chosen is not None:
            matched[name] = value if chosen is None else chosen
    return matched


def _plain(name: str) -> str:
    """Returns a setting's name in lower case without separators."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def parameters_text(record: Mapping[str, Any]) -> str:
    """Returns the settings as A1111 writes them and galleries read them; "" for a model without steps."""
    values = {_plain(name): value for name, value in record["parameters"].items()}

    def find(name: str) -> Any:
        return next((values[item] for item in _INPUT_NAMES[name] if values.get(item) not in (None, "")), None)

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
        "Version": f"{KEYWORD} {own_version()}",
    }
    negative = find("negative_prompt")
    lines = [str(find("prompt") or ""), f"Negative prompt: {negative}" if negative else ""]
    pairs = (f"{name}: {_quote(value)}" for name, value in named.items() if value not in (None, ""))
    return "\n".join([*filter(None, lines), ", ".join(pairs)])


def _quote(value: Any) -> str:
    """Returns a value as one of the pairs of A1111: in quotes where it would end its pair."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(letter in text for letter in ',:\n"') else text


def _read_parameters(text: str) -> dict[str, Any] | None:
    prompts, _, last = text.strip().rpartition("\n")
    if not last.startswith("Steps: "):
        return None
    prompt, _, negative = prompts.partition(f"\n{_NEGATIVE}")
    if prompt.startswith(_NEGATIVE):
        prompt, negative = "", prompt.removeprefix(_NEGATIVE)
    named: dict[str, Any] = {"prompt": prompt.strip(), "negative_prompt": negative.strip()}
    other = {}
    for name, value in ((name.strip(), value.strip()) for name, value in _PAIR.findall(last)):
        text = value[1:-1] if re.fullmatch('".*"', value) else value
        if ours := _OUR_NAMES.get(_plain(name)):
            named.setdefault(ours, _number(text))
        else:
            other[name] = text
    if not isinstance(named["steps"], int):
        return None
    settings = {name: value for name, value in named.items() if value != ""}
    written_by = "wiro_nb" if other.get("Version", "").startswith("wiro_nb") else "A1111"
    return {"written_by": written_by, "settings": settings, "other": other}


def _number(text: str) -> int | float | str:
    try:
        value = parse_json(text)
    except ValueError:
        return text
    return value if _is_number(value) else text


def _read_graph(content: dict[str, Any]) -> _Graph:
    """Returns the nodes of a graph as ComfyUI's API takes it, or {} for anything else."""
    for node in content.values():
        match node:
            case {"class_type": str(), "inputs": dict()}:
                continue
        return {}
    return content


def _name_inputs(graph: _Graph) -> dict[str, Any]:
    """Returns the settings on which all samplers agree."""
    inputs = [node["inputs"] for node in graph.values() if node["inputs"].keys() >= _SAMPLER_LINKS]
    named = [dict(_name_sampler(graph, item)) for item in inputs]
    first = named[0].items() if named else ()
    return {name: value for name, value in first if all(other.get(name) == value for other in named)}


def _name_sampler(graph: _Graph, inputs: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for ours, theirs in (("prompt", "positive"), ("negative_prompt", "negative")):
        node = _follow(graph, inputs[theirs])
        text = node.get("inputs", {}).get("text")
        if node.get("class_type") == "CLIPTextEncode" and isinstance(text, str):
            yield ours, text
    for theirs, value in inputs.items():
        name = _OUR_NAMES.get(_plain(theirs))
        if name and _is_number(value):
            yield name, value
    latent = _follow(graph, inputs["latent_image"]).get("inputs", {})
    if _is_number(latent.get("width")) and _is_number(latent.get("height")):
        yield "size", f"{latent['width']}x{latent['height']}"


def _follow(graph: _Graph, link: Any) -> dict[str, Any]:
    """Returns the node that an input comes from, or {}."""
    is_link = isinstance(link, list) and len(link) == 2 and isinstance(link[0], str)
    return graph.get(link[0], {}) if is_link else {}


def _list_inputs(graph: _Graph) -> Iterator[tuple[str, Any]]:
    for key, node in graph.items():
        for name, value in node["inputs"].items():
            if isinstance(value, str) or _is_number(value) or isinstance(value, bool):
                yield f"{key} {node['class_type']}.{name}", value


def _is_number(value: Any) -> bool:
    return (type(value) is float and math.isfinite(value)) or type(value) is int
