"""The engine: finds weights, builds calls, runs them in the pool, and reports how a clip was made."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from wiro_nb.local_models import catalog, weights
from wiro_nb.local_models.catalog import GB, LocalModel, Repository
from wiro_nb.sandbox.engines import Engine, EngineError, Job, Output, Preview, Progress, Report, Result
from wiro_nb.sandbox.engines.diffusers.adapters import make_call
from wiro_nb.sandbox.engines.diffusers.calls import MAX_SEED, Call, Picture, Request
from wiro_nb.sandbox.engines.diffusers.pool import DOCTOR, Pool
from wiro_nb.schema import find_bundled
from wiro_nb.schema.types import ModelSchema, Parameter

__all__ = ["DiffusersEngine", "describe_call", "for_worker", "read_request", "schema_of"]

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
        self.schemas = tuple(schema_of(model) for model in catalog.models())

    def unavailable(self, model: str) -> str | None:
        """Returns what keeps a model from running: unknown, weights that every run needs missing, a small card."""
        found = catalog.find(model)
        if found is None:
            return f"{model} does not run on this machine: no public weights are known. local.toml can name some."
        always = [item for item in found.repositories if not item.settings]
        if any(weights.locate(item) is None for item in always[:1]):
            return _missing(found, always[0])
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
        model = catalog.find(job.model)
        if model is None:
            raise EngineError(f"{job.model} does not run on this machine.")
        call, folders = await asyncio.to_thread(_prepare, model, job)
        sent = for_worker(call, folders)
        notes = [*call.notes, f"seed {call.seed}"]
        out = job.out_dir / "0.mp4"

        async def on_progress(message: dict[str, Any]) -> None:
            phase, step, steps = message["phase"], message["step"], message["steps"]
            told: tuple[str, ...] = ()
            if phase != "load" and notes:
                if self._pool.facts.get("device") == "cpu":
                    notes.append(f"It runs on the processor, which is very slow. {DOCTOR}")
                told = tuple(notes)
                notes.clear()
            await report(Progress(phase, step, steps, notes=told))
            if shown := message["preview"]:
                preview = Preview(base64.b64decode(shown["jpeg"]), shown["width"], shown["height"])
                await report(Progress(phase, step, steps, preview))

        done = await self._pool.run(sent["key"], sent, out, on_progress)
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
    return Request(model, job.parameters, pictures, lambda: secrets.randbelow(MAX_SEED) + 1)


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


def for_worker(call: Call, folders: Mapping[str, Path]) -> dict[str, Any]:
    """Returns a call as it is sent to a worker.

    Args:
        call: The call.
        folders: Where each of its repositories is, by id.
    """
    by_role = {role: str(folders[item.id]) for role, item in call.parts.items()}
    loras = [
        {**asdict(lora), "id": lora.repository.id, "folder": str(folders[lora.repository.id])}
        for lora in call.loras
    ]
    pictures = {
        name: str(value.path) if isinstance(value, Picture) else [str(item.path) for item in value]
        for name, value in call.pictures.items()
    }
    key = json.dumps([call.pipeline, by_role], sort_keys=True)
    return asdict(replace(call, parts={}, pictures={})) | {
        "key": key,
        "folders": by_role,
        "loras": loras,
        "pictures": pictures,
    }


def describe_call(call: Call, folders: Mapping[str, Path]) -> dict[str, Any]:
    """Returns the facts about a call for the record; the worker adds those about the device."""

    def describe(repository: Repository) -> dict[str, str]:
        revision = weights.commit_of(folders[repository.id]) or "a plain copy"
        return {"id": repository.id, "revision": revision, "licence": repository.licence}

    facts: dict[str, Any] = {
        "pipeline": call.pipeline,
        "repositories": {role: describe(item) for role, item in call.parts.items()},
        "call": dict(call.arguments),
        "seed": call.seed,
        "loras": [{**describe(lora.repository), "strength": lora.strength} for lora in call.loras],
        "scheduler_changes": dict(call.scheduler.changes),
        "first_block_cache": call.cache_threshold,
        "notes": list(call.notes),
    }
    return {name: fact for name, fact in facts.items() if fact}


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
