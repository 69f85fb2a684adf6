"""The diffusers engine: runs open-weight models on this machine's GPUs, or on the CPU.

    this module > adapters (request to call) | pool > worker > generate > pipelines   (with torch)
                                               pool > ray_workers: workers on the machines of a Ray cluster

Only the worker imports torch and diffusers; it may be another interpreter (`--python`) with `wiro_nb[local]`.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from pathlib import Path
from typing import Any

from wiro_nb import local_models
from wiro_nb.local_models import GB, LocalModel, Repository, weights
from wiro_nb.sandbox.engines import Engine, EngineError, Job, Output, Preview, Progress, Report, Result
from wiro_nb.sandbox.engines.diffusers.adapters import make_call
from wiro_nb.sandbox.engines.diffusers.calls import MAX_SEED, Call, Picture, Request, describe_call, for_worker
from wiro_nb.sandbox.engines.diffusers.pool import DOCTOR, Pool
from wiro_nb.schema import find_bundled
from wiro_nb.schema.types import ModelSchema, Parameter

__all__ = ["DiffusersEngine", "read_request", "schema_of"]
_SPARE_BYTES = 200_000_000
_TYPES = {bool: "checkbox", int: "integer", float: "float"}


class DiffusersEngine(Engine):
    """Runs models of `local_models` in worker processes.

    Args:
        pool: Of the workers; closed with the engine.
    """

    name = "diffusers"
    is_placeholder = False

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.schemas = tuple(schema_of(model) for model in local_models.models())

    def unavailable(self, model: str) -> str | None:
        """Returns what keeps a model from running: unknown, weights that every run needs missing, a small card."""
        found = local_models.find(model)
        if found is None:
            return f"{model} does not run on this machine: no public weights are known. local.toml can name some."
        if weights.locate(found.repositories[0]) is None:
            return _missing(found, found.repositories[0])
        memory_bytes = self._pool.facts.get("memory_bytes")
        if memory_bytes is not None and memory_bytes < found.min_memory_gb * GB * 0.9:
            found_gb = memory_bytes / GB
            return f"{model} needs {found.min_memory_gb:g} GB of GPU memory, found {found_gb:.0f}. {DOCTOR}"
        return None

    async def run(self, job: Job, report: Report) -> Result:
        """Generates one clip.

        Raises:
            EngineError: The request, the weights, the memory or the worker is the reason, in a sentence.
        """
        model = local_models.find(job.model)
        if model is None:
            raise EngineError(f"{job.model} does not run on this machine.")
        call, folders = await asyncio.to_thread(_prepare, model, job)
        notes, out = (*call.notes, f"seed {call.seed}"), job.out_dir / "0.mp4"

        async def on_progress(message: dict[str, Any]) -> None:
            preview = Preview(**message["preview"]) if message["preview"] else None
            is_slow = self._pool.facts.get("device") == "cpu"
            told = (*notes, f"It runs on the processor, which is very slow. {DOCTOR}") if is_slow else notes
            told = told if message["phase"] != "load" else ()
            await report(Progress(message["phase"], message["step"], message["steps"], preview, told))

        done = await self._pool.run(for_worker(call, folders), out, on_progress)
        output = Output(out, done["width"], done["height"], done["frames"], call.fps)
        return Result((output,), {"engine": self.name, **describe_call(call, folders), **done["facts"]})

    async def close(self) -> None:
        """Ends the workers."""
        await self._pool.close()


def read_request(model: LocalModel, job: Job) -> Request:
    """Returns a job's request, with the sizes of its pictures. Blocking.

    Raises:
        EngineError: A picture cannot be read.
    """
    from wiro_nb.sandbox.engines.media import read_picture

    pictures = {}
    for name, paths in job.inputs.items():
        sizes = [(path, read_picture(path).size) for path in paths]
        pictures[name] = tuple(Picture(path, *size) for path, size in sizes)
    return Request(job.parameters, model, pictures, lambda: secrets.randbelow(MAX_SEED) + 1)


def _prepare(model: LocalModel, job: Job) -> tuple[Call, dict[str, Path]]:
    """Makes the call and finds its weights. Blocking.

    Raises:
        EngineError: The request cannot be done, a picture cannot be read, weights are missing, the disk is full.
    """
    if shutil.disk_usage(job.out_dir).free < _SPARE_BYTES:
        raise EngineError("The disk of the data folder is nearly full. Free some space, or set WIRO_DATA_DIR.")
    call = make_call(read_request(model, job))
    folders: dict[str, Path] = {}
    for repository in call.repositories:
        folder = weights.locate(repository)
        if folder is None:
            raise EngineError(_missing(model, repository))
        folders[repository.id] = folder
    return call, folders


def _missing(model: LocalModel, repository: Repository) -> str:
    return f"The weights {repository.id} are not on this machine. Type: {weights.pull_command(model, repository)}"


def schema_of(model: LocalModel) -> ModelSchema:
    """Returns the inputs of a model: its page's, or those that `local.toml` maps."""
    bundled = find_bundled(model.name)
    if bundled is not None and model.adapter != "generic":
        return bundled
    parameters = tuple(
        Parameter(
            item.name,
            "textarea" if item.name == "prompt" else _type_of(item.argument, item.default),
            item.name,
            f"{item.argument} of {model.pipeline}",
            None if item.default is None else str(item.default),
        )
        for item in model.parameters
    )
    return ModelSchema(
        slug=model.name,
        run_path=model.name,
        title=model.name,
        description=f"{model.pipeline} with {model.repositories[0].id}, from local.toml.",
        categories=("text-to-video", "local"),
        tags=("local",),
        parameters=parameters,
        source={"kind": "bundled", "name": "local.toml"},
    )


def _type_of(argument: str, default: object) -> str:
    if argument.endswith("image"):
        return "fileinput"
    return _TYPES.get(type(default), "text")
