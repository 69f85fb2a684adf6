"""Asks for a key without showing it, and forgets it again. The key never touches the notebook."""

from __future__ import annotations

import getpass

from wiro_nb.errors import ConfigError
from wiro_nb.notebook.context import current_context
from wiro_nb.notebook.session import session
from wiro_nb.redaction import SecretText, register_secret

KEY_PAGE = "wiro.ai/panel/project"
IN_ENVIRONMENT = "set WIRO_API_KEY (and WIRO_API_SECRET) before Jupyter starts"


def ask_and_save() -> str:
    """Asks for key and secret, checks them, keeps them outside the notebook, and uses the service from now on.

    Returns:
        A sentence about where they are kept.

    Raises:
        ConfigError: Nobody is there to type, or nothing was typed.
        AuthRejected: The service does not take the key; nothing is kept.
    """
    if current_context().is_headless:
        raise ConfigError("nobody is there to type a key: a program runs this notebook", hint=IN_ENVIRONMENT)
    key = _ask(f"Wiro API key (make one at {KEY_PAGE}; it is not shown): ")
    if not key:
        raise ConfigError("no key was typed, nothing was changed", hint="%wiro login")
    secret = _ask("API secret (Enter if the project has none): ")
    place = session.manager(choose=False).login(key, secret or None)
    session.keep_choice()
    where = "system's keyring" if place == "keyring" else "data folder of wiro_nb, readable by you alone"
    return f"the key works and is kept in the {where}, not in the notebook; new runs go to {_service()}"


def forget() -> str:
    """Removes the kept key.

    Returns:
        A sentence about what was found.
    """
    removed = session.manager(choose=False).logout()
    session.keep_choice()
    return f"{'the kept key is removed' if removed else 'no key was kept'}; new runs go to {_service()}"


def _service() -> str:
    choice = session.manager(choose=False).choice
    return "the sandbox (free)" if choice.is_sandbox else choice.name


def _ask(prompt: str) -> str:
    try:
        text = SecretText(getpass.getpass(prompt).strip())
    except KeyboardInterrupt:
        raise ConfigError("stopped: nothing was changed", hint="%wiro login") from None
    except (EOFError, RuntimeError, NotImplementedError):
        raise ConfigError("this front end cannot ask for a key", hint=IN_ENVIRONMENT) from None
    register_secret(text)
    return text
