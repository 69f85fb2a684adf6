"""What a successful run leaves: its outputs as the service lists them, and what it used."""

from __future__ import annotations

from typing import Any

from wiro_nb.sandbox.files import Files
from wiro_nb.sandbox.instant import make_png
from wiro_nb.sandbox.life import Life
from wiro_nb.sandbox.prices import Usage, clip_seconds

__all__ = ["store_results"]


def store_results(life: Life, files: Files) -> tuple[list[dict[str, Any]], Usage]:
    """Takes over what the engine made, or makes what needs no engine (pictures and text)."""
    task = life.task
    elapsed_s = round(task.elapsed_s, 4)
    prompt = str(task.parameters.get("prompt", ""))
    if life.model.kind == "text":
        reply = f"You said: {prompt}"
        content = {"prompt": prompt, "raw": reply, "thinking": [], "answer": [reply]}
        usage = Usage(elapsed_s, tokens=len(prompt.split()) + len(reply.split()))
        return [{"contenttype": "raw", "content": content}], usage
    if life.model.kind == "image":
        picture = files.work_folder() / "0.png"
        picture.write_bytes(make_png(f"{prompt}|{task.parameters.get('seed', '')}"))
        life.made = [picture]
    measured = [clip_seconds(path) for path in life.made]
    folders = {path.parent for path in life.made}
    outputs = [files.take_output(path, task.id) for path in life.made]
    for folder in folders:
        files.drop_work_folder(folder)
    usage = Usage(
        elapsed_s,
        outputs=len(outputs),
        clip_s=sum(seconds for seconds, _ in measured),
        pixels=max((pixels for _, pixels in measured), default=0),
        prompt_length=len(prompt),
        parameters=task.parameters,
    )
    return outputs, usage
