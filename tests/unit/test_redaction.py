"""Secrets are masked wherever they stand in a text, however many are known."""

from __future__ import annotations

import pickle
import random
import string

from hypothesis import given
from hypothesis import strategies as st

from wiro_nb.redaction import MASK, SecretText, redact, register_secret

_LETTERS = string.ascii_letters + string.digits + "_-"
_random = random.Random(8)
TOKENS = ["".join(_random.choices(_LETTERS, k=length)) for length in (12, 40, 64) for _ in range(700)]
ODD = "a secret with blanks/and:signs"


def register_all() -> None:
    for token in TOKENS:
        register_secret(token)
    register_secret(ODD)


def test_a_secret_is_pickled_as_its_mask() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps({"token": SecretText(TOKENS[0])}, protocol)) == {"token": MASK}


def test_two_thousand_tokens_are_masked_alone_within_words_and_side_by_side() -> None:
    register_all()
    for token in TOKENS:
        assert redact(token) == MASK
    first, second = TOKENS[0], TOKENS[-1]
    assert redact(f"see x{first}y, {second}{first}.") == f"see x{MASK}y, {MASK}{MASK}."


def test_a_secret_that_is_no_single_word_is_masked_too() -> None:
    register_all()
    assert redact(f"it was {ODD}!") == f"it was {MASK}!"


def test_short_and_empty_secrets_do_not_mangle_words() -> None:
    for value in (None, "", "cat", "12345"):
        register_secret(value)
    assert redact("a cat and 12345 dogs") == "a cat and 12345 dogs"


def test_the_query_of_a_presigned_address_is_masked_and_others_stay() -> None:
    signed = "https://files.example/a.mp4?X-Amz-Date=2026&X-Amz-Signature=0123456789abcdef&x=1"
    assert redact(f"see {signed}, please") == f"see https://files.example/a.mp4?{MASK} please"
    assert redact("https://cdn.example/b.png?sig=abc") == f"https://cdn.example/b.png?{MASK}"
    for plain in ("https://example.com/a?id=5&design=1", "https://example.com/?q=signature"):
        assert redact(plain) == plain


@given(before=st.text(max_size=40), after=st.text(max_size=40), token=st.sampled_from(TOKENS), odd=st.booleans())
def test_no_surrounding_saves_a_secret(before: str, after: str, token: str, odd: bool) -> None:
    register_all()
    secret = ODD if odd else token
    assert secret not in redact(before + secret + after)


@given(st.text(alphabet=string.ascii_lowercase + " .,\n", max_size=200))
def test_plain_text_comes_through_unchanged(text: str) -> None:
    register_all()
    assert redact(text) == text
