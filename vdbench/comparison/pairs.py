"""The cells of two runs that belong together, and the figures that are compared at each place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from vdbench.comparison import comparable
from vdbench.comparison.rows import Candidate, Refusal, Where
from vdbench.comparison.stored import Block, Key, NotComparable, Stored, training_blocks
from vdbench.comparison.times import EFFICIENCY, TIME, efficiencies, memory, times
from vdbench.comparison.trainings import CONVERGENCE, TRAINING, trainings
from vdbench.comparison.variances import QUANTITIES, biases, variances
from vdbench.errors import InputError, nearest
from vdbench.store import Table

MEASURED = {
    "variance": (*QUANTITIES, EFFICIENCY),
    "throughput": (TIME, EFFICIENCY),
    "memory": ("memory.peak_bytes",),
    "bias": ("relative_bias",),
    "convergence": tuple(CONVERGENCE),
    "training": TRAINING,
}
"""The metrics that come from each measure; others are not compared."""


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
            dict(training_blocks(run, key))
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
