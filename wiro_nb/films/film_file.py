"""Joins runs and clips into one MP4 film that contains the record of every part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

from wiro_nb.errors import BadRecord, InputError
from wiro_nb.execution.download import measure_output
from wiro_nb.execution.run_record import recorded_output
from wiro_nb.files import hash_file, is_there, keep_input, reason_of, relative_path
from wiro_nb.ids import new_run_id
from wiro_nb.ledger.state import RunOutput
from wiro_nb.media.decode import is_clip, sniff_file
from wiro_nb.media.join import COPIED, Clip, JoinPlan, plan_join, read_clip, repeats, write_join
from wiro_nb.provenance.content_credentials import describe_credentials, embed_and_sign
from wiro_nb.provenance.embed import content_hashes, read_embedded, recorded_hashes
from wiro_nb.provenance.record import build_record, read_sidecar, write_sidecar
from wiro_nb.reproduce.compare import Side, find_side
from wiro_nb.session.manager import Manager

JOIN_MODEL = "wiro_nb/join"
"""The model name in the record of a film, which no service made."""

OnProgress = Callable[[int, int], object]
"""Called with the number of frames written so far and the total."""


@dataclass(frozen=True, slots=True)
class FilmTarget:
    """Where and how clips are joined.

    Attributes:
        path: The MP4.
        base: The notebook's folder; the sound file is kept in its store of inputs.
        crossfade_s: Length of the blend at the seams where no part continues from the previous one, in seconds.
        audio: Sound in place of that of the clips.
        max_cost_usd: Refuses one shot that may cost more, in USD.
        out_dir: Folder of the clips that shots make; beside the notebook when None.
    """

    path: Path
    base: Path
    crossfade_s: float = 0.0
    audio: Path | None = None
    max_cost_usd: Decimal | None = None
    out_dir: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A clip to be joined.

    Attributes:
        label: Short id of its run, or the name of its file.
        path: The clip.
        record: How it was made; None where it carries no record that describes it.
        credentials: One sentence about the Content Credentials it carries, or "".
        note: What is odd about it, a sentence, or "".
    """

    label: str
    path: Path
    record: Mapping[str, Any] | None
    credentials: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class JoinedFilm:
    """A joined film on disk.

    Attributes:
        path: The MP4; `film.json` of the same name lies beside it.
        record: How it was joined, with the records of its parts.
        output: The file's facts; its path starts from the notebook's folder.
        unsigned: Why it carries no Content Credentials although a certificate is set, or "".
    """

    path: Path
    record: dict[str, Any]
    output: RunOutput
    unsigned: str = ""

    @property
    def parts(self) -> list[dict[str, Any]]:
        """Each part: name, start_s, end_s, dropped_frames, run_id, credentials, record."""
        return list(self.record["film"]["parts"])

    @property
    def sentences(self) -> list[str]:
        """How it was joined: by which method, what was left out, whose credentials it contains."""
        film = self.record["film"]
        how = "Copied without encoding again." if film["method"] == COPIED else f"Encoded again: {film['reason']}."
        dropped = sum(int(part["dropped_frames"]) for part in self.parts)
        left_out = f"The doubled frame was left out at {dropped} seam{'' if dropped == 1 else 's'}."
        named = [f"Contains {part['credentials']}." for part in self.parts if part.get("credentials")]
        unsigned = [f"Not signed: {self.unsigned}."] if self.unsigned else []
        return [how, *([left_out] if dropped else []), *film["notes"], *named, *unsigned]


def find_parts(manager: Manager, sources: Sequence[str | Path], notebook: str | None = None) -> list[Part]:
    """Returns the clips to be joined, verified against their records.

    Args:
        manager: Its ledger knows the runs.
        sources: Ids of runs, clips, `run.json` files.
        notebook: Whose runs come first where a part of an id fits several.

    Raises:
        InputError: Fewer than two; or one has no clip here, or its file was changed.
        UnknownRun, BadRecord: There is no such run or file, or the run is not done.
    """
    if len(sources) < 2:
        raise InputError("two clips or more are needed to join", hint="%wiro join RUN RUN")
    return [_find_part(manager, source, notebook) for source in sources]


