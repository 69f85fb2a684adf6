"""The REST side: auth, envelope, validation, catalogue, files."""

from __future__ import annotations

import hashlib
import hmac
import json
from decimal import Decimal
from typing import Any

import httpx2
import pytest

URL = "https://example.org/cat.png"
PICTURE = ("cat.png", b"meow", "image/png")
NO_AUTH = "Project authorization is not founded."
UNSIGNED = "Project requires signature authentication. x-signature and x-nonce headers are required."


def bare(caller: Any, headers: dict[str, str]) -> tuple[int, int, str]:
    response = caller.http.post(caller.sandbox.base_url + "/Task/List", json={}, headers=headers)
    (error,) = response.json()["errors"]
    return response.status_code, error["code"], error["message"]


def test_a_signature_made_by_the_documented_rule_is_accepted(caller: Any) -> None:
    box = caller.sandbox
    signature = hmac.new(box.api_key.encode(), f"{box.api_secret}17".encode(), hashlib.sha256).hexdigest()
    headers = {"x-api-key": box.api_key, "x-nonce": "17", "x-signature": signature}
    assert caller.http.post(box.base_url + "/Task/List", json={}, headers=headers).json()["result"] is True


def test_wrong_keys_and_signatures_are_refused_with_the_documented_words(caller: Any) -> None:
    box = caller.sandbox
    key = {"x-api-key": box.api_key}
    assert bare(caller, {}) == (401, 0, NO_AUTH)
    assert bare(caller, {"x-api-key": "unheard-of"}) == (401, 0, NO_AUTH)
    assert bare(caller, key) == (401, 0, UNSIGNED)
    wrong = {**key, "x-nonce": "1", "x-signature": "0" * 64}
    assert bare(caller, wrong) == (401, 0, "Project authorization is not valid.")


def test_a_key_only_project_needs_its_key_alone(caller: Any) -> None:
    headers = {"x-api-key": caller.sandbox.key_only_api_key}
    made = caller.http.post(caller.sandbox.base_url + "/Run/sandbox/image", json={"prompt": "x"}, headers=headers)
    assert caller.done(made.json())["projectid"] == "702"


def test_unknown_paths_and_methods_are_404(caller: Any) -> None:
    assert caller.error("/Nothing/Here", {}) == (404, 0, "Error parsing url.")
    response = caller.http.get(caller.sandbox.base_url + "/Task/List", headers=caller.sandbox.headers())
    assert (response.status_code, response.json()["errors"][0]["message"]) == (404, "Error parsing url.")


@pytest.mark.parametrize("host", ["wiro.example", "127.0.0.1.example", "localhost.example:1", ""])
def test_a_request_that_names_another_host_is_refused(caller: Any, host: str) -> None:
    headers = {**caller.sandbox.headers(), "Host": host}
    assert caller.http.post(caller.sandbox.base_url + "/Task/List", json={}, headers=headers).status_code >= 400


def test_run_is_found_at_the_run_path_and_not_at_the_name(caller: Any) -> None:
    assert caller.error("/Run/wiro/wan2.2-effects-extra", {}) == (200, 1, "slug-owner-project-not-exist")
    files = {"inputImage": PICTURE}
    made = caller.ok("/Run/wiro/wan2-2-effects-extra", files=files, data={"effectType": "hulk-transformation"})
    assert made["taskid"].isdecimal()
    assert caller.done(made)["modelslugproject"] == "wan2.2-effects-extra"


def test_models_can_be_closed(caller: Any) -> None:
    assert caller.error("/Run/sandbox/closed", {}) == (200, 1, "tool-not-accessible")
    assert caller.error("/Run/sandbox/members-only", {})[:2] == (200, 98)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompt": ""}, "Request parameter [prompt] required"),
        ({"fps": "fast"}, "Request parameter [fps] must be integer or float"),
        ({"fps": [8]}, "Request parameter [fps] must be integer or float"),
        ({"fps": 61}, "Request parameter [fps] must be between 1 and 60"),
        ({"scale": "-0.5"}, "Request parameter [scale] must be between 0 and 20"),
        ({"style": "neon"}, "Request parameters are invalid."),
        ({"title": {"deep": 1}}, "Request parameters are invalid."),
        ({"extra": json.loads("[" * 500 + "]" * 500)}, "Request parameters are invalid."),
    ],
)
def test_wrong_values_are_refused_with_the_documented_words(caller: Any, values: Any, message: str) -> None:
    assert caller.error("/Run/sandbox/plain-clip", {"prompt": "x", **values}) == (200, 0, message)


def test_a_body_that_is_not_what_its_header_says_is_refused(caller: Any) -> None:
    for kind in ("application/json", "multipart/form-data"):
        headers = {"Content-Type": kind}
        answer = caller.error("/Run/sandbox/no-schema", headers=headers, content=b"{half")
        assert answer == (200, 0, "Request parameters are invalid.")


