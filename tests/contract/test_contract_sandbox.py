"""The contract, kept by the sandbox as a real process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.contract.suite import ServiceContract, SocketContract, Subject
from wiro_nb.api import Credentials, Service


@pytest.fixture
def subject(sandbox: Any) -> Subject:
    credentials = Credentials(sandbox.api_key, sandbox.api_secret)
    body = {
        "prompt": "a lighthouse",
        "size": "832*480",
        "numFrames": 17,
        "steps": 4,
        "seed": "42",
        "scale": "5.0",
    }
    return Subject(
        service=Service("sandbox", sandbox.base_url, sandbox.socket_url, credentials),
        model="Wan-AI/Wan2.2-TI2V-5B-text-to-video",
        run_path="Wan-AI/Wan2.2-TI2V-5B-text-to-video",
        body=body,
        held_body={**body, "prompt": "[hold] a lighthouse"},
        release=sandbox.release,
        file_run_path="wiro/wan2-2-effects-extra",
        file_parameter="inputImage",
        file_fields=(("effectType", "fluffy-hair"), ("seed", "42")),
    )


class TestSandbox(ServiceContract, SocketContract):
    pass


class TestSandboxWithKeyOnly(ServiceContract):
    @pytest.fixture
    def subject(self, subject: Subject, sandbox: Any) -> Subject:
        credentials = Credentials(sandbox.key_only_api_key)
        return replace(subject, service=replace(subject.service, credentials=credentials))
