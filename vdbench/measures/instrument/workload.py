"""How much there is to do: repetitions shared among the measures, and the gradients that each takes."""

from __future__ import annotations

from vdbench.errors import InputError
from vdbench.measures.stopping import schedule_of
from vdbench.suite.schema import MeasuresSpec, Suite, VarianceSpec

BLOCK = 50
"""Repetitions in a stored block; even, so that the pairs of `vdbench.measures.instrument.error_rates` are whole."""


def wanted(measures: MeasuresSpec) -> dict[str, int]:
    """Repetitions of the variance measure that each measure looks at: the first so many of one sequence."""
    found = {}
    if measures.coverage and measures.variance:
        found["coverage"] = measures.coverage.repetitions
    if measures.false_alarms:
        found["false_alarms"] = 2 * measures.false_alarms.comparisons
    if measures.power:
        found["power"] = 2 * measures.power.comparisons
    return found


def spans(count: int, total: int = 0, size: int = 0) -> list[tuple[int, int]]:
    """The blocks that hold the first ``count`` of ``total`` repetitions (as many, where it is not given)."""
    end, step = total or count, size or BLOCK
    return [(start, min(start + step, end)) for start in range(0, count, step)]


def at(spec: VarianceSpec, precision: float) -> VarianceSpec:
    """The measure at another precision: units, and their bound, grow with its inverse square."""
    more = (spec.precision / precision) ** 2
    bound = max(spec.first_units, round(more * spec.max_units))
    return spec.model_copy(update={"precision": precision, "max_units": bound})


def gradients(measures: MeasuresSpec, measure: str, baseline: bool) -> tuple[int, int]:
    """Fewest and most gradients of one estimator, less what an earlier measure has taken already.

    Kills are not counted: their runs are of a suite of their own.

    Args:
        measures: Of the suite.
        measure: ``coverage``, ``false_alarms``, ``power`` or ``kills``.
        baseline: Whether the estimator is the baseline, which power measures at further precisions.
    """
    counts = wanted(measures)
    before = [counts[name] for name in ("coverage", "false_alarms", "power") if name in counts]
    place = list(counts).index(measure) if measure in counts else 0
    new = max(0, counts.get(measure, 0) - max(before[:place], default=0))
    least, most = _runs(measures.variance, new)
    if measure == "coverage" and measures.coverage:
        more = _beside(measures)
        return least + more, most + more
    if measure == "power" and measures.power and measures.variance and baseline:
        for precision in measures.power.precisions:
            low, high = _runs(at(measures.variance, precision), 2 * measures.power.comparisons)
            least, most = least + low, most + high
    return least, most


def _runs(spec: VarianceSpec | None, count: int) -> tuple[int, int]:
    if spec is None:
        return 0, 0
    looks = schedule_of(spec, 0.95).looks
    return 4 * looks[0] * count, 4 * looks[-1] * count


def _beside(measures: MeasuresSpec) -> int:
    """Gradients of coverage beside the runs of variance: the truth, bias and trainings."""
    assert measures.coverage is not None
    count = 4 * measures.coverage.truth_units if measures.variance else 0
    if measures.bias:
        count += 4 * measures.bias.units * measures.bias.draws * measures.coverage.repetitions
    if measures.convergence:
        training = measures.convergence.steps * measures.convergence.seeds
        count += training * measures.coverage.trainings
    return count


def need_variance(where: str, suite: Suite, measure: str) -> None:
    """See that a measure that compares variances has them.

    Raises:
        InputError: The suite does not measure variance.
    """
    if not suite.measures.variance:
        raise InputError(
            f"{where}: measures.{measure} compares variances; expected measures.variance in the suite."
        )


def refuse_few_examples(where: str, suite: Suite, measure: str) -> None:
    """See that variance is measured on whole minibatches: only these measurements are repeated.

    Raises:
        InputError: The suite measures some estimators on few examples of each minibatch.
    """
    spec = suite.measures.variance
    if spec and (spec.few_examples or spec.rao_blackwell):
        raise InputError(
            f"{where}: measures.{measure} repeats measurements on whole minibatches; "
            "expected no few_examples and no rao_blackwell in measures.variance."
        )