def test_multipart_carries_files_fields_and_urls_together(caller: Any) -> None:
    files = [
        ("inputImage", ("a b.png", b"first", "image/png")),
        ("inputImage", ("../c.jpg", b"second", "image/jpeg")),
    ]
    kept = caller.done(caller.run())["outputs"][0]["url"]
    made = caller.ok("/Run/sandbox/plain-clip", files=files, data={"prompt": "x", "fps": "8", "inputImage": kept})
    parameters = caller.done(made)["parameters"]
    first, second, url = parameters["inputImage"]
    assert (first.rpartition("/")[2], second.rpartition("/")[2]) == ("a_b.png", "c.jpg")
    assert (caller.http.get(first).content, caller.http.get(second).content) == (b"first", b"second")
    assert url == kept


@pytest.mark.parametrize("model", ["sandbox/plain-clip", "sandbox/no-schema"])
def test_an_input_that_is_out_of_reach_fails_the_task_before_it_runs(caller: Any, model: str) -> None:
    near = caller.done(caller.run())["outputs"][0]["url"]
    made = caller.ok(f"/Run/{model}", {"prompt": "x", "fps": "8", "inputImage": f"{near},{URL}?key=s3cret"})
    task = caller.done(made)
    assert f"The input could not be fetched: {URL} (" in task["debugerror"]
    assert "s3cret" not in task["debugerror"]
    assert Decimal(task["totalcost"]) == 0


def test_no_file_outside_the_folder_of_files_can_be_read(caller: Any) -> None:
    folder = caller.done(caller.run())["outputs"][0]["url"].rpartition("/")[0]
    url = f"{folder}/..%2F..%2F..%2Fsandbox.sqlite"
    assert (caller.sandbox.data / "sandbox.sqlite").is_file()
    assert caller.http.get(url).status_code == 404
    task = caller.done(caller.ok("/Run/sandbox/plain-clip", {"prompt": "x", "fps": "8", "inputImage": url}))
    assert "The input could not be fetched" in task["debugerror"]


def test_an_address_in_a_prompt_is_a_prompt(caller: Any) -> None:
    made = caller.ok("/Run/sandbox/plain-clip", {"prompt": URL, "fps": "8"})
    assert caller.done(made)["pexit"] == "0"


def test_a_single_file_input_takes_one_file(caller: Any) -> None:
    files = [("startImage", ("a.png", b"1", "image/png")), ("startImage", ("b.png", b"2", "image/png"))]
    answer = caller.error("/Run/sandbox/plain-clip", files=files, data={"prompt": "x"})
    assert answer == (200, 0, "Request parameters are invalid.")


def test_every_bundled_model_runs_with_its_own_defaults(caller: Any) -> None:
    picture = caller.done(caller.run(model="sandbox/image"))["outputs"][0]["url"]
    for tool in caller.ok("/Tool/List", {"start": "0", "limit": "100", "summary": True})["tool"]:
        name = {"slugowner": tool["slugowner"], "slugproject": tool["slugproject"]}
        (detail,) = caller.ok("/Tool/Detail", name)["tool"]
        items = [item for group in detail["parameters"] or [] for item in group["items"]]
        files = {"fileinput", "combinefileinput"}
        values = {item["id"]: item.get("default") or (picture if item["type"] in files else "") for item in items}
        values |= {item["id"]: "a paper boat" for item in items if item["required"] and item["type"] not in files}
        made = caller.ok(f"/Run/{detail['cleanslugowner']}/{detail['cleanslugproject']}", values)
        assert caller.done(made)["pexit"] == "0", detail["slugproject"]


def test_the_catalogue_can_be_searched_and_paged(caller: Any) -> None:
    everything = caller.ok("/Tool/List", {"limit": "100"})
    assert int(everything["total"]) == len(everything["tool"]) >= 9
    page = caller.ok("/Tool/List", {"start": 1, "limit": 2})
    assert page["tool"] == everything["tool"][1:3]
    found = caller.ok("/Tool/List", {"search": "skyreels"})["tool"]
    assert [tool["slugproject"] for tool in found] == ["SkyReels-V1"]
    assert all(
        "text-to-video" in tool["categories"]
        for tool in caller.ok("/Tool/List", {"categories": ["text-to-video"]})["tool"]
    )


