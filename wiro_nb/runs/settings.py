"""What a person may set about runs. Frozen: a change makes a new value that replaces the old one at once."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the manager; the notebook's traits write them.

    Attributes:
        out_dir: Folder of the clips, relative to the notebook's folder, or absolute.
        embed_record: True writes the record into the finished clip.
        max_download_bytes: Files larger than this are not fetched (default 2 GB).
        max_cost_usd: Upper bound for one run whose price is known, or None.
        budget_usd: What any one notebook may spend, or None; a notebook's own lower budget holds.
        poll_s: Seconds between questions while the socket is down; the last one repeats.
        safety_poll_s: Seconds between looks at silent runs while the socket is up.
        catch_up_s: Seconds of silence after registering before a run's state is read.
        connect_patience_s: How long a run waits for a service that never answered in this process.
        outage_patience_s: How long a planned run waits for a service that did answer before.
        unknown_patience_s: How long a service that knows nothing of a paid task is asked again (not the sandbox).
        uncertain_checks_s: Seconds before each look for a task whose answer was lost.
        slot_retry_s: Seconds between tries while all slots are taken and no run of ours ends.
        download_tries: Attempts for one file.
        callbacks_per_s: Most calls a second of one change callback while a run moves.
    """

    out_dir: str = "wiro_outputs"
    embed_record: bool = True
    max_download_bytes: int = 2_000_000_000
    max_cost_usd: Decimal | None = None
    budget_usd: Decimal | None = None
    poll_s: tuple[float, ...] = (2.0, 5.0, 10.0)
    safety_poll_s: float = 30.0
    catch_up_s: float = 1.0
    connect_patience_s: float = 60.0
    outage_patience_s: float = 3600.0
    unknown_patience_s: float = 60.0
    uncertain_checks_s: tuple[float, ...] = (0.2, 1.0, 3.0, 8.0)
    slot_retry_s: tuple[float, ...] = (2.0, 5.0, 10.0)
    download_tries: int = 5
    callbacks_per_s: float = 10.0
