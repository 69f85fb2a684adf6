"""The run record: canonical form, hash, format, refusal."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiro_nb.errors import BadRecord
from wiro_nb.provenance import record as records
from wiro_nb.provenance.record import read_sidecar, record_schema, validate_record, write_sidecar
from wiro_nb.redaction import register_secret


def make_record(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "run_id": "01JD7Z5Q4M8K3T9V2W6X0Y1ABC",
        "model": {"slug": "wiro/animate-diff", "run_path": "wiro/animate-diff", "schema_sha256": "a" * 64},
        "service": {"name": "sandbox", "base_url": "http://127.0.0.1:8000/v1"},
        "parameters": {"prompt": "a lighthouse", "steps": 16, "scale": 5.0},
        "files": {"inputImage": [{"name": "a.png", "sha256": "b" * 64, "size_bytes": 12, "url": None}]},
        "seed": {"parameter": "seed", "value": "7", "pinned": True},
        "task_id": "2221",
        "status": "succeeded",
        "exit_code": "0",
        "outputs": [
            {
                "name": "0.mp4",
                "content_type": "video/mp4",
                "size_bytes": 10,
                "sha256": "c" * 64,
                "path": "wiro_outputs/x/0.mp4",
                "url": "http://127.0.0.1:8000/f/0.mp4",
                "width": 832,
                "height": 480,
                "duration_s": 5.0625,
                "fps": 16.0,
                "frames": 81,
            }
        ],
        "price": {"estimated_usd": Decimal("0.040"), "cost_usd": None},
        "times": {
            "created": datetime(2026, 11, 21, 8, 0, tzinfo=UTC),
            "submitted": None,
            "started": None,
            "finished": None,
        },
        "elapsed_s": 9.0,
    }
    return records.build_record(**{**fields, **changes})


def test_a_built_record_passes_its_own_check() -> None:
    record = make_record()
    assert records.check_record(record) == record
    assert record["price"] == {"estimated_usd": "0.040", "cost_usd": None}
    assert record["times"]["created"] == "2026-11-21T08:00:00.000Z"


def test_our_validator_and_the_full_one_agree() -> None:
    good = make_record()
    validator = jsonschema.Draft202012Validator(record_schema())
    broken = [good]
    for path, value in [
        (("format",), 2),
        (("run_id",), "short"),
        (("outputs", 0, "path"), "/home/someone/a.mp4"),
        (("outputs", 0, "path"), "../../etc/passwd"),
        (("outputs", 0, "path"), "C:\\clips\\a.mp4"),
        (("outputs", 0, "sha256"), "xyz"),
        (("outputs", 0, "size_bytes"), -1),
        (("price", "cost_usd"), 0.5),
        (("service", "base_url"), "https://user:secret@host/v1"),
        (("seed",), {"parameter": "seed"}),
        (("times", "created"), "yesterday"),
        (("status",), "done"),
    ]:
        copy = json.loads(json.dumps(good))
        spot = copy
        for key in path[:-1]:
            spot = spot[key]
        spot[path[-1]] = value
        broken.append(copy)
    for record in broken:
        assert bool(validate_record(record)) == (not validator.is_valid(record)), record
    assert validate_record(good) == []
    assert all(validate_record(record) for record in broken[1:])


def test_any_change_is_noticed_and_can_be_read_on_purpose() -> None:
    record = make_record()
    record["parameters"]["prompt"] = "another"
    with pytest.raises(BadRecord) as caught:
        records.check_record(record, source="clip.mp4")
    assert caught.value.reason == "altered"
    assert "--force" in caught.value.hint
    assert records.check_record(record, ignore_hash=True)["parameters"]["prompt"] == "another"


def test_fields_of_later_versions_are_kept() -> None:
    record = records.add_hash({**make_record(), "mood": {"colour": "blue"}})
    assert records.check_record(record)["mood"] == {"colour": "blue"}


def test_half_of_a_surrogate_pair_in_a_strangers_record_stops_nothing() -> None:
    record = make_record()
    record["parameters"]["prompt"] = "a fox \ud83d"
    assert records.check_record(record, ignore_hash=True)["parameters"]["prompt"] == "a fox ?"


def test_a_later_format_is_refused_with_the_command_to_upgrade() -> None:
    with pytest.raises(BadRecord) as caught:
        records.check_record(records.add_hash({**make_record(), "format": 9}))
    assert caught.value.reason == "format"
    assert "pip install" in caught.value.hint


def test_a_format_that_never_was_is_refused() -> None:
    with pytest.raises(BadRecord, match="format 0") as caught:
        records.check_record(records.add_hash({**make_record(), "format": 0}))
    assert caught.value.reason == "format"


@pytest.mark.parametrize("value", [None, 3, "x", [], {}, {"format": "1"}])
def test_what_is_no_record_is_refused(value: Any) -> None:
    with pytest.raises(BadRecord):
        records.check_record(value)


def test_secrets_the_process_knows_never_enter_a_record() -> None:
    register_secret("topsecretvalue123")
    record = make_record(parameters={"prompt": "my key is topsecretvalue123"})
    assert "topsecretvalue123" not in json.dumps(record)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_the_canonical_form_survives_a_trip_through_json(value: Any) -> None:
    text = records.canonical_json(value)
    assert records.canonical_json(json.loads(text)) == text


def test_the_hash_survives_a_trip_through_javascript() -> None:
    """JupyterLab keeps metadata in JavaScript, where 5.0 is 5 and large integers lose digits."""
    record = make_record(parameters={"scale": 5.0, "tiny": 1e-7, "huge": 1e21, "big": 2**60, "text": "é😀"})
    done = subprocess.run(
        ["node", "-e", "process.stdin.on('data',d=>process.stdout.write(JSON.stringify(JSON.parse(d))))"],
        input=json.dumps(record).encode(),
        capture_output=True,
        check=True,
    )
    assert records.check_record(json.loads(done.stdout)) == record


def test_a_sidecar_gives_back_its_record(tmp_path: Any) -> None:
    record = make_record()
    write_sidecar(tmp_path, record, notes={"embedded": False})
    assert read_sidecar(tmp_path / "run.json") == record
    assert [item.name for item in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_broken_sidecar_is_refused(tmp_path: Any, content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(BadRecord):
        read_sidecar(tmp_path / "run.json")


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_force_reads_no_record_with_values_that_json_lacks(value: object) -> None:
    with pytest.raises(BadRecord, match="no record can hold"):
        records.check_record({"format": 1, "elapsed_s": value}, ignore_hash=True)
