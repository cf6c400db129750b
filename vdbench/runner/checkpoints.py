"""Checkpoints: the parameters at which gradients are measured, trained once and cached."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vdbench.datasets.files import cache_folder
from vdbench.errors import CellError, one_line
from vdbench.estimation.options import identity
from vdbench.noise import TORCH, Key
from vdbench.problems.problem import Problem
from vdbench.store import Address, Ledger, Store, arrays, atomic, digest, shares
from vdbench.suite.grid import single
from vdbench.suite.schema import CheckpointSpec
from vdbench.training.trainer import VERSION, Trainer, parameters_in, train

PART = ".part.npz"
"""Ends the name of a training under way in the run folder, where the cache cannot be written to."""


def parameters(
    problem: Problem,
    spec: CheckpointSpec,
    seed: int,
    fingerprint: str,
    folder: Path,
    say: Callable[[str], None],
    origin: str | None = None,
    store: Store | None = None,
    noise: str = TORCH,
) -> tuple[dict[str, Tensor], Path]:
    """Parameters at a checkpoint, and the file in the run folder that holds them.

    They are taken from the run folder, or from the user's cache, or trained. A training that was killed goes on
    from its last epoch. A file that is damaged or another's is set aside, and the training begins again.

    Args:
        problem: On its device, in its precision.
        spec: Which training; 0 epochs for initialisation.
        seed: The suite's.
        fingerprint: Of the problem.
        folder: ``RUN/checkpoints``.
        say: Told what is being trained.
        origin: Whose random numbers start and train it, the problem's own by default. Problems that have it in common
            start at the same weights, where their shapes agree, and train on the same minibatches.
        store: The run's, which knows whether anything may be trained; one of its own by default.
        noise: How the training's noise is made: the suite's.

    Raises:
        CellError: Training diverged, or is not stored and nothing may be measured.
    """
    origin = problem.name if origin is None else origin
    store = store or Store(folder.parent / "blocks", Ledger(folder.parent, say))
    key = Key(("vdbench", seed, origin, "checkpoint"), noise)
    asked = Wanted(problem, spec, seed, fingerprint, origin, store.ledger, key, store.guard)
    own = folder / f"{digest(asked.address)}.npz"
    saved = asked.whole(own)
    if saved is None:
        store.must_measure()
        asked.train_to(own, say)
        saved = asked.whole(own)
    if saved is None:
        raise CellError("the checkpoint cannot be read back as it was written.")
    loaded = {n: torch.from_numpy(v.copy()).to(problem.device) for n, v in saved.items()}
    return loaded, own


@dataclass(frozen=True)
class Wanted:
    """A checkpoint that is wanted.

    Attributes:
        problem: On its device, in its precision.
        spec: Which training.
        seed: The suite's.
        fingerprint: Of the problem.
        origin: Whose random numbers.
        ledger: Of the run.
        key: Address of all its random numbers.
        guard: Called before anything is saved.
    """

    problem: Problem
    spec: CheckpointSpec
    seed: int
    fingerprint: str
    origin: str
    ledger: Ledger
    key: Key
    guard: Callable[[], None] = lambda: None

    @cached_property
    def address(self) -> Address:
        """What it is."""
        return self._of(self.spec)

    def _of(self, spec: CheckpointSpec) -> Address:
        """All that trained parameters depend on; without a training, the training's details do not count."""
        estimator = single(spec.estimator)
        training = {
            "estimator": estimator.declaration.name,
            "identity": identity(estimator),
            "epochs": spec.epochs,
            "batch_size": spec.batch_size,
            "learning_rate": spec.learning_rate,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            **self.key.mark,
        }
        return {
            "kind": "checkpoint",
            "version": VERSION,
            "problem": self.fingerprint,
            "name": self.origin,
            "seed": self.seed,
            "precision": str(self.problem.dtype),
            "device": self.problem.device.type,
            "estimator": "",
            **(training if spec.epochs else {}),
        }

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.spec.epochs * max(1, self.problem.examples // self.spec.batch_size)

    def trainer(self) -> Trainer:
        """At its start."""
        return Trainer(
            problem=self.problem,
            estimator=single(self.spec.estimator),
            parameters=self.problem.initial(self.key),
            batch_size=self.spec.batch_size,
            learning_rate=self.spec.learning_rate,
            key=self.key,
        )

    def whole(self, path: Path) -> dict[str, Any] | None:
        """Its parameters, from a file that must hold the whole training; None where there is none that fits."""
        shapes = {f"parameter/{n}": tuple(v.shape) for n, v in self.problem.start.items()}
        saved = arrays.intact(path, self.address, self.ledger, {"step": (), **shapes})
        if saved is None:
            return None
        if int(saved["step"]) != self.steps:
            why = f"it is at step {int(saved['step'])} of {self.steps}"
            self.ledger.set_aside(path, why)
            return None
        return parameters_in(saved)

    def train_to(self, own: Path, say: Callable[[str], None]) -> None:
        """Train, or go on, in the user's cache where it can be written to; then copy into the run folder."""
        if not self.spec.epochs:
            self.trainer().save(own, address=self.address)
            return
        cached = cache_folder() / "checkpoints" / own.name
        say(
            f"training {self.problem.name} for {self.spec.epochs} epochs with {self.address['estimator']}"
        )
        try:
            source = self._at(cached)
        except OSError as error:
            why = error.strerror or one_line(error)
            self.ledger.once(
                f"the cache cannot be used, {why}: checkpoints are trained in the run folder."
            )
            source = self._at(_begun(cached, own))
        if self.whole(own) is not None:  # another process that shares the folder was faster
            return
        if source != cached:
            os.replace(source, own)
            shares.written(own)
        elif arrays.read(cached, self.address).sealed:
            with atomic(own) as temporary:
                shutil.copyfile(cached, temporary)
        else:  # an earlier version's
            arrays.write(own, arrays.read(cached).values, self.address)

    def _at(self, path: Path) -> Path:
        """Train at a file; what it holds already, or a shorter training's has, is not trained again."""
        trainer = self.trainer()
        if not path.exists():
            self._start_from_earlier(path)
        train(
            trainer,
            self.spec.epochs,
            path,
            address=self.address,
            ledger=self.ledger,
            guard=self.guard,
        )
        if trainer.step != self.steps:
            self.ledger.set_aside(path, f"it is at step {trainer.step} of {self.steps}")
            train(self.trainer(), self.spec.epochs, path, address=self.address, guard=self.guard)
        return path

    def _start_from_earlier(self, path: Path) -> None:
        """Take over what the same training had reached after fewer epochs: every step has its own address."""
        for epochs in range(self.spec.epochs - 1, 0, -1):
            fewer = self.spec.model_copy(update={"epochs": epochs})
            address = self._of(fewer)
            earlier = path.with_name(f"{digest(address)}.npz")
            # a training under way holds fewer epochs than its name says, which is as good a start
            saved = arrays.intact(earlier, address, self.ledger, {"step": ()})
            if saved is not None:
                arrays.write(path, saved, self.address)
                return


def _begun(cached: Path, own: Path) -> Path:
    """A file in the run folder to train at, with what the cache has of that training."""
    part = own.with_name(f"{own.stem}{PART}")
    if not part.exists():
        with contextlib.suppress(OSError), atomic(part) as temporary:
            shutil.copyfile(cached, temporary)
    return part
