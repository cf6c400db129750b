"""The kill campaign as a measure of a suite: one cell, a block a campaign."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from vdbench.measures.instrument import crash_recovery
from vdbench.measures.instrument.launcher import Launcher
from vdbench.measures.metrics import Figure
from vdbench.measures.session import Lab, Outcome
from vdbench.measures.variance import concatenate
from vdbench.noise import Key
from vdbench.runner.plan import Cell
from vdbench.statistics.proportions import share
from vdbench.store import Address, Table
from vdbench.suite.schema import KillsSpec


def measure(lab: Lab, cell: Cell) -> list[Outcome]:
    """All campaigns; each is stored as soon as it is over, and not run again."""
    spec = lab.suite.measures.kills
    assert spec is not None
    addresses = [_address(lab, spec, campaign) for campaign in range(spec.campaigns)]
    if not all(lab.store.has(address) for address in addresses):
        with Launcher() as launcher:
            whole = crash_recovery.Undisturbed(lab.folder / "kills", launcher, spec.report)
            whole.make()
            for campaign, address in enumerate(addresses):
                lab.progress.detail(f"campaign {campaign + 1} of {spec.campaigns}")
                moments = Key(("vdbench", lab.suite.seed, "kills", campaign)).seed()
                run = partial(_campaign, whole, f"campaign-{campaign}", spec.kills, moments)
                lab.store.get(address, run)
    table = concatenate([lab.store.read(address) for address in addresses])
    reason = f"{int(table['kills'].sum())} kills in {spec.campaigns} runs"
    return [Outcome(cell, "ok", reason, spec.campaigns, table)]


def _address(lab: Lab, spec: KillsSpec, campaign: int) -> Address:
    return {
        "measure": "instrument.kills",
        "measure_version": crash_recovery.VERSION,
        "suite": crash_recovery.SUITE,
        "seed": lab.suite.seed,
        "campaign": campaign,
        "kills": spec.kills,
        "report": spec.report,
        "torch": torch.__version__,
    }


def _campaign(whole: crash_recovery.Undisturbed, name: str, count: int, moments: int) -> Table:
    found = whole.disturb(name, count, moments)
    return {part: np.array([int(value)]) for part, value in vars(found).items()}


def figures(table: Table, level: float) -> list[Figure]:
    """Shares of campaigns whose figures are all equal, and in which no block was written again."""
    count, killed = len(table["kills"]), int(table["kills"].sum())
    of = "1 campaign" if count == 1 else f"{count} campaigns"
    message = (
        f"{killed} kills in {of}; {int(table['figures'].max())} figures of a small suite each, "
        "compared bit by bit; times are not"
    )
    kept = int((table["rewritten"] == 0).sum())
    equal = int(table["equal"].sum())
    return [
        Figure(
            metric,
            share(hits, count, level),
            level,
            "1",
            status="ok" if hits == count else "rejected",
            message=message,
        )
        for metric, hits in (("kills.equal", equal), ("kills.blocks_kept", kept))
    ]
