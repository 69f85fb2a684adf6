"""The contract against a scripted service: the client meets every documented habit of the real one."""

from __future__ import annotations

import httpx2
import pytest

from tests.contract.scripted import ScriptedService, write_answer
from tests.contract.suite import ServiceContract, Subject
from wiro_nb.api import CLOUD_BASE_URL, CLOUD_SOCKET_URL, Credentials, Service


class TestScripted(ServiceContract):
    @pytest.fixture
    def subject(self) -> Subject:
        credentials = Credentials("scripted-key-0001", "scripted-secret-0001")
        return Subject(
            service=Service("scripted", CLOUD_BASE_URL, CLOUD_SOCKET_URL, credentials),
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
            transport=httpx2.MockTransport(ScriptedService()),
        )

    def test_the_script_has_the_unescaped_list(self) -> None:
        assert '"categories": "["tool"]"' in write_answer({"categories": '["tool"]'})
