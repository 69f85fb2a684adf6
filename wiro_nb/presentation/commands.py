"""The table of `%wiro` commands. The parser, the help, completion and the README are made from it.

A new command is one entry here and one function in `notebook/magic/handlers.py`, named in `HANDLERS`; a test fails
when either is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

MAGIC = "wiro"


@dataclass(frozen=True, slots=True)
class Argument:
    """A positional argument of a command.

    Attributes:
        name: As shown in the usage line, upper case.
        kind: What completion offers: "model", "run", "service", "command", "text", "usd", "task", "file".
        help: One line.
        required: False for optional ones, which come last.
        rest: True when the argument takes all remaining words as one text.
        repeats: True when it takes all remaining words one by one; it is read like a repeated option.
    """

    name: str
    kind: str
    help: str
    required: bool = True
    rest: bool = False
    repeats: bool = False

    @property
    def usage(self) -> str:
        """The argument as it stands in a usage line."""
        more = " ..." if self.repeats else ""
        return self.name + more if self.required else f"[{self.name}{more}]"


@dataclass(frozen=True, slots=True)
class Flag:
    """An option such as `--max-cost USD`.

    Attributes:
        name: With its dashes.
        help: One line.
        value: Name of its value, upper case, or "" for a switch.
        kind: What completion offers for the value, as in `Argument.kind`; "source" is a run or a file.
        repeats: True when it may be given several times; its value is a list of values and keeps its quotes.
    """

    name: str
    help: str
    value: str = ""
    kind: str = "text"
    repeats: bool = False

    @property
    def key(self) -> str:
        """The name a handler reads the option by: "max_cost" for `--max-cost`."""
        return self.name.lstrip("-").replace("-", "_")

    @property
    def usage(self) -> str:
        """The option as it stands in a usage line."""
        more = " ..." if self.repeats else ""
        return f"[{self.name} {self.value}{more}]" if self.value else f"[{self.name}]"


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        name: The word after `%wiro`; "status" also answers to no word at all.
        summary: One line for `%wiro help`.
        arguments: In order.
        flags: Options, anywhere on the line.
        takes_values: True when `name=value` pairs are the model's settings.
        takes_body: True when the command is also a cell, `%%wiro NAME`, whose body is the prompt.
        words: What calls it, where that is not `%wiro` and its name.
        example: A complete line that works.
    """

    name: str
    summary: str
    arguments: tuple[Argument, ...] = ()
    flags: tuple[Flag, ...] = ()
    takes_values: bool = False
    takes_body: bool = False
    words: str = ""
    example: str = ""

    @property
    def title(self) -> str:
        """The words that call the command, e.g. "%wiro show"."""
        if self.words:
            return self.words
        return f"%{MAGIC}" if self.name == STATUS else f"%{MAGIC} {self.name}"

    @property
    def usage(self) -> str:
        """One usage line with every argument and option."""
        parts = [self.title]
        parts += [item.usage for item in self.arguments]
        if self.takes_values:
            parts.append("[name=value ...]")
        parts += [flag.usage for flag in self.flags]
        return " ".join(parts)

    def flag(self, name: str) -> Flag | None:
        """Returns the option of this name (with dashes), or None."""
        return next((flag for flag in self.flags if flag.name == name), None)


STATUS = "status"

MODEL = Argument("MODEL", "model", "owner/name of a model")
RUN = Argument("RUN", "run", "id of a run; its first or last letters are enough")

SOURCE = Argument("RUN|FILE", "source", "a run, clip, run.json, or NOTEBOOK#RUN")

