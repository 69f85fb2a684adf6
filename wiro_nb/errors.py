"""The error tree.

    WiroError
    ├─ ConfigError
    │  ├─ MissingCredentials
    │  └─ MissingExtra
    ├─ InputError
    │  ├─ UnknownModel          (LookupError)
    │  ├─ UnknownRun            (LookupError)
    │  ├─ InvalidParameter      (ValueError)
    │  │  └─ InvalidFile
    │  ├─ UnreadableSchema
    │  ├─ BadRecord
    │  ├─ BudgetExceeded
    │  └─ ConfirmationNeeded
    ├─ TransportError
    │  ├─ ConnectFailed
    │  ├─ TimedOut              (TimeoutError)
    │  ├─ StreamLost
    │  └─ DownloadFailed
    ├─ ApiError
    │  ├─ AuthRejected
    │  ├─ RateLimited
    │  ├─ SlotsFull
    │  ├─ InsufficientFunds
    │  ├─ NotAccessible
    │  └─ BadAnswer
    ├─ RunError
    │  ├─ RunFailed
    │  ├─ RunCancelled
    │  └─ SubmitUncertain
    └─ LedgerError

Every error says what happened (the message), what it cost (`billed`) and what to type next (`hint`). Texts are
redacted when the error is created, so no handler can leak a secret later. Errors can be pickled with all their
fields. Standard library only.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from wiro_nb.redaction import redact, redact_value
from wiro_nb.terminal import wrap_terminal

NOTHING_SENT = "Nothing was sent and nothing was billed."


class WiroError(Exception):
    """Base of every error that the package raises deliberately.

    Args:
        message: What happened, one line, starting with the user's input where there is one.
        hint: The next thing to type. Falls back to the class's `default_hint`.
        billed: What it cost, a sentence. Falls back to the class's `default_billed`.
        details: Further lines (nearest values, the service's own words).
        fields: Anything a program may want to read; each becomes an attribute.
    """

    default_hint: ClassVar[str] = "%wiro help"
    default_billed: ClassVar[str] = ""
    debug: ClassVar[bool] = False
    """True shows whole tracebacks in IPython (`%config WiroMagics.debug = True`)."""
    is_shown: bool = False
    """True when a card in the same cell shows the error already: its name is then enough."""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        billed: str | None = None,
        details: Sequence[str] = (),
        **fields: Any,
    ) -> None:
        self.message = redact(message)
        self.hint = redact(self.default_hint if hint is None else hint)
        self.billed = redact(self.default_billed if billed is None else billed)
        self.details = tuple(redact(line) for line in details)
        self.fields = {name: redact_value(value) for name, value in fields.items()}
        super().__init__(self.message)

    def __getattr__(self, name: str) -> Any:
        fields: Mapping[str, Any] = self.__dict__.get("fields", {})
        if name in fields:
            return fields[name]
        raise AttributeError(f"{type(self).__name__} has no field {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild = partial(type(self), hint=self.hint, billed=self.billed, details=self.details, **self.fields)
        return rebuild, (self.message,)

    @property
    def sentence(self) -> str:
        """The message with a full stop and, unless it starts with an input's name, a capital letter."""
        text = self.message
        first = re.match(r"[a-z]+(?=[ ,:])", text)
        if first and first[0] != self.fields.get("name"):
            text = text[:1].upper() + text[1:]
        return text if not text or text.endswith((".", "?", "!", "…")) else f"{text}."

    def to_dict(self) -> dict[str, Any]:
        """Returns the error as JSON data, which `error_from_dict` reads; fields of other types are left out."""
        return {
            "kind": type(self).__name__,
            "message": self.message,
            "hint": self.hint,
            "billed": self.billed,
            "details": list(self.details),
            "fields": {name: value for name, value in self.fields.items() if _is_plain(value)},
        }

    def lines(self) -> list[str]:
        """Returns message, details, cost and next command for display."""
        lines = [self.sentence, *(f"  {line}" for line in self.details)]
        if self.billed:
            lines.append(f"  {self.billed}")
        if self.hint:
            lines.append(f"  next: {self.hint}")
        return lines

    @property
    def _render_traceback_(self) -> Callable[[], list[str]]:
        """Compact form for IPython, which prints these lines in place of a traceback.

        With `debug` on the attribute is missing, and IPython prints the whole traceback.
        """
        if self.debug:
            raise AttributeError("_render_traceback_")
        return self._short_lines

    def _short_lines(self) -> list[str]:
        if self.is_shown:
            return [type(self).__name__]
        first, *rest = self.lines()
        return [wrap_terminal(line, sys.stdout) for line in (f"{type(self).__name__}: {first}", *rest)]


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (str, int, float, bool))


def error_from_dict(data: Mapping[str, Any] | None) -> WiroError | None:
    """Builds an error from the data of `to_dict`; kinds of a later version become their common base."""
    if not data:
        return None
    kind = globals().get(str(data.get("kind")))
    if not (isinstance(kind, type) and issubclass(kind, WiroError)):
        kind = WiroError
    message = str(data.get("message", ""))
    texts: dict[str, Any] = {name: data.get(name) for name in ("hint", "billed")}
    try:
        return kind(message, details=data.get("details") or (), **texts, **(data.get("fields") or {}))
    except TypeError:  # damaged in the ledger
        return WiroError(message)


class ConfigError(WiroError):
    """A setting is missing or wrong."""

    default_hint = "%wiro"


