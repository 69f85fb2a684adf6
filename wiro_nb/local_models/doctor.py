"""Checks what this machine can run: the interpreter that generates, its GPUs, memory and disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wiro_nb.local_models import GB, LocalModel, models
from wiro_nb.local_models.weights import missing, pull_command, weights_dirs

PYTHON_VARIABLE = "WIRO_LOCAL_PYTHON"
NEEDED_PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "sentencepiece", "ftfy", "wiro_nb")
_INSTALL = 'PYTHON -m pip install "wiro_nb[local]"'
_PROBE_TIMEOUT_S = 120.0
_SMI_TIMEOUT_S = 10.0
_PROBE = """
import importlib.metadata, json, sys
found = {"python": sys.version.split()[0], "versions": {}, "cuda": None, "gpus": [], "error": ""}
for name in sys.argv[1:]:
    try:
        found["versions"][name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
try:
    import torch
    found["cuda"] = torch.version.cuda or torch.version.hip
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        found["gpus"].append({"name": facts.name, "memory": facts.total_memory})
except Exception as error:
    found["error"] = f"{type(error).__name__}: {error}"[:200]
print("\\n" + json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: what was looked at, whether it is fine, what was found, and the next thing to type or ""."""

    subject: str
    is_fine: bool
    finding: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """The interpreter and hardware that generate.

    Attributes:
        python: The interpreter that generates.
        versions: Of its packages that are installed.
        cuda: What its torch was built for, or None for a build without GPUs.
        gpus: Name and memory in bytes of each GPU that torch can use.
        seen_gpus: Names of the GPUs that the driver shows.
        problem: Why the interpreter could not be asked, or "".
    """

    python: str
    versions: dict[str, str]
    cuda: str | None
    gpus: tuple[tuple[str, int], ...]
    seen_gpus: tuple[str, ...]
    problem: str = ""

    @property
    def memory_gb(self) -> float:
        """Memory of the largest GPU, in units of 1e9 bytes; 0 without one."""
        return max((memory for _, memory in self.gpus), default=0) / GB


def probe_machine() -> Machine:
    """Asks the interpreter that generates for its packages and GPUs; takes seconds, since torch loads.

    That is the one of `WIRO_LOCAL_PYTHON`, else this one.
    """
    python = os.environ.get(PYTHON_VARIABLE, "").strip() or sys.executable
    command = [python, "-c", _PROBE, *NEEDED_PACKAGES]
    problem, found = "", dict[str, Any]()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=False)
        found = json.loads(done.stdout.splitlines()[-1])
    except OSError as error:
        problem = f"it cannot be started: {error.strerror}"
    except subprocess.TimeoutExpired:
        problem = f"it did not answer within {_PROBE_TIMEOUT_S:.0f} s"
    except (ValueError, IndexError):
        problem = "it ended without an answer"
    versions = dict(found.get("versions", {}))
    if found.get("error") and "torch" in versions:
        problem = f"torch cannot be loaded: {found['error']}"
    gpus = tuple((str(item["name"]), int(item["memory"])) for item in found.get("gpus", ()))
    return Machine(python, versions, found.get("cuda"), gpus, _driver_gpus(), problem)


def _driver_gpus() -> tuple[str, ...]:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SMI_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())


def check_machine(machine: Machine) -> list[Check]:
    """Returns the findings about interpreter, GPU, memory and disk."""
    return [_check_python(machine), _check_gpu(machine), _check_memory(), _check_disk()]


def _check_python(machine: Machine) -> Check:
    lacking = [name for name in NEEDED_PACKAGES if name not in machine.versions]
    install = _INSTALL.replace("PYTHON", machine.python)
    if machine.problem:
        hint = install if machine.versions else f"set {PYTHON_VARIABLE} to a Python with torch and diffusers"
        return Check("interpreter", False, f"{machine.python}: {machine.problem}", hint)
    if lacking:
        return Check("interpreter", False, f"{machine.python} lacks {', '.join(lacking)}", install)
    shown = ", ".join(f"{name} {machine.versions[name]}" for name in NEEDED_PACKAGES[:3])
    return Check("interpreter", True, f"{machine.python}: {shown}")


def _check_gpu(machine: Machine) -> Check:
    if machine.gpus:
        shown = "; ".join(f"{name}, {memory / GB:.0f} GB" for name, memory in machine.gpus)
        return Check("GPU", True, shown)
    if not machine.seen_gpus:
        finding = "none found: models run on the processor, which is very slow"
        return Check("GPU", False, finding, "nvidia-smi must list a card; or %wiro use cloud")
    names, guide = ", ".join(machine.seen_gpus), "see https://pytorch.org/get-started/locally/"
    if "torch" not in machine.versions:
        return Check("GPU", False, f"{names}; torch is not installed", _INSTALL.replace("PYTHON", machine.python))
    if machine.cuda is None:
        return Check("GPU", False, f"{names}, but this torch was built without GPU support", guide)
    finding = f"{names}, but torch cannot use it: it was built for CUDA {machine.cuda}, the driver may be older"
    return Check("GPU", False, finding, f"nvidia-smi shows the driver's CUDA version; {guide}")


def ram_bytes() -> int | None:
    """Returns the memory of this machine, or None where it is not known."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # Windows
        return None


def _check_memory() -> Check:
    memory = ram_bytes()
    return Check("memory", True, "size unknown" if memory is None else f"{memory / GB:.0f} GB")


def _check_disk() -> Check:
    root = weights_dirs()[0]
    existing = next((folder for folder in (root, *root.parents) if folder.exists()), Path.cwd())
    free = shutil.disk_usage(existing).free / GB
    return Check("disk", True, f"{free:.0f} GB free for weights in {root}")


def check_models(machine: Machine) -> list[Check]:
    """Returns one finding a model: whether it can run here now.

    Raises:
        ConfigError: `local.toml` is wrong.
    """
    return [_check_model(model, machine) for model in models()]


def _check_model(model: LocalModel, machine: Machine) -> Check:
    if machine.gpus and machine.memory_gb < model.min_memory_gb:
        finding = f"needs a GPU with about {model.min_memory_gb:g} GB, found {machine.memory_gb:.0f} GB"
        return Check(model.name, False, finding)
    if lacking := missing(model, {}):
        known = sum(repository.bytes_estimate for repository in lacking)
        size = f", about {known / GB:.0f} GB" if all(repository.bytes_estimate for repository in lacking) else ""
        return Check(model.name, False, f"its weights are not here{size}", pull_command(model))
    unmet = not machine.gpus or machine.problem or any(name not in machine.versions for name in NEEDED_PACKAGES)
    return Check(model.name, not unmet, "weights are here" + (", but see above" if unmet else ""))