START_FLAGS = (
    Flag("--as", "Keep the run in a variable of this name", "VAR"),
    Flag("--wait", "Wait in this cell until the run ends"),
    Flag("--max-cost", "Refuse to start when the price may be higher", "USD", "usd"),
    Flag("--fresh", "Run again even if this cell's clip is already made"),
)
DRY_RUN = Flag("--dry-run", "Show the request and its price; send nothing")
YES = Flag("--yes", "Send a large sweep or film without being asked")
RUN_FLAGS = (
    *START_FLAGS,
    DRY_RUN,
    Flag("--sweep", "Run once for each value: seed=1..6, or loraType=ZoomIn,PanLeft", "NAME=A,B", repeats=True),
    Flag("--zip", "Pair the values of several --sweep in place of combining them"),
    YES,
)

JOIN_FLAGS = (
    Flag("--out", "The file to write (film.mp4); a film there is replaced, another file never", "FILE", "file"),
    Flag("--crossfade", "Blend so many seconds at each seam where no clip goes on from the one before", "SECONDS"),
    Flag("--audio", "Sound in place of that of the clips, cut to the length of the film", "FILE", "file"),
)

CELL = Command(
    "cell",
    "Run a model; the cell's body is the prompt, taken as it stands",
    (MODEL,),
    RUN_FLAGS,
    takes_values=True,
    words=f"%%{MAGIC}",
    example="%%wiro Wan-AI/Wan2.2-TI2V-5B-text-to-video seed=7",
)

FILM = Command(
    "film",
    "Make a film of several shots: each begins with a line such as --- waves from=previous seed=7, and its prompt "
    "stands below it",
    (Argument("MODEL", "model", "of the shots that name none", required=False),),
    (*START_FLAGS, DRY_RUN, YES, *JOIN_FLAGS),
    takes_values=True,
    words=f"%%{MAGIC}_film",
    example="%%wiro_film pruna/vace --out storm.mp4",
)
SHOT = Command(
    "shot",
    "A shot of a film",
    (
        Argument("NAME", "text", "of the shot", required=False),
        Argument("MODEL", "model", "of this shot", required=False),
    ),
    takes_values=True,
    words="---",
    example="--- waves from=previous seed=7",
)

