"""A run as measures see it: suite, store and progress; and a place, with its problem and its estimators."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vdbench.errors import CellError, InputError
from vdbench.estimation.base import Estimator
from vdbench.estimation.draws import fitted
from vdbench.estimation.options import identity, label
from vdbench.measures.cells import Cell, Outcome, Place
from vdbench.measures.context import Context
from vdbench.measures.progress import Progress
from vdbench.noise import Key
from vdbench.problems.problem import Problem
from vdbench.store import Address, Store, Table, now
from vdbench.suite.schema import Suite


class Chunks(Protocol):
    """Where the number of draws taken together is kept, so that a resumed run takes as many."""

    def chunk(self, name: str) -> int | None:
        """As fixed when this cell was first measured; None if it was not."""

    def fix_chunk(self, name: str, together: int) -> None:
        """Fix it, once and for all."""


@dataclass
class Session:
    """A run at work.

    Attributes:
        suite: What is asked for.
        store: The run's blocks.
        folder: The run folder.
        device: Where gradients are computed.
        progress: Told what is done.
        plugins: Files to load in a process that measures memory.
        identity: A hash of what makes the run this run.
        kept: Cells that failed and keep the figures of an earlier session.
        unlogged: Whether ``errors.log`` could not be written.
        caught: What fails a cell and not the run. Here an interrupt is the user's; in a process of its own it can only
            be the estimator's.
    """

    suite: Suite
    store: Store
    folder: Path
    device: torch.device
    progress: Progress
    plugins: Sequence[str] = ()
    identity: str = ""
    kept: list[Cell] = field(default_factory=list)
    unlogged: bool = False
    caught: tuple[type[BaseException], ...] = (Exception, SystemExit)
    _logged: dict[int, tuple[BaseException, bool]] = field(default_factory=dict)

    @contextmanager
    def attempt(self, cells: Sequence[Cell], found: list[Outcome]) -> Iterator[None]:
        """While the outcomes of one or more cells are found; if that fails, all of them failed."""
        began = time.perf_counter()
        try:
            yield
        except self.caught as error:
            cause = self.cause(error)
            found[:] = [Outcome(cell, "failed", cause) for cell in cells]
        for outcome in found:
            outcome.seconds = (time.perf_counter() - began) / len(found)

    def cause(self, error: BaseException) -> str:
        """One line for the table; the traceback of an unexpected error goes to ``errors.log``, once."""
        line = told(error)
        if isinstance(error, CellError | InputError):
            return line
        if id(error) not in self._logged:  # kept, so that no other gets its number
            text = f"{now()}\n{''.join(traceback.format_exception(error))}\n"
            self._logged[id(error)] = (error, self.log(text))
        where = " (traceback in errors.log)" if self._logged[id(error)][1] else ""
        memory = "out of memory: " if of_memory(error, line) else ""
        return f"{memory}{type(error).__name__}: {line}{where}"

    def log(self, text: str) -> bool:
        """Write something to ``errors.log``; where that cannot be, say so once and go on."""
        try:
            with open(self.folder / "errors.log", "a", encoding="utf-8", errors="replace") as log:
                log.write(text)
        except OSError as why:
            if not self.unlogged:
                self.progress.note(
                    f"errors.log cannot be written, {why.strerror}; the first traceback is:\n{text}"
                )
            self.unlogged = True
            return False
        return True

    def address(self, context: Context, measure: str, version: str, **more: Any) -> Address:
        """What a block of a cell is named by."""
        together = more.pop("together", None)
        return {
            **context.address,
            "estimator": identity(context.estimator),
            "measure": measure,
            "measure_version": version,
            "together": context.traced.together if together is None else together,
            "threads": torch.get_num_threads(),
            **more,
        }

    def finite(self, table: Table) -> Table:
        """Refuse squares that a precision cannot hold: no figure follows from them.

        Raises:
            CellError: One is infinite or not a number.
        """
        for name, values in table.items():
            if not np.isfinite(values).all():
                raise CellError(
                    f"a square of gradients overflows {self.suite.precision} in {name.replace('|', ' ')}."
                )
        return table


@dataclass
class Site:
    """A place, with its problem built and its parameters loaded.

    Attributes:
        place: Which.
        problem: On its device, in its precision.
        fingerprint: Of the problem.
        values: Parameters of the checkpoint; empty where cells train from initialisation.
        file: That holds them, in the run folder; None where there are none.
        session: The run's.
        chunks: Keeps how many draws are taken together.
        estimators: Those of the place, in order.
        before: Called with each context before a draw of its minibatch size is taken.
    """

    place: Place
    problem: Problem
    fingerprint: str
    values: Mapping[str, Tensor]
    file: Path | None
    session: Session
    chunks: Chunks
    estimators: Sequence[Estimator]
    before: Sequence[Callable[[Context], None]] = ()
    _contexts: dict[tuple[Estimator, int | None], Context | BaseException] = field(
        default_factory=dict
    )

    def context(self, estimator: Estimator, examples: int | None = None) -> Context:
        """An estimator at the checkpoint, fitted and tried with one draw; made once.

        Args:
            estimator: Which.
            examples: So many examples of each minibatch; None for whole minibatches.

        Raises:
            Exception: What the estimator raised.
        """
        which = (estimator, examples)
        if which not in self._contexts:
            try:
                self._contexts[which] = self._fitted(estimator, examples)
            except self.session.caught as error:
                self._contexts[which] = error
        found = self._contexts[which]
        if isinstance(found, BaseException):
            raise found
        return found

    def ask(self, estimator: Estimator, question: Callable[..., Any], *more: Any) -> Any:
        """What a function says of an estimator's context, in the process where that is measured; here, in this one."""
        return question(self.session, self.context(estimator), *more)

    def untrained(self, estimator: Estimator) -> Context:
        """An estimator that is to be trained with, from initialisation."""
        suite, size = self.session.suite, self.place.batch_size
        key = self.place.key(suite.seed, suite.noise)
        address = self._address(key)
        return Context(self.problem, {}, estimator, label(estimator), size, key, address)

    def ready(self, cells: Sequence[Cell]) -> tuple[list[Cell], list[Outcome]]:
        """Those cells whose estimators work here, and the others, which have failed."""
        good, failed = [], []
        for cell in cells:
            try:
                self.context(cell.estimator)
            except self.session.caught as error:
                failed.append(Outcome(cell, "failed", self.session.cause(error)))
            else:
                good.append(cell)
        return good, failed

    def contexts(self, cells: Sequence[Cell]) -> list[Context]:
        """The estimators of cells, in order."""
        return [self.context(cell.estimator) for cell in cells]

    def _fitted(self, estimator: Estimator, examples: int | None) -> Context:
        suite, name = self.session.suite, label(estimator)
        key = self.place.key(suite.seed, suite.noise)
        part = () if examples is None else (f"{examples} examples",)
        chunk = "/".join(map(str, (*key.path[2:], name, *part)))
        parameters = {"parameters": parameters_digest(self.values)}
        context = Context(
            self.problem,
            self.values,
            estimator,
            name,
            self.place.batch_size,
            key,
            {**self._address(key), **parameters},
            suite.objective,
            fitted(estimator, self.problem, self.values, key / "fit" / name),
            self.chunks.chunk(chunk),
            examples,
        )
        for ask in self.before:
            ask(context)
        self.chunks.fix_chunk(chunk, context.traced.together)
        return context

    def _address(self, key: Key) -> dict[str, Any]:
        return {
            "problem": self.fingerprint,
            "place": list(key.path),
            **key.mark,
            "batch_size": self.place.batch_size,
            "objective": self.session.suite.objective,
            "precision": self.session.suite.precision,
            "device": self.session.device.type,
            "torch": torch.__version__,
        }


def told(error: BaseException) -> str:
    """The first line of what an error says, whatever that does."""
    try:
        lines = str(error).strip().splitlines()
    except BaseException:
        return "its message cannot be told"
    return lines[0] if lines else "no message"


def of_memory(error: BaseException, line: str) -> bool:
    """Whether memory was the cause of an error."""
    named = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return named or (isinstance(error, RuntimeError) and "can't allocate memory" in line)


def parameters_digest(values: Mapping[str, Tensor]) -> str:
    """A hash of parameters, part of the address of every block measured at them."""
    state = hashlib.blake2b(digest_size=16)
    for name, value in sorted(values.items()):
        state.update(name.encode())
        state.update(value.contiguous().cpu().numpy().tobytes())
    return state.hexdigest()
