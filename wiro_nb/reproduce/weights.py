"""Compares the weights that made a record's outputs with those on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wiro_nb.local_models.catalog import find
from wiro_nb.local_models.weights import commit_of, locate
from wiro_nb.provenance.made_by import used_repositories
from wiro_nb.services.selection import LOCAL

_SHOWN = 12


def weights_notes(record: Mapping[str, Any], service: str) -> list[str]:
    """Returns what differs between the weights of a record and those that a replay would use, as sentences.

    Args:
        record: Of the run to be made again.
        service: That a replay would go to.

    Raises:
        ConfigError: `local.toml` is wrong.
    """
    used = used_repositories(record)
    if not used:
        is_moving = service == LOCAL and record["service"]["name"] != LOCAL
        return ["Open weights on this machine make it now: other frames than before"] if is_moving else []
    if service != LOCAL:
        return [f"It was made with {used[0][0]} on one's own machine; {service} makes it with weights of its own"]
    model = find(str(record["model"]["slug"]))
    present = {item.id: item for item in model.repositories} if model is not None else {}
    notes = []
    for name, revision in used:
        folder = locate(present[name]) if name in present else None
        if name not in present:
            notes.append(
                f"the weights {name} are not what this machine makes the model with; local.toml can name them"
            )
        elif folder is None:
            notes.append(f"The weights {name} are not here: wiro-nb local pull {record['model']['slug']}")
        elif (commit := commit_of(folder) or "a plain copy") != revision:
            notes.append(
                f"the weights {name} were {revision[:_SHOWN]}, here are {commit[:_SHOWN]}: frames may differ"
            )
    return notes
