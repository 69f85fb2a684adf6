"""The room of the service: everything that knows how Wiro speaks on the wire.

Requests are signed here, answers become typed values here, and nothing below or above has to know
a wire name, an HTTP status or a socket frame. May import: `schema`, `errors`, `redaction`, httpx2
and websockets (both inside functions, so that importing this room costs nothing). Must not import
IPython, widgets or `runs`: the same client serves a notebook, a script and a test. The sandbox and
this room never import each other; they meet on the wire, and `tests/contract` holds both to it.

The room makes no event loop. A `WiroClient` or `TaskStream` belongs to the loop it is first used on.
"""

from __future__ import annotations

from wiro_nb.api.answers import (
    Event,
    Folder,
    ModelDetail,
    Output,
    Progress,
    Submitted,
    Task,
    ToolSummary,
    UploadedFile,
    read_event,
    read_outputs,
    read_task,
    read_tasks,
)
from wiro_nb.api.client import WiroClient
from wiro_nb.api.envelope import read_envelope
from wiro_nb.api.files import FileStream
from wiro_nb.api.pricing.prices import Estimate, Pricing, estimate, read_pricing
from wiro_nb.api.service import CLOUD_BASE_URL, CLOUD_SOCKET_URL, Credentials, Service
from wiro_nb.api.signing import auth_headers, sign
from wiro_nb.api.stream import TaskStream

__all__ = [
    "CLOUD_BASE_URL",
    "CLOUD_SOCKET_URL",
    "Credentials",
    "Estimate",
    "Event",
    "FileStream",
    "Folder",
    "ModelDetail",
    "Output",
    "Pricing",
    "Progress",
    "Service",
    "Submitted",
    "Task",
    "TaskStream",
    "ToolSummary",
    "UploadedFile",
    "WiroClient",
    "auth_headers",
    "estimate",
    "read_envelope",
    "read_event",
    "read_outputs",
    "read_pricing",
    "read_task",
    "read_tasks",
    "sign",
]
