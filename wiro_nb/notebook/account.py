"""Service, account and budget: what `%wiro`, `budget`, `spent`, `use`, `login` and `logout` do and show."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import PurePath

from wiro_nb.config import LOCAL, SANDBOX
from wiro_nb.errors import ConfigError, InputError
from wiro_nb.execution.run import Run
from wiro_nb.formatting import (
    DONE,
    as_sentence,
    format_budget,
    format_count,
    format_place,
    format_size,
    format_usd,
    read_usd,
    tally,
)
from wiro_nb.ledger.budget import BudgetState, Spending
from wiro_nb.ledger.state import RunState, Snapshot
from wiro_nb.notebook.session import current_context, session
from wiro_nb.presentation.html import Child, h
from wiro_nb.presentation.output import (
    Displayable,
    Output,
    compose,
    facts,
    heading,
    message,
    next_steps,
    paragraphs,
    row_table,
)
from wiro_nb.redaction import SecretText, register_secret
from wiro_nb.services.selection import ServiceChoice

GROUPS = ("model", "day", "notebook")
KEY_PAGE = "wiro.ai/panel/project"
IN_ENVIRONMENT = "set WIRO_API_KEY (and WIRO_API_SECRET) before Jupyter starts"
_SERVICES = {SANDBOX: "sandbox: placeholder clips, free, no account", LOCAL: "local: models on this machine, free"}
_MAX_ROWS = 40
_BAR = "#2f80ed"


@dataclass(frozen=True, slots=True, repr=False)
class Budget(Displayable, BudgetState):
    """The budget of a notebook; it shows itself as one line."""

    def __str__(self) -> str:
        return format_budget(self)

    @property
    def sentence(self) -> str:
        """What was spent and is left, and what this means."""
        simulated = " (simulated prices: the sandbox costs nothing)" if self.service == SANDBOX else ""
        return f"{self}{simulated}{'; the limit is the setting budget_usd' if self.is_setting else ''}"

    def output(self) -> Output:
        """Returns one line."""
        return message(self.sentence)


@dataclass(frozen=True, slots=True, repr=False)
class AccountStatus(Displayable):
    """Service and account of a notebook.

    Attributes:
        budget: Of the notebook, with the name of the service.
        is_free: True when nothing costs money.
        account: Where the key comes from.
        in_flight: Unfinished runs of this notebook.
        files: What its finished runs keep on disk.
    """

    budget: Budget
    is_free: bool
    account: str
    in_flight: Sequence[Snapshot]
    files: str

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Service, account, money, runs in flight and files, each with its name."""
        service = self.budget.service
        has_budget = not self.is_free or self.budget.limit_usd is not None
        return [
            ("Service", _SERVICES.get(service, service)),
            ("Account", self.account),
            ("Budget", self.budget.sentence if has_budget else f"nothing to spend {format_place(service)}"),
            ("Now", tally(self.in_flight) or "no runs in flight"),
            ("Files", self.files),
        ]

    @property
    def next_steps(self) -> list[tuple[str, str]]:
        """Commands to type next, each with what it is for."""
        login, sandbox = ("%wiro login", "to use your Wiro account"), ("%wiro use sandbox", "for free practice")
        form = ("%wiro form MODEL", "to fill in a form")
        other = login if self.is_free else sandbox
        return [("%wiro models", "to browse"), form, other, ("%wiro help", "for everything")]

    def output(self) -> Output:
        """Returns the answer of `%wiro`."""
        return compose(heading("Ready", status=DONE), facts(self.facts), next_steps(*self.next_steps))


