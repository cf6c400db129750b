"""The measure ``variance``: units until noise and total are precise enough, or the bound is reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from vdbench.errors import CellError, InputError, nearest
from vdbench.estimation.base import Estimator, independent_examples, objective
from vdbench.estimation.options import identity, label
from vdbench.measures import expected, few_examples, rao_blackwell, unit_sums, variance_units
from vdbench.measures.cells import Cell, Outcome, everywhere
from vdbench.measures.context import Context
from vdbench.measures.expected import Expected
from vdbench.measures.metrics import FIGURE, LookSchedule
from vdbench.measures.protocol import Measure, Values, mine
from vdbench.measures.session import Session, Site
from vdbench.measures.stopping import Baseline, Stopped, Stopping, look_schedule, schedule_of
from vdbench.measures.together import Together
from vdbench.measures.variance_metrics import longest, variance_values
from vdbench.problems.problem import Problem
from vdbench.store import Table
from vdbench.suite.grid import expand
from vdbench.suite.schema import Suite, VarianceSpec


class Variance(Measure):
    """Variance of gradients by layer and role, in its noise part and its data part."""

    name = "variance"
    spec = VarianceSpec

    def check(self, where: str, suite: Suite) -> None:
        """See that noise may be measured in part for those estimators for which that is asked."""
        spec = suite.measures.variance
        if spec:
            _check_ratios(f"{where}: measures.variance", suite, spec)
        if spec and (_in_part(spec) or spec.data_from):
            _check_parts(f"{where}: measures.variance", suite, spec)

    def check_problem(self, suite: Suite, problem: Problem) -> None:
        """See that every target is there, and that who is measured in part has the objective of its data part here."""
        spec = self.asked(suite)
        _check_targets(suite, spec, problem)
        if _in_part(spec):
            _check_objectives(suite, spec, problem)

    def cells(self, suite: Suite, estimators: Sequence[Estimator]) -> list[Cell]:
        """One for each estimator at each place."""
        return everywhere(suite, estimators, self.name)

    def gradients(self, suite: Suite, cell: Cell, examples: Mapping[str, int]) -> tuple[int, int]:
        """Four a unit, from the first look to the last."""
        spec = self.asked(suite)
        looks = schedule_of(spec, suite.level).looks
        return 4 * looks[0], 4 * looks[-1]

    def memory(self, suite: Suite, cell: Cell, context: Context, limit: int) -> Expected | None:
        """That of its units; of one that is measured by another's pre-activations it is not known."""
        spec = self.asked(suite)
        if cell.label in spec.rao_blackwell:
            return None
        few = spec.few_examples.get(cell.label)
        return expected.units(context if few is None else replace(context, examples=few), limit)

    def measure(self, session: Session, site: Site, cells: Sequence[Cell]) -> list[Outcome]:
        """One cell, on whole minibatches, on few examples of each, or by another estimator's pre-activations."""
        (cell,) = cells
        asked = self.asked(session.suite)
        few = asked.few_examples.get(cell.label)
        if cell.label in asked.rao_blackwell:
            context = _source(site, str(asked.data_from)).at(self.name)
            found = self._by_preactivations(session, site, context, cell)
        elif few is not None:
            context = site.context(cell.estimator, few).at(self.name)
            found = self._on_few_examples(session, site, cell, context)
        else:
            context = site.context(cell.estimator).at(self.name)
            schedule, baseline = _waits(session, site, cell)
            stopping = Stopping(schedule, context.sizes, baseline=baseline)
            for start, stop in stopping.blocks():
                _tell(session, stopping)
                stopping.add(units(session, context, start, stop))
            found = stopping.stopped
        rows = found.rows
        detail = {**found.detail, **unit_sums.told(context), **_fitting(context)}
        return [Outcome(cell, found.status, found.reason, rows.n, rows, detail=detail)]

    def _on_few_examples(
        self, session: Session, site: Site, cell: Cell, context: Context
    ) -> Stopped:
        count = context.examples
        assert count is not None
        source = _source(site, str(self.asked(session.suite).data_from)).at(self.name)
        few_examples.refuse_dependence(cell.label, _dependence(session, context))
        schedule, baseline = _waits(session, site, cell)
        stopping = Stopping(
            schedule,
            context.sizes,
            few_examples.describe(count, context.batch_size, source.label),
            signed=True,
            detail={
                "examples": count, "batch_size": context.batch_size, "data_from": source.label,
            },
            baseline=baseline,
        )  # fmt: skip
        for start, stop in stopping.blocks():
            _tell(session, stopping)
            few = _few(session, context, start, stop)
            stopping.add(few_examples.combine(few, units(session, source, start, stop)))
        return stopping.stopped

    def _by_preactivations(
        self, session: Session, site: Site, source: Context, cell: Cell
    ) -> Stopped:
        rao_blackwell.refuse(source)
        schedule, baseline = _waits(session, site, cell)
        stopping = Stopping(
            schedule,
            source.sizes,
            rao_blackwell.describe(source.label),
            signed=True,
            detail={"conditional_on": "pre-activations", "data_from": source.label},
            baseline=baseline,
        )
        for start, stop in stopping.blocks():
            _tell(session, stopping)
            more = _conditional(session, source, cell.estimator, start, stop)
            stopping.add(rao_blackwell.combine(more, units(session, source, start, stop)))
        return stopping.stopped

    def values(self, suite: Suite, outcomes: Sequence[Outcome]) -> Values:
        """Parts, signal-to-noise ratio, and paired ratios to the other estimators."""
        here = mine(self, outcomes)
        rows = {name: outcome.data for name, outcome in here.items()}
        schedule = look_schedule(suite)
        together = Together(longest(rows, suite.baseline), schedule)
        for name, outcome in here.items():
            yield outcome, variance_values(suite, name, rows, schedule, together)


