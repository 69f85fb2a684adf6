"""Engines that run open-weight models: on this machine's GPUs or its CPU, or on a server with the /v1/videos API.

    this module > adapters (request to call) | pool > worker > generate > pipelines   (with torch)
                                               pool > ray_workers: workers on the machines of a Ray cluster

Only the worker imports torch and diffusers; it may be another interpreter (`--python`) with `wiro_nb[local]`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wiro_nb import local_models
from wiro_nb.local_models import GB, LocalModel, Repository, weights
from wiro_nb.sandbox.engines import Engine, EngineError, Job, Progress, Report, Result
from wiro_nb.sandbox.engines.diffusers.adapters import make_call
from wiro_nb.sandbox.engines.diffusers.calls import MAX_SEED, Call, Picture, Request, describe_call, for_worker
from wiro_nb.sandbox.engines.diffusers.pool import DOCTOR, Pool
from wiro_nb.schema import find_bundled
from wiro_nb.schema.types import ModelSchema, Parameter

if TYPE_CHECKING:
    import httpx2

__all__ = ["DiffusersEngine", "VideosEngine"]
_SPARE_BYTES = 200_000_000
_TYPES = {bool: "checkbox", int: "integer", float: "float"}
_VIDEOS_ADAPTERS = ("wan_ti2v", "wan_vace")
_TIMEOUT_S = 60.0
_UNKNOWN = "unknown: the server does not say"


class DiffusersEngine(Engine):
    """Runs models of `local_models` in worker processes.

    Args:
        pool: Of the workers; closed with the engine.
    """

    name = "diffusers"
    is_placeholder = False

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.schemas = tuple(_schema_of(model) for model in local_models.models())

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
            is_slow = self._pool.facts.get("device") == "cpu"
            told = (*notes, f"It runs on the processor, which is very slow. {DOCTOR}") if is_slow else notes
            told = told if message["phase"] != "load" else ()
            await report(Progress(message["phase"], message["step"], message["steps"], message["preview"], told))

        done = await self._pool.run(for_worker(call, folders), out, on_progress)
        return Result(out, {"engine": self.name, **describe_call(call, folders), **done["facts"]})

    async def close(self) -> None:
        """Ends the workers."""
        await self._pool.close()


def _read_request(model: LocalModel, job: Job) -> Request:
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
    call = make_call(_read_request(model, job))
    folders: dict[str, Path] = {}
    for repository in call.repositories:
        folder = weights.locate(repository)
        if folder is None:
            raise EngineError(_missing(model, repository))
        folders[repository.id] = folder
    return call, folders


def _missing(model: LocalModel, repository: Repository) -> str:
    return f"The weights {repository.id} are not on this machine. Type: {weights.pull_command(model, repository)}"


def _schema_of(model: LocalModel) -> ModelSchema:
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


# The /v1/videos API ----------------------------------------------------------------------------


class VideosEngine(Engine):
    """Runs the Wan models that need no LoRA on a server, such as vLLM-Omni or SGLang-diffusion.

    Such a server runs one model that it was started with, takes at most one picture and chooses its own solver;
    which weights it holds, in which precision and on which card, it does not say, and so the record says that.
    Source: https://docs.vllm.ai/projects/vllm-omni/en/latest/serving/videos_api/

    Args:
        url: `http://host:port`, without `/v1`.
        poll_s: Seconds between two looks at a job.
    """

    name = "videos"
    is_placeholder = False

    def __init__(self, url: str, poll_s: float = 0.5) -> None:
        self._poll_s = poll_s
        self._url = url.rstrip("/").removesuffix("/v1")
        self._models = [model for model in local_models.models() if model.adapter in _VIDEOS_ADAPTERS]
        self.schemas = tuple(_schema_of(model) for model in self._models) or None

    def unavailable(self, model: str) -> str | None:
        """Returns why a model cannot be forwarded: it needs LoRAs, or its server API has no such inputs."""
        if self._find(model) is not None:
            return None
        return f"{model} does not fit the /v1/videos API; there are {', '.join(m.name for m in self._models)}."

    def _find(self, name: str) -> LocalModel | None:
        found = local_models.find(name)
        return found if found is not None and found.adapter in _VIDEOS_ADAPTERS else None

    async def run(self, job: Job, report: Report) -> Result:
        """Has one clip made.

        Raises:
            EngineError: The request does not fit, or the server cannot be reached, refuses it, or fails.
        """
        import httpx2

        model = self._find(job.model)
        if model is None:
            raise EngineError(f"{job.model} does not fit the /v1/videos API.")
        call = make_call(await asyncio.to_thread(_read_request, model, job))
        form, notes = _form(call)
        out = job.out_dir / "0.mp4"
        await report(Progress("load"))
        try:
            async with httpx2.AsyncClient(base_url=self._url, timeout=_TIMEOUT_S, trust_env=False) as client:
                await self._make(client, await asyncio.to_thread(_parts, call, form), out, report, notes)
        except httpx2.HTTPError as error:
            raise EngineError(f"The server {self._url} cannot be reached: {type(error).__name__}.") from error
        facts = {"engine": self.name, "server": self._url, "call": form, "seed": call.seed, "notes": list(notes)}
        return Result(out, {**facts, "revision": _UNKNOWN, "dtype": _UNKNOWN, "device": _UNKNOWN})

    async def _make(
        self,
        client: httpx2.AsyncClient,
        parts: dict[str, Any],
        out: Path,
        report: Report,
        notes: tuple[str, ...],
    ) -> None:
        video = _read(await client.post("/v1/videos", files=parts))
        path = f"/v1/videos/{video['id']}"
        try:
            while (status := video.get("status")) not in ("completed", "failed"):
                if status == "in_progress":
                    await report(Progress("generate", int(video.get("progress") or 0), 100, notes=notes))
                await asyncio.sleep(self._poll_s)
                video = _read(await client.get(path))
            if status == "failed":
                raise EngineError(f"The server could not make it: {_reason(video)}")
            await report(Progress("save", notes=notes))
            content = await client.get(f"{path}/content")
            content.raise_for_status()
            out.write_bytes(content.content)  # noqa: ASYNC240
        finally:
            # Deletes what is stored, and ends what still runs.
            with contextlib.suppress(Exception):
                await asyncio.shield(client.delete(path))


def _form(call: Call) -> tuple[dict[str, str], tuple[str, ...]]:
    """Returns the form of a call, and what it cannot carry.

    Raises:
        EngineError: It has more than one picture.
    """
    notes = ["Weights, precision and card are those of the server, which does not name them."]
    if call.scheduler not in ("", "UniPCMultistepScheduler"):
        notes.append("The server chooses its own solver; sampleSolver is not followed.")
    if call.cache_threshold:
        notes.append("speedMode is not followed.")
    references = call.pictures.get("reference_images", ())
    if isinstance(references, tuple) and len(references) > 1:
        raise EngineError("The /v1/videos API takes one picture at most.")
    names = ("prompt", "negative_prompt", "width", "height", "num_frames", "num_inference_steps", "guidance_scale")
    form = {name: str(call.arguments[name]) for name in names if call.arguments.get(name) not in (None, "")}
    form |= {"fps": str(call.fps), "seed": str(call.seed)}
    if "flow_shift" in call.scheduler_changes:
        form["flow_shift"] = str(call.scheduler_changes["flow_shift"])
    return form, (*notes, *call.notes)


def _parts(call: Call, form: dict[str, str]) -> dict[str, Any]:
    """Returns the parts of the multipart body: the form, and the picture where there is one. Blocking."""
    parts: dict[str, Any] = {name: (None, value) for name, value in form.items()}
    for value in call.pictures.values():
        picture = value if isinstance(value, Picture) else value[0]
        parts["input_reference"] = (picture.path.name, picture.path.read_bytes())
    return parts


def _read(response: httpx2.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if response.is_error or not isinstance(answer, dict) or not answer.get("id"):
        raise EngineError(f"The server refused it (HTTP {response.status_code}): {_reason(answer)}")
    return answer


def _reason(answer: Any) -> str:
    found = (
        answer.get("error") or answer.get("detail") or answer.get("message") if isinstance(answer, dict) else None
    )
    text = found.get("message") if isinstance(found, dict) else found
    return str(text or "it gave no reason")[:500]
