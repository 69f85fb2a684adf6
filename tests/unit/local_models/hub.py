"""A small Hugging Face Hub on 127.0.0.1: the endpoints that huggingface_hub uses for a download."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" + "0" * 34


@dataclass
class Hub:
    """What the hub has, and how it misbehaves.

    Attributes:
        files: Contents by repository and path.
        commits: Commit by repository; `COMMIT` where none is given.
        gated: Repositories that ask for an agreement first.
        status: An HTTP status that every answer has, or 0.
        interrupts: A path; who asks for this file is interrupted, as by Ctrl-C, before it comes. Or "".
        asker: The thread that is interrupted: the one that made the hub.
        holds: A path; this file comes once `may_go_on` is set. Or "".
        sent: Bytes of each file sent so far, by path.
        endpoint: Its address.
    """

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    status: int = 0
    interrupts: str = ""
    holds: str = ""
    asker: int = field(default_factory=threading.get_ident)
    may_go_on: threading.Event = field(default_factory=threading.Event)
    sent: dict[str, int] = field(default_factory=dict)
    endpoint: str = ""

    def commit_of(self, repository: str) -> str:
        return self.commits.get(repository, COMMIT)


def serve_hub(hub: Hub) -> ThreadingHTTPServer:
    """Serves a hub until `shutdown`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._serve(with_body=False)

        def do_GET(self) -> None:
            self._serve(with_body=True)

        def _serve(self, *, with_body: bool) -> None:
            path = self.path.partition("?")[0].strip("/")
            is_api = path.startswith("api/models/")
            owner, name, *rest = path.removeprefix("api/models/").split("/")
            repository = f"{owner}/{name}"
            files = hub.files.get(repository)
            if hub.status:
                self._answer(hub.status, b"", with_body)
            elif files is None:
                self._answer(404, b"", with_body, {"X-Error-Code": "RepoNotFound"})
            elif repository in hub.gated:
                self._answer(403, b"", with_body, {"X-Error-Code": "GatedRepo"})
            elif is_api and rest[0] == "revision" and rest[1] not in ("main", hub.commit_of(repository)):
                self._answer(404, b"", with_body, {"X-Error-Code": "RevisionNotFound"})
            elif is_api:
                self._answer(200, json.dumps(self._info(repository, files)).encode(), with_body)
            else:
                self._send_file(files, repository, "/".join(rest[2:]), with_body)

        def _info(self, repository: str, files: dict[str, bytes]) -> dict[str, object]:
            siblings = [{"rfilename": path, "size": len(content)} for path, content in files.items()]
            card = {"license": "mit"}
            return {"id": repository, "sha": hub.commit_of(repository), "siblings": siblings, "cardData": card}

        def _send_file(self, files: dict[str, bytes], repository: str, path: str, with_body: bool) -> None:
            content = files.get(path)
            if content is None:
                self._answer(404, b"", with_body, {"X-Error-Code": "EntryNotFound"})
                return
            etag = hashlib.sha256(content).hexdigest()
            if with_body and path == hub.interrupts:
                signal.pthread_kill(hub.asker, signal.SIGINT)
                return
            if with_body and path == hub.holds:
                hub.may_go_on.wait(60)
            if with_body:
                hub.sent[path] = hub.sent.get(path, 0) + len(content)
            self._answer(
                200, content, with_body, {"ETag": f'"{etag}"', "X-Repo-Commit": hub.commit_of(repository)}
            )

        def _answer(
            self, status: int, content: bytes, with_body: bool, headers: dict[str, str] | None = None
        ) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_body:
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
