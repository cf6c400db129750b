"""The measure ``kills``: a run is killed again and again, taken up each time, and compared with one undisturbed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch

from vdbench.estimation.base import Estimator
from vdbench.estimation.options import label
from vdbench.measures.cells import Cell, Outcome, places
from vdbench.measures.instrument import crash_recovery
from vdbench.measures.instrument.launcher import Launcher
from vdbench.measures.metrics import MetricValue
from vdbench.measures.protocol import Measure, Values, mine
from vdbench.measures.session import Session, Site
from vdbench.noise import Key
from vdbench.statistics.proportions import share
from vdbench.store import Address, Table, concatenate
from vdbench.suite.grid import expand
from vdbench.suite.schema import KillsSpec, Suite


class Kills(Measure):
    """Campaigns of kills; one cell, a block a campaign."""

    name = "kills"
    spec = KillsSpec
    alone = True

    def cells(self, suite: Suite, estimators: Sequence[Estimator]) -> list[Cell]:
        """One, at the first place: the campaigns run a small suite of their own."""
        _, place = next(places(suite))
        every = [e for spec in suite.estimators for e in expand(spec)]
        found = [e for e in every if suite.baseline in (label(e), e.declaration.name)]
        return [Cell(place.problem, place.checkpoint, place.batch_size, found[0], self.name)]

    def gradients(self, suite: Suite, cell: Cell, examples: Mapping[str, int]) -> tuple[int, int]:
        """None: their runs are of a suite of their own."""
        return 0, 0

    def measure(self, session: Session, site: Site, cells: Sequence[Cell]) -> list[Outcome]:
        """All campaigns; each is stored as soon as it is over, and not run again."""
        (cell,) = cells
        spec = self.asked(session.suite)
        addresses = [_address(session, spec, campaign) for campaign in range(spec.campaigns)]
        if not all(session.store.has(address) for address in addresses):
            session.store.must_measure()
            _run(session, spec, addresses)
        table = concatenate([session.store.read(address) for address in addresses])
        reason = f"{int(table['kills'].sum())} kills in {spec.campaigns} runs"
        return [Outcome(cell, "ok", reason, spec.campaigns, table)]

    def values(self, suite: Suite, outcomes: Sequence[Outcome]) -> Values:
        """Shares of campaigns that came to the undisturbed figures, and that kept every block."""
        for outcome in mine(self, outcomes).values():
            yield outcome, values(outcome.data, suite.level)


def _run(session: Session, spec: KillsSpec, addresses: Sequence[Address]) -> None:
    with Launcher() as launcher:
        whole = crash_recovery.Undisturbed(session.folder / "kills", launcher, spec.report)
        whole.make()
        for campaign, address in enumerate(addresses):
            session.progress.detail(f"campaign {campaign + 1} of {spec.campaigns}")
            moments = Key(("vdbench", session.suite.seed, "kills", campaign)).seed()
            run = partial(_campaign, whole, f"campaign-{campaign}", spec.kills, moments)
            session.store.get(address, run)


def _address(session: Session, spec: KillsSpec, campaign: int) -> Address:
    return {
        "measure": "instrument.kills",
        "measure_version": crash_recovery.VERSION,
        "suite": crash_recovery.SUITE,
        "seed": session.suite.seed,
        "campaign": campaign,
        "kills": spec.kills,
        "report": spec.report,
        "torch": torch.__version__,
    }


def _campaign(whole: crash_recovery.Undisturbed, name: str, count: int, moments: int) -> Table:
    found = whole.disturb(name, count, moments)
    return {part: np.array([int(value)]) for part, value in vars(found).items()}


def values(table: Table, level: float) -> list[MetricValue]:
    """Shares of campaigns whose figures are all equal, and in which no block was written again."""
    count, killed = len(table["kills"]), int(table["kills"].sum())
    of = "1 campaign" if count == 1 else f"{count} campaigns"
    compared = int(table["figures"].max())
    message = (
        f"{killed} kills in {of}; {compared} figures of a small suite each, "
        "compared bit by bit; times are not"
    )
    kept = int((table["rewritten"] == 0).sum())
    equal = int(table["equal"].sum())
    return [
        MetricValue(
            metric,
            share(hits, count, level),
            level,
            "1",
            status="ok" if hits == count else "rejected",
            message=message,
            detail={"kills": killed, "campaigns": count, "figures": compared},
        )
        for metric, hits in (("kills.equal", equal), ("kills.blocks_kept", kept))
    ]
