"""The contract against the real service; opt-in, because each of its tasks is billed.

`WIRO_TEST_LIVE=1 WIRO_API_KEY=... python -m pytest -m live tests/contract`

`WIRO_TEST_MODEL`, `WIRO_TEST_RUN_PATH` and `WIRO_TEST_BODY` (JSON) choose another model and request.
"""

from __future__ import annotations

import json
import os

import pytest

from tests.contract.suite import ServiceContract, Subject
from wiro_nb.api import CLOUD_BASE_URL, CLOUD_SOCKET_URL, Credentials, Service

MODEL = os.environ.get("WIRO_TEST_MODEL", "wiro/animate-diff")
BODY = '{"prompt": "a lighthouse", "frameNumber": 8, "steps": 4, "width": 256, "height": 256, "seed": "42"}'
KEY = os.environ.get("WIRO_API_KEY", "")  # read before the fixtures that hide an account from the other tests

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        not KEY or os.environ.get("WIRO_TEST_LIVE") != "1", reason="needs WIRO_API_KEY and WIRO_TEST_LIVE=1"
    ),
]


class TestLive(ServiceContract):
    @pytest.fixture
    def subject(self) -> Subject:
        credentials = Credentials(KEY, os.environ.get("WIRO_API_SECRET") or None)
        return Subject(
            service=Service("cloud", CLOUD_BASE_URL, CLOUD_SOCKET_URL, credentials),
            model=MODEL,
            run_path=os.environ.get("WIRO_TEST_RUN_PATH", MODEL),
            body=json.loads(os.environ.get("WIRO_TEST_BODY", BODY)),
            file_run_path="wiro/wan2-2-effects-extra",
            file_parameter="inputImage",
            file_fields=(("effectType", "fluffy-hair"), ("seed", "42")),
        )
