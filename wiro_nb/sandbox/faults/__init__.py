"""Fault injection: test directives in prompts, and rules that make chosen requests, events and files fail.

test directives in a prompt:
  [fail]   the run fails: lines on stderr, pexit 1        [crash]  task_error before the run
  [slow]   ten times longer, 2 s or more                  [queue]  stays queued until cancelled or released
  [hold]   stays running until killed or released (POST /sandbox/release with the taskid)
  [charge-late]         costs nothing at its end and is billed a moment later, also when it was killed
  [stderr-then-recover]  task_error before the run until released; then it runs

for tests, behind the key: GET /sandbox/audit, POST /sandbox/balance {"usd": "5"}, POST /sandbox/release,
POST /sandbox/faults, POST /sandbox/teammate {"parameters": {...}} (a task of another member of the team).

faults: --faults "RULE; RULE ...", a RULE is PLACE:KIND[=VALUE][@WHEN]
  WHEN    3 the third time only, 2-4, 2+ from the second on, 0.25 that share of times (by --faults-seed);
          always when left out
  accept  (every TCP connection)  refuse: closed at once
  Run, Task/Detail, Task/List, Tool/List, ... or * for every endpoint:
          delay=SECONDS  hang (no answer)  reset (before anything is done)  reset-after (done, but never answered)
          429[=RETRY_AFTER_S]  408 500 502 503 504 (each may have =RETRY_AFTER_S too)
          code=N (result: false with that code)
          html (a web page)  empty  cut (half the JSON)  cut-body (the connection ends half-way)
          wrong-types (numbers for texts, maps for lists)
          unknown-status (running tasks show an unknown status)
          late-outputs[=N] (the first N Details of a finished task list no files; 1)
  socket  (every WebSocket)  refuse  silent  drop[=N] (cut off after N events; 1)  binary (binary frames between)
          shuffle[=N] (events in groups of N, mixed; 4)  double  unknown (events of unknown type between)
          garbage (text that is no JSON between)  wrong-types  late-outputs (the last event names no files)
  task    (every task)  error (task_error before the run)  stderr (error lines in a run that succeeds)
          fail[=CODE] (pexit CODE; 1)  stall (stops moving until killed)
  file    (every GET of a file)  403  404  429[=RETRY_AFTER_S]  500  503  delay=SECONDS  reset
          cut (the connection ends half-way)  short (half the file, declared complete)  wrong-type (a web page)
          slow[=BYTES_PER_S] (2000)  endless  no-range (Range is ignored)  redirect=URL
  at run time, behind the key: POST /sandbox/faults {"spec": "...", "seed": 1}
example: --faults "Run:reset-after@1; Task/Detail:503@0.2; socket:drop=3@1-2"
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

__all__ = ["DIRECTIVES", "ENDPOINTS", "KINDS", "Fault", "Faults", "Rule", "read_rules"]

# `injection` applies the rules to requests, files and sockets; `runner` applies rules and directives to tasks.
# The docstring of this module is the end of `wiro-nb sandbox --help`.
DIRECTIVES = ("fail", "crash", "slow", "queue", "hold", "stderr-then-recover", "charge-late")
_ANSWERS = {"delay", "reset", "429", "500", "503"}
KINDS: dict[str, frozenset[str]] = {
    "accept": frozenset({"refuse"}),
    "rest": frozenset(
        _ANSWERS
        | {"reset-after", "hang", "408", "502", "504", "html", "empty", "cut", "cut-body", "wrong-types", "code"}
        | {"unknown-status", "late-outputs"}
    ),
    "socket": frozenset(
        {"refuse", "drop", "silent", "binary", "shuffle", "double", "unknown", "garbage", "wrong-types"}
        | {"late-outputs"}
    ),
    "task": frozenset({"error", "stderr", "fail", "stall"}),
    "file": frozenset(
        _ANSWERS | {"403", "404", "cut", "short", "wrong-type", "slow", "endless", "no-range", "redirect"}
    ),
}
ENDPOINTS = (
    "Run",
    "Task/Detail",
    "Task/List",
    "Task/Cancel",
    "Task/Kill",
    "Tool/List",
    "Tool/Detail",
)
_RULE = re.compile(r"(?P<place>[\w/*]+):(?P<kind>[\w-]+)(=(?P<value>[^@;]*))?(@(?P<when>[\d.+-]+))?\Z")
_WHEN = re.compile(r"(?P<first>\d+)((?P<onward>\+)|-(?P<last>\d+))?\Z")
_SHARE = re.compile(r"[01]?\.\d+\Z")


@dataclass(frozen=True)
class Fault:
    """A fault to apply now."""

    kind: str
    value: str = ""

    def number(self, default: float) -> float:
        """Returns the rule's value as a number."""
        try:
            return float(self.value)
        except ValueError:
            return default


