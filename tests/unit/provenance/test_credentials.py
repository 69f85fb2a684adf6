"""What verify says of a clip's Content Credentials, with c2pa and without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.provenance.clips import make_clip
from tests.unit.provenance.signing import read_state, sign_clip
from tests.unit.provenance.test_hostile_files import box
from tests.unit.provenance.test_record import make_record
from wiro_nb.provenance.credentials import C2PA_BOX, describe_credentials
from wiro_nb.provenance.embed import embed_record
from wiro_nb.reproduce.verify import verify_paths


def findings(path: Path) -> list[tuple[str, str]]:
    return [(item.level, item.message) for item in verify_paths([path]) if item.kind == "credentials"]


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    pytest.importorskip("c2pa", reason='pip install "wiro_nb[c2pa]"')
    return sign_clip(make_clip(tmp_path / "plain.mp4"), tmp_path / "signed.mp4")


def test_verify_says_whose_credentials_hold(signed: Path) -> None:
    assert embed_record(signed, make_record()).problem == ""
    ((level, message),) = findings(signed)
    assert level == "note"
    assert "Studio of the tests" in message
    assert "a video model" in message
    assert "valid" in message
    assert "not on a trust list" in message


def test_credentials_that_do_not_hold_are_a_problem(signed: Path) -> None:
    raw = bytearray(signed.read_bytes())
    raw[raw.rindex(b"mdat") + 60] ^= 1
    signed.write_bytes(raw)
    ((level, message),) = findings(signed)
    assert level == "problem"
    assert "Studio of the tests" in message
    assert "not valid" in message


def test_a_picture_with_credentials_is_left_as_it_came(tmp_path: Path) -> None:
    pytest.importorskip("c2pa", reason='pip install "wiro_nb[c2pa]"')
    from PIL import Image

    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    picture = sign_clip(tmp_path / "a.png", tmp_path / "signed.png", media_type="image/png")
    before = picture.read_bytes()
    assert "Content Credentials" in embed_record(picture, make_record()).problem
    assert picture.read_bytes() == before
    assert read_state(picture) == "Valid"
    assert findings(picture)[0][0] == "note"


def test_without_c2pa_verify_says_that_there_are_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    clip = make_clip(tmp_path / "a.mp4")
    assert findings(clip) == []
    for name, content in ((b"uuid", C2PA_BOX + b"\0" * 20), (b"jumb", b"\0" * 20)):
        marked = tmp_path / "marked.mp4"
        marked.write_bytes(clip.read_bytes() + box(name, content))
        ((level, message),) = findings(marked)
        assert level == "note"
        assert "wiro_nb[c2pa]" in message


def test_a_damaged_manifest_is_a_problem(tmp_path: Path) -> None:
    pytest.importorskip("c2pa", reason='pip install "wiro_nb[c2pa]"')
    clip = make_clip(tmp_path / "a.mp4")
    clip.write_bytes(clip.read_bytes() + box(b"uuid", C2PA_BOX + b"\xff" * 400))
    ((level, message),) = findings(clip)
    assert level == "problem"
    assert "cannot be read" in message


def test_a_clip_without_credentials_loads_no_c2pa(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4")
    assert describe_credentials(clip) is None
    code = (
        "import sys, pathlib; from wiro_nb.provenance.credentials import describe_credentials as f;"
        f"f(pathlib.Path({str(clip)!r})); assert 'c2pa' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
