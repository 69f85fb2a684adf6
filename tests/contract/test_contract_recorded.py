"""The contract, kept by exchanges in a file: the client against the service's documented habits."""

from __future__ import annotations

import httpx2
import pytest

from tests.contract.recorded import RecordedService
from tests.contract.suite import ServiceContract, Subject
from wiro_nb.api.service import CLOUD_BASE_URL, CLOUD_SOCKET_URL, Credentials, Service


class TestRecorded(ServiceContract):
    @pytest.fixture
    def subject(self) -> Subject:
        credentials = Credentials("recorded-key-0001", "recorded-secret-0001")
        return Subject(
            service=Service("recorded", CLOUD_BASE_URL, CLOUD_SOCKET_URL, credentials),
            model="wiro/animate-diff",
            run_path="wiro/animate-diff",
            body={
                "prompt": "a lighthouse",
                "frameNumber": 18,
                "steps": 16,
                "width": 512,
                "height": 512,
                "seed": "123456",
            },
            file_run_path="wiro/wan2-2-effects-extra",
            file_parameter="inputImage",
            file_fields=(("effectType", "fluffy-hair"), ("seed", "42")),
            transport=httpx2.MockTransport(RecordedService()),
        )

    def test_the_recording_has_the_broken_list(self) -> None:
        from tests.contract.recorded import _write

        assert '"categories": "["tool"]"' in _write({"categories": '["tool"]'})
