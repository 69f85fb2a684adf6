"""Services: which one is used, and the connections, catalogues and service processes of this process.

`selection` chooses a service, `credentials` finds its key, `connection` reaches it, `catalogue` knows its models.
"""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import threading
from collections.abc import Callable
from dataclasses import replace

from wiro_nb.api import Credentials, Service
from wiro_nb.config import LOCAL, SANDBOX, cache_dir, local_dir, sandbox_dir
from wiro_nb.errors import ConfigError
from wiro_nb.io_thread import IoThread
from wiro_nb.local_models.doctor import PYTHON_VARIABLE
from wiro_nb.services.catalogue import Catalogue
from wiro_nb.services.connection import Connection, SandboxProcess
from wiro_nb.services.credentials import CLOUD, forget_credentials, read_variable, save_credentials
from wiro_nb.services.selection import ServiceChoice, find_service, resolve_service

LOCAL_ARGUMENTS = ("--engine", "diffusers")
OPTIONS_VARIABLE = "WIRO_LOCAL_OPTIONS"
_LOGIN_TIMEOUT_S = 45.0


class Services:
    """The services of one process. Safe to use from any thread; makes no connection by itself.

    Args:
        io: The thread on which connections live.
        service: Name of the service to begin with, or None.
        sandbox_arguments: Further arguments of the sandbox's command line.
        local_python: Returns the interpreter in which the service `local` runs its models, or "".
    """

    def __init__(
        self,
        io: IoThread,
        service: str | None,
        sandbox_arguments: tuple[str, ...],
        local_python: Callable[[], str] = lambda: "",
    ) -> None:
        self._io = io
        self._wanted = service
        self._sandbox_arguments = sandbox_arguments
        self._local_python = local_python
        self._lock = threading.RLock()
        self._choice: ServiceChoice | None = None
        self._connections: dict[str, Connection] = {}
        self._catalogues: dict[str, Catalogue] = {}

    def use(self, name: str) -> ServiceChoice:
        """Selects the service of future runs; runs in flight stay on theirs.

        Raises:
            MissingCredentials: It needs a key and none was found.
            ConfigError: There is no such service.
        """
        return self._choose(resolve_service(name))

    def _choose(self, choice: ServiceChoice) -> ServiceChoice:
        """Uses a service; a connection to it reconnects at its next call, for its key or address may be new."""
        with self._lock:
            self._choice = choice
            if choice.name in self._connections:
                self._connections[choice.name].choice = choice
                self._catalogues.pop(choice.name, None)
        return choice

    @property
    def choice(self) -> ServiceChoice:
        """The current service; chosen at first use.

        Raises:
            MissingCredentials, ConfigError: As `use`.
        """
        with self._lock:
            if self._choice is None:
                self._choice = resolve_service(self._wanted)
            return self._choice

    def login(
        self,
        key: str,
        secret: str | None = None,
        *,
        name: str = CLOUD,
        base_url: str | None = None,
        socket_url: str | None = None,
    ) -> str:
        """Checks a key with the service, stores it for later sessions and uses it from now on.

        Returns:
            Where it is stored, as text for "kept in the ...".

        Raises:
            AuthRejected: The service does not take it; nothing is stored.
            TransportError: The service cannot be reached; nothing is stored.
        """
        credentials = Credentials(key, secret)
        service = replace(find_service(name, base_url, socket_url), credentials=credentials)
        # Before anything is stored: a mistyped key must not take the place of one that works.
        self._io.run(_check_key(service), timeout_s=_LOGIN_TIMEOUT_S)
        own_url = None if name == CLOUD else service.base_url
        place = save_credentials(name, credentials, base_url=own_url, socket_url=service.socket_url)
        self._choose(ServiceChoice(name, "login", service, place))
        return "system's keyring" if place == "keyring" else "data folder of wiro_nb, readable by you alone"

    def logout(self, name: str = CLOUD) -> bool:
        """Removes the stored key of a service; the sandbox is used from now on. True when there was one."""
        removed = forget_credentials(name)
        if self._choice is not None and self._choice.name == name:
            self.use(SANDBOX)
        return removed

    def connection(self, name: str) -> Connection:
        """Returns the connection to a service by name, made at first use.

        Raises:
            MissingCredentials, ConfigError: As `use`.
        """
        with self._lock:
            if name not in self._connections:
                choice = self._choice
                if choice is None or choice.name != name:
                    choice = resolve_service(name)
                process = self._new_process(name) if choice.is_free else None
                self._connections[name] = Connection(choice, process)
            return self._connections[name]

    def _new_process(self, name: str) -> SandboxProcess:
        """Returns the process of a free service; the first request starts it."""
        if name == LOCAL:
            python = self._local_python() or read_variable(PYTHON_VARIABLE)
            arguments = (*LOCAL_ARGUMENTS, *(("--python", python) if python else ()), *_local_options())
            return SandboxProcess(local_dir(), name=LOCAL, arguments=arguments)
        return SandboxProcess(sandbox_dir(), arguments=(*_sandbox_speed(), *self._sandbox_arguments))

    def catalogue(self) -> Catalogue:
        """Returns the models of the present service."""
        name = self.choice.name
        with self._lock:
            if name not in self._catalogues:
                service = self.choice.service
                folder = name if service is None else hashlib.sha256(service.base_url.encode()).hexdigest()[:12]
                self._catalogues[name] = Catalogue(self.connection(name), cache_dir() / "models" / folder)
            return self._catalogues[name]

    async def close_connections(self) -> None:
        """Closes all connections; on the I/O thread."""
        for connection in list(self._connections.values()):
            await connection.close()

    def close_processes(self) -> None:
        """Ends the services that this process started."""
        for connection in self._connections.values():
            if connection.process is not None:
                connection.process.close()


def _sandbox_speed() -> tuple[str, ...]:
    """Returns `WIRO_SANDBOX_SPEED` as an option, or nothing where it is not set.

    Raises:
        ConfigError: It is no speed; the sandbox would not start.
    """
    text = read_variable("WIRO_SANDBOX_SPEED")
    with contextlib.suppress(ValueError):
        if not text or text == "instant" or float(text) >= 0:
            return ("--speed", text) if text else ()
    raise ConfigError(
        f"WIRO_SANDBOX_SPEED is a number of 0 or more, or 'instant', not {text[:40]!r}",
        hint="WIRO_SANDBOX_SPEED=10",
    )


def _local_options() -> list[str]:
    """Returns `WIRO_LOCAL_OPTIONS`: further options of `wiro-nb sandbox` for the service `local`.

    Raises:
        ConfigError: A quotation mark is not closed.
    """
    try:
        return shlex.split(read_variable(OPTIONS_VARIABLE))
    except ValueError as error:
        raise ConfigError(f"{OPTIONS_VARIABLE}: {error}", hint=f'{OPTIONS_VARIABLE}="--workers 2"') from None


async def _check_key(service: Service) -> None:
    from wiro_nb.api.client import WiroClient

    async with WiroClient(service) as client:
        await client.task_list(limit=1)
