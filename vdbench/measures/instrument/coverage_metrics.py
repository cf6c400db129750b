"""Coverage as rows of results, with what would flatter it: where runs stopped."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vdbench.measures.instrument.evidence import COARSE, FAMILY_WISE, Evidence, Judged
from vdbench.measures.instrument.repeated_variance import STOP
from vdbench.measures.instrument.series import Address
from vdbench.measures.metrics import MetricValue
from vdbench.statistics.proportions import share


def values(evidence: Evidence, label: str) -> list[MetricValue]:
    """One estimator's coverage, its smallest, and where its runs stopped."""
    judged = {a: j for a, j in evidence.judged.items() if a.label == label}
    found = [_coverage(evidence, address, item) for address, item in judged.items()]
    found += _smallest(evidence, judged)
    found += _stops(evidence, label)
    return found


def _coverage(evidence: Evidence, address: Address, judged: Judged) -> MetricValue:
    return MetricValue(
        f"coverage.{address.metric}",
        judged.share,
        evidence.level,
        "1",
        address.layer,
        address.role,
        status=judged.status,
        message=said(evidence, address, judged),
        against=address.against,
        detail={"claimed": judged.level, "p": judged.p},
    )


def said(evidence: Evidence, address: Address, judged: Judged) -> str:
    """What was tested, what came out, and how well the truth is known."""
    truth = evidence.truths[address]
    test = "rejected" if judged.p <= FAMILY_WISE else "not rejected"
    parts = [
        f"at least {100 * judged.level:.4g} % {test}, p = {judged.p:.2g} "
        f"(Holm over {len(evidence.judged)} figures)"
    ]
    value = float(np.mean(truth.value))
    error = f", its standard error {100 * judged.coarseness:.2g} % of a half-width"
    parts.append(f"truth {value:.6g}{error if truth.error else ''}")
    if judged.status == "coarse":
        parts.append(f"too coarse, more than {100 * COARSE:g} %: raise truth_units")
    if judged.undefined:
        parts.append(f"{judged.undefined} repetitions gave no value and are not counted")
    if judged.endless:
        parts.append(f"{100 * judged.endless:.2g} % of intervals have no end")
    return "; ".join(parts)


def _smallest(evidence: Evidence, judged: Mapping[Address, Judged]) -> list[MetricValue]:
    """The smallest coverage among the figures at the suite's level, and among those at an adjusted one."""
    found = []
    for metric, adjusted in (("coverage.smallest", False), ("coverage.smallest.adjusted", True)):
        mine = {a: j for a, j in judged.items() if (j.level > evidence.level + 1e-12) == adjusted}
        if mine:
            address = min(mine, key=lambda a: mine[a].share.value - mine[a].level)
            least = mine[address]
            against = f" to {address.against}" if address.against else ""
            place = f"{address.metric} of {address.layer} {address.role}{against}"
            message = f"of {len(mine)} figures: {place}; {said(evidence, address, least)}"
            found.append(
                MetricValue(
                    metric, least.share, evidence.level, "1", status=least.status, message=message
                )
            )
    return found


def _stops(evidence: Evidence, label: str) -> list[MetricValue]:
    """Shares of runs that stopped at each look (in ``step``), and of those that reached their precision."""
    series = evidence.series.get(Address(label, STOP, "all", "all", ""))
    if series is None:
        return []
    count = len(series.n)
    found = [
        MetricValue(
            "coverage.stopped_at",
            share(int((series.n == n).sum()), count, evidence.level),
            evidence.level,
            "1",
            step=float(n),
        )
        for n in np.unique(series.n)
    ]
    reached = share(int((series.value <= evidence.precision).sum()), count, evidence.level)
    message = f"reached ±{evidence.precision:.3g}; the others ended at their bound"
    return [
        *found,
        MetricValue("coverage.converged", reached, evidence.level, "1", message=message),
    ]
