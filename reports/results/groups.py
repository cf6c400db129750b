"""What is compared with what: the rows of one problem, checkpoint and batch size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from reports.results.estimate import Estimate
from reports.results.load import Results, Run

if TYPE_CHECKING:
    import pandas as pd

TRAINING = "training"
TRAINED = "trained"
"""Checkpoint of whole trainings, which have tables of their own; a checkpoint of a suite may be called so, too."""
WHOLE = (
    "training", "test.", "sparsity.", "alpha.", "difference.", "adjusted.difference.",
)  # fmt: skip
"""Beginnings of the metrics of whole trainings."""
DUST = 1e-11
"""The share of the baseline's variance below which another is 0 but for rounding."""
NOISY = ("mean", "theta", "scale", "factor", "alpha", "logit")
"""Roles of the noisy weights: the only ones that are ranked."""
ROLES = (*NOISY, "bias", "weight", "all")
SCALED_MARK = "‡"
"""What marks an estimator in tables whose noise part was not measured on whole minibatches of its own draws."""
BIAS = "adjusted.relative_bias"
"""Relative bias over all layers, at a level adjusted for the number of estimators and roles."""
KEY = ["run", "problem", "checkpoint", "batch_size", "precision", "device"]

APART = (
    "slope.", "floor.", "coverage.", "width.", "false_alarms.", "power.", "wrong.", "kills.",
    "rounding.", "adjusted.rounding.",
)  # fmt: skip
"""Beginnings of the metrics that are of no one place, and have sections of their own."""

Address = tuple[str, str, str, str]
"""Label, metric, layer, role."""
Pair = tuple[str, str, str, str, str]
"""Metric, layer, role, numerator's label, denominator's label."""


@dataclass(frozen=True)
class FewExamples:
    """How a noise part was measured on a few examples of each minibatch, and scaled; or by its conditional variance.

    Attributes:
        examples: How many; 0 where it was computed from the pre-activations of all.
        batch_size: Of how many.
        data_from: The estimator whose data part and mean were used, and whose pre-activations.
    """

    examples: int
    batch_size: int
    data_from: str


def few_examples(detail: Mapping[str, Any]) -> FewExamples:
    """Read it from the facts about a figure."""
    examples, size = (int(detail.get(key, 0)) for key in ("examples", "batch_size"))
    return FewExamples(examples, size, str(detail["data_from"]))


