"""Running a suite: cells one after the other, blocks into the store, values out of it.

Whatever is measured is stored block by block as it is measured, so a run that is stopped goes on where it was
when it is started again on the same folder. A cell that fails is recorded with its cause and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vdbench import problems
from vdbench.estimation.base import Estimator, objective
from vdbench.estimation.options import label
from vdbench.measures.cells import SWEPT, Cell, Outcome, Place
from vdbench.measures.protocol import Measure, Values
from vdbench.measures.registry import asked
from vdbench.measures.session import Session, Site
from vdbench.problems.identity import fingerprint
from vdbench.problems.problem import Problem
from vdbench.runner import plan, record, results, scaling
from vdbench.runner.checkpoints import parameters
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

    session: Session
    estimators: list[Estimator]
    only: tuple[str, ...]
    allowed: Sequence[str] = ()
    rows: list[results.Row] = field(default_factory=list)
    failed: int = 0
    compared: list[Outcome] = field(default_factory=list)

    def all(self, command: str) -> Finished:
        """Measure every cell, then write the table."""
        began = time.perf_counter()
        self.built = {spec.name: self._build(spec) for spec in self.suite.problems}
        self.record = record.Record(self.session.folder)
        self.record.open(*self._description(command))
        cells = plan.cells(self.suite, self.only)
        with closing(self.session.progress) as progress:
            progress.start(len(cells))
            for place, mine in plan.by_place(cells):
                self._place(place, mine)
        for measure in self._comparing():
            outcomes = [o for o in self.compared if o.cell.measure == measure.name]
            self._write(measure.across(self.session, outcomes))
        self.rows += scaling.rows(self.rows)
        results.write(self.rows, self.session.folder / "results.parquet")
        self.record.close(time.perf_counter() - began)
        return Finished(self.session.folder, self.failed)

    @property
    def suite(self) -> Suite:
        """What is run."""
        return self.session.suite

    def _build(self, spec: ProblemSpec) -> Built:
        """Build a problem, and see that all that is asked for can be measured on it."""
        problem = problems.build(spec.name, spec.factory, spec.options)
        plan.check_problem(self.suite, problem)
        dtype = getattr(torch, self.suite.precision)
        return Built(problem.to(self.session.device, dtype), fingerprint(problem))

    def _description(self, command: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """What makes the run this run, and what else is recorded of it."""
        asked_for = {
            "suite": self.suite.model_dump(mode="json"),
            "device": self.session.device.type,
            "only": list(self.only),
        }
        reference = single(self.suite.reference)
        compared = [*self.estimators, reference]
        rest = {
            "seed": self.suite.seed,
            "baseline": self.suite.baseline,
            "reference": label(reference),
            "level": self.suite.level,
            "command": command,
            "allowed": list(self.allowed),
            "plugins": [Path(plugin).name for plugin in self.session.plugins],
            "estimators": {label(e): record.describe_estimator(e) for e in self.estimators},
            "problems": {
                name: record.describe_problem(one.problem, compared)
                for name, one in self.built.items()
            },
            **record.setting(self.session.device),
        }
        return asked_for, rest

    def _place(self, place: Place, cells: Sequence[Cell]) -> None:
        """Measure all that is asked for at one place; what fails is recorded, and the rest goes on."""
        session = self.session
        session.outcomes.clear()
        try:
            values, file = self._parameters(place)
        except Exception as error:
            session.fail(cells, f"checkpoint {place.checkpoint}: {session.cause(error)}")
        else:
            built = self.built[place.problem]
            here = list(dict.fromkeys(cell.estimator for cell in cells))
            site = Site(
                place, built.problem, built.fingerprint, values, file, session, self.record, here
            )
            for measure in asked(self.suite):
                mine = [cell for cell in cells if cell.measure == measure.name]
                if measure.together:
                    mine = site.ready(mine)
                for group in [mine] if measure.together and mine else [[cell] for cell in mine]:
                    with session.attempt(group) as done:
                        done += measure.measure(session, site, group)
        self._keep()

    def _parameters(self, place: Place) -> tuple[Mapping[str, Tensor], Path | None]:
        """Parameters of a place's checkpoint, and their file; nothing where cells train from initialisation."""
        if place.trains:
            return {}, None
        built = self.built[place.problem]
        spec = next(p for p in self.suite.problems if p.name == place.problem)
        return parameters(
            built.problem,
            next(c for c in self.suite.checkpoints if checkpoint_name(c) == place.checkpoint),
            self.suite.seed,
            built.fingerprint,
            self.session.folder / "checkpoints",
            self.session.progress.note,
            SWEPT if spec.x is not None else None,
        )

    # -- what became of them ----------------------------------------------------------------------------------

    def _keep(self) -> None:
        """Put the outcomes of a place into the table and the record."""
        outcomes = self.session.outcomes
        good = [outcome for outcome in outcomes if outcome.status != "failed"]
        for measure in asked(self.suite):
            self._write(measure.values(self.suite, good))
        for outcome in outcomes:
            if outcome.status == "failed":
                self.failed += 1
                said = self._about(outcome.cell)
                self.rows.append(results.failure(outcome.cell, said, outcome.reason))
            self.record.content["cells"].append(_summary(outcome))
        kept = [measure.name for measure in self._comparing()]
        self.compared += [outcome for outcome in good if outcome.cell.measure in kept]
        self.record.save()

    def _comparing(self) -> list[Measure]:
        return [measure for measure in asked(self.suite) if measure.compares]

    def _write(self, values: Values) -> None:
        for outcome, found in values:
            self.rows += results.rows(outcome.cell, self._about(outcome.cell), found)

    def _about(self, cell: Cell) -> results.Row:
        """What every row of a cell says."""
        problem = self.built[cell.problem].problem
        return {
            "serves": objective(cell.estimator, problem),
            "suite": self.suite.name,
            "objective": self.suite.objective,
            "parameterization": problem.parameterization.name,
            "precision": self.suite.precision,
            "device": self.session.device.type,
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
        "detail": results.finite(outcome.detail),
    }
