"""The clip of a run, as grids and comparisons show it: its output, poster and timing."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from wiro_nb.ledger.state import RunOutput, Snapshot
from wiro_nb.notebook.run.display import read_posters

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run

_FALLBACK_FPS = 16.0
_THUMB_WIDTH = 208


def main_output(snapshot: Snapshot) -> RunOutput | None:
    """Returns the output that stands for a run: the first clip, else the first picture, else the first file."""
    kept = [output for output in snapshot.outputs if output.path or output.content is not None]
    order = ("video/", "image/", "")
    return next((output for kind in order for output in kept if output.content_type.startswith(kind)), None)


def clip_data(snapshot: Snapshot) -> dict[str, Any]:
    """Returns what a player needs of a run's main output, as plain JSON data."""
    output = main_output(snapshot)
    if output is None:
        return {"path": "", "poster": "", "type": "", "duration": 0, "fps": _FALLBACK_FPS, "width": 0, "height": 0}
    counted = output.frames / output.fps if output.frames and output.fps else None
    return {
        "path": output.path or "",
        "poster": output.poster_path or "",
        "type": output.content_type.partition("/")[0],
        "duration": counted or output.duration_s or 0,
        "fps": output.fps or _FALLBACK_FPS,
        "width": output.width or 0,
        "height": output.height or 0,
    }


def read_poster(run: Run) -> bytes | None:
    """Returns the poster of a run's main output as JPEG, or None."""
    output = main_output(run.snapshot)
    if output is None or not output.poster_path:
        return None
    return read_posters(run, run.snapshot).get(output.poster_path)


def make_thumb(poster: bytes, max_bytes: int = 5_000) -> bytes:
    """Returns a poster shrunk for a page of many; the poster itself where Pillow is missing or cannot read it."""
    try:
        from PIL import Image

        with Image.open(io.BytesIO(poster)) as opened:
            picture = opened.convert("RGB")
    except (ImportError, OSError, ValueError, EOFError, SyntaxError):
        return poster
    picture.thumbnail((_THUMB_WIDTH, _THUMB_WIDTH * 2))
    for quality in (78, 62, 48, 34, 22):
        with io.BytesIO() as stream:
            picture.save(stream, "JPEG", quality=quality, optimize=True)
            data = stream.getvalue()
        if len(data) <= max_bytes:
            break
    return data