@dataclass(frozen=True)
class Group:
    """Rows whose estimators are measured on the same weights, data and loss.

    Attributes:
        run: The run they are from.
        problem: Name of the problem.
        checkpoint: ``initial``, ``local-5-epochs``, … or ``training`` where only that was measured.
        batch_size: Examples in a minibatch.
        title: The group in words, unique in the report.
        labels: Estimators, in the suite's order.
        known: Estimators of all the runs reported on, which fixes each one's colour.
        figures: Estimates by (label, metric, layer, role).
        pairs: Ratios by (metric, layer, role, numerator's label, denominator's label).
        curves: The rows of ``convergence.elbo`` that go with the group.
        draws: By label, how many draws of noise one gradient is the mean of.
    """

    run: Run
    problem: str
    checkpoint: str
    batch_size: int
    title: str
    labels: list[str]
    known: list[str] = field(repr=False)
    figures: dict[Address, Estimate] = field(repr=False)
    pairs: dict[Pair, Estimate] = field(repr=False)
    curves: pd.DataFrame = field(repr=False)
    draws: Mapping[str, int] = field(default_factory=dict, repr=False)

    @property
    def without_run(self) -> str:
        """The title without the run, under which groups of several runs are put side by side."""
        return self.title.removeprefix(f"{self.run.name} · ")

    def get(
        self, label: str, metric: str, layer: str = "all", role: str = "all"
    ) -> Estimate | None:
        """Return one estimate, or None where the run has none."""
        return self.figures.get((label, metric, layer, role))

    def pair(
        self, metric: str, role: str, label: str, against: str, layer: str = "all"
    ) -> Estimate | None:
        """Return the paired ratio of one estimator to another, or None."""
        return self.pairs.get((metric, layer, role, label, against))

    @cached_property
    def _scaled(self) -> dict[str, FewExamples]:
        """By estimator, what its own noise part was measured on; ratios may say it of what they are against."""
        own = {
            key[0]: e
            for key, e in self.figures.items()
            if key[1] == "variance.noise" and "data_from" in e.detail
        }
        return {label: few_examples(e.detail) for label, e in own.items()}

    def few_examples(self, label: str) -> list[FewExamples]:
        """Return on how many examples an estimator's noise part was measured; nothing where on all."""
        return [self._scaled[label]] if label in self._scaled else []

    def name(self, label: str) -> str:
        """Return an estimator's label for a table, marked where its noise part was scaled."""
        return f"{label} {SCALED_MARK}" if self.few_examples(label) else label

    def declared(self, label: str) -> dict[str, Any]:
        """Return what an estimator declares of itself."""
        return dict(self.run.estimators.get(label) or {})

    def objective_of(self, label: str) -> str:
        """Return the objective whose gradient an estimator estimates on the group's problem; empty if not recorded."""
        found = (self.described.get("objectives") or {}).get(label)
        return str(found or self.declared(label).get("objective") or "")

    def unlike(self, label: str, other: str) -> bool:
        """Whether two estimators have different objectives here, as far as it is recorded."""
        mine, theirs = self.objective_of(label), self.objective_of(other)
        return bool(theirs) and mine != theirs

    def local_noise(self) -> dict[str, str]:
        """Return the estimators whose objective here is not the usual one of dense layers, and which it is."""
        said = {label: self.declared(label).get("objective") for label in self.labels}
        return {
            x: self.objective_of(x)
            for x, usual in said.items()
            if usual and self.objective_of(x) != usual
        }

    @property
    def described(self) -> dict[str, Any]:
        """What the run recorded of the group's problem."""
        return dict((self.run.info.get("problems") or {}).get(self.problem) or {})

    @property
    def baseline(self) -> str:
        """Label of the estimator that ratios are taken to."""
        return self.run.baseline

    @property
    def reference(self) -> str:
        """Label of the estimator that bias is measured against; empty where there is none."""
        return str(self.run.info.get("reference") or "")

    def dust(self, label: str, role: str) -> bool:
        """Whether an estimator's variance over all layers is 0 but for rounding: 1e-11 of the baseline's, or less.

        A gradient in float32 is rounded to about 1e-7 of the draws that it is the mean of.
        """
        metric = "variance.total"
        mine, base = (self.get(x, metric, "all", role) for x in (label, self.baseline))
        known = mine is not None and base is not None and mine.measured and base.measured
        return bool(known and mine and base and mine.value <= DUST * base.value)

    def ranked(self, label: str) -> bool:
        """Whether an estimator competes: unbiased, and for the baseline's objective."""
        return not self.why_not_ranked(label)

    def why_not_ranked(self, label: str) -> str:
        """Say why an estimator is shown but not ranked; empty for one that competes."""
        if self.unlike(label, self.baseline):
            return "different objective; for reference only"
        if not self.declared(label).get("unbiased", False):
            return "declared biased"
        return "declared unbiased, but found biased" if self.biases(label) else ""

    def biases(self, label: str) -> dict[str, Estimate]:
        """Return, by role, the biases found in an estimator that declares itself unbiased.

        The reference is never accused: the others are measured against it. Nor is an estimator of another objective
        than the reference's, whose difference from it is no bias.
        """
        other = self.unlike(label, self.baseline) or self.unlike(label, self.reference)
        if label == self.reference or other or not self.declared(label).get("unbiased", False):
            return {}
        found = {role: self.get(label, BIAS, "all", role) for role in self.roles(BIAS)}
        return {role: e for role, e in found.items() if e and e.measured and e.low > 0}

    def unchecked(self) -> list[str]:
        """Name the ranked estimators, without the reference, whose bias was not measured."""
        checked = {key[0] for key, e in self.figures.items() if key[1] == BIAS and e.measured}
        kept = [label for label in self.labels if label not in checked and self.ranked(label)]
        return [label for label in kept if label != self.reference]

    def has(self, prefix: str) -> bool:
        """Whether there is a figure of a metric that begins so."""
        return any(key[1].startswith(prefix) and e.measured for key, e in self.figures.items())

    def roles(self, metric: str = "variance.total") -> list[str]:
        """Return the roles a metric is given for, in a fixed order."""
        found = {key[3] for key in self.figures if key[1] == metric}
        return sorted(found, key=lambda role: (index_of(role, ROLES), role))

    def headline_roles(self) -> list[str]:
        """Return the roles to rank: those of the noisy weights."""
        return [role for role in self.roles() if role in NOISY and self.measured_in(role)]

    def measured_in(self, role: str) -> bool:
        """Whether any estimator has a total variance over all layers in a role."""
        found = [self.get(label, "variance.total", "all", role) for label in self.labels]
        return any(estimate is not None and estimate.measured for estimate in found)

    def layers(self, metric: str) -> list[str]:
        """Return the layers a metric is given for, ``all`` first, then in the network's order."""
        known = self.described.get("layers") or []
        order = [str(x.get("name") if isinstance(x, dict) else x) for x in known]
        found = list(dict.fromkeys(key[2] for key in self.figures if key[1] == metric))
        return sorted(found, key=lambda layer: (layer != "all", index_of(layer, order)))


