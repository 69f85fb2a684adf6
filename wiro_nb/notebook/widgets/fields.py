"""Fields of a form: one small widget a parameter, drawn by the form that holds them.

A field is a real widget with a `value` trait, so reading, setting, `observe` and `jslink` work. Its
script is a few lines: it asks the form's script to draw it. So twelve fields cost twelve messages,
not thirty-six, and still show on their own when displayed alone.

Files come from the browser in pieces of at most 1 MB, each acknowledged before more than one other
is sent: the front end's own upload widget sends one message and silently fails above 10 MB. The size
is checked before the first byte moves, the type by the first bytes, and both again before a run.
"""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

import traitlets

from wiro_nb.errors import WiroError
from wiro_nb.files import INPUTS_FOLDER, OUTPUTS_FOLDER, complete_path, safe_name
from wiro_nb.formatting import as_sentence
from wiro_nb.media.decode import make_poster
from wiro_nb.notebook.widgets import OwnWidget
from wiro_nb.presentation.run import jpeg_uri
from wiro_nb.schema.files import MAX_FILE_BYTES, accepted_types, is_url, open_file_input, sniff_type

if TYPE_CHECKING:
    from wiro_nb.notebook.form.controller import RunSources
    from wiro_nb.notebook.form.layout import FieldPlan


class FieldValue(traitlets.TraitType[Any, Any]):
    """What a field holds; the field brings it into its own form, None included."""

    def validate(self, obj: Any, value: Any) -> Any:
        """Returns the value as the field keeps it."""
        return obj.normal_value(value)


class Field(OwnWidget):
    """A text, number or choice.

    `value` keeps what was given: a text or a number. A number typed in the browser arrives as a
    number when writing it out gives the same text again ("7"), else as text ("5.0").
    """

    script = "field.js"
    name = traitlets.Unicode(help="Parameter name on the wire.").tag(sync=True)
    form_key = traitlets.Unicode(help="Key of the form that draws this field.").tag(sync=True)
    value = FieldValue("", help="What the user gave: text or number.").tag(sync=True)

    def normal_value(self, value: Any) -> Any:
        """Returns the value as the field keeps it.

        Raises:
            traitlets.TraitError: Not a text or a number.
        """
        if value is None:
            return ""
        if isinstance(value, Decimal):
            return str(value)
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise traitlets.TraitError(f"{self.name} takes a text or a number, not {type(value).__name__}")
        return value

    def __repr__(self) -> str:
        """Returns name and value, shown where widgets are not available."""
        return f"{type(self).__name__}({self.name}={self.value!r})"


class SeedField(Field):
    """A seed with a pin: pinned, every run uses it; not pinned, each run draws a new one."""

    pinned = traitlets.Bool(True, help="False: a new seed is drawn for each run.").tag(sync=True)


class FlagField(Field):
    """Yes or no; holds "true", "false", or the empty text while nothing was chosen."""

    def normal_value(self, value: Any) -> Any:
        """Returns "true" or "false" for a bool, and any text as it is."""
        return ("true" if value else "false") if isinstance(value, bool) else super().normal_value(value)


class ChoicesField(Field):
    """Several choices of a list, in the order of the list."""

    value = FieldValue([], help="The values chosen.").tag(sync=True)

    def normal_value(self, value: Any) -> Any:
        """Returns a list of texts; one text is a list of one."""
        if value is None or value == "":
            return []
        items = value if isinstance(value, (list, tuple)) else [value]
        return [str(super(ChoicesField, self).normal_value(item)) for item in items]


class PairsField(Field):
    """Free `name=value` pairs, for a model that publishes no inputs."""

    value = FieldValue({}, help="Names and values, both text, in the order given.").tag(sync=True)

    def normal_value(self, value: Any) -> Any:
        """Returns a dict of text to text; numbers become text."""
        if value is None or value == "":
            return {}
        if not isinstance(value, dict):
            raise traitlets.TraitError(f"{self.name} takes a dict of names and values")
        return {
            str(name): item if isinstance(item, (str, int, float)) else str(item) for name, item in value.items()
        }


_THUMB_LIMIT = 24_000
_INLINE_IMAGE = 40_000
_THUMB_BYTES = 6_000
_SHOWN_TYPES = ("image/jpeg", "image/png", "image/webp", "image/gif")


@dataclass(slots=True)
class _Upload:
    """One file on its way from the browser."""

    name: str
    size_bytes: int
    path: Path
    stream: IO[bytes]
    facts: dict[str, Any]
    chunks: int = 0
    digest: Any = field(default_factory=hashlib.sha256)


