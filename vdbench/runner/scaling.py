"""How variance falls with the minibatch size M and with the samples S: slopes and floors, fitted to figures.

The noise part of a minibatch's gradient obeys Kingma, Salimans & Welling 2015, equation 5,

    noise(M) = N² (C + (V − C)/M) = B + A/M,

V the variance of an example's noise and C the covariance of two examples', both averaged over minibatches. Noise
that is independent from example to example has C = 0: a slope of −1 in log-log coordinates and a floor B = N²C of 0.
A weight sample that a minibatch shares has C > 0, a flatter slope, and a floor that no minibatch size removes.

The fits are those of `vdbench.statistics.fits`. Figures at other minibatch sizes are independent, having other
minibatches and noise; those at another S and the same place share noise.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from vdbench.estimation.options import canonical
from vdbench.runner.results import Row, as_json
from vdbench.statistics import Estimate
from vdbench.statistics.fits import floor, slope

LEAST = 3
"""Sizes below which no slope is fitted: two points fit any line."""

METRICS = ("variance.noise", "variance.total")


def rows(found: Sequence[Row]) -> list[Row]:
    """Slopes and floors as rows of their own, from the rows of a run.

    Rows over M have ``batch_size`` 0 and say ``batch_size`` in ``against``; rows over S have ``samples`` 0, the
    label and options without ``samples``, and say ``samples`` there.
    """
    variances = [row for row in found if row["metric"] in METRICS and row["value"] > 0]
    made = []
    for family in _families(variances, "batch_size", _same_estimator):
        made += list(_over_minibatch(family))
    for family in _families(variances, "samples", _same_but_samples):
        made += list(_over_samples(family))
    return made


def _over_minibatch(family: Sequence[Row]) -> Iterator[Row]:
    sizes = [row["batch_size"] for row in family]
    figures = [_estimate(row) for row in family]
    messages = "; ".join(dict.fromkeys(row["message"] for row in family if row["message"]))
    common = {**family[0], "batch_size": 0, "against": "batch_size", "message": messages}
    fitted, misfit = slope(sizes, figures, independent=True)
    over = f"over M = {', '.join(map(str, sizes))}"
    fit = Fit(fitted, f"{over}; {_away(misfit)}", len(sizes), misfit)
    yield _row(common, f"slope.{common['metric']}", fit, "1")
    if common["metric"] == "variance.noise":
        lowest, misfit = floor(sizes, figures)
        fit = Fit(lowest, f"{over}; {_away(misfit)}", len(sizes), misfit)
        yield _row(common, "floor.variance.noise", fit, common["unit"])


def _over_samples(family: Sequence[Row]) -> Iterator[Row]:
    sizes = [row["samples"] for row in family]
    fitted, misfit = slope(sizes, [_estimate(row) for row in family], independent=False)
    options, label = _without_samples(family[-1])
    common = {**family[0], "samples": 0, "against": "samples", "options": options, "label": label}
    message = f"over S = {', '.join(map(str, sizes))}; {_away(misfit)}"
    fit = Fit(fitted, message, len(sizes), misfit)
    yield _row(common, f"slope.{common['metric']}", fit, "1")


def _away(misfit: float) -> str:
    return f"the figures lie up to {misfit:.2g} half-widths from the line"


class Fit(NamedTuple):
    """A fitted value, what was fitted, to how many figures, and how far the farthest lies from the line."""

    estimate: Estimate
    message: str
    points: int
    distance: float


def _row(common: Row, metric: str, fit: Fit, unit: str) -> Row:
    fitted = fit.estimate
    told = f"{fit.message}; {common['message']}" if common["message"] else fit.message
    facts = {"points": fit.points, "distance": fit.distance}
    return {
        **common,
        "metric": metric,
        "value": fitted.value,
        "ci_low": fitted.low,
        "ci_high": fitted.high,
        "n": fitted.n,
        "unit": unit,
        "status": "ok",
        "message": told,
        "detail": as_json(facts),
    }


def _estimate(row: Row) -> Estimate:
    return Estimate(row["value"], row["ci_low"], row["ci_high"], row["n"])


def _families(found: Iterable[Row], size: str, key: Any) -> Iterator[list[Row]]:
    """Rows that differ in a size alone, in its order; figures without a finite interval above zero are left out."""
    families: dict[tuple[Any, ...], dict[int, Row]] = defaultdict(dict)
    for row in found:
        if 0 < row["ci_low"] < row["ci_high"] < math.inf:
            families[key(row)][row[size]] = row
    for family in families.values():
        if len(family) >= LEAST:
            yield [family[s] for s in sorted(family)]


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[c] for c in ("problem", "checkpoint", "metric", "layer", "role"))


def _same_estimator(row: Row) -> tuple[Any, ...]:
    return (*_place(row), row["label"])


def _same_but_samples(row: Row) -> tuple[Any, ...]:
    return (*_place(row), row["batch_size"], row["estimator"], _without_samples(row)[0])


def _without_samples(row: Row) -> tuple[str, str]:
    """Options and label of a row as they would be without ``samples``."""
    options = {k: v for k, v in json.loads(row["options"]).items() if k != "samples"}
    name, bracket, inside = row["label"].partition("(")
    kept = [part for part in _parts(inside[:-1]) if not part.startswith("samples=")]
    return canonical(options), f"{name}({', '.join(kept)})" if bracket and kept else name


def _parts(inside: str) -> Iterator[str]:
    """What stands between the commas of a label's brackets, not those of brackets within."""
    depth = start = 0
    for place, character in enumerate(inside):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            yield inside[start:place].strip()
            start = place + 1
    if inside:
        yield inside[start:].strip()
