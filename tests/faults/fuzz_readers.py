"""Feeds a reader with bytes that a coverage-guided fuzzer makes; run by test_fuzz.py in a process of its own.

python fuzz_readers.py READER -runs=20000 -seed=1
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from collections.abc import Callable
from typing import Any


def page(data: bytes) -> None:
    from wiro_nb.errors import UnreadableSchema
    from wiro_nb.schema.page import read_page

    text = data.decode("utf-8", "replace")
    try:
        read_page(text)
    except UnreadableSchema:
        pass


def detail(data: bytes) -> None:
    from wiro_nb.api.pricing import estimate, read_pricing
    from wiro_nb.errors import UnreadableSchema
    from wiro_nb.schema.detail import read_detail

    for value in json_of(data):
        answer = value if isinstance(value, dict) else {"tool": value}
        estimate(read_pricing(answer), {"prompt": "x"}, {})
        try:
            read_detail(answer)
        except UnreadableSchema:
            pass


def task(data: bytes) -> None:
    from wiro_nb.api.answers import read_task, read_tasks
    from wiro_nb.api.envelope import read_envelope
    from wiro_nb.errors import ApiError

    for value in json_of(data):
        read_tasks({"tasklist": value})
        if isinstance(value, dict):
            read_task(value)
            read_tasks(value)
    for status in (200, 404, 500):
        try:
            read_envelope(status, {}, data)
        except ApiError:
            pass


def event(data: bytes) -> None:
    from wiro_nb.api.answers import read_event

    read_event(data)
    read_event(data.decode("utf-8", "replace"))


def record(data: bytes) -> None:
    from wiro_nb.errors import BadRecord
    from wiro_nb.provenance.find import records_in_notebook
    from wiro_nb.provenance.record import check_record

    for value in json_of(data):
        records_in_notebook({"metadata": {"wiro": {"runs": value}}, "cells": value})
        for ignore_hash in (False, True):
            try:
                check_record(value, ignore_hash=ignore_hash)
            except BadRecord:
                pass


def media(data: bytes) -> None:
    import tempfile
    from pathlib import Path

    from wiro_nb.errors import BadRecord
    from wiro_nb.media.decode import sniff_file
    from wiro_nb.provenance.content_credentials import has_credentials
    from wiro_nb.provenance.embed import content_hashes, embed_record, read_texts
    from wiro_nb.provenance.find import find_records, find_settings

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.bin")
        path.write_bytes(data)
        read_texts(path)
        find_settings(path)
        has_credentials(path)
        content_hashes(path)
        sniff_file(path)
        for ignore_hash in (False, True):
            try:
                find_records(path, ignore_hash=ignore_hash)
            except BadRecord:
                pass
        if embed_record(path, RECORD).problem:
            assert path.read_bytes() == data


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body), name) + body + struct.pack(">I", zlib.crc32(name + body))


def box(name: bytes, *parts: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(b"".join(parts)), name) + b"".join(parts)


def element(kind: str, *parts: bytes) -> bytes:
    return bytes.fromhex(kind) + (len(b"".join(parts)) | 1 << 56).to_bytes(8, "big") + b"".join(parts)


def json_of(data: bytes) -> list[Any]:
    try:
        return [json.loads(data)]
    except (ValueError, RecursionError):
        return []


READERS: dict[str, Callable[[bytes], None]] = {
    **{reader.__name__: reader for reader in (page, detail, task, event, record)},
    **dict.fromkeys(("png", "mp4", "matroska", "jpeg", "webp"), media),
}
RECORD = {"run_id": "x", "model": {"slug": "a/b"}, "service": {"name": "cloud"}, "parameters": {}, "seed": None}
CHUNKS = struct.pack(">III", 0, 1, 28)
COMMENT = b'{"wiro_nb":{"format":1,"run_id":"01JD5Q9W8R7T6Y5V4K3H28K2QF"}}'
PARAMETERS = b"a fox\nSteps: 20, Seed: 1, Size: 8x8"
EXIF = b"II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x1a\0\0\0\0\0\0\0" + (
    struct.pack("<HHHIII", 1, 0x9286, 7, 8 + len(PARAMETERS), 44, 0) + b"ASCII\0\0\0" + PARAMETERS
)
SEEDS = {
    "page": b'## Basic tool info\n- name: a/b\n## Model Inputs:\n- name: prompt label: P help: h type: select '
    b'default: ""\noptions: - value: "a" label: A description: d triggerwords: [x] generatesettings: []',
    "detail": b'{"result":true,"tool":[{"cleanslugowner":"a","cleanslugproject":"b","dynamicprice":"[{'
    b'\\"inputs\\":{},\\"price\\":0.1,\\"priceMethod\\":\\"cpr\\"}]","parameters":[{"title":"t","items":[{"id":"p",'
    b'"type":"select","label":"P","options":[{"label":"L","value":"v"}],"min":"1","max":"9","step":"2"}]}]}]}',
    "task": b'{"result":true,"errors":[{"code":96,"message":"m"}],"tasklist":[{"id":"1","pexit":"0",'
    b'"socketaccesstoken":"t","status":"task_postprocess_end","totalcost":"0.01","starttime":"1734513809",'
    b'"categories":"[\\"a\\"]","outputs":[{"name":"a","contenttype":"raw","content":{"raw":"x","answer":[]}}]}]}',
    "event": b'{"type":"task_output","id":"1","tasktoken":"t","message":{"type":"progressGenerate","speed":"1.2",'
    b'"percentage":"60","stepCurrent":"6","stepTotal":"10","speedType":"it/s","elapsedTime":"5s"},"result":true}',
    "record": b'{"format":1,"run_id":"01JD5Q9W8R7T6Y5V4K3H28K2QF","model":{"slug":"a/b"},"service":{},"files":{},'
    b'"parameters":{},"seed":null,"outputs":[{"name":"a","size_bytes":1}],"price":{},"times":{}}',
    "png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\0\0\0\x01\0\0\0\x01\x08\0\0\0\0")
    + chunk(b"tEXt", b"parameters\0" + PARAMETERS) + chunk(b"iTXt", b"wiro_nb\0\0\0\0\0" + COMMENT)
    + chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b'{"3":{"class_type":"K","inputs":{}}}'))
    + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b""),
    "mp4": box(b"ftyp", b"isom\0\0\0\0isom") + box(b"mdat", b"1234") + box(
        b"moov", box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", box(b"stco", CHUNKS))))),
        box(b"udta", box(b"meta", b"\0" * 4, box(b"hdlr", b"\0" * 8 + b"mdirappl" + b"\0" * 9),
                         box(b"ilst", box(b"\xa9cmt", box(b"data", b"\0\0\0\x01\0\0\0\0", COMMENT)))))),
    "matroska": element("1a45dfa3") + element("18538067", element("1254c367", element("7373", element(
        "67c8", element("45a3", b"COMMENT"), element("4487", COMMENT))))),
    "jpeg": b"\xff\xd8\xff\xe1" + struct.pack(">H", len(EXIF) + 8) + b"Exif\0\0" + EXIF + b"\xff\xd9",
    "webp": b"RIFF" + struct.pack("<I", len(EXIF) + 12) + b"WEBPEXIF" + struct.pack("<I", len(EXIF)) + EXIF,
}  # fmt: skip


def main() -> None:
    """Fuzzes the reader that the command line names until the fuzzer's own options end it."""
    import atheris

    name = sys.argv[1]
    with atheris.instrument_imports(include=["wiro_nb"]):
        READERS[name](SEEDS[name])  # imports what it needs, so that the fuzzer sees which lines are reached
    atheris.Setup([sys.argv[0], *sys.argv[2:]], READERS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
