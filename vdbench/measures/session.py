"""Measuring the cells of one place: each estimator's blocks, from the store or newly measured."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vdbench import statistics
from vdbench.errors import CellError, InputError
from vdbench.estimation.draws import trace
from vdbench.estimation.options import identity, options
from vdbench.measures import bias, convergence, few_examples, memory, throughput, variance
from vdbench.measures import training as whole_training
from vdbench.measures.context import Context
from vdbench.measures.metrics import Rows, Schedule
from vdbench.measures.progress import Progress
from vdbench.measures.stopping import until_precise
from vdbench.runner.plan import Cell
from vdbench.runner.record import now
from vdbench.store import Address, Store, Table, digest
from vdbench.suite.schema import Suite


@dataclass
class Outcome:
    """What became of a cell.

    Attributes:
        cell: Which.
        status: ``ok``, ``converged``, ``bounded`` or ``failed``.
        reason: Why it stopped, or the cause of its failure.
        n: Units, rounds, processes or seeds.
        data: What was measured: `Rows`, a table, or a table a seed; None if it failed.
        seconds: Time spent on it.
        steps: Gradients of an epoch, N // M; 0 where it does not matter.
    """

    cell: Cell
    status: str
    reason: str
    n: int = 0
    data: Any = None
    seconds: float = 0.0
    steps: int = 0


@dataclass
class Lab:
    """Where cells are measured.

    Attributes:
        suite: What is asked for.
        store: The run's blocks.
        folder: The run folder.
        device: Where gradients are computed.
        progress: Told what is done.
        plugins: Files to load in a process that measures memory.
    """

    suite: Suite
    store: Store
    folder: Path
    device: torch.device
    progress: Progress
    plugins: Sequence[str] = ()
    outcomes: list[Outcome] = field(default_factory=list)

    def attempt(self, cells: Sequence[Cell], work: Callable[[], Sequence[Outcome]]) -> None:
        """Do the work of one or more cells; if it fails, all of them failed, and the next go on."""
        self.progress.cell(str(cells[0]))
        began = time.perf_counter()
        try:
            done = list(work())
        except Exception as error:
            cause = self.cause(error)
            done = [Outcome(cell, "failed", cause) for cell in cells]
        for outcome in done:
            outcome.seconds = (time.perf_counter() - began) / len(done)
            self.progress.done(str(outcome.cell), outcome.status, outcome.reason)
        self.outcomes += done

    def cause(self, error: Exception) -> str:
        """One line for the table; the traceback of an unexpected error goes to ``errors.log``."""
        lines = str(error).strip().splitlines() or ["no message"]
        if isinstance(error, CellError | InputError):
            return lines[0]
        with open(self.folder / "errors.log", "a", encoding="utf-8") as log:
            log.write(f"{now()}\n{''.join(traceback.format_exception(error))}\n")
        return f"{type(error).__name__}: {lines[0]} (traceback in errors.log)"

    @property
    def schedule(self) -> Schedule:
        """The looks of variance cells."""
        spec = self.suite.measures.variance
        assert spec is not None
        looks = statistics.looks(spec.first_units, spec.max_units)
        return Schedule(looks, self.suite.level, spec.precision)

    # -- one method a measure ---------------------------------------------------------------------------------

    def variance(
        self, cell: Cell, context: Context, source: Context | None = None
    ) -> list[Outcome]:
        """Units until noise and total are precise enough, or the bound is reached.

        Args:
            cell: Which.
            context: Where; with few examples of each minibatch if there is a source.
            source: Where data part and mean are taken from instead of being measured.
        """

        def units(start: int, stop: int) -> Table:
            self.progress.detail(f"{start} units")
            if source is None:
                return self._units(context, start, stop)
            few = self._few_examples(context, start, stop)
            return few_examples.combine(few, self._units(source, start, stop))

        how = ""
        if source is not None and context.examples is not None:
            how = few_examples.describe(context.examples, context.batch_size, source.label)
        found = until_precise(self.schedule, units, context.sizes, how, signed=bool(how))
        return [Outcome(cell, found.status, found.reason, found.rows.n, found.rows)]

    def _units(self, context: Context, start: int, stop: int) -> Table:
        address = self.address(context, "variance", variance.VERSION, units=[start, stop])
        table = self.store.get(address, lambda: variance.rows(context, start, stop))
        return self._finite(table)

    def _few_examples(self, context: Context, start: int, stop: int) -> Table:
        more = {"examples": context.examples, "units": [start, stop]}
        address = self.address(context, "few-examples", few_examples.VERSION, **more)
        size = context.batch_size
        return self._finite(
            self.store.get(address, lambda: few_examples.rows(context, size, start, stop))
        )

    def _finite(self, table: Table) -> Table:
        """Refuse squares that a precision cannot hold: no figure follows from them."""
        for name, values in table.items():
            if not np.isfinite(values).all():
                raise CellError(
                    f"a square of gradients overflows {self.suite.precision} in {name.replace('|', ' ')}."
                )
        return table

    def bias(self, cell: Cell, context: Context, reference: Context) -> list[Outcome]:
        """A fixed number of units against the reference."""
        spec = self.suite.measures.bias
        assert spec is not None
        address = self.address(
            context,
            "bias",
            bias.VERSION,
            units=[0, spec.units],
            draws=spec.draws,
            reference=identity(reference.estimator),
        )
        table = self.store.get(
            address, lambda: bias.rows(context, reference, spec.draws, 0, spec.units)
        )
        rows = Rows(self._finite(table), context.sizes)
        return [Outcome(cell, "ok", f"{spec.units} units", spec.units, rows)]

    def memory(self, cell: Cell, context: Context, file: Path) -> list[Outcome]:
        """One process a repetition."""
        spec = self.suite.measures.memory
        assert spec is not None
        problem = next(p for p in self.suite.problems if p.name == cell.problem)
        job = {
            "problem": problem.model_dump(include={"name", "factory", "options"}),
            "parameters": str(file.resolve()),
            "estimator": cell.estimator.declaration.name,
            "options": options(cell.estimator),
            "batch_size": cell.batch_size,
            "device": self.device.type,
            "precision": self.suite.precision,
            "key": list(context.key.path),
            "threads": torch.get_num_threads(),
            "plugins": list(self.plugins),
        }
        count = spec.repetitions
        address = self.address(context, "memory", memory.VERSION, repetitions=count)
        table = self.store.get(address, lambda: memory.rows(job, count))
        return [Outcome(cell, "ok", f"{count} processes", count, table)]

    def throughput(self, cells: Sequence[Cell], contexts: Sequence[Context]) -> list[Outcome]:
        """All estimators of the place in one interleaved pass, alone on the device."""
        spec = self.suite.measures.throughput
        assert spec is not None
        address = {
            **self.address(contexts[0], "throughput", throughput.VERSION),
            "group": [identity(context.estimator) for context in contexts],
            "threads": torch.get_num_threads(),
            "rounds": spec.rounds,
            "budget": spec.budget_seconds,
        }
        timer = throughput.Timer(spec.rounds, budget_seconds=spec.budget_seconds)
        table = self.store.get(address, lambda: throughput.rows(contexts, timer))
        rounds = int(table["round"].max()) + 1
        status = "ok" if rounds == spec.rounds else "bounded"
        reason = f"{rounds} of {spec.rounds} interleaved rounds"
        steps = max(1, contexts[0].problem.examples // contexts[0].batch_size)
        return [Outcome(cell, status, reason, rounds, table, steps=steps) for cell in cells]

    def convergence(self, cell: Cell, context: Context) -> list[Outcome]:
        """One training a seed."""
        spec = self.suite.measures.convergence
        assert spec is not None
        _examine(context)
        plan = convergence.Plan(
            spec.steps, spec.evaluations, spec.learning_rate, spec.samples, spec.examples
        )
        seeds = []
        for seed in range(spec.seeds):
            self.progress.detail(f"seed {seed + 1} of {spec.seeds}")
            address = self.address(
                context,
                "convergence",
                convergence.VERSION,
                together=0,
                training=seed,
                plan=list(astuple(plan)),
                threads=torch.get_num_threads(),
            )
            seeds.append(self.store.get(address, lambda s=seed: convergence.rows(context, plan, s)))  # type: ignore[misc]
            _converges(seeds[-1], seed)
        return [Outcome(cell, "ok", f"{spec.seeds} seeds of {spec.steps} steps", spec.seeds, seeds)]

    def training(self, cell: Cell, context: Context, plan: whole_training.Plan) -> list[Outcome]:
        """One whole training a seed, each a block of its own; one that is killed goes on from its last epoch."""
        _examine(context)
        seeds = []
        for seed in range(plan.spec.seeds):
            self.progress.detail(f"seed {seed + 1} of {plan.spec.seeds}")
            address = self.address(
                context,
                "training",
                whole_training.VERSION,
                together=0,
                training=seed,
                plan=plan.address,
                threads=torch.get_num_threads(),
            )
            file = self.folder / "training" / f"{digest(address)}.npz"
            say = self.progress.note
            compute = partial(whole_training.rows, context, plan, seed, file, say)
            seeds.append(self.store.get(address, compute))
            whole_training.keep_result(file)
        count, epochs = plan.spec.seeds, plan.spec.epochs
        return [Outcome(cell, "ok", f"{count} seeds of up to {epochs} epochs", count, seeds)]

    def address(self, context: Context, measure: str, version: str, **more: Any) -> Address:
        """What a block of this cell is named by."""
        together = more.pop("together", None)
        return {
            **context.address,
            "estimator": identity(context.estimator),
            "measure": measure,
            "measure_version": version,
            "together": context.traced.together if together is None else together,
            **more,
        }


def _examine(context: Context) -> None:
    """Take one draw at initialisation: an estimator that breaks its contract is not trained with."""
    values = context.problem.initial(context.key)
    state = context.estimator.fit(context.problem, values, context.key / "fit")
    trace(
        context.estimator,
        context.problem,
        values,
        context.batch(context.key / "trace"),
        state,
    )


def _converges(table: Table, seed: int) -> None:
    lost = ~np.isfinite(table["elbo"])
    if lost.any():
        raise CellError(
            f"training diverged: the ELBO is not finite at step {table['step'][lost][0]:.0f} of seed {seed}."
        )