def _waits(session: Session, site: Site, cell: Cell) -> tuple[LookSchedule, Baseline | None]:
    """What a cell waits for, and the baseline whose units it takes too where that is a ratio.

    A ratio to a baseline that is not measured here, or failed, is not waited for: where nothing else is, then for all
    figures of the cell.
    """
    schedule = look_schedule(session.suite)
    name = session.suite.baseline
    if cell.label == name or schedule.own() == schedule:
        return schedule, None
    try:
        context = _named(site, name).at(Variance.name)
    except session.caught:
        return schedule.own(), None
    count = len(site.estimators)
    taken = partial(units, session, context)
    return schedule, Baseline(name, context.sizes, taken, count * (count - 1) // 2)


def _fitting(context: Context) -> dict[str, int]:
    """What fitting the estimator took, where that is passes over the data."""
    passes = context.estimator.passes_to_fit(context.state)
    return {"passes_to_fit": passes} if passes else {}


def _tell(session: Session, stopping: Stopping) -> None:
    session.progress.detail(stopping.told)
    session.progress.share(stopping.share)


def units(session: Session, context: Context, start: int, stop: int) -> Table:
    """Rows of units ``start`` to ``stop``, from the run's store, or measured; `variance_units.rows` has the columns."""
    address = session.address(context, "variance", variance_units.VERSION, units=[start, stop])
    compute = partial(variance_units.rows, context, start, stop)
    return session.finite(session.store.get(address, compute))


def _few(session: Session, context: Context, start: int, stop: int) -> Table:
    more = {"examples": context.examples, "units": [start, stop]}
    address = session.address(context, "few-examples", few_examples.VERSION, **more)
    compute = partial(few_examples.rows, context, context.batch_size, start, stop)
    return session.finite(session.store.get(address, compute))


def _conditional(
    session: Session, source: Context, estimator: Estimator, start: int, stop: int
) -> Table:
    whose = {"estimator": identity(estimator), "data_from": identity(source.estimator)}
    address = session.address(
        source, "rao-blackwell", rao_blackwell.VERSION, units=[start, stop], **whose
    )
    compute = partial(rao_blackwell.rows, source, start, stop)
    return session.finite(session.store.get(address, compute))


def _dependence(session: Session, context: Context) -> Table:
    """Measured once at every place, and kept."""
    session.progress.detail("are examples independent?")
    address = session.address(
        context,
        "independence",
        few_examples.VERSION,
        examples=context.examples,
        units=[0, few_examples.WEIGHTS],
    )
    return session.store.get(address, lambda: few_examples.dependence(context, context.batch_size))


def _source(site: Site, name: str) -> Context:
    """The estimator that data part and mean are taken from.

    Raises:
        CellError: It failed at this place.
    """
    try:
        return _named(site, name)
    except Exception as error:
        raise CellError(f"the data part cannot be taken from {name}, which failed.") from error


def _named(site: Site, name: str) -> Context:
    found = next((e for e in site.estimators if label(e) == name), None)
    if found is None:
        raise CellError(f"{name} is not measured here.")
    return site.context(found)


def _in_part(spec: VarianceSpec) -> dict[str, str]:
    """The estimators that are not measured on whole minibatches of their own, with the option that says so."""
    by = dict.fromkeys(spec.few_examples, "few_examples")
    return by | dict.fromkeys(spec.rao_blackwell, "rao_blackwell")


def _check_parts(at: str, suite: Suite, spec: VarianceSpec) -> None:
    """See that the noise of each such estimator is what the option takes it for, and its mean the source's."""
    known = {label(e): e for item in suite.estimators for e in expand(item)}
    asked = _in_part(spec)
    for name in (*asked, *([spec.data_from] if spec.data_from else [])):
        if name not in known:
            raise InputError(
                f"{at}: '{name}' is none of the suite's estimators.{nearest(name, known)}"
            )
    if not (asked and spec.data_from):
        option = next(iter(asked.values()), "few_examples")
        raise InputError(f"{at}: {option} and data_from are given together or not at all.")
    if spec.data_from in asked:
        raise InputError(
            f"{at}: data_from '{spec.data_from}' is itself in {asked[spec.data_from]}."
        )
    source = known[spec.data_from].declaration
    for name in (*asked, spec.data_from):
        if not known[name].declaration.unbiased_given_minibatch:
            raise InputError(
                f"{at}: '{name}' controls the data part of its variance, which is its own; expected estimators whose "
                "mean is the gradient of each minibatch."
            )
    for name, option in asked.items():
        if option == "rao_blackwell":
            _check_separate(at, known[name], name, spec)
        else:
            _check_examples(at, suite, known[name], name, spec.few_examples[name])
        mine = known[name].declaration
        if not (mine.unbiased and source.unbiased and mine.objective == source.objective):
            raise InputError(
                f"{at}: '{name}' cannot take its data part from '{spec.data_from}': "
                "they are not both unbiased for one objective."
            )


def _check_ratios(at: str, suite: Suite, spec: VarianceSpec) -> None:
    """See that the units that a ratio waits for are those that it is reported from."""
    ratios = [n for n, target in enumerate(spec.targets) if target.interval != FIGURE]
    if not ratios:
        return
    here = f"{at}: targets.{ratios[0]}: a ratio cannot be waited for"
    if spec.anytime:
        raise InputError(f"{here} with anytime, whose intervals depend on both cells' looks.")
    if option := _in_part(spec).get(str(suite.baseline)):
        raise InputError(
            f"{here} where the baseline '{suite.baseline}' is in {option}; expected a baseline measured on whole "
            "minibatches, or targets with interval: figure."
        )


def _check_examples(at: str, suite: Suite, estimator: Estimator, name: str, count: int) -> None:
    if not estimator.declaration.independent_examples:
        raise InputError(
            f"{at}: the noise of '{name}' is not independent from example to example, "
            "so it cannot be estimated from a subset of a minibatch."
        )
    if count > min(suite.batch_sizes):
        raise InputError(
            f"{at}: few_examples of '{name}' is {count}, more than batch size {min(suite.batch_sizes)}."
        )


def _check_separate(at: str, estimator: Estimator, name: str, spec: VarianceSpec) -> None:
    if name in spec.few_examples:
        raise InputError(f"{at}: '{name}' is in few_examples and in rao_blackwell; expected one.")
    if not estimator.separate_weights:
        raise InputError(
            f"{at}: '{name}' does not draw separate weights for each example, so rao_blackwell is not its noise; "
            "expected per-example."
        )


def _check_targets(suite: Suite, spec: VarianceSpec, problem: Problem) -> None:
    """See that the problem has a layer and role of each target."""
    groups = {problem.groups[name] for name in problem.free(problem.start)}
    layers, roles = ({getattr(g, key) for g in groups} for key in ("layer", "role"))
    for number, target in enumerate(spec.targets):
        at = f"suite '{suite.name}': measures.variance.targets.{number}"
        for key, value, known in (
            ("layer", target.layer, layers | {"all"}),
            ("role", target.role, roles),
        ):
            if value is not None and value not in known:
                raise InputError(
                    f"{at}: problem '{problem.name}' has no {key} '{value}'.{nearest(value, known)}"
                )
        if target.layer not in (None, "all") and target.role is not None:
            own = {g.role for g in groups if g.layer == target.layer}
            if target.role not in own:
                raise InputError(
                    f"{at}: layer '{target.layer}' of problem '{problem.name}' has no role '{target.role}'; it has "
                    f"{', '.join(sorted(own))}."
                )


def _check_objectives(suite: Suite, spec: VarianceSpec, problem: Problem) -> None:
    known = {label(e): e for item in suite.estimators for e in expand(item)}
    source = objective(known[str(spec.data_from)], problem)
    for name, option in _in_part(spec).items():
        if not independent_examples(known[name], problem):
            raise InputError(
                f"suite '{suite.name}': measures.variance: {option}: the noise of '{name}' is not independent from "
                f"example to example on problem '{problem.name}', where it samples "
                f"{', '.join(a.name for a in problem.whole)} once for the minibatch."
            )
        own = objective(known[name], problem)
        if own != source:
            raise InputError(
                f"suite '{suite.name}': measures.variance: '{name}' cannot take its data part from "
                f"'{spec.data_from}' on problem '{problem.name}', whose layers {', '.join(problem.shared)} use a "
                f"weight at several places: they estimate gradients of different objectives there, {own} and {source}."
            )