class FileField(Field):
    """One or several files.

    `value` is a tuple of texts: URLs, and paths on the kernel's machine. A single text or path may be
    assigned; None or "" empties the field.
    """

    value = FieldValue((), help="URLs and paths, in order.").tag(sync=True)
    items: traitlets.List[dict[str, Any]] = traitlets.List(help="What is shown of each value.").tag(sync=True)
    multiple = traitlets.Bool(False, help="Whether several files are taken.").tag(sync=True)
    trouble = traitlets.Unicode(help="Why the content of the URL box was refused; blocks a run.")
    has_runs = traitlets.Bool(False, help="Whether earlier runs can be chosen.").tag(sync=True)
    media = traitlets.Unicode(help='"image", "video" or "audio" where only these are taken.')

    def __init__(
        self, *, upload_dir: Path | None = None, sources: RunSources | None = None, **traits: Any
    ) -> None:
        """Makes a file input.

        Args:
            upload_dir: Where files from the browser are put; `wiro_outputs/.inputs/uploads` beside the notebook
                when None. Made when the first file comes.
            sources: Finds earlier runs; None: only files and URLs are taken.
            traits: `name`, `value`, `multiple` and other traits.
        """
        self._upload_dir = upload_dir or Path(OUTPUTS_FOLDER, INPUTS_FOLDER, "uploads")
        self._uploads: dict[str, _Upload] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self._sources = sources
        super().__init__(has_runs=sources is not None, **traits)
        self.observe(self._show_items, "value")
        if self.value:
            self._show_items(None)

    def normal_value(self, value: Any) -> Any:
        """Returns a tuple of texts.

        Raises:
            traitlets.TraitError: Something that is neither text, path nor a list of them.
        """
        if value is None or value == "":
            return ()
        values = value if isinstance(value, (list, tuple)) else [value]
        texts = tuple(os.fspath(item) if isinstance(item, os.PathLike) else item for item in values)
        if not all(isinstance(text, str) for text in texts):
            raise traitlets.TraitError(f"{self.name} takes a path, a URL or a list of them")
        return tuple(text for text in texts if text)

    def add(self, source: str | Path) -> None:
        """Puts a file or URL behind the others, or in place of the one when only one is taken.

        Raises:
            InvalidFile: Not there, not readable, too large, or of a type the service does not take.
        """
        text = str(source).strip()
        text = str(Path(text).expanduser()) if text.startswith("~") else text
        open_file_input(self.name, self._resolve(text), with_hash=False, media=self.media)
        self.value = (*self.value, text) if self.multiple else (text,)

    def resolved(self) -> list[str]:
        """Returns the values with earlier runs as the paths they stand for, as far as these can be found."""
        found = []
        for text in self.value:
            try:
                found.append(self._resolve(text))
            except WiroError:
                found.append(text)
        return found

    def _resolve(self, text: str) -> str:
        return self._sources.resolve(self.name, text) if self._sources is not None else text

    def _show_items(self, _change: Any) -> None:
        for text in self.value:
            if text not in self._facts:
                self._facts[text] = self._describe(text)
        self.items = [{"source": text, **self._facts[text]} for text in self.value]

    def on_message(self, content: dict[str, Any], buffers: Any) -> None:
        """Takes a chunk of an upload, a path or URL, or a request for earlier runs."""
        kind, upload_id = content.get("type"), str(content.get("upload", ""))
        try:
            if kind == "begin":
                self._begin(upload_id, content)
            elif kind == "chunk" and upload_id in self._uploads:
                self._take_chunk(upload_id, content.get("seq"), bytes(buffers[0]) if buffers else b"")
            elif kind == "abort":
                self._drop(upload_id)
            elif kind == "add":
                source = str(content.get("source", ""))
                self.add(source)
                self.trouble = ""
                self.reply("added", source=source)
            elif kind == "clear":
                self.trouble = ""
            elif kind == "paths":
                paths = complete_path(str(content.get("typed", "")))
                common = os.path.commonprefix(paths)  # noqa: RUF071 - letters, not folders
                self.reply("paths", paths=paths, common=common)
            elif kind == "recent" and self._sources is not None:
                self.reply("recent", runs=self._sources.recent(self.media))
        except WiroError as error:
            text = f"{error.sentence} {as_sentence(error.hint)}".rstrip()
            self.trouble = text if kind == "add" else self.trouble
            self._refuse(upload_id, text)
        except OSError as error:
            self._refuse(upload_id, f"The file could not be stored: {error.strerror or error}.")

    def _refuse(self, upload_id: str, message: str) -> None:
        self._drop(upload_id)
        self.reply("refused", upload=upload_id, message=message)

    def _begin(self, upload_id: str, content: dict[str, Any]) -> None:
        size = int(content.get("size") or 0)
        name = safe_name(str(content.get("name") or ""), "file")
        if size > MAX_FILE_BYTES or size <= 0:
            what = "is empty" if size <= 0 else f"is larger than {MAX_FILE_BYTES // (1024 * 1024)} MB"
            self._refuse(upload_id, f"{name} {what}.")
            return
        self._upload_dir.mkdir(parents=True, exist_ok=True)
        path = self._upload_dir / f".{hashlib.sha256(upload_id.encode()).hexdigest()[:16]}.part"
        facts = {"name": name, "size": size, **_browser_facts(content)}
        self._drop(upload_id)
        self._uploads[upload_id] = _Upload(name, size, path, path.open("wb"), facts)
        self.reply("ack", upload=upload_id, received=0)

    def _take_chunk(self, upload_id: str, seq: object, chunk: bytes) -> None:
        upload = self._uploads[upload_id]
        received = upload.stream.tell() + len(chunk)
        reason = ""
        if seq != upload.chunks or received > upload.size_bytes or not chunk:
            reason = f"{upload.name} arrived incomplete. Choose it again."
        elif upload.chunks == 0:
            reason = self._first_bytes_refused(upload, chunk)
        if reason:
            self._refuse(upload_id, reason)
            return
        upload.stream.write(chunk)
        upload.digest.update(chunk)
        upload.chunks += 1
        if received == upload.size_bytes:
            self._finish(upload_id, upload)
        else:
            self.reply("ack", upload=upload_id, received=received)

    def _first_bytes_refused(self, upload: _Upload, chunk: bytes) -> str:
        """Returns why an upload is refused by its first bytes, before the rest is sent; "" when it is accepted."""
        content_type = upload.facts["type"] = sniff_type(chunk, upload.name)
        if content_type and self.media in ("", content_type.partition("/")[0]):
            return ""
        what = content_type or "of a type the service does not take"
        return f"{upload.name} is {what}; this input takes {accepted_types(self.media)}."

    def _finish(self, upload_id: str, upload: _Upload) -> None:
        upload.stream.close()
        folder = self._upload_dir / upload.digest.hexdigest()[:16]
        folder.mkdir(exist_ok=True)
        final = upload.path.replace(folder / upload.name)
        del self._uploads[upload_id]
        source = final.as_posix() if not final.is_absolute() else str(final)
        self._facts[source] = upload.facts
        self.value = (*(text for text in self.value if text != source), source) if self.multiple else (source,)
        self.reply("done", upload=upload_id)

    def _drop(self, upload_id: str) -> None:
        upload = self._uploads.pop(upload_id, None)
        if upload is not None:
            upload.stream.close()
            upload.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Closes the widget; unfinished uploads are removed."""
        for upload_id in tuple(self._uploads):
            self._drop(upload_id)
        super().close()

    def _describe(self, text: str) -> dict[str, Any]:
        """Returns what can be shown of a value without fetching it."""
        if is_url(text):
            return {"name": PurePosixPath(text.partition("?")[0]).name or text, "url": True}
        try:
            place = self._resolve(text)
            found = open_file_input(self.name, place, with_hash=False, media=self.media)
        except WiroError as error:
            return {"name": PurePosixPath(text).name or text, "problem": error.message}
        facts: dict[str, Any] = {"name": found.name, "type": found.content_type, "size": found.size_bytes}
        if place != text:
            facts["name"] = text.replace("#0", ", first frame").replace("#-1", ", last frame")
        picture = self._thumb(found.path, found.content_type, found.size_bytes or 0) if found.path else ""
        return {**facts, "thumb": picture} if picture else facts

    def _thumb(self, path: Path, content_type: str, size_bytes: int) -> str:
        """Returns a data URI: a small picture is its own thumbnail, the rest needs a decoder."""
        if (picture := make_poster(path, _THUMB_BYTES)) is not None:
            return jpeg_uri(picture)
        if content_type in _SHOWN_TYPES and size_bytes <= _INLINE_IMAGE:
            return f"data:{content_type};base64,{base64.b64encode(path.read_bytes()).decode()}"
        return ""


def _browser_facts(content: dict[str, Any]) -> dict[str, Any]:
    """Returns picture, size and length as the browser measured them, when they are what they should be."""
    measured = {name: content.get(name) for name in ("width", "height", "duration_s")}
    facts: dict[str, Any] = {
        name: value for name, value in measured.items() if isinstance(value, (int, float)) and value > 0
    }
    thumb = content.get("thumb")
    if isinstance(thumb, str) and thumb.startswith("data:image/jpeg;base64,") and len(thumb) <= _THUMB_LIMIT:
        facts["thumb"] = thumb
    return facts


_KINDS: dict[str, type[Field]] = {
    "pairs": PairsField,
    "choices": ChoicesField,
    "seed": SeedField,
    "checkbox": FlagField,
}
"""The widgets of kinds of fields; any other kind but "files" is a plain `Field`."""


def make_field(plan: FieldPlan, upload_dir: Path | None, sources: RunSources | None, **common: Any) -> Field:
    """Returns the widget of a planned field, holding its default.

    Args:
        plan: The field.
        upload_dir: As `FileField` takes it.
        sources: As `FileField` takes them.
        **common: Values of further traits.
    """
    if plan["kind"] == "files":
        common |= {"upload_dir": upload_dir, "sources": sources, "multiple": plan.get("multiple", False)}
        return FileField(name=plan["id"], media=plan.get("media", ""), **common)
    default = plan.get("default", "")
    if plan["kind"] == "seed":
        common["pinned"] = default not in ("", "0", "-1")
    return _KINDS.get(plan["kind"], Field)(name=plan["id"], value=default, **common)