COMMANDS: tuple[Command, ...] = (
    Command(STATUS, "Service, account, spent and budget, runs in flight, what to type next", example="%wiro"),
    Command(
        "models",
        "Browse the models, or search them",
        (Argument("QUERY", "text", "words to look for", required=False, rest=True),),
        example="%wiro models lighthouse video",
    ),
    Command("info", "Inputs, choices and price of a model", (MODEL,), example="%wiro info pruna/vace"),
    Command(
        "form",
        "Fill in a model's inputs in a form",
        (MODEL,),
        (
            Flag(
                "--from",
                "Start with the settings of a run, clip or picture, also of other tools",
                "RUN|FILE",
                "source",
            ),
        ),
        takes_values=True,
        example="%wiro form pruna/vace",
    ),
    Command(
        "run",
        'Run a model from one line, prompt="..." included',
        (MODEL,),
        RUN_FLAGS,
        takes_values=True,
        example='%wiro run Wan-AI/Wan2.2-TI2V-5B-text-to-video prompt="a lighthouse"',
    ),
    Command(
        "runs",
        "The runs of this notebook, newest first",
        (),
        (
            Flag("--all", "Runs of every notebook"),
            Flag("--model", "Only runs of this model", "MODEL", "model"),
            Flag("--state", "Only runs that are done, failed, cancelled or running", "STATE", "run_state"),
            Flag("--text", "Only runs with these words in the prompt or a setting", "WORDS"),
            Flag("--since", "Only runs since today, yesterday, 7d (days), 3h (hours) or a date", "WHEN", "since"),
            Flag("--limit", "At most this many (50)", "N"),
        ),
        example="%wiro runs --state done --since 7d",
    ),
    Command(
        "show",
        "Show a run and its clip",
        (RUN,),
        (Flag("--tree", "Show the tree of runs it was made from and that were made from it"),),
        example="%wiro show 8k2qf",
    ),
    Command(
        "rerun",
        "Make a run again with the settings, files and seed it had; name=value changes one",
        (SOURCE,),
        (
            *START_FLAGS,
            Flag("--dry-run", "Show the request and what has changed since; send nothing"),
            Flag("--all", "Every run of a notebook or folder"),
            Flag("--yes", "Send many runs, or expensive ones, without being asked"),
            Flag("--force", "Read a record that was changed after it was written"),
        ),
        takes_values=True,
        example="%wiro rerun 8k2qf seed=8",
    ),
    Command(
        "extend",
        "Go on from a clip: its last frame is the input picture of the next run. With %%wiro extend the cell's "
        "body is the next prompt",
        (RUN, Argument("MODEL", "model", "the model that continues; without it the run's own", required=False)),
        (
            Flag("--at", "Go on from this moment of the clip, for example 3.2s", "TIME"),
            Flag("--frame", "Go on from this frame, from 0, or from the end: -1 is the last", "N"),
            *START_FLAGS,
            DRY_RUN,
        ),
        takes_values=True,
        takes_body=True,
        example='%wiro extend 8k2qf prompt="the storm is over"',
    ),
    Command(
        "join",
        "Join clips into one film that holds the record of every part",
        (Argument("RUN|FILE", "source", "runs or clips, in order", repeats=True),),
        JOIN_FLAGS,
        example="%wiro join 8k2qf 9x2kd --out film.mp4",
    ),
    Command(
        "compare",
        "What differs between runs or clips: settings, and the pictures frame by frame",
        (
            SOURCE,
            Argument(
                "OTHER", "source", "what to compare it with; without it the run it was made from", required=False
            ),
            Argument("THIRD", "source", "a third", required=False),
            Argument("FOURTH", "source", "a fourth", required=False),
        ),
        example="%wiro compare 8k2qf 9x2kd",
    ),
    Command(
        "verify",
        "Check that files and records are whole and unchanged, and that no secret is in them",
        (Argument("PATH", "file", "notebooks, folders, clips; without any this notebook", False, repeats=True),),
        example="%wiro verify",
    ),
    Command(
        "wait",
        "Wait until a run ends, or every run of this notebook",
        (Argument("RUN", "run", "id of a run; without it all of them", required=False),),
        example="%wiro wait",
    ),
    Command("cancel", "Cancel a run; one that generates may be billed", (RUN,), example="%wiro cancel 8k2qf"),
    Command(
        "attach",
        "Follow a task that was started elsewhere, by its task id",
        (Argument("TASK", "task", "task id, digits"),),
        example="%wiro attach 534574",
    ),
    Command("forget", "Take a run off the list; its files stay", (RUN,), example="%wiro forget 8k2qf"),
    Command("download", "Download a run's files again, at no cost", (RUN,), example="%wiro download 8k2qf"),
    Command(
        "budget",
        "Show the budget of this notebook, or set it (`none` lifts it)",
        (Argument("USD", "usd", "most to spend in this notebook", required=False),),
        example="%wiro budget 2.00",
    ),
    Command(
        "spent",
        "What was billed, by model, day or notebook",
        (),
        (Flag("--by", "How to add it up: model (the default), day or notebook", "WHAT", "spent_by"),),
        example="%wiro spent --by day",
    ),
    Command("login", "Ask for the API key without showing or saving it in the notebook", example="%wiro login"),
    Command("logout", "Forget the API key kept by %wiro login", example="%wiro logout"),
    Command(
        "use",
        "Choose the service: sandbox (placeholders), local (models on this machine) or cloud",
        (Argument("SERVICE", "service", "sandbox, local, cloud, or a name you gave"),),
        example="%wiro use sandbox",
    ),
    Command(
        "help",
        "This list, or everything about one command",
        (Argument("COMMAND", "command", "a command", required=False),),
        example="%wiro help run",
    ),
)


def find_command(name: str) -> Command | None:
    """Returns the command of this name, or None."""
    return next((command for command in COMMANDS if command.name == name), None)