def index_of(item: str, order: Iterable[str]) -> int:
    """Return the place of an item in an order; unknown ones come last."""
    names = list(order)
    return names.index(item) if item in names else len(names)


def groups_of(results: Results) -> list[Group]:
    """Split results into groups, in the order in which the runs measured them."""
    frame = placed(results.frame)
    keys = list(dict.fromkeys(frame[KEY].itertuples(index=False, name=None)))
    measured = [key for key in keys if key[2] != TRAINING]
    known = {key[:2] for key in measured}
    wanted = measured + [key for key in keys if key[2] == TRAINING and key[:2] not in known]
    shown = [i for i in range(len(KEY)) if i in (1, 2, 3) or len({key[i] for key in wanted}) > 1]
    return [make_group(results, key, shown) for key in wanted]


def placed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a place: not those over several sizes, of whole trainings, or about vdbench itself."""
    sized = (frame["batch_size"] > 0) & (frame["samples"] != 0) & ~whole(frame)
    rows: pd.DataFrame = frame[sized & ~frame["metric"].str.startswith(APART)]
    return rows


def whole(frame: pd.DataFrame) -> pd.Series:
    """Say which rows are of whole trainings."""
    found: pd.Series = (frame["checkpoint"] == TRAINED) & frame["metric"].str.startswith(WHOLE)
    return found


def make_group(results: Results, key: tuple[Any, ...], shown: list[int]) -> Group:
    """Collect the rows of a group, with those of its training."""
    frame, run = placed(results.frame), results.runs[key[0]]
    same = frame[KEY].eq(list(key)).all(axis=1)
    training = training_rows(frame, key)
    rows = frame[same & (frame["checkpoint"] != TRAINING)]
    figures, pairs = index_rows(rows)
    ended, _ = index_rows(training[training["metric"] != "convergence.elbo"])
    declared = [label for other in results.runs.values() for label in other.estimators]
    known = list(dict.fromkeys([*declared, *results.frame["label"]]))
    seen = {*rows["label"], *training["label"]}
    return Group(
        run=run,
        problem=key[1],
        checkpoint=key[2],
        batch_size=int(key[3]),
        title=" · ".join(part for i in shown if (part := words(i, key[i]))),
        labels=[label for label in known if label in seen],
        known=known,
        figures={**ended, **figures},
        pairs=pairs,
        curves=training[training["metric"] == "convergence.elbo"],
        draws={str(k): int(v) for k, v in rows.groupby("label")["samples"].max().items()},
    )


def training_rows(frame: pd.DataFrame, key: tuple[Any, ...]) -> pd.DataFrame:
    """Return the training rows of a problem, of the same batch size where there are such."""
    rows: pd.DataFrame = frame[
        (frame["run"] == key[0]) & (frame["problem"] == key[1]) & (frame["checkpoint"] == TRAINING)
    ]
    same: pd.DataFrame = rows[rows["batch_size"] == key[3]]
    if len(same):
        return same
    return rows if rows["batch_size"].nunique() == 1 else rows.iloc[:0]


def words(place: int, value: Any) -> str:
    """Say one part of a group's key."""
    if KEY[place] == "batch_size":
        return f"batch {int(value)}"
    if KEY[place] == "checkpoint":
        return str(value) if value == TRAINING else f"checkpoint {value}"
    return str(value)


def index_rows(rows: pd.DataFrame) -> tuple[dict[Address, Estimate], dict[Pair, Estimate]]:
    """Index rows by address, paired comparisons apart."""
    figures: dict[Address, Estimate] = {}
    pairs: dict[Pair, Estimate] = {}
    for row in rows.itertuples(index=False):
        got: Any = row
        if got.metric.startswith("pairwise."):
            pairs[got.metric, got.layer, got.role, got.label, got.against] = estimate_of(got)
        else:
            figures[got.label, got.metric, got.layer, got.role] = estimate_of(got)
    return figures, pairs


def estimate_of(row: Any) -> Estimate:
    """Return the figure of one row of results."""
    n = int(row.n) if row.n == row.n else 0
    found = (row.value, row.ci_low, row.ci_high, n, row.unit, row.status, row.message, row.level)
    return Estimate(*found, row.detail)
