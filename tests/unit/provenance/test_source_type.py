"""Files say in the words of other programs that a model made them, or that none did."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.provenance.clips import make_clip, metadata_of
from tests.unit.provenance.test_foreign_settings import make_picture
from tests.unit.provenance.test_hostile_files import box
from tests.unit.provenance.test_record import make_record
from wiro_nb.files import hash_file
from wiro_nb.media import decode
from wiro_nb.provenance.embed import Embedded, embed_record, read_embedded, read_texts
from wiro_nb.provenance.made_by import COMPOSITE, TRAINED, read_settings, source_type

CLOUD = {"name": "cloud", "base_url": "https://api.example/v1"}
SANDBOX = {"name": "sandbox", "base_url": "http://sandbox/v1"}


def make_file(path: Path) -> Path:
    return make_picture(path, {"Title": "theirs"}) if path.suffix == ".png" else make_clip(path)


@pytest.mark.parametrize("suffix", [".png", ".mp4", ".mov"])
@pytest.mark.parametrize(
    ("fields", "is_trained"),
    [
        ({"service": CLOUD}, True),
        ({"service": SANDBOX}, False),
        ({"service": SANDBOX, "made_by": {"engine": "placeholder"}}, False),
        ({"service": SANDBOX, "made_by": {"engine": "diffusers", "pipeline": "WanPipeline"}}, True),
    ],
    ids=["cloud", "sandbox", "placeholder", "own GPU"],
)
def test_the_digital_source_type_stands_in_xmp(
    tmp_path: Path, suffix: str, fields: dict[str, Any], is_trained: bool
) -> None:
    path = make_file(tmp_path / f"a{suffix}")
    before = decode.probe(path)
    record = make_record(**fields)
    for _ in range(2):
        assert embed_record(path, record) == Embedded("", hash_file(path))
    (packet,) = re.findall(rb"<x:xmpmeta.*?</x:xmpmeta>", path.read_bytes())
    assert (TRAINED.encode() in packet) == is_trained
    maker = (
        f"wiro/animate-diff on {fields['service']['name']}" if is_trained else "placeholder, not made by a model"
    )
    assert maker.encode() in packet
    assert decode.probe(path) == before
    assert read_embedded(path) == record
    if suffix != ".png":
        assert path.read_bytes().endswith(b'<?xpacket end="w"?>')
        metadata_of(path)  # PyAV opens it


@pytest.mark.parametrize("suffix", [".png", ".mp4"])
def test_xmp_and_parameters_of_another_program_stay_alone(tmp_path: Path, suffix: str) -> None:
    theirs = "<x:xmpmeta>theirs</x:xmpmeta>"
    path = tmp_path / f"a{suffix}"
    if suffix == ".png":
        make_picture(path, {"XML:com.adobe.xmp": theirs, "parameters": "theirs\nSteps: 9"}, international=True)
    else:
        xmp_box = box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + theirs.encode())
        path.write_bytes(make_clip(path).read_bytes() + xmp_box)
    assert embed_record(path, make_record(service=CLOUD)).problem == ""
    assert path.read_bytes().count(b"xmpmeta>") == 2
    if suffix == ".png":
        assert dict(read_texts(path))["parameters"] == "theirs\nSteps: 9"


def test_galleries_read_the_settings_of_a_picture(tmp_path: Path) -> None:
    from PIL import Image

    path = make_file(tmp_path / "a.png")
    given = {
        "prompt": "a fox\nin snow", "negativePrompt": "blurry", "steps": 20, "guidanceScale": "5.5",
        "size": "832*480",
    }  # fmt: skip
    seed = {"parameter": "seed", "value": "7", "pinned": True}
    assert embed_record(path, make_record(service=CLOUD, parameters=given, seed=seed)).problem == ""
    with Image.open(path) as image:
        text = image.text["parameters"]  # type: ignore[attr-defined]
    found = read_settings([("parameters", text)])
    assert found is not None
    assert found["written_by"] == "wiro_nb"
    assert found["settings"] == {
        "prompt": "a fox\nin snow", "negative_prompt": "blurry", "steps": 20, "guidance": 5.5, "seed": 7,
        "size": "832x480",
    }  # fmt: skip


def test_a_film_is_what_its_parts_are() -> None:
    real, placeholder = make_record(service=CLOUD), make_record(service=SANDBOX)
    for parts, kind in (([real, real], TRAINED), ([real, placeholder], COMPOSITE)):
        assert source_type({**real, "film": {"parts": [{"record": part} for part in parts]}}) == kind


@pytest.mark.parametrize("film", [{"parts": [{"record": {"film": 3}}]}, {"parts": [None, {"record": [1]}]}, "x"])
def test_a_strangers_film_may_have_parts_of_any_shape(film: Any) -> None:
    assert source_type({**make_record(service=CLOUD), "film": film}) == TRAINED
