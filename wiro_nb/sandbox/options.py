"""The sandbox's command line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from wiro_nb.config import sandbox_dir
from wiro_nb.files import expand_user
from wiro_nb.sandbox import faults

_DESCRIPTION = """\
A local service with the API of Wiro. It renders labelled clips on this machine, charges nothing and
connects to no other host. The first line on stdout is JSON: base_url, socket_url, api_key, api_secret,
key_only_api_key, pid, version.
"""
ENGINE_NAMES = ("placeholder", "instant", "diffusers", "videos")
_MAX_WORKERS = 64


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


T = TypeVar("T", int, float, Decimal)


def _number(kind: Callable[[str], T], low: float, end: float, expected: str, **words: T) -> Callable[[str], T]:
    """Returns a reader of numbers from `low` to below `end`, or of one of some words."""

    def read(text: str) -> T:
        try:
            if text in words:
                return words[text]
            if low <= (number := kind(text)) < end:
                return number
        except (ValueError, ArithmeticError):
            pass
        raise argparse.ArgumentTypeError(expected)

    return read


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `wiro-nb sandbox`."""
    parser = argparse.ArgumentParser(
        "wiro-nb sandbox",
        description=_DESCRIPTION,
        epilog=faults.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    port = _number(int, 0, 65_536, "a whole number from 0 to 65535")
    add("--port", type=port, default=0, help="0 (default): the port used last, or any free one")
    speed = _number(float, 0, math.inf, "a number of 0 or more, or 'instant'", instant=math.inf)
    add("--speed", type=speed, default=1.0, metavar="N", help="times faster than real; 0 or 'instant': no waiting")
    add("--data", type=Path, metavar="DIR", help="folder for keys, tasks and files; kept across restarts")
    add("--engine", choices=ENGINE_NAMES, default="placeholder", help="what makes the clips")
    add(
        "--python", default="", metavar="PATH", help="diffusers: interpreter with wiro_nb[local]; default this one"
    )
    workers = _number(int, 1, _MAX_WORKERS + 1, f"auto, or a whole number from 1 to {_MAX_WORKERS}", auto=0)
    add(
        "--workers", type=workers, default=0, metavar="auto|N", help="diffusers: worker processes; auto: one a GPU"
    )
    idle = "diffusers: free a GPU's memory after so long without a run (default 10); 0: never"
    minutes = _number(float, 0, math.inf, "a number of minutes, 0 or more")
    add("--idle-minutes", type=minutes, default=10.0, metavar="N", help=idle)
    ray = "diffusers: put the workers on a Ray cluster, auto or HOST:PORT; needs wiro_nb[ray]"
    add("--ray", type=_ray, default="", metavar="ADDRESS", help=ray)
    add("--url", default="", help="videos: a server with the /v1/videos API, http://host:port")
    usd = _number(Decimal, -(10**9), 10**9, "an amount such as 100 or 0.40")
    balance = "what a new account starts with (default 100)"
    add("--balance", type=usd, default=Decimal(100), metavar="USD", help=balance)
    add("--stay", action="store_true", help="continue when stdin closes")
    add("--no-host-check", action="store_true", help="accept any Host header")
    add("--faults", type=_faults, default="", metavar="SPEC", help="inject faults, see below")
    add("--faults-seed", type=int, default=0, metavar="N", help="selects the calls that a share matches")
    return parser


def read_options(argv: Sequence[str]) -> Options:
    """Parses the arguments; `--help` and errors end the process as argparse does."""
    parser = build_parser()
    given = vars(parser.parse_args(argv))
    if given["engine"] == "videos" and not given["url"].startswith(("http://", "https://")):
        parser.error("--engine videos needs --url http://host:port")
    data, speed = given.pop("data") or sandbox_dir(), given.pop("speed") or math.inf
    return Options(data=expand_user(data).absolute(), speed=speed, **given)


def changed_options(argv: Sequence[str]) -> list[str]:
    """Returns the options of a command line that differ from their defaults, except `--data`."""
    parser = build_parser()
    given = vars(parser.parse_args(argv))
    changed = [name for name, value in given.items() if name != "data" and value != parser.get_default(name)]
    return [f"--{name.replace('_', '-')}" for name in changed]


def _ray(text: str) -> str:
    host, _, port = text.rpartition(":")
    if text not in ("", "auto") and not (host and "/" not in text and port.isdecimal()):
        raise argparse.ArgumentTypeError("auto, or HOST:PORT of a cluster that this machine has joined")
    return text


def _faults(text: str) -> str:
    try:
        faults.read_rules(text, 0)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text
