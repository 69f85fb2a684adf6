"""Names from outside never lead anywhere; kept inputs are whole and are what they say."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiro_nb import files

RUN_ID = "01KAJ0000000000000000K3F9A"


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("tokyo")
def test_a_run_folder_has_the_persons_date_the_model_and_the_short_id() -> None:
    created = datetime(2026, 11, 21, 22, 30, tzinfo=UTC)
    name = files.run_folder_name("wiro/wan2.2-effects-extra", RUN_ID, created)
    assert name == "2026-11-22-wan2-2-effects-extra-k3f9a"


@pytest.mark.parametrize(
    ("model", "slug"),
    [
        ("Wan-AI/Wan2.2-TI2V", "wan2-2-ti2v"),
        ("x/été", "ete"),
        ("x/../..", "model"),
        ("模型", "model"),
        ("", "model"),
    ],
)
def test_model_slugs_are_plain(model: str, slug: str) -> None:
    assert files.model_slug(model) == slug


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("clip.mp4", "clip.mp4"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/", "output"),
        ("...", "output"),
        ("", "output"),
        (".bashrc", "bashrc"),
        ("a\x00b\x1b[31m\n.mp4", "ab[31m.mp4"),
        ("con.mp4", "_con.mp4"),
        ("COM1", "_COM1"),
        ("LPT1 .txt", "_LPT1 .txt"),
        ("a:b*c?.mp4", "a_b_c_.mp4"),
        ("???", "output"),
        ("photo\u202egpj.exe", "photogpj.exe"),
        ("Füchse 雪 🦊.mp4", "Füchse 雪 🦊.mp4"),
        ("name. ", "name"),
        ("bad \ud83e.mp4", "bad _.mp4"),
    ],
)
def test_safe_names(name: str, safe: str) -> None:
    assert files.safe_name(name) == safe


@given(st.text(max_size=300))
def test_any_text_becomes_one_harmless_path_part(name: str) -> None:
    safe = files.safe_name(name)
    assert safe
    assert len(safe.encode()) <= files.LONGEST_NAME_BYTES
    assert PurePosixPath(safe).parts == (safe,)
    assert PureWindowsPath(safe).parts == (safe,)
    assert not safe.startswith(".")
    assert safe == safe.rstrip(". ")
    assert files.safe_name(safe) == safe


def test_a_long_name_keeps_its_suffix() -> None:
    safe = files.safe_name("ü" * 300 + ".mp4")
    assert safe.endswith("ü.mp4")
    assert len(safe.encode()) <= files.LONGEST_NAME_BYTES


def test_taken_names_are_counted_up() -> None:
    names = files.UniqueNames("run.json")
    assert [names.add("Clip.mp4") for _ in range(3)] == ["Clip.mp4", "Clip-2.mp4", "Clip-3.mp4"]
    assert names.add("clip.MP4") == "clip-4.MP4"
    assert names.add("RUN.json") == "RUN-2.json"
    long = "x" * 116 + ".mp4"
    other = files.UniqueNames(long).add(long)
    assert other != long
    assert len(other) <= files.LONGEST_NAME_BYTES


def test_relative_paths_stay_inside(tmp_path: Path) -> None:
    path = tmp_path / "wiro_outputs" / "x" / "a.mp4"
    assert files.resolve_inside("wiro_outputs/x/a.mp4", tmp_path) == path
    for wrong in ("../a", "/etc/passwd", "a/../../b", "C:\\x", "a\\..\\b"):
        with pytest.raises(ValueError, match="leads out"):
            files.resolve_inside(wrong, tmp_path)


def test_an_input_is_kept_once_and_apart_from_the_original(tmp_path: Path) -> None:
    source = tmp_path / "my photo.PNG"
    source.write_bytes(b"pixels")
    digest = hashlib.sha256(b"pixels").hexdigest()
    kept = files.keep_input(source, tmp_path)
    assert kept == tmp_path / "wiro_outputs" / ".inputs" / f"{digest}.png"
    assert files.keep_input(source, tmp_path, digest) == kept
    source.write_bytes(b"edited")
    assert kept.read_bytes() == b"pixels"
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_an_input_that_changed_on_the_way_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(b"edited")
    with pytest.raises(ValueError, match="changed"):
        files.keep_input(source, tmp_path, hashlib.sha256(b"pixels").hexdigest())
    assert list((tmp_path / "wiro_outputs" / ".inputs").iterdir()) == []
    with pytest.raises(ValueError, match="64"):
        files.input_path(tmp_path, "../../x", "a.png")


def test_a_damaged_kept_input_is_replaced(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(b"pixels")
    kept = files.keep_input(source, tmp_path)
    kept.write_bytes(b"half")
    assert files.keep_input(source, tmp_path).read_bytes() == b"pixels"
