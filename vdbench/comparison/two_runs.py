"""``vdbench.compare``: two runs, or two estimators of one run, figure by figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vdbench.comparison import comparable, stored
from vdbench.comparison.judging import judged
from vdbench.comparison.rows import (
    LESS_IS_BETTER,
    UNASKED,
    Candidate,
    Comparison,
    Refusal,
    Where,
)
from vdbench.comparison.stored import Block, Key, NotComparable, Stored
from vdbench.comparison.times import EFFICIENCY, TIME, efficiencies, memory, times
from vdbench.comparison.trainings import CONVERGENCE, TRAINING, trainings
from vdbench.comparison.variances import QUANTITIES, biases, variances
from vdbench.errors import InputError, nearest
from vdbench.statistics.verdicts import TOLERANCE
from vdbench.store import Table

LEVEL = 0.95
"""Level at which all verdicts of a comparison hold together, where nothing else is asked for."""

MEASURED = {
    "variance": (*QUANTITIES, EFFICIENCY),
    "throughput": (TIME, EFFICIENCY),
    "memory": ("memory.peak_bytes",),
    "bias": ("relative_bias",),
    "convergence": tuple(CONVERGENCE),
    "training": TRAINING,
}
"""The metrics that come from each measure; others are not compared."""


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

    Figures are compared in pairs where both have the same minibatches and noise (the same problem, weights and seed),
    else as two samples. All intervals hold together at one level (Bonferroni). Nothing is measured or changed.

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
    first = stored.read(Path(base_run))
    second = first if new_run is None else stored.read(Path(new_run))
    if second is not first and second.name == first.name:
        first.name, second.name = f"{first.name} (base)", f"{second.name} (new)"
    asked = metrics or [name for name in LESS_IS_BETTER if name not in UNASKED]
    pairs = Pairs(first, second, tuple(asked), timing, base, new, tuple(only))
    candidates = list(pairs.candidates())
    if not candidates:
        raise InputError(pairs.nothing())
    rows, family = judged(candidates, level, tolerance)
    names = (base, new) if base and new and second is first else (first.name, second.name)
    noted = [] if second is first else comparable.noted(first, second)
    noted += [f"{label}: declared biased" for label in pairs.biased()]
    return Comparison(
        str(names[0]), str(names[1]), level, tolerance, family, rows, pairs.refused, noted
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


@dataclass
class Pairs:
    """The cells of two runs that belong together.

    Attributes:
        base: The run that is compared with.
        new: The run that is judged.
        metrics: That are compared.
        timing: Whether times of two sessions are compared.
        old_label: Label of the base's estimator; None for each with itself.
        new_label: Of the new one's.
        only: Labels to compare; all if empty.
        refused: What could not be compared.
    """

    base: Stored
    new: Stored
    metrics: tuple[str, ...]
    timing: bool = False
    old_label: str | None = None
    new_label: str | None = None
    only: tuple[str, ...] = ()
    refused: list[Refusal] = field(default_factory=list)

    def candidates(self) -> Iterator[Candidate]:
        """Every figure that can be compared; the others are noted in `refused`."""
        self._known()
        for where in self._places():
            yield from self._at(where)

    def nothing(self) -> str:
        """Say why nothing can be compared."""
        names = f"'{self.base.name}' and '{self.new.name}' cannot be compared"
        if self.refused:
            return f"{names}: {self.refused[0].why}."
        return f"{names}: they have no problem, checkpoint, batch size and estimator with the same metric."

    def biased(self) -> list[str]:
        """Estimators that are declared biased in one run or under one label, and not in the other."""
        found = []
        for where in self._places():
            said = [
                run.estimators.get(label, {}).get("unbiased", True)
                for run, label in ((self.base, where.base), (self.new, where.new))
            ]
            if said[0] != said[1]:
                found.append(where.new if said[0] else where.base)
        return list(dict.fromkeys(found))

    def _known(self) -> None:
        """See that the estimators named are in the runs."""
        for run, label in ((self.base, self.old_label), (self.new, self.new_label)):
            known = list(run.estimators)
            if label is not None and label not in known:
                raise InputError(
                    f"compare: '{run.name}' has no estimator '{label}'.{nearest(label, known)}"
                )
        every = {label for run in (self.base, self.new) for label in run.estimators}
        for label in self.only:
            if label not in every:
                raise InputError(
                    f"--only {label}: the runs have no such estimator.{nearest(label, every)}"
                )

    def _places(self) -> list[Where]:
        """Every place and estimator of either run."""
        found: dict[Where, None] = {}
        for run, own in ((self.base, self.old_label), (self.new, self.new_label)):
            for problem, checkpoint, size, label, measure in (*run.cells, *run.failed):
                if measure not in MEASURED or (own is not None and label != own):
                    continue
                both = (self.old_label or label, self.new_label or label)
                if not self.only or set(both) & set(self.only):
                    found[Where(problem, checkpoint, size, *both)] = None
        return list(found)

    def _at(self, where: Where) -> Iterator[Candidate]:
        """The figures at one place."""
        known: dict[str, list[Candidate]] = {}
        for measure, take in self._takers().items():
            if not set(MEASURED[measure]) & set(self.metrics):
                continue
            keys = self._keys(where, measure)
            if keys is None:
                continue
            try:
                known[measure] = list(take(where, keys))
            except NotComparable as error:
                self._refuse(where, measure, str(error))
        made = [one for several in known.values() for one in several]
        made += self._products(known)
        yield from (one for one in made if one.metric in self.metrics)

    def _takers(self) -> dict[str, Callable[[Where, tuple[Key, Key]], Iterable[Candidate]]]:
        return {
            "variance": self._variance,
            "throughput": self._throughput,
            "memory": self._memory,
            "bias": self._bias,
            "convergence": self._convergence,
            "training": self._training,
        }

    def _keys(self, where: Where, measure: str) -> tuple[Key, Key] | None:
        """Both cells of a measure; None where one is missing, which is noted unless both are."""
        keys = ((*where[:3], where.base, measure), (*where[:3], where.new, measure))
        states = [
            self._state(run, key) for run, key in zip((self.base, self.new), keys, strict=True)
        ]
        if all(state == "" for state in states):
            return keys
        if any(state != "absent" for state in states):
            runs = zip((self.base, self.new), states, strict=True)
            said = [f"{_said(state)} in {run.name}" for run, state in runs if state]
            self._refuse(where, measure, " and ".join(said))
        return None

    def _state(self, run: Stored, key: Key) -> str:
        """Empty where a cell has figures; why it failed; or ``absent``."""
        if key in run.cells:
            return ""
        return f"failed: {run.failed[key]}" if key in run.failed else "absent"

    def _refuse(self, where: Where, measure: str, why: str) -> None:
        names = where.base if where.base == where.new else f"{where.base}, {where.new}"
        self.refused.append(Refusal(*where[:3], names, measure, why))

    # -- measure by measure -----------------------------------------------------------------------------------

    def _variance(self, where: Where, keys: tuple[Key, Key]) -> Iterator[Candidate]:
        (theirs, one), (mine, two) = self.base.units(keys[0]), self.new.units(keys[1])
        self._check(keys, one, two)
        new, base = (mine, self.new.schedule), (theirs, self.base.schedule)
        paired, precision = comparable.shared((one, two)), one.address["precision"]
        wanted = [m for m in QUANTITIES if m in self.metrics]
        if EFFICIENCY in self.metrics and "variance.total" not in wanted:
            wanted.append("variance.total")
        for metric in wanted:
            yield from variances(where, new, base, metric, paired, precision)

    def _throughput(self, where: Where, keys: tuple[Key, Key]) -> Iterator[Candidate]:
        one, two = self.base.pass_of(keys[0]), self.new.pass_of(keys[1])
        self._check(keys, one, two)
        if self.new is not self.base:
            comparable.machine(self.base, self.new)
        yield times(where, two, one, self.timing)

    def _products(self, known: dict[str, list[Candidate]]) -> list[Candidate]:
        """Variance × time, where both are known."""
        if "variance" not in known or "throughput" not in known:
            return []
        totals = {
            c.role: c
            for c in known["variance"]
            if c.metric == "variance.total" and c.layer == "all"
        }
        return list(efficiencies(known["throughput"][0], totals))

    def _memory(self, where: Where, keys: tuple[Key, Key]) -> Iterator[Candidate]:
        one, two = self.base.one(keys[0]), self.new.one(keys[1])
        self._check(keys, one, two)
        if self.new is not self.base:
            comparable.machine(self.base, self.new)
        yield memory(where, two, one, int(self.new.info.get("threads") or 1))

    def _bias(self, where: Where, keys: tuple[Key, Key]) -> Iterator[Candidate]:
        (theirs, one), (mine, two) = self.base.rows(keys[0]), self.new.rows(keys[1])
        self._check(keys, one, two)
        yield from biases(where, mine, theirs, comparable.shared((one, two)))

    def _convergence(self, where: Where, keys: tuple[Key, Key]) -> Iterator[Candidate]:
        each = [
            {int(block.address["training"]): block for block in run.of(key)}
            for run, key in zip((self.base, self.new), keys, strict=True)
        ]
        return self._trained(where, keys, "convergence", each[0], each[1])

    def _training(self, where: Where, keys: tuple[Key, Key]) -> Iterator[Candidate]:
        each = [
            dict(stored.training_blocks(run, key))
            for run, key in zip((self.base, self.new), keys, strict=True)
        ]
        return self._trained(where, keys, "training", each[0], each[1])

    def _trained(
        self,
        where: Where,
        keys: tuple[Key, Key],
        measure: str,
        base: dict[int, Block],
        new: dict[int, Block],
    ) -> Iterator[Candidate]:
        for run, key, found in zip((self.base, self.new), keys, (base, new), strict=True):
            seeds = int(run.cells[key]["n"])
            if sorted(found) != list(range(seeds)):
                raise NotComparable(f"{run.name} lacks a block of one of its {seeds} seeds")
        one, two = base[0], new[0]
        self._check(keys, one, two)
        tables: list[dict[int, Table]] = [
            {seed: block.values for seed, block in each.items()} for each in (new, base)
        ]
        yield from trainings(where, measure, tables[0], tables[1], comparable.shared((one, two)))

    def _check(self, keys: tuple[Key, Key], one: Block, two: Block) -> None:
        comparable.check(self.base, self.new, keys, (one, two))


def _said(state: str) -> str:
    return "not measured" if state == "absent" else state
