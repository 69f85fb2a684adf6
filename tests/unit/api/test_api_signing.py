"""Signing and whom to trust."""

from __future__ import annotations

import itertools
import pickle
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiro_nb.api import CLOUD_BASE_URL, CLOUD_SOCKET_URL, Credentials, Service, auth_headers, nonces, sign
from wiro_nb.errors import ConfigError

KEY, SECRET = "a-key-of-a-project-1", "a-secret-of-a-project-1"
CLOUD = Service("cloud", CLOUD_BASE_URL, CLOUD_SOCKET_URL)
LOCAL = Service("sandbox", "http://127.0.0.1:8123/v1", "ws://127.0.0.1:8123/v1")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize(("key", "secret", "nonce"), [(KEY, SECRET, "1734513807"), ("k" * 80, "s$'\"é", "7")])
def test_the_signature_is_the_one_openssl_makes(key: str, secret: str, nonce: str) -> None:
    command = ["openssl", "dgst", "-sha256", "-hmac", key]
    output = subprocess.run(command, input=(secret + nonce).encode(), capture_output=True, check=True).stdout
    # Some versions print "(stdin)= " or "SHA2-256(stdin)= " before the digits.
    assert sign(key, secret, nonce) == output.decode().strip().rpartition(" ")[2]


def test_a_signed_request_has_key_nonce_and_signature_and_never_the_secret() -> None:
    headers = auth_headers(Credentials(KEY, SECRET), "17")
    assert headers == {"x-api-key": KEY, "x-nonce": "17", "x-signature": sign(KEY, SECRET, "17")}
    assert SECRET not in repr(headers)


def test_without_a_secret_the_key_goes_alone_and_without_credentials_nothing() -> None:
    assert auth_headers(Credentials(KEY, "  "), "17") == {"x-api-key": KEY}
    assert auth_headers(None, "17") == {}


def test_nonces_follow_the_clock_and_never_repeat() -> None:
    times = iter([100.0, 100.2, 100.9, 50.0, 200.0])
    assert list(itertools.islice(nonces(lambda: next(times)), 5)) == ["100", "101", "102", "103", "200"]


def test_no_representation_shows_a_credential() -> None:
    credentials = Credentials(f" {KEY}\n", f"{SECRET}\r\n")
    assert (credentials.key, credentials.secret) == (KEY, SECRET)
    service = Service("cloud", CLOUD_BASE_URL, CLOUD_SOCKET_URL, credentials)
    for text in (repr(credentials), str(credentials), repr(service), f"{service}"):
        assert KEY not in text
        assert SECRET not in text
    with pytest.raises(TypeError):
        pickle.dumps(service)


@pytest.mark.parametrize("key", ["", "   ", "two words-123456", "line\nbreak-123456", "schlüssel-123456"])
def test_a_key_that_cannot_stand_in_a_header_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Credentials(key)
    assert not key.strip() or key.strip() not in "\n".join(caught.value.lines())


@pytest.mark.parametrize(
    "url", ["", "api.wiro.ai/v1", "ftp://api.wiro.ai", "https://", "http://[::1", "https://a@b.example/v1"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        Service("mine", url, CLOUD_SOCKET_URL)


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn1.wiro.ai/a/0.mp4",
        "https://wiro.ai/a",
        "https://api.wiro.ai:443/x",
        "https://cdn1.wiro.ai/ü b.mp4",
    ],
)
def test_files_of_the_cloud_come_from_its_own_hosts(url: str) -> None:
    assert CLOUD.allows_file_url(url)
    assert not LOCAL.allows_file_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://cdn1.wiro.ai/a",
        "https://wiro.ai.evil.example/a",
        "https://evilwiro.ai/a",
        "https://wiro.ai@evil.example/a",
        "https://evil.example\\@cdn1.wiro.ai/a",
        "https://evil.example%2f.wiro.ai/a",
        "https://evil.example;.wiro.ai/a",
        "https://cdn1.wiro.ai:8443/a",
        "https://cdn1.wiro.ai:99999/a",
        "https://169.254.169.254/latest",
        "https://cdn1.wiro.ai\t.evil.example/a",
        " https://cdn1.wiro.ai/a",
        "//cdn1.wiro.ai/a",
        "file:///etc/passwd",
        "",
    ],
)
def test_every_other_address_is_refused(url: str) -> None:
    assert not CLOUD.allows_file_url(url)


def test_any_other_service_serves_files_from_its_own_origin_only() -> None:
    assert LOCAL.allows_file_url("http://127.0.0.1:8123/files/0.mp4")
    for url in ("http://127.0.0.1:8124/0.mp4", "https://127.0.0.1:8123/0.mp4", "http://localhost:8123/0.mp4"):
        assert not LOCAL.allows_file_url(url)
    own = Service("mine", "https://video.example/v1", "wss://video.example/v1")
    assert own.allows_file_url("https://video.example:443/0.mp4")


@given(st.text())
def test_no_text_makes_the_host_check_raise(url: str) -> None:
    assert CLOUD.allows_file_url(url) in (True, False)
    assert CLOUD.allows_file_url("https://" + url) in (True, False)
