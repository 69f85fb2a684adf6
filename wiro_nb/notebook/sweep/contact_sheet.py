"""Small pictures for a saved notebook: thumbnails, and all of a sweep on one contact sheet. Needs Pillow."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from wiro_nb.notebook.sweep.grid_view import Layout

if TYPE_CHECKING:
    from PIL.Image import Image

THUMB_WIDTH = 208
SHEET_BYTES = 240_000
_MOST_COLUMNS = 6
_GAP = 8
_TEXT_HEIGHT = 18
_HEAD_WIDTH = 92
_PAPER, _INK, _QUIET, _EMPTY, _BEST = "#ffffff", "#1c1c1c", "#5c5c5c", "#ececec", "#1976d2"
_DECODE_ERRORS = (OSError, ValueError, EOFError, SyntaxError)


def make_thumb(poster: bytes, most_bytes: int = 5_000) -> bytes:
    """Returns a picture small enough for a table of many; the poster itself where Pillow is missing."""
    picture = _open(poster)
    if picture is None:
        return poster
    picture.thumbnail((THUMB_WIDTH, THUMB_WIDTH * 2))
    data = b""
    for quality in (78, 62, 48, 34, 22):
        data = _jpeg(picture, quality)
        if len(data) <= most_bytes:
            break
    return data


def make_sheet(
    layout: Layout, labels: Sequence[str], posters: Mapping[int, bytes], title: str, best: int | None
) -> bytes | None:
    """Returns all posters on one page with heads, as JPEG; None without Pillow or without a picture.

    Args:
        layout: Where the points stand.
        labels: Name of each point.
        posters: JPEG by position.
        title: One line above.
        best: Position of the picked point, or None.
    """
    pictures = {position: picture for position, data in posters.items() if (picture := _open(data)) is not None}
    if not pictures:
        return None
    from PIL import Image, ImageDraw

    first = next(iter(pictures.values()))
    columns = len(layout.columns) if layout.is_table else min(len(layout.columns), _MOST_COLUMNS)
    width = max(72, min(THUMB_WIDTH, 1400 // columns))
    height = max(1, round(width * first.height / first.width))
    cells = layout.cells if layout.is_table else _wrapped(layout.cells[0], columns)
    left = _HEAD_WIDTH if layout.is_table else _GAP
    line = height + _GAP if layout.is_table else height + _TEXT_HEIGHT + _GAP
    top = _GAP + 2 * _TEXT_HEIGHT if layout.is_table else _GAP + _TEXT_HEIGHT
    size = (left + columns * (width + _GAP), top + len(cells) * line + _GAP)
    page = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(page)
    _write(pen, (_GAP, _GAP // 2), title, size[0] - _GAP, _INK)
    if layout.is_table:
        for column, name in enumerate(layout.columns):
            _write(pen, (left + column * (width + _GAP), top - _TEXT_HEIGHT), name, width, _INK)
    for row, positions in enumerate(cells):
        if layout.is_table:
            _write(pen, (_GAP, top + row * line + height // 2 - 6), layout.rows[row], left - 2 * _GAP, _INK)
        for column, position in enumerate(positions):
            if position is None:
                continue
            corner = (left + column * (width + _GAP), top + row * line)
            box = (corner[0], corner[1], corner[0] + width - 1, corner[1] + height - 1)
            _place(page, pen, box, pictures.get(position), is_best=position == best)
            if not layout.is_table:
                _write(pen, (corner[0], corner[1] + height + 1), labels[position], width, _QUIET)
    for quality in (80, 65, 50, 35):
        data = _jpeg(page, quality)
        if len(data) <= SHEET_BYTES:
            break
    return data


def _place(page: Image, pen: Any, box: tuple[int, int, int, int], picture: Image | None, *, is_best: bool) -> None:
    width, height = box[2] - box[0] + 1, box[3] - box[1] + 1
    pen.rectangle(box, fill=_EMPTY)
    if picture is not None:
        fitted = picture.copy()
        fitted.thumbnail((width, height))
        page.paste(fitted, (box[0] + (width - fitted.width) // 2, box[1] + (height - fitted.height) // 2))
    if is_best:
        pen.rectangle((box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 2), outline=_BEST, width=3)


def _wrapped(positions: Sequence[int | None], columns: int) -> list[Sequence[int | None]]:
    return [positions[start : start + columns] for start in range(0, len(positions), columns)]


def _write(pen: Any, corner: tuple[int, int], text: str, width: int, colour: str) -> None:
    """Writes one line, cut to the width. Letters the built-in face lacks become question marks."""
    from PIL import ImageFont

    face = ImageFont.load_default(size=12)
    shown = text.encode("latin-1", "replace").decode("latin-1")
    while shown and pen.textlength(shown, font=face) > width:
        shown = shown[:-2].rstrip() + "." if len(shown) > 2 else ""
    pen.text(corner, shown, fill=colour, font=face)


def _open(data: bytes) -> Image | None:
    if find_spec("PIL") is None:
        return None
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as opened:
            return opened.convert("RGB")
    except _DECODE_ERRORS:
        return None


def _jpeg(picture: Image, quality: int) -> bytes:
    with io.BytesIO() as stream:
        picture.save(stream, "JPEG", quality=quality, optimize=True)
        return stream.getvalue()
