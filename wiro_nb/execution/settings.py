"""The settings of runs: folders and limits, and the pauses and patience of polling, retries and downloads."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from wiro_nb.files import OUTPUTS_FOLDER


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the manager; the notebook's traits write them.

    Attributes:
        out_dir: Folder of the clips, relative to the notebook's folder, or absolute.
        embed_record: True writes the record into the finished clip.
        max_download_bytes: Files larger than this are not fetched (default 2 GB).
        budget_usd: What any one notebook may spend, or None; a notebook's own lower budget holds.
        poll_s: Seconds between polls while the socket is down; the last one repeats.
        safety_poll_s: Seconds between polls of silent runs while the socket is up.
        catch_up_s: Seconds of silence after registering before a run's state is read.
        connect_patience_s: How long a run waits for a service that never answered in this process.
        unknown_patience_s: How long a service that knows nothing of a paid task is asked again (not a free one).
        uncertain_checks_s: Seconds before each search for a task whose answer was lost.
        slot_retry_s: Seconds between tries while all slots are taken and no run of this process ends.
        download_patience_s: How long a download that makes no progress is tried again.
        download_retry_s: Seconds between tries of a download; the last one repeats.
        late_outputs_s: Seconds before each further look at a success that lists no files.
        late_checks_s: Seconds before each question for the cost or files that an ended run lacks.
        lease_s: How long a run belongs to a process that says nothing.
        heartbeat_s: Seconds between two extensions of a process's leases.
        observe_s: Seconds between looks at a run that another process drives.
        callbacks_per_s: Most calls a second of one change callback while a run moves.
        local_python: Interpreter in which the service `local` runs its models when it starts next; "" stands for
            `WIRO_LOCAL_PYTHON`, else for this one.
    """

    out_dir: str = OUTPUTS_FOLDER
    embed_record: bool = True
    max_download_bytes: int = 2_000_000_000
    budget_usd: Decimal | None = None
    poll_s: tuple[float, ...] = (2.0, 5.0, 10.0)
    safety_poll_s: float = 30.0
    catch_up_s: float = 1.0
    connect_patience_s: float = 60.0
    unknown_patience_s: float = 60.0
    uncertain_checks_s: tuple[float, ...] = (0.2, 1.0, 3.0, 8.0)
    slot_retry_s: tuple[float, ...] = (2.0, 5.0, 10.0)
    download_patience_s: float = 600.0
    download_retry_s: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
    late_outputs_s: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    late_checks_s: tuple[float, ...] = (5.0, 30.0, 120.0)
    lease_s: float = 20.0
    heartbeat_s: float = 5.0
    observe_s: float = 1.0
    callbacks_per_s: float = 10.0
    local_python: str = ""