def test_detail_shows_inputs_and_price_as_the_service_does(caller: Any) -> None:
    (tool,) = caller.ok("/Tool/Detail", {"slugowner": "sandbox", "slugproject": "plain-clip"})["tool"]
    items = {item["id"]: item for group in tool["parameters"] for item in group["items"]}
    assert {item["type"] for item in items.values()} >= {"textarea", "text", "select", "range", "number", "float"}
    assert {item["type"] for item in items.values()} >= {"fileinput", "multifileinput", "combinefileinput"}
    assert items["fps"]["min"] == "1"
    assert [option["value"] for option in items["style"]["options"]] == ["plain", "warm", "cold"]
    assert json.loads(tool["dynamicprice"])[0]["priceMethod"] == "cpr"
    (image,) = caller.ok("/Tool/Detail", {"slugowner": "sandbox", "slugproject": "image"})["tool"]
    assert image["dynamicprice"][0]["priceMethod"] == "cpo"
    typed = {"multiselect", "selectwithcover", "json", "json-array", "checkbox", "color", "integer", "numeric"}
    assert {item["type"] for item in items.values()} >= typed
    assert items["palette"]["options"][0] == {"id": "red", "text": "Red"}
    assert (items["loop"]["default"], items["path"]["default"]) == (False, [0, 1])
    (loose,) = caller.ok("/Tool/Detail", {"slugowner": "sandbox", "slugproject": "no-schema"})["tool"]
    assert loose["parameters"] is None
    answer = caller.error("/Tool/Detail", {"slugowner": "no", "slugproject": "body"})
    assert answer == (200, 1, "slug-owner-project-not-exist")


def test_tasks_are_found_by_id_and_both_names_of_the_token(caller: Any) -> None:
    made = caller.run()
    for body in (
        {"taskid": made["taskid"]},
        {"taskid": int(made["taskid"])},
        {"tasktoken": made["socketaccesstoken"]},
        {"socketaccesstoken": made["socketaccesstoken"]},
    ):
        (task,) = caller.ok("/Task/Detail", body)["tasklist"]
        assert task["id"] == made["taskid"]
    assert caller.error("/Task/Detail", {}) == (200, 0, "taskid or socketaccesstoken is required")
    assert caller.error("/Task/Detail", {"taskid": "7"}) == (200, 1, "There is no task yet.")


def test_the_list_pages_newest_first(caller: Any) -> None:
    made = [caller.run(model="sandbox/text") for _ in range(3)]
    for one in made:
        caller.done(one)
    body = {"type": "model", "sort": "id", "order": "DESC", "start": "1", "limit": "2"}
    answer = caller.ok("/Task/List", body)
    assert [task["id"] for task in answer["tasklist"]] == [made[1]["taskid"], made[0]["taskid"]]
    assert int(answer["total"]) >= 3


def test_numbers_in_a_task_are_texts(caller: Any) -> None:
    task = caller.done(caller.run())
    texts = {
        name: task[name] for name in ("id", "elapsedseconds", "totalcost", "createtime", "pexit", "size", "cps")
    }
    assert all(isinstance(value, str) for value in texts.values()), texts
    assert isinstance(json.loads(task["categories"]), list)
    assert task["outputs"][0]["size"] == task["size"]


def test_a_file_of_another_type_is_refused(caller: Any) -> None:
    files = {"startImage": ("run.exe", b"MZ", "image/png")}
    answer = caller.error("/Run/sandbox/plain-clip", files=files, data={"prompt": "x"})
    assert answer == (200, 0, "File type is not supported.")


def test_a_file_over_100_mb_is_refused(caller: Any) -> None:
    files = {"startImage": ("a.mp4", bytes(100 * 1024 * 1024 + 1), "video/mp4")}
    answer = caller.error("/Run/sandbox/plain-clip", files=files, data={"prompt": "x"})
    assert answer == (200, 0, "File size must not be larger than 100 MB.")


def test_files_are_served_in_ranges(caller: Any) -> None:
    url = caller.done(caller.run())["outputs"][0]["url"]
    whole = caller.http.get(url)
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["accept-ranges"] == "bytes"
    part = caller.http.get(url, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole.content)}"
    rest = caller.http.get(url, headers={"Range": f"bytes={len(whole.content) - 5}-"})
    assert rest.content == whole.content[-5:]
    assert caller.http.get(url, headers={"Range": "bytes=999999999-"}).status_code == 416
    assert caller.http.get(url.replace("0.mp4", "1.mp4")).status_code == 404


def test_a_language_model_answers_with_raw_output(caller: Any) -> None:
    (output,) = caller.done(caller.run("hello there", model="sandbox/text"))["outputs"]
    assert output["contenttype"] == "raw"
    assert set(output["content"]) == {"prompt", "raw", "thinking", "answer"}


def test_the_audit_log_needs_a_key(caller: Any) -> None:
    for path in ("/sandbox/audit", "/sandbox/balance"):
        response = caller.http.request("POST" if "bal" in path else "GET", caller.sandbox.origin + path)
        assert isinstance(response, httpx2.Response)
        assert response.status_code == 401


@pytest.mark.parametrize(
    "values",
    [{"palette": "red"}, {"palette": ["mauve"]}, {"loop": "maybe"}, {"path": {"a": 1}}, {"look": "none"}],
)
def test_values_of_another_type_are_refused(caller: Any, values: dict[str, Any]) -> None:
    assert caller.error("/Run/sandbox/plain-clip", {"prompt": "x", **values})[1] == 0
    good = {"palette": ["blue", "green"], "loop": True, "path": [1, None], "extra": {"k": [1]}, "look": ""}
    caller.ok("/Run/sandbox/plain-clip", {"prompt": "x", **good})
