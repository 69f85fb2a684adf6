"""A service that answers with whatever it likes: no answer strands a paid run, and none holds the kernel."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.manager_tools import QUICK, submit
from wiro_nb.api.answers import Output, read_event, read_task
from wiro_nb.api.envelope import read_envelope
from wiro_nb.errors import ApiError, RunFailed
from wiro_nb.execution.download import choose_names
from wiro_nb.execution.tracker import clean_lines
from wiro_nb.json_values import load_json
from wiro_nb.ledger.rows import export_line
from wiro_nb.ledger.state import RunState
from wiro_nb.provenance.record import read_sidecar
from wiro_nb.session.manager import Manager

KEY, SECRET, TOKEN = "hostile-key-0001", "hostile-secret-0001", "hostile-task-token-000000001"
PATIENT = dataclasses.replace(QUICK, unknown_patience_s=0.0, download_patience_s=0.0)


class HostileService:
    """A real HTTP server on loopback with one task, whose Detail is text of the test's own making.

    Attributes:
        detail: Fields of the task as JSON text by name; they replace those of an ordinary finished task.
        file_status, file_headers: Of the answer to every GET. files_read: the paths asked for.
    """

    api_key, api_secret = KEY, SECRET

    def __init__(self) -> None:
        self.detail: dict[str, str] = {}
        self.files_read: list[str] = []
        self.file_status, self.file_headers = 200, {"Content-Type": "text/plain"}
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.reply(200, {}, service.answer(self.path).encode())

            def do_GET(self) -> None:
                if "Upgrade" not in self.headers:
                    service.files_read.append(self.path)
                self.reply(service.file_status, service.file_headers, b"some words\n")

            def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        self.base_url, self.socket_url = f"{self.origin}/v1", f"ws://127.0.0.1:{self._server.server_port}/v1"

    def answer(self, path: str) -> str:
        """Returns the body of the answer to a POST."""
        if "/Run/" in path:
            return f'{{"result": true, "errors": [], "taskid": "7", "socketaccesstoken": "{TOKEN}"}}'
        if path.endswith(("/Task/Detail", "/Task/List")):
            output = f'{{"name": "words.txt", "contenttype": "text/plain", "url": "{self.origin}/words.txt"}}'
            fields = {
                "id": '"7"', "socketaccesstoken": f'"{TOKEN}"', "status": '"task_postprocess_end"', "pexit": '"0"',
                "totalcost": '"0.25"', "outputs": f"[{output}]",
            } | self.detail  # fmt: skip
            task = ", ".join(f'"{name}": {value}' for name, value in fields.items())
            return f'{{"result": true, "errors": [], "total": "1", "tasklist": [{{{task}}}]}}'
        return '{"result": false, "errors": [{"code": 1, "message": "no such thing"}]}'

    def close(self) -> None:
        """Ends the server and its thread."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def hostile() -> Iterator[HostileService]:
    service = HostileService()
    yield service
    service.close()


@pytest.fixture
def manager(hostile: HostileService, point_at: Any, make_manager: Any) -> Manager:
    point_at(hostile)
    made: Manager = make_manager(settings=PATIENT)
    return made


def outputs(url: str = '"{origin}/words.txt"', name: str = '"words.txt"', **fields: str) -> str:
    parts = {"name": name, "contenttype": '"text/plain"', "url": url} | fields
    return "[{" + ", ".join(f'"{key}": {value}' for key, value in parts.items()) + "}]"


def raw(content: str) -> str:
    return f'[{{"contenttype": "raw", "content": {content}}}]'


