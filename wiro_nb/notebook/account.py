"""Service, account and budget: the functions behind `%wiro`, `budget`, `spent`, `use`, `login` and `logout`."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import asdict
from decimal import Decimal

from wiro_nb.config import LOCAL, SANDBOX
from wiro_nb.errors import ConfigError, InputError
from wiro_nb.execution.run import Run
from wiro_nb.formatting import as_sentence, format_count, format_size, read_usd
from wiro_nb.ledger.state import RunState
from wiro_nb.notebook.session import current_context, session
from wiro_nb.presentation.account import AccountStatus, Budget, Spent
from wiro_nb.presentation.output import Output, message
from wiro_nb.redaction import SecretText, register_secret
from wiro_nb.services.selection import ServiceChoice

GROUPS = ("model", "day", "notebook")
KEY_PAGE = "wiro.ai/panel/project"
IN_ENVIRONMENT = "set WIRO_API_KEY (and WIRO_API_SECRET) before Jupyter starts"


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
    outputs = [output for run in done for output in run.outputs if output.path]
    if not outputs:
        return f"none yet; they go to {folder}/"
    size = format_size(sum(output.size_bytes or 0 for output in outputs))
    return f"{format_count(len(outputs), 'file')}, {size}, in {folder}/"


def _describe_account(choice: ServiceChoice) -> str:
    if not choice.is_free:
        return f"key from the {choice.key_source}"
    place = "the sandbox" if choice.name == SANDBOX else choice.name
    chosen = {"WIRO_SERVICE": f"the environment variable WIRO_SERVICE chooses {place}"}
    return f"none needed ({chosen.get(choice.reason, choice.reason)})"


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
    if session.manager().choice.is_free:
        return ""
    return as_sentence(str(budget()))


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
