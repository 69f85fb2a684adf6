"""Signs requests. Pure functions and a generator, without clock or network.

Source: the service's authentication page. A signature is HMAC-SHA256 with the API key as the key
over the API secret followed by the nonce, in lower-case hex.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator

from wiro_nb.api.service import Credentials


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