class MissingCredentials(ConfigError):
    """The service needs a key and none was found. Fields: `looked_in` (list of [place, finding])."""

    default_hint = "%wiro login, or %wiro use sandbox (free, no account)"
    default_billed = NOTHING_SENT


class MissingExtra(ConfigError):
    """A package of an optional extra is not installed. Fields: `extra`, `package`."""

    @classmethod
    def require(cls, what: str, extra: str, *packages: str) -> None:
        """Raises where one of the packages that something needs is not installed; imports none of them."""
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        if missing:
            raise cls(
                f"{what} needs packages that are not installed: {', '.join(missing)}",
                hint=f'python -m pip install "wiro_nb[{extra}]"',
                extra=extra,
                package=missing[0],
            )


class InputError(WiroError):
    """The given input cannot be used; nothing has left this machine.

    The subclasses that refuse a run say that it was not billed; the others concern commands that bill nothing.
    """


class UnknownModel(InputError, LookupError):
    """No model of this name. Fields: `model`, `near` (list of slugs)."""

    default_hint = "%wiro models"
    default_billed = NOTHING_SENT


class UnknownRun(InputError, LookupError):
    """No run of this id, or several. Fields: `query`, `near` (list of run ids)."""

    default_hint = "%wiro runs"


class InvalidParameter(InputError, ValueError):
    """A value does not fit the model's inputs.

    Fields: `name`, `value`, `allowed` (list of values, may be empty), `near` (list of values),
    `problems` (all problems of the request: list of {"name", "message", "near"}).
    """

    default_billed = NOTHING_SENT

    def __init__(self, message: str, *, name: str = "", near: Sequence[str] = (), **more: Any) -> None:
        alone = [{"name": name, "message": message, "near": list(near)}]
        super().__init__(
            message, **{"name": name, "value": "", "allowed": [], "near": list(near), "problems": alone, **more}
        )


class InvalidFile(InvalidParameter):
    """An input file is missing, unreadable, of the wrong type or too large. Fields as its base."""


class UnreadableSchema(InputError):
    """A model page or a Tool/Detail answer has no model in it. Fields: `source`."""


class BadRecord(InputError):
    """A run record cannot be used. Field: `reason` ("none", "cut", "altered", "format" or "shape")."""

    default_hint = "%wiro runs, or give another file of the run: its clip, run.json or notebook"

    def __init__(self, message: str, *, reason: str = "shape", **more: Any) -> None:
        super().__init__(message, reason=reason, **more)


class BudgetExceeded(InputError):
    """The run would go over the budget. Fields: `budget_usd`, `spent_usd`, `estimated_usd` (decimal texts)."""

    default_hint = "%wiro budget USD"
    default_billed = NOTHING_SENT


class ConfirmationNeeded(InputError):
    """The number of runs or their cost needs a confirmation. Fields: `runs`, `low_usd`, `high_usd`."""

    default_hint = "add --yes, or yes=True in Python"
    default_billed = NOTHING_SENT


class TransportError(WiroError):
    """The service could not be reached or stopped answering."""

    default_hint = "%wiro"


class ConnectFailed(TransportError):
    """No connection was made, so nothing was sent."""

    default_billed = NOTHING_SENT


class TimedOut(TransportError, TimeoutError):
    """No answer in time. Whether the service acted is unknown."""


class StreamLost(TransportError):
    """A connection broke during a transfer. Whether the service acted is unknown."""


class DownloadFailed(TransportError):
    """An output file could not be fetched, or is not what it says. Fields: `url`, `reason`, `run_id`."""

    default_hint = "%wiro download RUN"


class ApiError(WiroError):
    """The service answered with an error. Fields: `code` (int or None), `status` (HTTP)."""

    default_hint = "%wiro"


class AuthRejected(ApiError):
    """The key, signature or address was not accepted."""

    default_hint = "%wiro login"


class RateLimited(ApiError):
    """Too many requests. Fields: `retry_after_s` (float or None)."""


class SlotsFull(ApiError):
    """As many tasks run as the balance allows (code 96): wait, then submit."""

    default_billed = "Nothing was billed."


class InsufficientFunds(ApiError):
    """The balance is too low to start (code 97)."""

    default_hint = "top up at wiro.ai, or %wiro use sandbox (free)"
    default_billed = "Nothing was billed."


class NotAccessible(ApiError):
    """Model or task not found or not yours (codes 1, 98)."""

    default_hint = "%wiro models"


class BadAnswer(ApiError):
    """The answer breaks the contract: not JSON, cut short, or of the wrong shape."""


class RunError(WiroError):
    """A run did not produce its result. Fields: `run_id`."""

    default_hint = "%wiro runs"


class RunFailed(RunError):
    """The run ended without success. Fields: `run_id`, `task_id`, `exit_code`, `stage`, `log_tail`."""

    default_billed = "Billed: nothing."


class RunCancelled(RunError):
    """The run was cancelled. Fields: `run_id`, `task_id`."""

    default_billed = "Billed: nothing."


class SubmitUncertain(RunError):
    """The answer to Run was lost; the task may exist. Fields: `run_id`, `candidates` (task ids)."""

    default_billed = "It is billed once if the task exists and succeeds. It is never sent a second time by itself."


class LedgerError(WiroError):
    """The ledger (SQLite) cannot be read or written. Fields: `path_name`, `reason`."""

    default_hint = "%wiro verify"
