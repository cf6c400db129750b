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

from vdbench import __version__, problems
from vdbench.errors import InputError, one_line
from vdbench.estimation.base import Estimator, objective
from vdbench.estimation.options import identity, label
from vdbench.measures.cells import SWEPT, Cell, Outcome, Place
from vdbench.measures.protocol import Measure, Values
from vdbench.measures.registry import asked
from vdbench.measures.session import Session, Site
from vdbench.problems.identity import fingerprint
from vdbench.problems.problem import Problem
from vdbench.runner import earlier, plan, record, results, scaling
from vdbench.runner.checkpoints import parameters
from vdbench.store import Damaged, digest, tables
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
        """The table of figures; its seal is checked."""
        return tables.read_frame(self.folder / results.FILE)[0]


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
    told: list[dict[str, Any]] = field(default_factory=list)

    def all(self, command: str) -> Finished:
        """Measure every cell, then write the table."""
        began = time.perf_counter()
        self.built = {spec.name: self._build(spec) for spec in self.suite.problems}
        cells = plan.cells(self.suite, self.only)
        self._open(command, cells)
        with closing(self.session.progress) as progress:
            progress.start(len(cells))
            for place, mine in plan.by_place(cells):
                self._place(place, mine)
        self._close(began)
        return Finished(self.session.folder, self.failed)

    def _open(self, command: str, cells: Sequence[Cell]) -> None:
        """Begin the record or take it up, and read what the folder held."""
        session, (asked_for, rest) = self.session, self._description(command)
        ledger, device = session.store.ledger, session.device.type
        session.identity = earlier.run_identity(self.suite, device, self.only)
        self.record = record.Record(session.folder, ledger=ledger)
        self.record.open(asked_for, rest, session.identity)
        try:
            self.before = earlier.read(session.folder, session.identity, ledger)
        except OSError as error:
            raise InputError(
                f"--out {session.folder}: its results cannot be read, {_said(error)}."
            ) from error
        self.before.bases = {(c.problem, c.label): self._basis(c) for c in cells}
        self.before.kept = session.kept

    def _close(self, began: float) -> None:
        """Compare places, and write the table and the record.

        Raises:
            InputError: The folder cannot be written to; what was measured is kept.
        """
        session = self.session
        try:
            for measure in self._comparing():
                outcomes = [o for o in self.compared if o.cell.measure == measure.name]
                self._across(measure.across(session, outcomes))
            self.rows += scaling.rows(self.rows)
            used = {*session.store.ledger.used, *(self.before.files if session.kept else ())}
            files = sorted(name for name in used if name.partition("/")[0] in record.OURS)
            address = {"run": session.identity, "cells": self.told, "files": files}
            results.write(self.rows, session.folder / results.FILE, address)
            self.record.close(time.perf_counter() - began)
        except (OSError, Damaged) as error:
            raise InputError(
                f"--out {session.folder}: its results cannot be written, {_said(error)}; "
                "what was measured is kept, and the same command goes on with it."
            ) from error

    def _basis(self, cell: Cell) -> str:
        """A hash of what the figures of an estimator on a problem depend on, all measures alike."""
        suite = self.suite
        trained = [identity(single(c.estimator)) for c in suite.checkpoints]
        source = suite.measures.variance and suite.measures.variance.data_from
        return digest(
            {
                "vdbench": __version__,
                "torch": torch.__version__,
                "problem": self.built[cell.problem].fingerprint,
                "estimator": identity(cell.estimator),
                "reference": identity(single(suite.reference)),
                "checkpoints": trained,
                "data_from": [identity(e) for e in self.estimators if label(e) == source],
            }
        )

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
            self.session.store,
        )

    # -- what became of them ----------------------------------------------------------------------------------

    def _keep(self) -> None:
        """Put the outcomes of a place into the table and the record."""
        outcomes = self.session.outcomes
        good = [outcome for outcome in outcomes if outcome.status != "failed"]
        rows = [row for measure in asked(self.suite) for row in self._rows(measure, good)]
        lost = []
        for outcome in outcomes:
            about, before = _summary(outcome), None
            if outcome.status == "failed":
                self.failed += 1
                before = self.before.of(outcome.cell)
            if before is not None:
                lost.append(outcome.cell)
                about = {**before, "kept": outcome.reason}
                self.session.progress.note(
                    f"{outcome.cell}: the figures of an earlier session are kept."
                )
            elif outcome.status == "failed":
                said = self._about(outcome.cell)
                rows.append(results.failure(outcome.cell, said, outcome.reason))
            self.record.add(about)
            if about["status"] != "failed":
                basis = self.before.bases[outcome.cell.problem, outcome.cell.label]
                self.told.append({**about, "basis": basis})
        self.rows += self.before.joined(lost, rows) if lost else rows
        kept = [measure.name for measure in self._comparing()]
        self.compared += [outcome for outcome in good if outcome.cell.measure in kept]
        self.record.try_to_save()

    def _comparing(self) -> list[Measure]:
        return [measure for measure in asked(self.suite) if measure.compares]

    def _rows(self, measure: Measure, good: Sequence[Outcome]) -> list[results.Row]:
        return self._made(measure.values(self.suite, good))

    def _across(self, values: Values) -> None:
        """Put rows that compare problems into the table, but for those that were kept."""
        known = {earlier.row_key(row) for row in self.rows} if self.session.kept else set()
        self.rows += [row for row in self._made(values) if earlier.row_key(row) not in known]

    def _made(self, values: Values) -> list[results.Row]:
        return [
            row
            for outcome, found in values
            for row in results.rows(outcome.cell, self._about(outcome.cell), found)
        ]

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


def _said(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or one_line(error)).rstrip(".")


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