DEEP = "[" * 900 + "]" * 900
ENDLESS = "[" * 100_000 + "]" * 100_000
FINE, BROKEN = "", "a problem"
DETAILS: dict[str, tuple[dict[str, str], str]] = {
    "surrogates in the name": ({"outputs": outputs(name=r'"a\ud800b.txt"')}, FINE),
    "surrogates in the URL": ({"outputs": outputs(url=r'"{origin}/\udfff.txt"')}, FINE),
    "surrogates in a foreign URL": ({"outputs": outputs(url=r'"http://\ud800/x"')}, BROKEN),
    "surrogates in the type": ({"outputs": outputs(contenttype=r'"\ud800"')}, FINE),
    "surrogates in the content": ({"outputs": raw(r'{"\ud800": ["\udc00"]}')}, FINE),
    "surrogates in the log": ({"debugoutput": r'"\ud800 line\nline \udfff"'}, FINE),
    "surrogates in the parameters": ({"parameters": r'{"\ud800": "\udc00"}'}, FINE),
    "an open bracket as host": ({"outputs": outputs(url='"http://[::1"')}, BROKEN),
    "a NUL in the URL": ({"outputs": outputs(url=r'"{origin}/\u0000"')}, BROKEN),
    "a long name": ({"outputs": outputs(name=f'"{"n" * 100_000}.txt"')}, FINE),
    "a long URL": ({"outputs": outputs(url='"{origin}/' + "u" * 1_000_000 + '"')}, BROKEN),
    "NaN in the content": ({"outputs": raw('{"a": NaN, "b": Infinity, "c": [-Infinity, 1e999]}')}, FINE),
    "900 levels in the content": ({"outputs": raw(DEEP)}, FINE),
    "100,000 levels in the content": ({"outputs": raw(ENDLESS)}, FINE),
    "100,000 levels beside the outputs": ({"more": ENDLESS}, FINE),
    "a number of 5,000 digits": ({"more": "9" * 5000, "elapsedseconds": "9" * 5000}, FINE),
    "5,000 digits in a text": ({"elapsedseconds": '"' + "9" * 5000 + '"'}, FINE),
    "a size below nothing": ({"outputs": outputs(url='"http://elsewhere/x"', size='"-5"')}, BROKEN),
    "a size of 1e30": ({"outputs": outputs(size='"1e30"')}, FINE),
    "a cost of 1e30": ({"totalcost": '"1e30"'}, FINE),
    "a cost of NaN": ({"totalcost": "NaN"}, FINE),
    "a cost below nothing": ({"totalcost": '"-3"'}, FINE),
    "times beyond the calendar": ({"starttime": '"253402300799"', "endtime": "1e30", "createtime": '"-5"'}, FINE),
    "a compute time of 1e38": ({"elapsedseconds": '"1e38"'}, FINE),
}  # fmt: skip


@pytest.mark.parametrize("case", DETAILS)
def test_a_paid_run_ends_with_a_record_whatever_its_detail_holds(
    manager: Manager, hostile: HostileService, case: str
) -> None:
    fields, problem = DETAILS[case]
    hostile.detail = {name: value.replace("{origin}", hostile.origin) for name, value in fields.items()}
    run = submit(manager, case).wait(15)
    assert run.state is RunState.SUCCEEDED
    assert bool(run.outputs[0].problem) is bool(problem), run.outputs[0].problem
    assert run.record is not None
    assert run.record["status"] == "succeeded"
    row = manager.ledger.get(run.id)
    json.loads(export_line(row), parse_constant=pytest.fail).values()
    assert row.folder is not None
    assert read_sidecar(Path(row.folder, "run.json"))["run_id"] == run.id


@pytest.mark.parametrize("pexit", [r'"\ud800"', '"' + "9" * 5000 + '"', "9" * 5000, "[[]]", r'"\u0000\u202e"'])
def test_a_strange_exit_code_ends_the_run_as_failed(manager: Manager, hostile: HostileService, pexit: str) -> None:
    hostile.detail = {"pexit": pexit}
    run = submit(manager, "a strange exit code")
    with pytest.raises(RunFailed) as caught:
        run.wait(15)
    assert len(str(caught.value)) < 1000
    assert run.record is not None
    assert run.record["status"] == "failed"


CANCELLED = {"status": '"task_cancel"', "pexit": "null", "outputs": "[]"}


