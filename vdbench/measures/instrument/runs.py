"""The sequence of whole variance runs that coverage, false alarms and power look at, measured once for all three."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from vdbench.measures.cells import Cell, places
from vdbench.measures.context import Context
from vdbench.measures.instrument import repeated_variance
from vdbench.measures.instrument.error_rates import Pairs
from vdbench.measures.instrument.series import Address, Series, blocks, read
from vdbench.measures.instrument.workload import spans, wanted
from vdbench.measures.metrics import LookSchedule
from vdbench.measures.session import Session, Site


def contexts(site: Site, cells: Sequence[Cell]) -> list[Context]:
    """The estimators of cells, each with its noise below a key that is the instrument's own."""
    return [context.at("instrument") for context in site.contexts(cells)]


def families(session: Session) -> int:
    """Places that share one family-wise error."""
    return len(list(places(session.suite)))


def pairs(session: Session, found: dict[Address, Series], precision: float) -> Pairs:
    """Runs as pairs of equal things."""
    return Pairs(found, session.suite.level, precision, families(session))


def runs(
    session: Session, schedule: LookSchedule, contexts: Sequence[Context], count: int
) -> dict[Address, Series]:
    """The first so many runs; measures that look at fewer read the same blocks."""
    suite = session.suite
    about = {
        "looks": list(schedule.looks),
        "anytime": schedule.anytime,
        "level": suite.level,
        "aim": schedule.precision,
        "baseline": suite.baseline,
    }
    total = max(wanted(suite.measures).values())
    tables = blocks(
        session,
        "runs",
        repeated_variance.VERSION,
        contexts,
        spans(count, total + total % 2),
        partial(repeated_variance.rows, suite, contexts, schedule),
        about,
    )
    return {address: found.first(count) for address, found in read(tables).items()}
