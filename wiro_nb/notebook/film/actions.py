"""Films from a notebook: the public functions behind the commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wiro_nb.errors import InputError
from wiro_nb.notebook.context import current_context
from wiro_nb.notebook.film.joined import FilmFile, JoinProgress, make_posters
from wiro_nb.notebook.run.actions import source_text
from wiro_nb.notebook.session import session

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run


def join(
    *sources: str | Path | Run,
    out: str | Path = "film.mp4",
    crossfade_s: float = 0.0,
    audio: str | Path | None = None,
) -> FilmFile:
    """Joins clips into one film that holds the record of every part, and returns it.

    The streams are copied where codec, size and rate agree; else everything is encoded again, and the film says
    so. Where a clip goes on from the one before, the doubled frame is left out.

    Args:
        *sources: Runs, their ids, or clips, in order; two or more.
        out: The MP4, beside the notebook. A film there is replaced, another file never.
        crossfade_s: Length of the blend at each seam where no clip goes on from the one before, in seconds.
        audio: Sound in place of that of the clips, cut to the length of the film.

    Raises:
        InputError: Fewer than two clips, one that is gone, was changed, is too short or has no video track, or the
            file cannot be written.
        UnknownRun, BadRecord: There is no such run or file.
        MissingExtra: PyAV is not installed.
    """
    from wiro_nb.films.join import find_parts, join_parts

    context = current_context()
    named = [str(source) if isinstance(source, Path) else source_text(source) for source in sources]
    parts = find_parts(session.manager(choose=False), named, context.notebook)
    progress = JoinProgress()
    joined = join_parts(
        parts,
        target_path(out, context.folder),
        base=context.folder,
        crossfade_s=crossfade_s,
        audio=None if audio is None else target_path(audio, context.folder),
        on_progress=progress,
    )
    return progress.finish(FilmFile(joined, make_posters([part.path for part in parts])))


def target_path(given: str | Path, folder: Path) -> Path:
    """Returns a file that a person named; a relative path starts from the notebook's folder.

    Raises:
        InputError: It is no path.
    """
    try:
        return folder / Path(given).expanduser()
    except (RuntimeError, TypeError, ValueError):
        raise InputError(f"{given!r} is no path of a file", hint="--out film.mp4") from None
