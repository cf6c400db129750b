"""Running a suite: cells one after the other, blocks into the store, figures out of it.

Whatever is measured is stored block by block as it is measured, so a run that is stopped goes on where it was
when it is started again on the same folder. A cell that fails is recorded with its cause and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vdbench import problems
from vdbench.errors import CellError
from vdbench.estimation.base import Estimator, objective
from vdbench.estimation.options import label
from vdbench.measures import training_metrics
from vdbench.measures.context import Context
from vdbench.measures.instrument import campaigns
from vdbench.measures.instrument.bench import Bench
from vdbench.measures.instrument.rows import figures_of as instrument_figures_of
from vdbench.measures.registry import figures_of
from vdbench.measures.session import Lab, Outcome
from vdbench.measures.training import Plan as TrainingPlan
from vdbench.noise import Key
from vdbench.problems.identity import fingerprint
from vdbench.problems.problem import Problem
from vdbench.runner import plan, record, results, scaling
from vdbench.runner.checkpoints import parameters, parameters_digest
from vdbench.runner.plan import Cell, Place
from vdbench.suite import training_recipe
from vdbench.suite.grid import checkpoint_name, single
from vdbench.suite.schema import ProblemSpec, Suite

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Finished:
    """A run that came to its end.

    Attributes:
        folder: The run folder.
        failed: How many cells failed.
    """

    folder: Path
    failed: int

    @property
    def results(self) -> pd.DataFrame:
        """The table of figures."""
        import pandas as pd

        return pd.read_parquet(self.folder / "results.parquet")


@dataclass
class Built:
    """A problem on its device, with what its blocks are named by."""

    problem: Problem
    fingerprint: str


@dataclass
class Run:
    """One run of a suite in one folder."""

    lab: Lab
    estimators: list[Estimator]
    only: tuple[str, ...]
    rows: list[results.Row] = field(default_factory=list)
    failed: int = 0
    trained: list[tuple[Outcome, results.Row]] = field(default_factory=list)

    def all(self, command: str) -> Finished:
        """Measure every cell, then write the table."""
        began = time.perf_counter()
        built = {spec.name: self._build(spec) for spec in self.suite.problems}
        self.record = record.Record(self.lab.folder)
        self.record.open(*self._description(built, command))
        cells = plan.cells(self.suite, self.only)
        with closing(self.lab.progress) as progress:
            progress.start(len(cells))
            for place in plan.places(self.suite):
                self._place(place, built[place.problem.name], cells)
            for name, one in built.items():
                self._trainings(name, one, cells)
            for spec in self.suite.problems:
                self._whole_trainings(spec, built[spec.name], cells)
        self._compare_trainings()
        self.rows += scaling.rows(self.rows)
        results.write(self.rows, self.lab.folder / "results.parquet")
        self.record.close(time.perf_counter() - began)
        return Finished(self.lab.folder, self.failed)

    @property
    def suite(self) -> Suite:
        """What is run."""
        return self.lab.suite

    def _build(self, spec: ProblemSpec) -> Built:
        """Build a problem, and see that every minibatch fits into its data."""
        problem = problems.build(spec.name, spec.factory, spec.options)
        plan.check_sizes(self.suite, problem)
        plan.check_few_examples(self.suite, problem)
        dtype = getattr(torch, self.suite.precision)
        return Built(problem.to(self.lab.device, dtype), fingerprint(problem))

    def _description(
        self, built: Mapping[str, Built], command: str
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What makes the run this run, and what else is recorded of it."""
        asked = {
            "suite": self.suite.model_dump(mode="json"),
            "device": self.lab.device.type,
            "only": list(self.only),
        }
        compared = [*self.estimators, single(self.suite.reference)]
        rest = {
            "seed": self.suite.seed,
            "baseline": self.suite.baseline,
            "reference": label(single(self.suite.reference)),
            "level": self.suite.level,
            "command": command,
            "plugins": [Path(plugin).name for plugin in self.lab.plugins],
            "estimators": {label(e): record.describe_estimator(e) for e in self.estimators},
            "problems": {n: record.describe_problem(b.problem, compared) for n, b in built.items()},
            **record.setting(self.lab.device),
        }
        return asked, rest

    # -- places -----------------------------------------------------------------------------------------------

    def _place(self, place: Place, built: Built, cells: Sequence[Cell]) -> None:
        """Measure all that is asked for at one problem, checkpoint and batch size."""
        checkpoint = checkpoint_name(place.checkpoint)
        where = (built.problem.name, checkpoint, place.batch_size)
        mine = [c for c in cells if (c.problem, c.checkpoint, c.batch_size) == where]
        if not mine:
            return
        self.lab.outcomes.clear()
        try:
            values, file = parameters(
                built.problem,
                place.checkpoint,
                self.suite.seed,
                built.fingerprint,
                self.lab.folder / "checkpoints",
                self.lab.progress.note,
                plan.SWEPT if place.problem.x is not None else None,
            )
        except Exception as error:
            self._fail(mine, f"checkpoint {checkpoint}: {self.lab.cause(error)}")
        else:
            key = Key(("vdbench", self.suite.seed, *where))
            context = partial(self._context, built, values, place.batch_size, key)
            here = plan.on(place.problem, self.estimators)
            contexts = {e: self._tried(e, context, mine) for e in here}
            self._measure(mine, {e: c for e, c in contexts.items() if c is not None}, context, file)
        self._keep(built.problem)

    def _context(
        self,
        built: Built,
        values: Mapping[str, torch.Tensor],
        batch_size: int,
        key: Key,
        estimator: Estimator,
        examples: int | None = None,
    ) -> Context:
        """The estimator at a place, on whole minibatches or on so many examples of each."""
        name = label(estimator)
        part = () if examples is None else (f"{examples} examples",)
        chunk = "/".join(map(str, (*key.path[2:], name, *part)))
        address = {
            **self._address(built.fingerprint, key, batch_size),
            "parameters": parameters_digest(values),
        }
        context = Context(
            built.problem,
            values,
            estimator,
            name,
            batch_size,
            key,
            address,
            self.suite.objective,
            estimator.fit(built.problem, values, key / "fit" / name),
            self.record.chunk(chunk),
            examples,
        )
        self.record.fix_chunk(chunk, context.traced.together)
        return context

    def _address(self, fingerprint: str, key: Key, batch_size: int) -> dict[str, Any]:
        return {
            "problem": fingerprint,
            "place": list(key.path),
            "batch_size": batch_size,
            "objective": self.suite.objective,
            "precision": self.suite.precision,
            "device": self.lab.device.type,
            "torch": torch.__version__,
        }

    def _tried(self, estimator: Estimator, context: Any, cells: Sequence[Cell]) -> Context | None:
        """The estimator at a place, after one draw; if that fails, so do all its cells there."""
        mine = [cell for cell in cells if cell.estimator == estimator]
        # one draw on a whole minibatch may take a minute: it is taken only where whole minibatches are measured
        few = self._few(estimator) if {cell.measure for cell in mine} == {"variance"} else None
        try:
            made: Context = context(estimator, few)
        except Exception as error:
            self._fail(mine, self.lab.cause(error))
            return None
        return made

    def _measure(
        self,
        cells: Sequence[Cell],
        contexts: Mapping[Estimator, Context],
        context: Any,
        file: Path,
    ) -> None:
        lab = self.lab
        going = [cell for cell in cells if cell.estimator in contexts]
        timed = [cell for cell in going if cell.measure == "throughput"]
        if timed:
            lab.attempt(
                timed, lambda: lab.throughput(timed, [contexts[c.estimator] for c in timed])
            )
        for cell in going:
            own = contexts[cell.estimator]
            if cell.measure == "variance":
                lab.attempt([cell], partial(self._variance, cell, contexts, context))
            elif cell.measure == "memory":
                lab.attempt([cell], partial(lab.memory, cell, own, file))
            elif cell.measure == "bias":
                lab.attempt([cell], partial(self._bias, cell, own, context))
        self._instrument(going, contexts, context)

    def _instrument(
        self, cells: Sequence[Cell], contexts: Mapping[Estimator, Context], context: Any
    ) -> None:
        """Measures about measures: all estimators of the place together, and the kills."""
        reference = single(self.suite.reference)
        bench = Bench(
            self.lab,
            [own.at("instrument") for own in contexts.values()],
            lambda: context(reference).at("instrument"),
        )
        for measure in plan.INSTRUMENT:
            mine = [cell for cell in cells if cell.measure == measure]
            if mine:
                self.lab.attempt(mine, partial(bench.measure, mine))
        for cell in cells:
            if cell.measure == "kills":
                self.lab.attempt([cell], partial(campaigns.measure, self.lab, cell))

    def _few(self, estimator: Estimator) -> int | None:
        """Examples of each minibatch that the estimator's noise is measured on, where not on all."""
        spec = self.suite.measures.variance
        return spec.few_examples.get(label(estimator)) if spec else None

    def _variance(
        self, cell: Cell, contexts: Mapping[Estimator, Context], context: Any
    ) -> list[Outcome]:
        own, few = contexts[cell.estimator], self._few(cell.estimator)
        if few is None:
            return self.lab.variance(cell, own.at("variance"))
        spec = self.suite.measures.variance
        assert spec is not None
        source = next((c for c in contexts.values() if c.label == spec.data_from), None)
        if source is None:
            raise CellError(f"the data part cannot be taken from {spec.data_from}, which failed.")
        if own.examples is None:
            own = context(cell.estimator, few)
        return self.lab.variance(cell, own.at("variance"), source.at("variance"))

    def _bias(self, cell: Cell, own: Context, context: Any) -> list[Outcome]:
        reference: Context = context(single(self.suite.reference))
        return self.lab.bias(cell, own.at("bias"), reference.at("bias"))

    def _trainings(self, name: str, built: Built, cells: Sequence[Cell]) -> None:
        """Convergence: every estimator trains from the same initialisations."""
        spec = next(p for p in self.suite.problems if p.name == name)
        for size in plan.training_sizes(self.suite, spec):
            self.lab.outcomes.clear()
            key = Key(("vdbench", self.suite.seed, name, plan.TRAINING, size))
            address = self._address(built.fingerprint, key, size)
            for cell in cells:
                if (cell.problem, cell.measure, cell.batch_size) == (name, "convergence", size):
                    context = Context(
                        built.problem, {}, cell.estimator, cell.label, size, key, address
                    )
                    self.lab.attempt([cell], partial(self.lab.convergence, cell, context))
            self._keep(built.problem)

    def _whole_trainings(self, spec: ProblemSpec, built: Built, cells: Sequence[Cell]) -> None:
        """The measure training: seeds are shared by all problems, so that nothing of this one is in their address."""
        mine = [cell for cell in cells if (cell.problem, cell.measure) == (spec.name, "training")]
        if not mine:
            return
        self.lab.outcomes.clear()
        wanted = training_recipe.spec_of(self.suite, spec)
        how = TrainingPlan(wanted, training_recipe.recipe_of(wanted))
        key = Key(("vdbench", self.suite.seed, plan.TRAINED))
        address = self._address(built.fingerprint, key, wanted.batch_size)
        for cell in mine:
            context = Context(
                built.problem, {}, cell.estimator, cell.label, cell.batch_size, key, address
            )
            self.lab.attempt([cell], partial(self.lab.training, cell, context, how))
        self._keep(built.problem)
        good = [outcome for outcome in self.lab.outcomes if outcome.status != "failed"]
        self.trained += [(o, self._about_cell(built.problem, o.cell)) for o in good]

    def _compare_trainings(self) -> None:
        """Differences between problems, and the table of all trainings' epochs."""
        if not self.suite.measures.training:
            return
        outcomes = [outcome for outcome, _ in self.trained]
        about = {id(outcome): said for outcome, said in self.trained}
        for outcome, found in training_metrics.differences(self.suite, outcomes):
            self.rows += results.rows(outcome.cell, about[id(outcome)], found)
        training_metrics.write(outcomes, self.lab.folder / training_metrics.FILE)

    # -- what became of them ----------------------------------------------------------------------------------

    def _fail(self, cells: Sequence[Cell], cause: str) -> None:
        for cell in cells:
            self.lab.outcomes.append(Outcome(cell, "failed", cause))
            self.lab.progress.done(str(cell), "failed", cause)

    def _keep(self, problem: Problem) -> None:
        """Put the outcomes of a place into the table and the record."""
        schedule = self.lab.schedule if self.suite.measures.variance else None
        reference = label(single(self.suite.reference))
        for outcome, found in figures_of(self.suite, self.lab.outcomes, schedule, reference):
            self.rows += results.rows(outcome.cell, self._about_cell(problem, outcome.cell), found)
        for outcome, found in instrument_figures_of(self.suite, self.lab.outcomes):
            self.rows += results.rows(outcome.cell, self._about_cell(problem, outcome.cell), found)
        for outcome in self.lab.outcomes:
            if outcome.status == "failed":
                self.failed += 1
                said = self._about_cell(problem, outcome.cell)
                self.rows.append(results.failure(outcome.cell, said, outcome.reason))
            self.record.content["cells"].append(_summary(outcome))
        self.record.save()

    def _about_cell(self, problem: Problem, cell: Cell) -> results.Row:
        """What every row of a cell says."""
        return {
            "serves": objective(cell.estimator, problem),
            "suite": self.suite.name,
            "objective": self.suite.objective,
            "parameterization": problem.parameterization.name,
            "precision": self.suite.precision,
            "device": self.lab.device.type,
            "seed": self.suite.seed,
        }


def _summary(outcome: Outcome) -> dict[str, Any]:
    cell = outcome.cell
    return {
        "problem": cell.problem,
        "checkpoint": cell.checkpoint,
        "batch_size": cell.batch_size,
        "estimator": cell.label,
        "measure": cell.measure,
        "status": outcome.status,
        "reason": outcome.reason,
        "n": outcome.n,
        "seconds": outcome.seconds,
    }