@dataclass
class Rule:
    """One rule and how many calls it has seen.

    Attributes:
        place: An endpoint, `*`, `accept`, `socket`, `task` or `file`.
        kind, value: The fault.
        first, last: Which calls it matches; `last` None for all after the first.
        share: The share of calls it matches, instead of counting, or None.
    """

    place: str
    kind: str
    value: str = ""
    first: int = 1
    last: int | None = None
    share: float | None = None
    count: int = 0
    chance: random.Random = field(default_factory=random.Random)

    def matches(self) -> bool:
        """Counts a call and returns whether the rule applies to it."""
        self.count += 1
        if self.share is not None:
            return self.chance.random() < self.share
        return self.first <= self.count and (self.last is None or self.count <= self.last)


class Faults:
    """The active rules of a sandbox."""

    def __init__(self, spec: str = "", seed: int = 0) -> None:
        self.seed = seed
        self.rules: list[Rule] = read_rules(spec, seed)

    def replace(self, spec: str, seed: int) -> None:
        """Replaces the rules; an empty spec removes all faults.

        Raises:
            ValueError: A rule cannot be read; the rules stay unchanged.
        """
        self.rules = read_rules(spec, seed)
        self.seed = seed

    def match(self, place: str) -> list[Fault]:
        """Counts one call at a place and returns its faults, in the order of the rules."""
        if not self.rules:
            return []
        names = {place, "*"} if place in ENDPOINTS else {place}
        matching = [rule for rule in self.rules if rule.place in names and rule.matches()]
        return [Fault(rule.kind, rule.value) for rule in matching]


def read_rules(spec: str, seed: int) -> list[Rule]:
    """Parses a spec. The same spec and seed select the same calls.

    Raises:
        ValueError: Names the rule that cannot be read, and what is allowed there.
    """
    texts = [text.strip() for text in spec.split(";") if text.strip()]
    return [_read_rule(text, f"{seed}:{number}") for number, text in enumerate(texts)]


def _read_rule(text: str, seed: str) -> Rule:
    match = _RULE.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not PLACE:KIND[=VALUE][@WHEN]")
    place, kind = match["place"], match["kind"]
    places = (*ENDPOINTS, "*", *sorted(KINDS.keys() - {"rest"}))
    if place not in places:
        raise ValueError(f"{text!r}: no place {place!r}; there are {', '.join(places)}")
    kinds = KINDS.get(place, KINDS["rest"])
    if kind not in kinds:
        raise ValueError(f"{text!r}: {place} knows {', '.join(sorted(kinds))}")
    rule = Rule(place, kind, match["value"] or "", chance=random.Random(seed))
    _read_when(rule, match["when"], text)
    return rule


def _read_when(rule: Rule, when: str | None, text: str) -> None:
    if when is None:
        return
    if _SHARE.match(when):
        rule.share = float(when)
        return
    match = _WHEN.match(when)
    if match is None:
        raise ValueError(f"{text!r}: @{when} is none of @3, @2-4, @2+, @0.25")
    rule.first = int(match["first"])
    rule.last = None if match["onward"] else int(match["last"] or rule.first)
