"""Running a suite: cells one after the other, blocks into the store, values out of it.

Whatever is measured is stored block by block as it is measured, so a run that is stopped goes on where it was
when it is started again on the same folder. A cell that fails is recorded with its cause and the others go on.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from vdbench import __version__, problems
from vdbench.errors import InputError, one_line
from vdbench.estimation.base import Estimator, objective
from vdbench.estimation.options import identity, label
from vdbench.measures.cells import Cell, Outcome, Place
from vdbench.measures.progress import Planned
from vdbench.measures.protocol import Measure, Values
from vdbench.measures.registry import asked
from vdbench.measures.session import Session
from vdbench.problems.identity import fingerprint
from vdbench.problems.problem import Problem
from vdbench.runner import earlier, elsewhere, plan, receipts, record, results, scaling
from vdbench.runner.apart import Family
from vdbench.runner.bench import Built, Job, jobs
from vdbench.runner.finished import Finished
from vdbench.runner.hands import Done, Hands, Here
from vdbench.runner.orders import Engine
from vdbench.runner.receipts import Part
from vdbench.runner.schedule import Schedule
from vdbench.store import Damaged, digest, shares
from vdbench.suite.grid import single
from vdbench.suite.schema import ProblemSpec, Suite
from vdbench.workers import Lost


@dataclass
class Run:
    """One run of a suite in one folder.

    Attributes:
        session: Suite, store and progress.
        estimators: The suite's.
        only: Those that were chosen, by name.
        allowed: Code that the user let the suite run.
        isolation: Why cells are measured in this process; '' for processes of their own.
        side_by_side: Jobs at a time, of those that may be beside others.
        part: Which part of the jobs is done, where several processes share them; None for all.
        held: Problems that were handed over as objects, by name.
        engine: Who does the jobs on other machines, before their figures are read here; None for nobody.
    """

    session: Session
    estimators: list[Estimator]
    only: tuple[str, ...]
    allowed: Sequence[str] = ()
    isolation: str = ""
    side_by_side: int = 1
    part: Part | None = None
    held: Mapping[str, Problem] = field(default_factory=dict)
    engine: Engine | None = None
    family: Family | None = None
    away: elsewhere.Taken | None = None
    rows: list[results.Row] = field(default_factory=list)
    rows_at: dict[Place, list[results.Row]] = field(default_factory=dict)
    outcomes: dict[Cell, Outcome] = field(default_factory=dict)
    failed: int = 0
    compared: list[Outcome] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)

    def all(self, command: str) -> Finished:
        """Measure every cell, then write the table."""
        began = time.perf_counter()
        try:
            every = self.begin(command)
            todo = every if self.part is None else self.part.of_jobs(every)
            with closing(self.session.progress) as progress:
                progress.start(sum(len(job.cells) for job in todo))
                examples = {name: one.problem.examples for name, one in self.built.items()}
                progress.plan([self._planned(job, examples) for job in todo if job.cells])
                failed = self._elsewhere(todo) if self.engine is not None else {}
                schedule, left = self._scheduled(todo, failed)
                schedule.run(left)
        finally:
            self.end()
        if self.part is None:
            self._close(began)
        else:
            self.part.close(self.session)
        return Finished(self.session.folder, self.failed)

    def begin(self, command: str) -> list[Job]:
        """Build the problems, and begin the record or take it up.

        Returns:
            The jobs of the whole run, in the order in which they are begun.
        """
        self.isolation = self.isolation or self._family()
        self.built = {spec.name: self._build(spec) for spec in self.suite.problems}
        self.cells = plan.cells(self.suite, self.only)
        every = jobs(self.suite, self.cells, self.side_by_side > 1 or self.engine is not None)
        self._open(command, self.cells)
        self.hands = self._hands()
        return every

    def do(self, todo: Sequence[Job]) -> None:
        """Have jobs done, and take in what becomes of them."""
        schedule, left = self._scheduled(todo, {})
        schedule.run(left)

    def _scheduled(
        self, todo: Sequence[Job], failed: Mapping[int, str]
    ) -> tuple[Schedule, list[Job]]:
        """The schedule of jobs, and those that are left to be done; what becomes of them is taken in.

        Args:
            todo: The jobs.
            failed: Cells that have failed elsewhere, by their numbers, with the cause.
        """
        self.left = Counter(job.place for job in todo)
        self.places = dict(plan.by_place([self.cells[n] for job in todo for n in job.cells]))
        rest = [self._without(job, failed) for job in todo]
        needed = {job.place[:2] for job in rest if job is not None and job.measure}
        left = []
        for job, whole in zip(rest, todo, strict=True):
            if job is None or (not job.measure and failed and job.place[:2] not in needed):
                self._ended(Done(whole, []))
            else:
                left.append(job)
        limit = self.suite.timeout_run
        return Schedule(self.hands, self.cells, self.side_by_side, limit, self._ended), left

    def _without(self, job: Job, failed: Mapping[int, str]) -> Job | None:
        """A job without cells that have failed elsewhere, which are taken in; None where nothing is left."""
        lost = [n for n in job.cells if n in failed]
        for n in lost:
            self.outcomes[self.cells[n]] = Outcome(self.cells[n], "failed", failed[n])
        kept = tuple(n for n in job.cells if n not in failed)
        return replace(job, cells=kept) if kept or not job.measure else None

    def _elsewhere(self, todo: Sequence[Job]) -> dict[int, str]:
        """Have jobs done by the engine; why cells failed, by their numbers."""
        assert self.engine is not None
        away = elsewhere.Absence(
            self.session, self.engine, self.cells, self.only, self.allowed, self.held
        )
        failed = away.done(todo)
        self.record.content["engine"] = away.about
        self.record.content["workers"] += away.machines
        self.away = away.taken
        return failed

    def end(self) -> None:
        """End the processes of the run."""
        if self.family is not None:
            self.family.close()
        if self.engine is not None:
            shares.leave(self.session.folder)

    def _family(self) -> str:
        """Have processes for cells; why there are none, '' where there are."""
        url = shares.url_of(self.session.folder) or (self.engine.url if self.engine else "")
        self.family = Family(self.session, torch.get_num_threads(), url)
        try:
            self.family.base()
        except (Lost, OSError) as error:
            return self._together(f"no process can be started, {one_line(error)[:200]}")
        except Exception as error:  # pickling raises many kinds
            return self._together(_untravelled(error))
        return ""

    def _together(self, why: str) -> str:
        """Say, in a line, why all is measured in this process."""
        self.session.progress.note(f"cells are not isolated: {why}.")
        return why

    def _planned(self, job: Job, examples: Mapping[str, int]) -> Planned:
        """A job as progress is told of it."""
        mine = [self.cells[n] for n in job.cells]
        most = sum(plan.work(self.suite, cell, examples)[1] for cell in mine)
        return Planned(tuple(map(str, mine)), job.measure, most)

    def _hands(self) -> Hands:
        """Who does the jobs: processes of their own; else this one, and the record says why."""
        family, cells = self.family, self.cells
        if family is not None and not self.isolation:
            try:
                family.open(self.built, cells, self.record)
            except Exception as error:  # pickling raises many kinds
                self.isolation = self._together(_untravelled(error))
        apart = family is not None and not self.isolation
        self.side_by_side = self.side_by_side if apart else 1
        threads = [self.suite.threads or 1, self.suite.threads or torch.get_num_threads()]
        self.record.content |= {
            "isolation": {"processes": apart, "why": self.isolation},
            "jobs": max(self.side_by_side, self.record.content.get("jobs", 1)),
            "cell_threads": dict(zip(("beside", "alone"), threads, strict=True)),
        }
        self.record.try_to_save()
        if family is not None and apart:
            return family
        return Here(self.session, self.built, cells, self.record, torch.get_num_threads())

    def _open(self, command: str, cells: Sequence[Cell]) -> None:
        """Begin the record or take it up, and read what the folder held."""
        session, (asked_for, rest) = self.session, self._description(command)
        ledger, device = session.store.ledger, session.device.type
        session.identity = earlier.run_identity(self.suite, device, self.only)
        self.record = record.Record(session.folder, ledger=ledger, shared=self.part is not None)
        self.record.open(asked_for, rest, session.identity)
        self.record.content["workers"] = receipts.read(session.folder)
        try:
            self.before = earlier.read(session.folder, session.identity, ledger)
        except OSError as error:
            raise InputError(
                f"--out {session.folder}: its results cannot be read, {_said(error)}."
            ) from error
        if self.part is not None:
            self.before = earlier.Earlier()
        self.before.bases = {(c.problem, c.label): self._basis(c) for c in cells}
        self.before.kept = session.kept

    def _close(self, began: float) -> None:
        """Compare places, and write the table and the record.

        Raises:
            InputError: The folder cannot be written to; what was measured is kept.
        """
        session = self.session
        order = {place: number for number, place in enumerate(self.places)}
        self.rows += [row for place in self.places for row in self.rows_at.get(place, [])]
        for found in (self.compared, self.told, session.kept):
            _in_order(found, order)
        try:
            for measure in self._comparing():
                outcomes = [o for o in self.compared if o.cell.measure == measure.name]
                self._across(measure.across(session, outcomes))
            self.rows += scaling.rows(self.rows)
            used = {*session.store.ledger.used, *(self.before.files if session.kept else ())}
            files = sorted(name for name in used if name.partition("/")[0] in shares.OURS)
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
        """Build a problem, and see that all that is asked for can be measured on it.

        Code of the user's own runs in a process of its own first, which may do with it what it likes.
        """
        problem = self.held.get(spec.name)
        apart = self.family is not None and not self.isolation
        if problem is None and apart and spec.factory not in problems.FACTORIES:
            assert self.family is not None
            problem = self.family.build(spec.name, spec.factory, spec.options)
        if problem is None:
            problem = problems.build(spec.name, spec.factory, spec.options)
        plan.check_problem(self.suite, problem)
        return Built(problem.in_precision("cpu", self.suite.precision), fingerprint(problem))

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

    def _ended(self, done: Done) -> None:
        """Take in what became of a job; once all of a place have ended, its figures."""
        if done.cause and self.part is not None:
            self.part.untrained.append((*done.job.place[:2], done.cause))
        for outcome in done.outcomes:
            if self.away is None:
                self.session.progress.done(str(outcome.cell), outcome.status, outcome.reason)
            else:  # told before; the time here is that of reading
                outcome.seconds = self.away.seconds(outcome.cell)
            self.outcomes[outcome.cell] = outcome
        place = done.job.place
        self.left[place] -= 1
        if not self.left[place]:
            here = [cell for cell in self.places.get(place, []) if cell in self.outcomes]
            self._keep(place, [self.outcomes.pop(cell) for cell in here])

    # -- what became of them ----------------------------------------------------------------------------------

    def _keep(self, place: Place, outcomes: Sequence[Outcome]) -> None:
        """Put the outcomes of a place into the table and the record; or into the receipt of a part."""
        if self.part is not None:
            self.failed += sum(outcome.status == "failed" for outcome in outcomes)
            self.part.receive(self.session, [_summary(outcome) for outcome in outcomes])
            return
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
        self.rows_at[place] = self.before.joined(lost, rows) if lost else rows
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


def _in_order(found: list[Any], order: Mapping[Place, int]) -> None:
    """Sort outcomes, cells, or what the record says of cells, by their places."""
    names: dict[tuple[Any, ...], int] = {}
    for place, number in order.items():
        names.setdefault(place[:3], number)

    def where(one: Any) -> int:
        if isinstance(one, Mapping):
            return names[one["problem"], one["checkpoint"], one["batch_size"]]
        return order[getattr(one, "cell", one).place]

    found.sort(key=where)


def _untravelled(error: Exception) -> str:
    return f"it cannot be handed to another process, {one_line(error)[:200]}"


def _said(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or one_line(error)).rstrip(".")


def _summary(outcome: Outcome) -> dict[str, Any]:
    return {
        **outcome.cell.record,
        "status": outcome.status,
        "reason": outcome.reason,
        "n": outcome.n,
        "seconds": outcome.seconds,
        "detail": results.finite(outcome.detail),
    }
