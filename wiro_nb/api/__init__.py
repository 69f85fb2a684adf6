"""HTTP and WebSocket client of the service, with typed answers; here its address, credentials and signature.

`client.WiroClient` has one method per endpoint, `events.EventClient` streams a task's events over WebSocket,
`answers` holds the types that both return, `pricing` reads price tables and estimates costs. Wire names, HTTP
statuses and socket frames are known only here. The package creates no event loop: a client belongs to the loop on
which it is created. httpx2 and websockets are imported on first use.

A signature is HMAC-SHA256 with the API key as the key over the API secret followed by the nonce, in lower-case
hex. Signing is pure: it knows neither clock nor network.

Source: the service's authentication page.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import SplitResult, urlsplit

from wiro_nb.errors import ConfigError
from wiro_nb.redaction import MASK, SecretText, register_secret

CLOUD_BASE_URL = "https://api.wiro.ai/v1"
CLOUD_SOCKET_URL = "wss://socket.wiro.ai/v1"

_CLOUD_DOMAIN = "wiro.ai"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNSAFE_IN_URL = re.compile(r"^\s|[\x00-\x1f\x7f\\]")
_PLAIN_NETLOC = re.compile(r"(?:[A-Za-z0-9.\-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_HEADER_TEXT = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """A project's key, and its secret when the project signs its requests.

    White space around pasted values is dropped. Both are registered with the redaction as soon as
    they are made, are masked in the representation, and are not pickled.

    Attributes:
        key: The API key, sent as `x-api-key`.
        secret: The API secret; never leaves this machine. None: the project takes the key alone.

    Raises:
        ConfigError: The key is empty or not valid in a header.
    """

    key: str
    secret: str | None = None

    def __post_init__(self) -> None:
        key = SecretText(self.key.strip())
        secret = SecretText(self.secret.strip()) if self.secret and self.secret.strip() else None
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "secret", secret)
        register_secret(key)
        register_secret(secret)
        if not _HEADER_TEXT.fullmatch(key):
            raise ConfigError(
                "The API key is empty or has characters that a key never has (spaces, line breaks, letters "
                "beyond ASCII).",
                hint="copy the key again, then %wiro login",
            )

    def __repr__(self) -> str:
        return f"Credentials(key={MASK!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials are not pickled: they would leave the process in the clear")


@dataclass(frozen=True, slots=True)
class Service:
    """One service with the API.

    Attributes:
        name: "cloud", "sandbox", "local" or a user-defined name.
        base_url: Root of the REST endpoints, without a slash at the end.
        socket_url: WebSocket address; "" takes the one of the same host and path.
        credentials: None when the service needs none.
    """

    name: str
    base_url: str
    socket_url: str = ""
    credentials: Credentials | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", self.base_url.rstrip("/"))
        if not self.socket_url:
            object.__setattr__(self, "socket_url", re.sub("^http", "ws", self.base_url, flags=re.I))
        for name, schemes in (("base_url", ("http", "https")), ("socket_url", ("ws", "wss"))):
            url = getattr(self, name)
            parts = _split(url)
            if parts is None or parts.scheme not in schemes:
                raise ConfigError(
                    f"{url!r} is not an address of a service: it has to begin with {schemes[1]}:// or {schemes[0]}://.",
                    hint="set WIRO_BASE_URL and WIRO_SOCKET_URL, or %wiro use cloud",
                )
            # A scheme or host in capitals is the same service, and would fit no record.
            object.__setattr__(self, name, parts._replace(netloc=parts.netloc.lower()).geturl())

    @property
    def host(self) -> str:
        """Host name of the REST endpoints, for messages."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_local(self) -> bool:
        """True when the service runs on this machine; proxies are then not used."""
        return self.host in LOOPBACK

    def allows_file_url(self, url: str) -> bool:
        """Tells whether output files may be fetched from this address.

        The cloud's files come by https from wiro.ai and its subdomains; any other service serves
        files from its own origin. Everything else is refused, so that a forged answer cannot make
        this machine fetch from places only it can reach.
        """
        parts = _split(url)
        if parts is None:
            return False
        base = urlsplit(self.base_url)
        if base.scheme == "https" and _is_cloud_host(self.host):
            return parts.scheme == "https" and _is_cloud_host(parts.hostname or "") and parts.port in (None, 443)
        return _origin(parts) == _origin(base)


def _is_cloud_host(host: str) -> bool:
    return host == _CLOUD_DOMAIN or host.endswith("." + _CLOUD_DOMAIN)


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _split(url: str) -> SplitResult | None:
    """Splits an absolute URL; None for anything two parsers could read in two ways."""
    if not isinstance(url, str) or _UNSAFE_IN_URL.search(url):
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises when it is out of range
    except ValueError:
        return None
    return parts if _PLAIN_NETLOC.fullmatch(parts.netloc) else None


def sign(key: str, secret: str, nonce: str) -> str:
    """Returns the signature of one request: 64 lower-case hex digits."""
    return hmac.new(key.encode(), (secret + nonce).encode(), hashlib.sha256).hexdigest()


def auth_headers(credentials: Credentials | None, nonce: str) -> dict[str, str]:
    """Returns the headers that authorise one request.

    Args:
        credentials: None gives no headers; without a secret the key goes alone.
        nonce: Digits, new for each request.
    """
    if credentials is None:
        return {}
    headers = {"x-api-key": credentials.key}
    if credentials.secret is not None:
        headers["x-nonce"] = nonce
        headers["x-signature"] = sign(credentials.key, credentials.secret, nonce)
    return headers


def nonces(clock: Callable[[], float]) -> Iterator[str]:
    """Yields nonces without end: the Unix time in whole seconds, raised where two would be alike.

    Args:
        clock: Seconds since the epoch, such as `time.time`.
    """
    last = 0
    while True:
        last = max(int(clock()), last + 1)
        yield str(last)
