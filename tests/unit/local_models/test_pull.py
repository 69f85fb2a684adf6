"""`wiro-nb local` against a small hub: sizes and licences first, safe files of one commit, no bare failures."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.terminals import open_terminal
from tests.unit.local_models.hub import COMMIT, Hub, serve_hub
from wiro_nb.cli import main
from wiro_nb.local_models import find
from wiro_nb.local_models.weights import locate, missing, weights_dirs

pytest.importorskip("huggingface_hub", reason="python -m pip install huggingface_hub")
REPOSITORY, WEIGHTS = "me/tiny", "unet/diffusion_pytorch_model.safetensors"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one repository, which `local.toml` names."""
    from huggingface_hub import constants, file_download

    names = ("model_index.json", "unet/config.json", "scheduler/scheduler_config.json")
    files = {name: json.dumps({"name": name}).encode() for name in names}
    unwanted = (
        "pickle.bin",
        "unet/diffusion_pytorch_model.bin",
        "code.py",
        "unet/model.fp16.safetensors",
        "README.md",
    )
    hub = Hub(files={REPOSITORY: files | {WEIGHTS: b"w" * 5000} | dict.fromkeys(unwanted, b"no")})
    server = serve_hub(hub)
    template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    for module, name, value in (
        (constants, "ENDPOINT", hub.endpoint),
        (constants, "HUGGINGFACE_CO_URL_TEMPLATE", template),
        (file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template),
    ):
        monkeypatch.setattr(module, name, value, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("WIRO_LOCAL_WEIGHTS", raising=False)
    monkeypatch.setenv("WIRO_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    entry = f'[models."{REPOSITORY}"]\nrepository = "{REPOSITORY}"\npipeline = "TinyPipeline"\nlicence = "mit"\n'
    (tmp_path / "data/local.toml").write_text(entry)
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def command(hub: Hub, capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*words: str) -> tuple[int, str, str]:
        code = main(["local", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def pull(command: Command) -> tuple[int, str, str]:
    return command("pull", REPOSITORY, "--accept-licence")


def test_a_pull_shows_size_and_licence_and_fetches_safe_files_of_one_commit(hub: Hub, command: Command) -> None:
    code, _, said = command("pull", REPOSITORY)
    assert code == 2
    assert "licences of me/tiny were not accepted" in said
    assert hub.sent == {}
    code, shown, _ = pull(command)
    assert code == 0
    assert all(text in shown for text in ("me/tiny", "mit", "5 KB to download", COMMIT[:12]))
    assert set(hub.sent) == {"model_index.json", "unet/config.json", "scheduler/scheduler_config.json", WEIGHTS}
    model = find(REPOSITORY)
    assert model is not None
    folder = locate(model.repositories[0])
    assert folder is not None
    assert folder.name == COMMIT

    # The licence is asked for once; what is here is not asked of the hub again, and its branch may move on.
    hub.commits[REPOSITORY] = "b" * 40
    hub.status = 500
    assert command("pull", REPOSITORY)[:2] == (0, "The weights of me/tiny are here.\n")
    assert locate(model.repositories[0]) == folder
    assert "me/tiny" in command("list")[1]
    assert command("rm", REPOSITORY)[:2] == (0, "5 KB freed.\n")
    assert missing(model) == model.repositories


def test_an_interrupted_pull_keeps_whole_files_and_a_cut_file_is_fetched_again(hub: Hub, command: Command) -> None:
    hub.interrupts = WEIGHTS
    assert pull(command)[0] == 130
    hub.interrupts = ""
    model = find(REPOSITORY)
    assert model is not None
    assert missing(model) == model.repositories
    assert pull(command)[0] == 0
    config_bytes = len(hub.files[REPOSITORY]["unet/config.json"])
    assert hub.sent["unet/config.json"] == config_bytes

    blob = (weights_dirs()[0] / "models--me--tiny/snapshots" / COMMIT / WEIGHTS).resolve()
    blob.write_bytes(b"w" * 100)
    assert missing(model) == model.repositories
    assert pull(command)[0] == 0
    assert missing(model) == ()
    assert hub.sent == hub.sent | {"unet/config.json": config_bytes, WEIGHTS: 10_000}


def test_a_terminal_shows_how_much_is_here_while_a_file_comes(
    hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.holds = WEIGHTS
    with (
        open_terminal() as terminal,
        open(terminal.descriptor, "w", closefd=False) as stderr,
        contextlib.redirect_stderr(stderr),
    ):
        pulling = threading.Thread(target=main, args=(["local", "pull", REPOSITORY, "--accept-licence"],))
        pulling.start()
        terminal.read_until(b" of 5 KB")
        hub.may_go_on.set()
        pulling.join(60)
    assert "me/tiny" in capsys.readouterr().out


def no_repository(hub: Hub, patched: pytest.MonkeyPatch) -> None:
    del hub.files[REPOSITORY]


def gated(hub: Hub, patched: pytest.MonkeyPatch) -> None:
    hub.gated.add(REPOSITORY)


def broken(hub: Hub, patched: pytest.MonkeyPatch) -> None:
    hub.status = 418


def no_safetensors(hub: Hub, patched: pytest.MonkeyPatch) -> None:
    del hub.files[REPOSITORY][WEIGHTS]


def no_network(hub: Hub, patched: pytest.MonkeyPatch) -> None:
    patched.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")


def full_disk(hub: Hub, patched: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=1000)
    patched.setattr("shutil.disk_usage", lambda path: usage)


def no_hub_package(hub: Hub, patched: pytest.MonkeyPatch) -> None:
    patched.setitem(__import__("sys").modules, "huggingface_hub", None)


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (no_repository, 3, "The Hub shows no repository me/tiny"),
        (gated, 3, "me/tiny is gated"),
        (broken, 3, "The Hub answers HTTP 418 for me/tiny"),
        (no_safetensors, 3, "me/tiny has no safetensors weights"),
        (no_network, 3, "The Hub cannot be reached for me/tiny"),
        (full_disk, 2, "GB are needed"),
        (no_hub_package, 2, "needs huggingface_hub, which is not installed"),
    ],
)
def test_what_goes_wrong_is_a_sentence_with_the_next_step_and_leaves_nothing(
    hub: Hub,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Hub, pytest.MonkeyPatch], None],
    code: int,
    said: str,
) -> None:
    with monkeypatch.context() as patched:
        spoil(hub, patched)
        ended, _, errors = pull(command)
    assert (ended, said in errors, "next: " in errors) == (code, True, True), errors
    assert "Traceback" not in errors
    assert not (weights_dirs()[0] / "models--me--tiny").exists()


def test_wrong_words_are_one_sentence(command: Command) -> None:
    assert "A model is missing" in command("pull")[2]
    assert "Did you mean pruna/vace?" in command("pull", "vace")[2]
    assert "colour is no input of pruna/vace" in command("pull", "pruna/vace", "colour=red")[2]
    assert "loraType=Sideways" in command("pull", "wiro/animate-diff", "loraType=Sideways")[2]


def test_the_doctor_says_what_runs_here_and_what_to_type_next(command: Command) -> None:
    _, shown, _ = command("doctor", "--json")
    found = {item["subject"]: item for item in map(json.loads, shown.splitlines())}
    assert {"interpreter", "GPU", "memory", "disk", "pruna/vace", REPOSITORY} <= set(found)
    assert found[REPOSITORY]["is_fine"] is False
    assert found[REPOSITORY]["hint"] == f"wiro-nb local pull {REPOSITORY}"


def test_the_doctor_survives_an_interpreter_that_is_none(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIRO_LOCAL_PYTHON", "/nowhere/python")
    code, shown, _ = command("doctor")
    assert code == 1
    assert "no interpreter: /nowhere/python: it cannot be started: No such file or directory" in shown
