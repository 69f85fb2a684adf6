"""Plans how a model fits into a device's memory. Does not import torch.

The reserves were measured with weights of the real size (`tests/local/test_full_size.py`): a clip of 832 x 480
takes 14 GB beside them, 7 GB with a tiled decoder. With group offload TI2V-5B took 6.5 GB in all and 1.2 times as
long a step, so that nothing is stored in 8 bits. The record says what was chosen.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wiro_nb.local_models import GB
from wiro_nb.sandbox.engines import EngineError

_VIDEO_RESERVES = (16 * GB, 8 * GB)
"""Bytes beside the weights, for a decoder that takes the clip whole and one that takes it in tiles."""
_UNET_RESERVES = (3 * GB, 3 * GB)
"""The same for AnimateDiff, whose decoder takes one picture after the other; an estimate."""
_MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class MemoryPlan:
    """How a pipeline is held in memory.

    Attributes:
        offload: "none" keeps all on the device, "model" moves one part at a time there, "group" one layer.
        vae_tiling: True decodes the clip in tiles.
        weights_bytes: Of all parts as they are held.
    """

    offload: str
    vae_tiling: bool
    weights_bytes: int


def plan_memory(parts: Mapping[str, int], device_bytes: int | None, ram_bytes: float) -> MemoryPlan:
    """Chooses the fastest way that fits.

    Args:
        parts: Numbers of parameters by part: "transformer", "text_encoder" and so on.
        device_bytes: Memory of the card; None for a run on the CPU, which takes 4 bytes a parameter.
        ram_bytes: Memory of the machine; infinity where it is not known.

    Raises:
        EngineError: The model does not fit; the sentence says what is missing.
    """
    total = sum(parts.values())
    if device_bytes is None:
        _check_ram(4 * total, ram_bytes, "without a GPU the weights take 4 bytes a parameter")
        return MemoryPlan("none", vae_tiling=False, weights_bytes=4 * total)
    whole, tiled = _UNET_RESERVES if "unet" in parts else _VIDEO_RESERVES
    available = device_bytes - tiled
    if 2 * total <= available:
        return MemoryPlan("none", vae_tiling=2 * total + whole > device_bytes, weights_bytes=2 * total)
    _check_ram(2 * total, ram_bytes, "parts that do not fit on the card wait in memory")
    offload = "model" if 2 * max(parts.values(), default=0) <= available else "group"
    return MemoryPlan(offload, vae_tiling=True, weights_bytes=2 * total)


def count_parameters(folders: Mapping[str, str]) -> Counter[str]:
    """Counts the parameters of safetensors files by part, from their headers.

    Args:
        folders: By role. The role "pipeline" has a folder a part; a part that also has a role of its own is
            counted there.

    Raises:
        EngineError: A folder is not on this machine, or a file is cut.
    """
    counts: Counter[str] = Counter()
    for role, folder in folders.items():
        if not Path(folder).is_dir():
            raise EngineError(
                f"A machine of the Ray cluster has no weights for {role} in {folder}. Set WIRO_LOCAL_WEIGHTS to a "
                "folder that all machines share, and pull again."
            )
        for path in sorted(Path(folder).rglob("*.safetensors")):
            part = path.relative_to(folder).parts[0] if role == "pipeline" else role
            if role != "pipeline" or part not in folders:
                counts[part] += _count_in(path)
    return counts


def _count_in(path: Path) -> int:
    """Counts one file's parameters.

    Raises:
        EngineError: The file is shorter than its header says, or has none.
    """
    try:
        with path.open("rb") as source:
            (length,) = struct.unpack("<Q", source.read(8))
            header = json.loads(source.read(min(length, _MAX_HEADER_BYTES)))
        tensors = [item for name, item in header.items() if name != "__metadata__"]
        size = 8 + length + max((item["data_offsets"][1] for item in tensors), default=0)
        if path.stat().st_size >= size:
            return sum(math.prod(item["shape"]) for item in tensors)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error):
        pass
    name = f"{path.parent.name}/{path.name}"
    raise EngineError(f"The weights file {name} is cut or damaged. Delete it and type: wiro-nb local pull")


def _check_ram(needed: int, found: float, why: str) -> None:
    if needed > found:
        raise EngineError(
            f"This model needs {needed / GB:.0f} GB of memory and this machine has {found / GB:.0f} ({why}). "
            "Type: wiro-nb local doctor"
        )