@pytest.mark.parametrize(
    "detail", [{"pexit": '"1"', "totalcost": '"0"'}, CANCELLED | {"totalcost": '"0"'}], ids=["failed", "cancelled"]
)
def test_a_task_that_succeeds_after_it_had_ended_otherwise_is_attached_as_a_success(
    manager: Manager, hostile: HostileService, detail: dict[str, str]
) -> None:
    manager.settings = dataclasses.replace(PATIENT, late_checks_s=(), late_outputs_s=())
    hostile.detail = detail
    run = submit(manager, "not the end").wait(15, check=False)
    assert run.cost_usd == 0
    hostile.detail = {"totalcost": "null"}
    assert manager.attach("7") is run
    assert run.wait(15).state is RunState.SUCCEEDED
    assert run.path is not None
    row = manager.ledger.get(run.id)
    assert (row.error, row.cost_usd, row.exit_code) == (None, None, "0"), "nothing is left of the other end"


@pytest.mark.parametrize(
    ("times", "cost_usd"),
    [({"assigntime": '"1795710438"'}, None), ({"assigntime": '"0"'}, Decimal(0))],
    ids=["with a worker", "in the queue"],
)
def test_only_a_run_cancelled_in_the_queue_is_free_where_the_service_names_no_cost(
    manager: Manager, hostile: HostileService, times: dict[str, str], cost_usd: Decimal | None
) -> None:
    hostile.detail = CANCELLED | {"totalcost": "null", "starttime": '"0"'} | times
    run = submit(manager, "stopped early").wait(15, check=False)
    assert (run.state, run.cost_usd) == (RunState.CANCELLED, cost_usd)


def test_a_detail_of_another_task_is_not_ours_and_strands_nothing(
    manager: Manager, hostile: HostileService
) -> None:
    hostile.detail = {"id": '"8"'}
    run = submit(manager, "another task")
    with pytest.raises(RunFailed, match="does not know task 7"):
        run.wait(15)
    assert run.outputs == ()
    assert run.record is not None


def test_a_file_that_comes_late_replaces_none_that_is_here(manager: Manager, hostile: HostileService) -> None:
    def two(url: str) -> str:
        return outputs().replace("{origin}", hostile.origin)[:-1] + ", " + outputs(url=url, name='"more.txt"')[1:]

    hostile.detail = {"outputs": two('"http://elsewhere/more.txt"')}
    run = submit(manager, "one of two").wait(15)
    assert [bool(output.problem) for output in run.outputs] == [False, True]
    assert run.path is not None
    run.path.write_text("changed by the user")
    hostile.detail = {"outputs": two(f'"{hostile.origin}/more.txt"')}
    assert [path.name for path in run.wait(15).paths] == ["words.txt", "more.txt"]
    assert run.path.read_text() == "changed by the user"
    assert hostile.files_read == ["/words.txt", "/more.txt"]


def test_the_poster_of_an_output_never_takes_the_place_of_another_output() -> None:
    names = choose_names([Output("a.mp4", "video/mp4"), Output("a.Poster.JPG", "image/jpeg")])
    assert not any(name.lower().endswith(".poster.jpg") for name in names)


FILES: dict[str, tuple[int, dict[str, str]]] = {
    "Content-Range of 4,300 digits": (206, {"Content-Range": f"bytes {'9' * 4301}-{'9' * 4302}/{'9' * 4303}"}),
    "a total of 4,300 digits": (416, {"Content-Range": f"bytes */{'9' * 4301}"}),
    "a redirect to an open bracket": (302, {"Location": "http://[::1"}),
    "a redirect to nowhere": (302, {"Location": "http://:x/"}),
}


@pytest.mark.parametrize("case", FILES)
def test_headers_of_a_file_that_cannot_be_read_become_its_problem(
    manager: Manager, hostile: HostileService, case: str
) -> None:
    hostile.file_status, hostile.file_headers = FILES[case]
    run = submit(manager, case).wait(15)
    assert run.state is RunState.SUCCEEDED
    assert run.outputs[0].problem
    assert run.record is not None


