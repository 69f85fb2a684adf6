"""What it costs to write a record into a clip and to read it back: `python -m tests.bench.embedding`.

Files of 1 MB and 200 MB, with the index (`moov`) before and after the media data. The media data is random and
not decodable: only its place and size matter to the writer. Time includes the flush to disk.
"""

from __future__ import annotations

import os
import statistics
import struct
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.unit.provenance.clips import make_clip
from tests.unit.provenance.test_record import make_record
from wiro_nb.media.boxes import read_heads
from wiro_nb.provenance.embed import embed_record, read_embedded

SIZES = (1_000_000, 200_000_000)
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Figure:
    """Of one kind of file.

    Attributes:
        size_bytes: Of the file before. moov_first: Whether the index stands before the media data.
        embed_ms: Median of writing, reading back and replacing, milliseconds. copy_ms: The same for a plain copy
            of the file with a flush, which is the least that any such replacement costs.
        read_ms: Median of reading the record. added_bytes: Growth of the file.
        peak_bytes: Most memory that Python held meanwhile.
    """

    size_bytes: int
    moov_first: bool
    embed_ms: float
    copy_ms: float
    read_ms: float
    added_bytes: int
    peak_bytes: int


def measure_embedding(folder: Path, sizes: tuple[int, ...] = SIZES, repeats: int = 5) -> list[Figure]:
    """Measures embedding for each size, with the index first and last.

    Args:
        folder: Where the files go; needs twice the largest size.
        sizes: Bytes.
        repeats: How often each is measured.
    """
    return [_measure(folder, size, moov_first, repeats) for size in sizes for moov_first in (True, False)]


def _measure(folder: Path, size: int, moov_first: bool, repeats: int) -> Figure:
    record = make_record(parameters={"prompt": "a lighthouse above a stormy sea at sunset " * 8})
    embeds: list[float] = []
    copies: list[float] = []
    reads: list[float] = []
    added = 0
    path = folder / "clip.mp4"
    for _ in range(repeats):
        _write_clip(path, size, moov_first)
        before = path.stat().st_size
        copies.append(_timed(lambda: _copy(path)))
        embeds.append(_timed(lambda: _must_embed(path, record)))
        reads.append(_timed(lambda: read_embedded(path)))
        added = path.stat().st_size - before
    _write_clip(path, size, moov_first)
    tracemalloc.start()
    _must_embed(path, record)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    path.unlink()
    middle = [statistics.median(values) * 1000 for values in (embeds, copies, reads)]
    return Figure(before, moov_first, middle[0], middle[1], middle[2], added, peak)


def _must_embed(path: Path, record: dict[str, object]) -> None:
    reason = embed_record(path, record).problem
    if reason:
        raise RuntimeError(reason)


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _copy(path: Path) -> None:
    target = path.with_suffix(".copy")
    with path.open("rb") as source, target.open("wb") as copy:
        while block := source.read(_BLOCK_BYTES):
            copy.write(block)
        copy.flush()
        os.fsync(copy.fileno())
    target.unlink()


def _write_clip(path: Path, size: int, moov_first: bool) -> None:
    """Writes a clip and fills it up to the size inside its media data."""
    make_clip(path, flags="+faststart" if moov_first else "", frames=3)
    with path.open("rb") as file:
        boxes = list(read_heads(file))
    raw = path.read_bytes()
    with path.open("wb") as file:
        for box in boxes:
            body = raw[box.start + box.head_bytes : box.end]
            if box.type != b"mdat":
                file.write(raw[box.start : box.end])
                continue
            missing = max(0, size - len(raw))
            file.write(struct.pack(">I4s", 8 + len(body) + missing, b"mdat") + body)
            block = os.urandom(min(_BLOCK_BYTES, missing) or 1)
            while missing > 0:
                missing -= file.write(block[:missing])


def main() -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        figures = measure_embedding(Path(folder))
    print(f"{'file':>8}  {'index':6} {'embed':>10} {'plain copy':>11} {'read':>9} {'added':>8} {'memory':>9}")
    for item in figures:
        print(
            f"{item.size_bytes / 1e6:>5.0f} MB  {'first' if item.moov_first else 'last':6} "
            f"{item.embed_ms:>7.1f} ms {item.copy_ms:>8.1f} ms {item.read_ms:>6.2f} ms "
            f"{item.added_bytes:>6} B {item.peak_bytes / 1e6:>6.1f} MB"
        )


if __name__ == "__main__":
    main()
