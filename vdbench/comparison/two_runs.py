"""``vdbench.compare``: two runs, or two estimators of one run, figure by figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from vdbench.comparison.comparable import noted
from vdbench.comparison.judging import judged
from vdbench.comparison.pairs import Pairs
from vdbench.comparison.reading import read
from vdbench.comparison.rows import LESS_IS_BETTER, UNASKED, Comparison
from vdbench.errors import InputError, nearest
from vdbench.statistics.verdicts import TOLERANCE

LEVEL = 0.95
"""Level at which all verdicts of a comparison hold together, where nothing else is asked for."""


def compare(
    base_run: str | Path,
    new_run: str | Path | None = None,
    *,
    base: str | None = None,
    new: str | None = None,
    tolerance: float = TOLERANCE,
    level: float = LEVEL,
    only: Sequence[str] = (),
    metrics: Sequence[str] = (),
    timing: bool = False,
) -> Comparison:
    """Compare two runs, or two estimators: is the new one better, worse or the same, and how surely?

    Figures are compared in pairs where both have the same minibatches and noise (the same problem, weights, seed
    and way to make noise), else as two samples. All intervals hold together at one level (Bonferroni). Nothing is
    measured or changed.

    Args:
        base_run: Run folder that is compared with.
        new_run: Run folder that is judged; None for the same one.
        base: Label of the estimator that is compared with; None for every estimator with itself.
        new: Label of the one that is judged; given with ``base`` or not at all.
        tolerance: Relative difference that counts as none, from 0.
        level: Level at which all verdicts hold together, between 0.5 and 1.
        only: Labels of the estimators to compare; all by default.
        metrics: Metrics to compare; all but ``variance.noise`` by default.
        timing: Whether times of two sessions are compared, too; the drift between sessions is in no interval.

    Returns:
        Rows with verdicts, and what could not be compared.

    Raises:
        InputError: Something given is wrong, a folder cannot be read, or nothing in the two can be compared.

    Example:
        >>> import vdbench
        >>> suite = {
        ...     "name": "mine",
        ...     "problems": [{"name": "digits", "options": {"widths": []}}],
        ...     "batch_sizes": [16],
        ...     "estimators": ["local"],
        ...     "baseline": "local",
        ...     "measures": {"variance": {"first_units": 32, "max_units": 32}},
        ... }
        >>> before, after = (vdbench.run(suite, f"runs/{name}") for name in ("before", "after"))
        >>> vdbench.compare(before.folder, after.folder).verdict
        'SAME'
    """
    _check(new_run, base, new, tolerance, level, metrics)
    first = read(Path(base_run))
    second = first if new_run is None else read(Path(new_run))
    if second is not first and second.name == first.name:
        first.name, second.name = f"{first.name} (base)", f"{second.name} (new)"
    asked = metrics or [name for name in LESS_IS_BETTER if name not in UNASKED]
    pairs = Pairs(first, second, tuple(asked), timing, base, new, tuple(only))
    candidates = list(pairs.candidates())
    if not candidates:
        raise InputError(pairs.nothing())
    rows, family = judged(candidates, level, tolerance)
    names = (base, new) if base and new and second is first else (first.name, second.name)
    differing = [] if second is first else noted(first, second)
    differing += [f"{label}: declared biased" for label in pairs.biased()]
    return Comparison(
        str(names[0]), str(names[1]), level, tolerance, family, rows, pairs.refused, differing
    )


def _check(
    new_run: str | Path | None,
    base: str | None,
    new: str | None,
    tolerance: float,
    level: float,
    metrics: Iterable[str],
) -> None:
    if (base is None) != (new is None):
        raise InputError(
            "compare: expected the labels of both estimators, the base and the new one."
        )
    if new_run is None and base is None:
        raise InputError(
            "compare: expected a second run folder, or two estimators of the one given (--base and --new)."
        )
    if not 0 <= tolerance < 10:
        raise InputError(f"compare: tolerance must be from 0 to below 10, not {tolerance:g}.")
    if not 0.5 <= level < 1 - 1e-9:
        raise InputError(f"compare: level must be from 0.5 to below 1, not {level:g}.")
    for metric in metrics:
        if metric not in LESS_IS_BETTER:
            raise InputError(
                f"compare: metric '{metric}' is unknown.{nearest(metric, LESS_IS_BETTER)}"
            )
