"""`wiro-nb login`, `logout`."""

from __future__ import annotations

import argparse
import getpass
import sys

from wiro_nb.cli.output import EXIT_DONE, say
from wiro_nb.errors import InputError
from wiro_nb.redaction import SecretText, register_secret


def login(arguments: argparse.Namespace) -> int:
    """Checks a key with its service and stores it; from a pipe the first two lines are key and secret."""
    from wiro_nb.session.current import get_manager

    key = _read_secret("API key (it is not shown): ")
    if not key:
        raise InputError("no key was given, nothing was changed", hint="wiro-nb login")
    secret = _read_secret("API secret (Enter if the project has none): ")
    services = get_manager().services
    place = services.login(key, secret or None, name=arguments.name, base_url=arguments.base_url)
    where = "system's keyring" if place == "keyring" else "data folder of wiro_nb, readable by you alone"
    say(f"The key works and is kept in the {where}. To use it: --service {arguments.name}")
    return EXIT_DONE


def logout(arguments: argparse.Namespace) -> int:
    """Removes a stored key."""
    from wiro_nb.session.current import get_manager

    removed = get_manager().services.logout(arguments.name)
    say(f"The key of {arguments.name} is removed." if removed else f"No key of {arguments.name} was stored.")
    return EXIT_DONE


def _read_secret(prompt: str) -> SecretText:
    text = getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline()
    secret = SecretText(text.strip())
    register_secret(secret)
    return secret
