"""The sandbox's command line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from wiro_nb.config import sandbox_dir
from wiro_nb.files import expand_user
from wiro_nb.sandbox.faults import HELP, read_rules

_DESCRIPTION = """\
A local service with the API of Wiro. It renders labelled clips on this machine, charges nothing and
connects to no other host. The first line on stdout is JSON: base_url, socket_url, api_key, api_secret,
key_only_api_key, pid, version.
"""
ENGINE_NAMES = ("placeholder", "instant", "diffusers", "videos")
_LAST_PORT = 65_535
_MOST_WORKERS = 64
_EPILOG = """\
test directives in a prompt:
  [fail]   the run fails: lines on stderr, pexit 1        [crash]  task_error before the run
  [slow]   ten times longer, 2 s or more                  [queue]  stays queued until cancelled or released
  [hold]   stays running until killed or released (POST /sandbox/release with the taskid)
  [charge-late]         costs nothing at its end and is billed a moment later, also when it was killed
  [stderr-then-recover]  task_error before the run until released; then it runs

for tests, behind the key: GET /sandbox/audit, POST /sandbox/balance {"usd": "5"}, POST /sandbox/release,
POST /sandbox/faults, POST /sandbox/teammate {"parameters": {...}} (a task of another member of the team).
"""


@dataclass(frozen=True)
class Options:
    """The options of a sandbox.

    Attributes:
        port: 0 for the port used last when it is free, else any.
        speed: How much faster than real time; infinity never waits.
        data: Folder of keys, tasks and files.
        engine: One of `ENGINE_NAMES`.
        balance: Balance of a new account, US dollars.
        stay: True to continue when stdin closes.
        no_host_check: True to accept any Host header.
        python: Interpreter of the diffusers engine's workers; "" for this one.
        workers: Their number; 0 for one a GPU.
        idle_minutes: A worker without a run for so long is ended; 0 for never.
        ray: Address of the Ray cluster that they run on; "" for this machine.
        url: Of the server that the videos engine forwards to.
        faults, faults_seed: Fault rules, see `faults`.
    """

    port: int
    speed: float
    data: Path
    engine: str
    balance: Decimal
    stay: bool
    no_host_check: bool
    python: str = ""
    workers: int = 0
    idle_minutes: float = 10.0
    ray: str = ""
    url: str = ""
    faults: str = ""
    faults_seed: int = 0


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `wiro-nb sandbox`."""
    parser = argparse.ArgumentParser(
        "wiro-nb sandbox",
        description=_DESCRIPTION,
        epilog=f"{_EPILOG}\n{HELP}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=_port, default=0, help="0 (default): the port used last, or any free one")
    parser.add_argument(
        "--speed", type=_speed, default=1.0, metavar="N", help="times faster than real; 0 or 'instant': no waiting"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder for keys, tasks and files; kept across restarts"
    )
    parser.add_argument("--engine", choices=ENGINE_NAMES, default="placeholder", help="what makes the clips")
    parser.add_argument(
        "--python", default="", metavar="PATH", help="diffusers: interpreter with wiro_nb[local]; default this one"
    )
    parser.add_argument(
        "--workers",
        type=_workers,
        default=0,
        metavar="auto|N",
        help="diffusers: worker processes; auto: one a GPU",
    )
    parser.add_argument(
        "--idle-minutes",
        type=_minutes,
        default=10.0,
        metavar="N",
        help="diffusers: free a GPU's memory after so long without a run (default 10); 0: never",
    )
    parser.add_argument(
        "--ray",
        type=_ray,
        default="",
        metavar="ADDRESS",
        help="diffusers: put the workers on a Ray cluster, auto or HOST:PORT; needs wiro_nb[ray]",
    )
    parser.add_argument("--url", default="", help="videos: a server with the /v1/videos API, http://host:port")
    parser.add_argument(
        "--balance",
        type=_usd,
        default=Decimal(100),
        metavar="USD",
        help="what a new account starts with (default 100)",
    )
    parser.add_argument("--stay", action="store_true", help="continue when stdin closes")
    parser.add_argument("--no-host-check", action="store_true", help="accept any Host header")
    parser.add_argument("--faults", type=_faults, default="", metavar="SPEC", help="inject faults, see below")
    parser.add_argument(
        "--faults-seed", type=int, default=0, metavar="N", help="selects the calls that a share matches"
    )
    return parser


def read_options(argv: Sequence[str]) -> Options:
    """Parses the arguments; `--help` and errors end the process as argparse does."""
    parser = build_parser()
    given = vars(parser.parse_args(argv))
    if given["engine"] == "videos" and not given["url"].startswith(("http://", "https://")):
        parser.error("--engine videos needs --url http://host:port")
    data = given.pop("data") or sandbox_dir()
    return Options(data=expand_user(data).absolute(), **given)


def changed_options(argv: Sequence[str]) -> list[str]:
    """Returns the options of a command line that differ from their defaults, except `--data`."""
    parser = build_parser()
    given = vars(parser.parse_args(argv))
    changed = [name for name, value in given.items() if name != "data" and value != parser.get_default(name)]
    return [f"--{name.replace('_', '-')}" for name in changed]


def _workers(text: str) -> int:
    if text != "auto" and not (text.isdecimal() and 0 < int(text) <= _MOST_WORKERS):
        raise argparse.ArgumentTypeError(f"auto, or a whole number from 1 to {_MOST_WORKERS}")
    return 0 if text == "auto" else int(text)


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 <= minutes < math.inf:
        raise argparse.ArgumentTypeError("a number of minutes, 0 or more")
    return minutes


def _ray(text: str) -> str:
    host, _, port = text.rpartition(":")
    if text not in ("", "auto") and not (host and "/" not in text and port.isdecimal()):
        raise argparse.ArgumentTypeError("auto, or HOST:PORT of a cluster that this machine has joined")
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _LAST_PORT:
        raise argparse.ArgumentTypeError(f"a whole number from 0 to {_LAST_PORT}")
    return int(text)


def _speed(text: str) -> float:
    speed = 0.0 if text == "instant" else float(text)
    if not speed >= 0:
        raise argparse.ArgumentTypeError("a number of 0 or more, or 'instant'")
    return speed or math.inf


def _faults(text: str) -> str:
    try:
        read_rules(text, 0)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _usd(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise argparse.ArgumentTypeError("an amount such as 100 or 0.40")
    return amount
