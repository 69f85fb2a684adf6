"""Every reader of foreign bytes, fed by a coverage-guided fuzzer: each refuses in its own words or reads."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.fuzz_readers import READERS, SEEDS, media

RUNS, FILE_RUNS = 100_000, 10_000


@pytest.mark.parametrize("name", sorted(READERS))
@given(cut=st.integers(0, 2000), at=st.integers(0, 2000), other=st.binary(max_size=12))
def test_a_damaged_answer_makes_no_reader_fail(name: str, cut: int, at: int, other: bytes) -> None:
    """A whole answer with some bytes replaced, and cut off somewhere."""
    seed = SEEDS[name]
    READERS[name](seed)
    at %= len(seed)
    READERS[name]((seed[:at] + other + seed[at + len(other) :])[: cut or None])


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="python -m pip install atheris")
@pytest.mark.parametrize("name", sorted(READERS))
def test_no_bytes_make_a_reader_fail(name: str, tmp_path: Path) -> None:
    (tmp_path / "seed").write_bytes(SEEDS[name])
    script = Path(__file__).with_name("fuzz_readers.py")
    runs = FILE_RUNS if READERS[name] is media else RUNS
    command = [sys.executable, str(script), name, f"-runs={runs}", "-seed=1", "-max_len=4096", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