def test_the_query_of_an_address_is_used_and_never_stored(manager: Manager, hostile: HostileService) -> None:
    signed = f"{hostile.origin}/words.txt?Expires=1&Signature=let-me-in"
    hostile.detail = {"outputs": outputs(url=f'"{signed}"')}
    run = submit(manager, "a presigned address").wait(15)
    assert hostile.files_read == ["/words.txt?Expires=1&Signature=let-me-in"]
    assert run.outputs[0].url == f"{hostile.origin}/words.txt"
    row = manager.ledger.get(run.id)
    assert row.folder is not None
    for text in (repr(row), export_line(row), (Path(row.folder) / "run.json").read_text("utf-8")):
        assert "let-me-in" not in text
    run.download()
    assert len(hostile.files_read) == 2


@pytest.mark.parametrize("cost", ["1e30", "NaN", "Infinity", "-1", "-0.000001", "1000001", 1e30, -5])
def test_a_cost_that_cannot_be_is_unknown(cost: Any) -> None:
    assert read_task({"id": "1", "totalcost": cost}).total_cost_usd is None


def test_an_ordinary_cost_is_exact() -> None:
    assert read_task({"id": "1", "totalcost": "999.123456"}).total_cost_usd == Decimal("999.123456")


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": 1e999}', '{"a": ' + "9" * 5000 + "}"])
def test_numbers_that_no_record_can_hold_are_unknown(text: str) -> None:
    assert load_json(text) == {"a": None}


def test_json_is_cut_at_64_levels_and_texts_with_brackets_are_not_levels() -> None:
    value = load_json(f'{{"text": "{"[" * 500}\\"{"{" * 500}", "deep": {ENDLESS}, "after": 1}}')
    assert value["text"] == "[" * 500 + '"' + "{" * 500
    assert value["after"] == 1
    levels, deep = 1, value["deep"]
    while deep:
        levels, deep = levels + 1, deep[0]
    assert levels <= 64


def cpu_seconds_of(call: Callable[[], object]) -> float:
    """Measures this thread alone: what else the machine does makes no difference."""
    started = time.thread_time()
    call()
    return time.thread_time() - started


LARGE = 5_000_000
TEXTS = {
    "one word": "a" * LARGE,
    "dots": "a." * (LARGE // 2),
    "addresses": "://a:b" * (LARGE // 6),
    "lines": "x\n" * (LARGE // 2),
    "carriage returns": "x\r" * (LARGE // 2),
    "tags": "<" * LARGE,
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_message_of_5_mb_is_cut_where_it_enters(name: str) -> None:
    body = json.dumps({"result": False, "errors": [{"code": 1, "message": TEXTS[name]}]}).encode()

    def refused() -> None:
        with pytest.raises(ApiError) as caught:
            read_envelope(200, {}, body)
        assert len(str(caught.value)) < 2000

    assert cpu_seconds_of(refused) < 2.0


@pytest.mark.parametrize("name", TEXTS)
def test_logs_of_5_mb_are_cut_where_they_enter(name: str) -> None:
    def read() -> None:
        task = read_task({"id": "1", "debugoutput": TEXTS[name], "debugerror": TEXTS[name]})
        event = read_event(json.dumps({"type": "task_output_full", "id": "1", "message": TEXTS[name]}))
        assert event is not None
        for text in (task.log, task.error_log, event.text or ""):
            clean_lines(text)

    assert cpu_seconds_of(read) < 2.0


def test_many_errors_of_one_answer_are_few() -> None:
    body = json.dumps({"result": False, "errors": [{"code": 1, "message": "no"}] * 100_000}).encode()
    with pytest.raises(ApiError) as caught:
        read_envelope(200, {}, body)
    assert len(caught.value.details) < 20


def test_5000_outputs_of_one_name_get_names_in_linear_time() -> None:
    same = [Output("clip.mp4", "video/mp4")] * 5000
    names: list[str] = []
    assert cpu_seconds_of(lambda: names.extend(choose_names(same))) < 1.0
    assert len({name.casefold() for name in names}) == 5000
    assert names[:3] == ["clip.mp4", "clip-2.mp4", "clip-3.mp4"]