@dataclass(frozen=True, slots=True, repr=False)
class Spent(Displayable):
    """What a service billed.

    Attributes:
        by: What the rows are: "model", "day" or "notebook".
        rows: Largest sum first; days newest first.
        notebook_usd: Billed in this notebook.
        service: Its name.
    """

    by: str
    rows: tuple[Spending, ...]
    notebook_usd: Decimal
    service: str

    @property
    def total_usd(self) -> Decimal:
        """Billed in all notebooks."""
        return sum((row.spent_usd for row in self.rows), Decimal(0))

    @property
    def reserved_usd(self) -> Decimal:
        """What runs in flight may add."""
        return sum((row.reserved_usd for row in self.rows), Decimal(0))

    def output(self) -> Output:
        """Returns a table with bars."""
        money = "simulated prices of the sandbox" if self.service == SANDBOX else self.service
        if not self.rows:
            return message(f"nothing spent yet ({money})")
        head = f"spent {format_usd(self.total_usd)} in all notebooks ({money})"
        head += f", {format_usd(self.notebook_usd)} of it in this one"
        head += f"; runs in flight may add {format_usd(self.reserved_usd)}" if self.reserved_usd else ""
        named = [(_row_name(self.by, row.name), row, format_usd(row.spent_usd)) for row in self.rows[:_MAX_ROWS]]
        most, more = max(row.spent_usd for row in self.rows), len(self.rows) - len(named)
        cells: list[list[Child]] = [
            [name, str(row.runs), billed, _bar(row.spent_usd, most, self.total_usd)] for name, row, billed in named
        ]
        texts = [(name, f"{format_count(row.runs, 'run'):>9}", f"{billed:>9}") for name, row, billed in named]
        heads = (self.by.capitalize(), "Runs", "Billed", "Share")
        rows = row_table(heads, cells, texts, right=frozenset({1, 2}))
        return message(head, rows, paragraphs([f"and {more} more"] if more else []))


def _row_name(by: str, name: str) -> str:
    """Returns a row's name; of a notebook only the last part of its path, which may end up in a shared file."""
    if by != "notebook":
        return name
    path = PurePath(name)
    if not name:
        return "outside notebooks"
    return f"folder {path.parent.name or path.parent}" if path.name == "*" else path.name


def _bar(amount: Decimal, most: Decimal, total: Decimal) -> Child:
    percent = max(int(100 * amount / most) if most else 0, 1 if amount else 0)
    common = "height:8px;border-radius:2px"
    bar = h("span", style=f"display:block;width:{percent}%;background:{_BAR};{common}")
    frame = f"display:inline-block;width:120px;background:rgba(127,127,127,.25);{common}"
    return h("span", bar, style=frame), f" {100 * amount / total:.0f}%" if total else " 0%"


def status() -> AccountStatus:
    """Returns service, account, money and runs in flight."""
    manager = session.manager()
    runs = manager.runs(notebook=current_context().notebook, limit=1000)
    in_flight = tuple(run.snapshot for run in runs if not run.state.is_final)
    account = _describe_account(manager.choice)
    return AccountStatus(_read_budget(), manager.choice.is_free, account, in_flight, _describe_files(runs))


def _describe_files(runs: Sequence[Run]) -> str:
    """Returns "5 files, 3.1 MB, in wiro_outputs/"."""
    folder = session.preferences.out_dir
    done = (run for run in runs if run.state is RunState.SUCCEEDED)
    sizes = [output.size_bytes or 0 for run in done for output in run.outputs if output.path]
    if not sizes:
        return f"none yet; they go to {folder}/"
    return f"{format_count(len(sizes), 'file')}, {format_size(sum(sizes))}, in {folder}/"


def _describe_account(choice: ServiceChoice) -> str:
    if not choice.is_free:
        return f"key from the {choice.key_source}"
    reason = choice.reason
    if reason == "WIRO_SERVICE":
        place = "the sandbox" if choice.name == SANDBOX else choice.name
        reason = f"the environment variable WIRO_SERVICE chooses {place}"
    return f"none needed ({reason})"


def budget() -> Budget:
    """Returns the budget of this notebook, what was spent of it, and what is left."""
    session.manager().complete_ended()
    return _read_budget()


