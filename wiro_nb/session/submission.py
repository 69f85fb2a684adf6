"""Requests that are submitted together, and what comes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wiro_nb.execution.requests import Origin, notebook_dir_of, plan_row, scope_of
from wiro_nb.execution.run import Run
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.queries import Reuse
from wiro_nb.ledger.rows import LedgerRow
from wiro_nb.schema.values import Prepared
from wiro_nb.services.selection import ServiceChoice
from wiro_nb.session.lineage import find_parent, list_notebook_runs


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests of one model that are submitted together.

    Attributes:
        requests: From `Manager.prepare`.
        origin: Where they are asked for.
        parents: By request `run_id` and `output` of the run it continues, or None; empty for none.
        sweep_id: The sweep they belong to, or None. Then a request's place is its point.
        fresh: True plans every run anew, whatever was made before.
        is_rerun: True takes only an earlier run of the same parent: the run that is made again is no answer.
        exclude: Ids of runs that are no answer here.
    """

    requests: Sequence[Prepared]
    origin: Origin = field(default_factory=Origin)
    parents: Sequence[Mapping[str, Any] | None] = ()
    sweep_id: str | None = None
    fresh: bool = False
    is_rerun: bool = False
    exclude: frozenset[str] = frozenset()

    @property
    def notebook_dir(self) -> Path:
        """The folder clips are saved beside; raises as `notebook_dir_of`."""
        return notebook_dir_of(self.origin.notebook)

    def plan(self, ledger: Ledger, choice: ServiceChoice, out_folder: Path) -> list[LedgerRow]:
        """Returns an intent to run for each request; none is written.

        Args:
            ledger: Knows which runs made the input files.
            choice: The service.
            out_folder: Folder of all runs' folders.
        """
        scope = scope_of(self.origin.notebook, self.notebook_dir)
        return [
            plan_row(
                request,
                service=choice.name,
                base_url=choice.base_url,
                origin=self.origin,
                created=datetime.now(UTC),
                out_folder=out_folder,
                scope=scope,
                account=choice.account,
                parent=find_parent(ledger, request, self.parents[place] if self.parents else None),
                sweep_id=self.sweep_id,
                sweep_point=None if self.sweep_id is None else place,
            )
            for place, request in enumerate(self.requests)
        ]

    def reuse(self, used: Sequence[str] = ()) -> Reuse | None:
        """Returns which earlier runs may answer, without those of `used`; None when none may."""
        if self.fresh:
            return None
        also = list_notebook_runs(self.origin.notebook, self.requests[0].schema.slug) if self.requests else ()
        return Reuse(also, self.exclude.union(used), self.is_rerun)


@dataclass(frozen=True, slots=True)
class Submission:
    """What came of a request: `is_new` is False for a run that answered it already."""

    run: Run
    is_new: bool