def _find_part(manager: Manager, source: str | Path, notebook: str | None) -> Part:
    named_file = Path(source) if is_there(Path(source)) else None
    note = ""
    try:
        side = find_side(manager, source, notebook=notebook)
    except BadRecord as error:
        if named_file is None or error.reason not in ("altered", "shape", "format"):
            raise
        side, note = Side(named_file.name, None, (named_file,)), f"{named_file.name}: its record is refused."
    here = ((number, file) for number, file in enumerate(side.files) if file is not None and file.is_file())
    clip, path = next(((number, file) for number, file in here if is_clip(file)), (0, None))
    if path is None:
        hint = f"%wiro download {side.label}" if side.run is not None else "give a clip"
        raise InputError(f"{side.label} has no clip here", hint=hint)
    record = side.record
    if record is None:
        note = note or f"{path.name} carries no record of how it was made."
    elif content_hashes(path).isdisjoint(recorded_hashes(record["outputs"][clip])):
        if named_file is None:
            raise InputError(
                f"the clip {path.name} of run {side.label} was changed after it was saved",
                hint=f"%wiro verify {side.label}; to join it as it is, name the file",
            )
        record, note = None, f"{path.name} was changed: its record describes another file."
    credentials = describe_credentials(path)
    return Part(side.label, path, record, credentials.text if credentials is not None else "", note)


def join_parts(
    parts: Sequence[Part],
    target: FilmTarget,
    *,
    title: str = "",
    on_progress: OnProgress = lambda done, total: None,
) -> JoinedFilm:
    """Writes a film with its record inside, and the record beside it.

    Args:
        parts: From `find_parts`.
        target: A film there is replaced, another file never.
        title: Name of the film.
        on_progress: Is called while it is written.

    Raises:
        InputError: A part cannot be read or is too short, the target is another file, or it cannot be written.
        MissingExtra: PyAV is not installed.
    """
    started = datetime.now(UTC)
    check_target(target)
    clips = [read_clip(part.path) for part in parts]
    continues = [False, *(_continues(*pair) for pair in pairwise(zip(parts, clips, strict=True)))]
    plan = plan_join(clips, continues, crossfade_s=target.crossfade_s, has_audio=target.audio is not None)
    path = target.path
    try:
        files = _describe_inputs(parts, target)
        # Where a film that is made again finds it.
        sound = None if target.audio is None else keep_input(target.audio, target.base)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_join(plan, path, audio=sound, on_progress=on_progress)
        output = RunOutput(path.name, "video/mp4", path.stat().st_size, hash_file(path))
        output = measure_output(output, path, relative_path(path, target.base))
        film = {"title": title, "crossfade_s": target.crossfade_s}
        record = _build_record(plan, parts, files, recorded_output(output, path.parent), started, **film)
        embedded = embed_and_sign(path, record, components=[part.path for part in parts])
        write_sidecar(path.parent, record, name=f"{path.stem}.json")
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} cannot be written: {reason_of(error)}", hint="--out FILE.mp4") from None
    return JoinedFilm(path, record, replace(output, stored_sha256=embedded.sha256), embedded.unsigned)


def find_film(parts: Sequence[Part], target: FilmTarget) -> JoinedFilm | None:
    """Returns the film of exactly these parts, joined this way, where it is there already; else None."""
    path = target.path
    try:
        record, files = read_embedded(path), _describe_inputs(parts, target)
    except (BadRecord, OSError):
        return None
    film = record.get("film", {})
    joined = ([part["name"] for part in film.get("parts", ())], film.get("crossfade_s"), record["files"])
    if joined != ([part.label for part in parts], target.crossfade_s, files):
        return None
    facts = {name: record["outputs"][0].get(name) for name in ("sha256", "url")}
    output = RunOutput(path.name, "video/mp4", path.stat().st_size, **facts, stored_sha256=hash_file(path))
    return JoinedFilm(path, record, measure_output(output, path, relative_path(path, target.base)))