def _read_budget() -> Budget:
    return Budget(**asdict(session.manager().budget(current_context().notebook)))


def set_budget(usd: Decimal | float | str | None) -> Budget:
    """Sets the budget of this notebook. It is kept in the ledger and in the notebook's metadata.

    What is billed and what runs in flight may cost count together; a run that would exceed the budget is refused.
    In the sandbox its simulated prices count, so that a budget can be tried.

    Args:
        usd: The most to spend in this notebook, in USD; None removes the budget.

    Raises:
        InputError: No amount, or one below 0.
    """
    from wiro_nb.notebook.bridge import bridge
    from wiro_nb.notebook.live import open_views

    amount, notebook = read_usd(usd, "a budget", "%wiro budget 2.00"), current_context().notebook
    session.manager().ledger.set_budget(notebook, amount)
    bridge.send_budget(notebook, amount)
    for view in list(open_views):
        view.on_budget()
    return budget()


def spent_sentence() -> str:
    """Returns what this notebook spent, as a sentence; empty on a free service."""
    return "" if session.manager().choice.is_free else as_sentence(str(budget()))


def spent(by: str = "model") -> Spent:
    """Returns what the present service billed; it shows as a table with bars.

    Args:
        by: "model", "day" (UTC) or "notebook".

    Raises:
        InputError: Another word.
    """
    if by not in GROUPS:
        raise InputError(
            f"what was spent can be added up by {', '.join(GROUPS)}, not by {by!r}", hint="%wiro spent --by day"
        )
    manager = session.manager()
    manager.complete_ended()
    rows = tuple(manager.ledger.spending(by, service=manager.service_name))
    return Spent(by, rows, _read_budget().spent_usd, manager.service_name)


def use(service: str) -> Output:
    """Chooses the service of new runs: "sandbox", "local", "cloud", or a custom name.

    Raises:
        MissingCredentials: It needs a key and none was found.
        ConfigError: There is no service of this name.
    """
    session.manager(choose=False).services.use(service)
    session.keep_choice()
    return message(_new_runs_go_to())


def login() -> Output:
    """Asks for key and secret without showing them, checks them, and stores them outside the notebook.

    Raises:
        ConfigError: The notebook runs without a user to type, or nothing was typed.
        AuthRejected: The service refuses the key; nothing is stored.
    """
    if current_context().is_headless:
        raise ConfigError("nobody is there to type a key: a program runs this notebook", hint=IN_ENVIRONMENT)
    key = _ask(f"Wiro API key (make one at {KEY_PAGE}; it is not shown): ")
    if not key:
        raise ConfigError("no key was typed, nothing was changed", hint="%wiro login")
    secret = _ask("API secret (Enter if the project has none): ")
    place = session.manager(choose=False).services.login(key, secret or None)
    session.keep_choice()
    return message(f"the key works and is kept in the {place}, not in the notebook; {_new_runs_go_to()}")


def logout() -> Output:
    """Removes the API key that `login` stored."""
    removed = session.manager(choose=False).services.logout()
    session.keep_choice()
    return message(f"{'the kept key is removed' if removed else 'no key was kept'}; {_new_runs_go_to()}")


def _new_runs_go_to() -> str:
    choice = session.manager(choose=False).choice
    places = {
        SANDBOX: "the sandbox (free)",
        LOCAL: "the models on this machine (free); what it can run: wiro-nb local doctor",
    }
    return f"new runs go to {places.get(choice.name, choice.name)}"


def _ask(prompt: str) -> SecretText:
    try:
        text = SecretText(getpass.getpass(prompt).strip())
    except KeyboardInterrupt:
        raise ConfigError("stopped: nothing was changed", hint="%wiro login") from None
    except (EOFError, RuntimeError, NotImplementedError):
        raise ConfigError("this front end cannot ask for a key", hint=IN_ENVIRONMENT) from None
    register_secret(text)
    return text
