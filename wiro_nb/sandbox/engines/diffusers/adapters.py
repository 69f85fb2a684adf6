"""Adapters, one per model, that convert a request to a pipeline call. Does not import torch.

What a model's page offers and public weights cannot do is refused where nothing honest can stand in, and else
replaced with a note that log and record repeat. Values that the page does not name are those that diffusers
or the weights' page document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from wiro_nb.json_values import as_flag
from wiro_nb.local_models import Distilled
from wiro_nb.sandbox.engines import EngineError, fit_area
from wiro_nb.sandbox.engines.diffusers.calls import Call, Lora, Picture, Request

_WAN_NEGATIVE = (
    "Bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, images, static, "
    "overall gray, worst quality, low quality, JPEG compression residue, ugly, incomplete, extra fingers, poorly "
    "drawn hands, poorly drawn faces, deformed, disfigured, misshapen limbs, fused fingers, still picture, messy "
    "background, three legs, many people in the background, walking backwards"
)
_SKYREELS_NEGATIVE = "low quality, blurry, distorted, deformed, static, watermark, subtitles"
_MAX_STEPS = 200
_MAX_MOTION_FRAMES = 32  # of the motion adapter's positions
_CLIP_TOKENS = 77


def make_call(request: Request) -> Call:
    """Returns the call for a request.

    Raises:
        EngineError: It asks for something that cannot be done with public weights, or out of bounds.
    """
    call = ADAPTERS[request.model.adapter](request)
    return call if request.model.distilled is None else _distil(call, request.model.distilled)


def _distil(call: Call, distilled: Distilled) -> Call:
    """Returns a call with the reduced steps and guidance of a distilled LoRA, and a note about it."""
    scales = [name for name in ("guidance_scale", "true_cfg_scale") if name in call.arguments]
    changes = {
        "num_inference_steps": distilled.steps,
        **dict.fromkeys(scales or ["guidance_scale"], distilled.guidance),
    }
    lora = Lora(distilled.repository, distilled.repository.patterns)
    asked = ", ".join(f"{name} {call.arguments.get(name, 'unset')}" for name in changes)
    note = (
        f"{distilled.repository.id} is loaded, as local.toml says: {distilled.steps} steps and guidance "
        f"{distilled.guidance:g} in place of {asked}."
    )
    arguments = {**call.arguments, **changes}
    return replace(call, arguments=arguments, loras=(*call.loras, lora), notes=(*call.notes, note))


def _animatediff(request: Request) -> Call:
    if private := request.text("selectedModelPrivate"):
        raise EngineError(
            f"selectedModelPrivate {private[:60]!r} is a model of a Wiro account; its weights are not public. "
            "Leave it empty."
        )
    notes = []
    realistic, fine_vae, motion = request.model.repositories[:3]
    selected = request.text("selectedModel", "60")
    base = request.repository("selectedModel", selected)
    if base is None and selected != "485":
        notes.append(f"selectedModel {selected} has no known public weights: {realistic.id} stands in for it.")
    parts = {"pipeline": base or realistic, "motion_adapter": motion}
    if base is None:
        parts["vae"] = fine_vae  # this base comes without one that is good
    _, lora = request.lora("loraType", "FILE:169584", "is unknown")
    arguments = {
        "prompt": request.text("prompt"),
        "negative_prompt": request.text("negativePrompt"),
        "num_frames": request.whole("frameNumber", 18, 1, _MAX_MOTION_FRAMES),
        "num_inference_steps": request.whole("steps", 16, 1, _MAX_STEPS),
        "width": request.side("width", 512, 8),
        "height": request.side("height", 512, 8),
        "guidance_scale": 7.5,
    }
    if len(request.text("prompt").split()) > _CLIP_TOKENS:
        notes.append("The prompt is longer than 77 tokens: the text encoder reads its beginning only.")
    schedule = {"beta_schedule": "linear", "timestep_spacing": "linspace", "clip_sample": False, "steps_offset": 1}
    return request.call(
        "AnimateDiffPipeline",
        parts=parts,
        arguments=arguments,
        fps=8,
        scheduler="DDIMScheduler",
        scheduler_changes=schedule,
        loras=(lora,),
        notes=tuple(notes),
    )


def _wan_ti2v(request: Request) -> Call:
    return request.call(
        "WanPipeline",
        arguments={
            "prompt": request.text("prompt"),
            "negative_prompt": request.text("negativePrompt"),
            **_size(request.sides("size", (832, 480), 32)),
            "num_frames": request.frames("numFrames", 121, 257),
            "guidance_scale": request.number("scale", 5.0, 0, 30),
            "num_inference_steps": request.whole("steps", 25, 1, _MAX_STEPS),
        },
        fps=request.whole("fps", 16, 1, 60),
        **_flow("UniPCMultistepScheduler", 5.0),
    )


_SOLVERS = {"unipc": "UniPCMultistepScheduler", "dpm++": "DPMSolverMultistepScheduler"}
_SPEEDS = {"lightly": 0.0, "juiced": 0.08, "extra": 0.2}


def _wan_vace(request: Request) -> Call:
    solver = request.text("sampleSolver", "unipc")
    if solver not in _SOLVERS:
        raise EngineError(f"sampleSolver must be {' or '.join(_SOLVERS)}, got {solver[:40]!r}.")
    speed = request.text("speedMode", "Lightly")
    threshold = _SPEEDS.get(speed.lower().split(" ")[0])
    if threshold is None:
        raise EngineError("speedMode must begin with Lightly, Juiced or Extra.")
    notes = []
    if threshold:
        notes.append(
            f"speedMode {speed.split(' Juiced')[0]!r} is approximated by a first block cache of {threshold:g}: "
            "the service's own optimiser is not public."
        )
    references = request.pictures.get("inputImage", ())
    if len(references) > 3:
        raise EngineError(f"inputImage takes at most 3 pictures; {len(references)} were given.")
    return request.call(
        "WanVACEPipeline",
        arguments={
            "prompt": request.text("prompt"),
            "negative_prompt": _WAN_NEGATIVE,
            **_size(request.resolution(references[0].aspect if references else None)),
            "num_frames": request.frames("frameNum", 81, 257),
            "guidance_scale": request.number("guidanceScale", 5.0, 0, 30),
            "num_inference_steps": request.whole("sampleSteps", 50, 1, _MAX_STEPS),
        },
        pictures={"reference_images": references} if references else {},
        fps=16,
        **_flow(_SOLVERS[solver], request.number("sampleShift", 16.0, 0.1, 100)),
        cache_threshold=threshold,
        notes=tuple(notes),
    )


_TRIGGERS = {
    "jungle": "1ung13 jungle transformation",
    "crying": "cr471ng crying",
    "angry-face": "4ngr23 angry face",
    "hulk-transformation": "h01k green hulk transformation",
}
_GUESSED = {"crash": "a crash zoom", "camera-controls": "an orbit of the camera"}


def _wan_effects(request: Request) -> Call:
    picture = request.picture("inputImage")
    effect, lora = request.lora("effectType", "fluffy-hair", "has no public weights")
    words = effect.replace("-", " ")
    prompt = _TRIGGERS.get(effect, words)
    notes = [
        f"{lora.repository.id} was trained for Wan 2.1; the service's own weights and prompt texts are not public."
    ]
    if effect in _GUESSED:
        notes.append(f"effectType {effect} is taken for {_GUESSED[effect]}.")
    elif effect not in _TRIGGERS:
        notes.append(f"The words that trigger the effect are not known; the prompt is {words!r}.")
    return request.call(
        "WanImageToVideoPipeline",
        arguments={
            "prompt": prompt,
            "negative_prompt": _WAN_NEGATIVE,
            **_size(fit_area(832 * 480, picture.aspect)),
            "num_frames": 81,
            "guidance_scale": 3.5,
            "num_inference_steps": 40,
        },
        pictures={"image": picture},
        fps=16,
        **_flow("UniPCMultistepScheduler", 5.0),
        loras=(lora,),
        notes=tuple(notes),
    )


def _skyreels(request: Request) -> Call:
    picture = request.picture("inputImage")
    base, transformer = request.model.repositories[:2]
    wide = (960, 544) if picture.aspect > 1.2 else (544, 960) if picture.aspect < 1 / 1.2 else (720, 720)
    return request.call(
        "HunyuanSkyreelsImageToVideoPipeline",
        parts={"pipeline": base, "transformer": transformer},
        arguments={
            "prompt": f"FPS-24, {request.text('prompt')}",
            # Without one the pipeline leaves out guidance and says nothing.
            "negative_prompt": request.text("negativePrompt", _SKYREELS_NEGATIVE),
            **_size(request.sides("size", wide, 16)),
            "num_frames": request.frames("numFrames", 97, 257),
            "num_inference_steps": request.whole("steps", 30, 1, _MAX_STEPS),
            "true_cfg_scale": request.number("scale", 6.0, 0, 30),
            "guidance_scale": 1.0,
        },
        pictures={"image": picture},
        fps=24,
    )


def _generic(request: Request) -> Call:
    """Builds the call of a `local.toml` pipeline from its parameter map; `seed` and `fps` are not passed to it."""
    arguments: dict[str, Any] = {}
    pictures: dict[str, Picture] = {}
    seed, fps = None, 16
    for item in request.model.parameters:
        text = request.text(item.name, "" if item.default is None else str(item.default))
        if given := request.pictures.get(item.name):
            pictures[item.argument] = given[0]
        elif item.argument == "generator" or item.name == "seed":
            seed = request.seed(item.name)
        elif item.argument == "fps":
            fps = request.whole(item.name, item.default if isinstance(item.default, int) else fps, 1, 60)
        elif text:
            arguments[item.argument] = _convert_like(request, item.name, item.default)
    return request.call(
        request.model.pipeline,
        arguments=arguments,
        pictures=pictures,
        seed=request.draw_seed() if seed is None else seed,
        fps=fps,
    )


ADAPTERS: Mapping[str, Callable[[Request], Call]] = {
    "animatediff": _animatediff,
    "wan_ti2v": _wan_ti2v,
    "wan_vace": _wan_vace,
    "wan_effects": _wan_effects,
    "skyreels": _skyreels,
    "generic": _generic,
}


def _size(size: tuple[int, int]) -> dict[str, int]:
    return {"width": size[0], "height": size[1]}


def _flow(scheduler: str, shift: float) -> dict[str, Any]:
    """Returns the scheduler of a call that follows a flow, as Wan's models do."""
    changes = {"flow_shift": shift, "use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    return {"scheduler": scheduler, "scheduler_changes": changes}


def _convert_like(request: Request, name: str, default: object) -> str | int | float | bool:
    """Returns a value of the type of its default."""
    if isinstance(default, bool):
        return as_flag(request.text(name, str(default)), default=False)
    if isinstance(default, int):
        return request.whole(name, default, -(2**31), 2**31)
    if isinstance(default, float):
        return request.number(name, default, -1e9, 1e9)
    text = request.text(name, "" if default is None else str(default))
    try:
        return int(text) if default is None else text
    except ValueError:
        return text