def check_target(target: FilmTarget) -> None:
    """Refuses a target into which no clips can be joined.

    Raises:
        InputError: Its path does not end in .mp4; it, its sidecar or its poster is another file; the crossfade is
            no length of 0 to 10 seconds; or there is no such sound file.
    """
    path, audio = target.path, target.audio
    if not 0 <= target.crossfade_s <= 10:
        raise InputError(f"a crossfade lasts 0 to 10 seconds, not {target.crossfade_s:g}", hint="--crossfade 0.3")
    if audio is not None:
        try:
            is_pipe = is_there(audio) and not audio.is_file()  # reading one might never end
            kind = "not a regular file" if is_pipe else sniff_file(audio)
        except (OSError, ValueError) as error:
            raise InputError(f"{audio.name} cannot be read: {reason_of(error)}", hint="--audio FILE") from None
        if not kind.startswith(("audio/", "video/")):
            raise InputError(f"{audio.name} is no sound file: {kind}", hint="--audio music.mp3")
    if path.suffix.lower() != ".mp4":
        raise InputError(f"a film is an MP4, so {path.name} should end in .mp4", hint="--out film.mp4")
    sidecar, poster = (path.with_name(f"{path.stem}{ending}") for ending in (".json", ".poster.jpg"))
    in_the_way = [file for file, read in ((path, read_embedded), (sidecar, read_sidecar)) if _is_other(file, read)]
    if not is_there(path) and not is_there(sidecar) and is_there(poster):
        in_the_way.append(poster)
    if in_the_way:
        name = in_the_way[0].name
        raise InputError(f"{name} exists and is no film of wiro_nb: it is kept", hint="--out ANOTHER.mp4")


def _is_other(file: Path, read: Callable[..., dict[str, Any]]) -> bool:
    """Returns whether a file is there and holds no record of a film."""
    try:
        return is_there(file) and "film" not in read(file, ignore_hash=True)
    except BadRecord:
        return True


def _continues(before: tuple[Part, Clip], after: tuple[Part, Clip]) -> bool:
    """Returns whether a part begins with the last frame of the previous one, by records or else by frames."""
    (old, old_clip), (new, new_clip) = before, after
    parent = (new.record or {}).get("parent") or {}
    if old.record is not None and parent.get("run_id") == old.record["run_id"]:
        return parent.get("frame") in (-1, old_clip.frames - 1)
    # Of no known run, or of another one that may have ended with the same frame.
    may_go_on = old.record is None or new.record is None or parent.get("frame") is not None
    return may_go_on and repeats(old_clip, new_clip)


def _describe_inputs(parts: Sequence[Part], target: FilmTarget) -> dict[str, list[dict[str, Any]]]:
    """Returns the field `files` of a film's record. Raises OSError where one cannot be read."""

    def describe(path: Path) -> dict[str, Any]:
        return {"name": path.name, "sha256": hash_file(path), "size_bytes": path.stat().st_size, "url": None}

    audio = {} if target.audio is None else {"audio": [describe(target.audio)]}
    return {"parts": [describe(part.path) for part in parts], **audio}


def _build_record(
    plan: JoinPlan,
    parts: Sequence[Part],
    files: Mapping[str, Any],
    output: Mapping[str, Any],
    started: datetime,
    **film: Any,
) -> dict[str, Any]:
    placed = [
        {
            "name": part.label,
            "start_s": round(place.start_s, 6),
            "end_s": round(place.end_s, 6),
            "dropped_frames": place.dropped,
            "run_id": part.record["run_id"] if part.record is not None else None,
            "credentials": part.credentials,
            "record": part.record,
        }
        for part, place in zip(parts, plan.parts, strict=True)
    ]
    notes = [*plan.notes, *(part.note for part in parts if part.note)]
    finished = datetime.now(UTC)
    return build_record(
        run_id=new_run_id(),
        model={"slug": JOIN_MODEL, "run_path": JOIN_MODEL, "schema_sha256": None},
        service={"name": "this machine", "base_url": "http://localhost"},
        parameters={"crossfade_s": film["crossfade_s"]},
        files=files,
        status="succeeded",
        outputs=[output],
        price={"estimated_usd": None, "cost_usd": None},
        times={"created": started, "submitted": None, "started": started, "finished": finished},
        elapsed_s=round((finished - started).total_seconds(), 3),
        film={**film, "method": plan.method, "reason": plan.reason, "notes": notes, "parts": placed},
    )
