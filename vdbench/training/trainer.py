"""Training with any estimator: the one loop, what it saves, and how it goes on from that."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vdbench.estimation import returned
from vdbench.estimation.base import Estimator
from vdbench.estimation.draws import call, fitted, gather
from vdbench.noise import Key, stream
from vdbench.problems.log_alpha import clamp
from vdbench.problems.problem import Batch, Parameters, Problem
from vdbench.schedules import Recipe
from vdbench.store import Address, Ledger, arrays, shares
from vdbench.training import estimator_state
from vdbench.training.divergence import divergence
from vdbench.training.evaluation import Evaluation, evaluate
from vdbench.training.non_finite import Averages, Noted, Watch

__all__ = [
    "VERSION",
    "Evaluation",
    "Observer",
    "Trainer",
    "evaluate",
    "load_parameters",
    "saved_step",
    "train",
]

VERSION = "2"
"""Changes whenever trained parameters may change."""

NOISE_ROLES = ("scale", "factor", "alpha", "logit")
"""Roles of the coordinates that say how much noise there is."""


@dataclass
class Trainer:
    """Ascends the ELBO with Adam, one minibatch at a time.

    Every step's minibatch and noise come from the address of the step, so training that is killed and taken up
    again from a saved state ends where it would have ended.

    Attributes:
        problem: What is trained.
        estimator: Estimates the gradient of the likelihood part; the KL's is exact.
        parameters: Where training starts; copied.
        batch_size: M; an epoch is N // M steps over a permutation of the examples.
        learning_rate: Adam's.
        key: Address of this training.
        step: Steps taken.
        recipe: How learning rate and KL weight change over epochs, and the bounds of log α.
    """

    problem: Problem
    estimator: Estimator
    parameters: Parameters
    batch_size: int
    learning_rate: float
    key: Key
    step: int = 0
    recipe: Recipe = field(default_factory=Recipe)
    _leaves: dict[str, Tensor] = field(init=False)
    _state: Any = field(init=False)
    _order: tuple[int, np.ndarray[Any, Any]] = field(init=False, default=(-1, np.empty(0)))

    def __post_init__(self) -> None:
        """Copy the parameters, within their bounds, and set the optimizer up."""
        self.parameters = {name: value.clone() for name, value in self.parameters.items()}
        self._leaves = self.problem.free(self.parameters)
        self._bound()
        self._optimizer = self._adam()
        self._state = fitted(self.estimator, self.problem, self.parameters, self.key / "fit")
        name = self.estimator.declaration.name
        self._watch = Watch(name, self.learning_rate, self._leaves)

    @property
    def steps_per_epoch(self) -> int:
        """N // M."""
        return max(1, self.problem.examples // self.batch_size)

    @property
    def epochs(self) -> float:
        """Epochs done, one under way in part."""
        return self.step / self.steps_per_epoch

    @property
    def stateless(self) -> bool:
        """Whether the estimator keeps nothing from step to step."""
        return isinstance(self._state, tuple) and not self._state

    @property
    def resumable(self) -> bool:
        """Whether all that the estimator keeps from step to step can be saved."""
        return estimator_state.can_save(self._state)

    def advance(self, steps: int) -> None:
        """Take so many steps.

        Raises:
            CellError: A value, the KL, a gradient or a parameter is not finite.
        """
        for _ in range(steps):
            self._advance()
        self._watch.look()
        self._watch.parameters(self.step)

    def _advance(self) -> None:
        key = self.key / "step" / self.step
        self._refit()
        batch = self._minibatch()
        noise = stream(key, self.problem.device, self.problem.dtype)
        gradient = call(
            self.estimator, self.problem, self.parameters, batch, noise, key, self._state
        )
        if self.step % self.steps_per_epoch == 0:
            returned.check(self.estimator.declaration.name, gradient, self._leaves)
        weight = self.recipe.weight(self.epochs)
        kl, slopes = divergence(self.problem, self.parameters) if weight else (None, {})
        self._watch.note(Noted(self.step, gradient.value, kl, gradient.gradients, slopes))
        with torch.no_grad():
            for name, leaf in self._leaves.items():
                assert leaf.grad is not None
                # uphill, and of the whole data set: the optimizer maximises, and divides by their number
                if name in slopes:
                    torch.sub(gradient.gradients[name], slopes[name], alpha=weight, out=leaf.grad)
                else:
                    leaf.grad.copy_(gradient.gradients[name])
        factor = self.recipe.rate(self.epochs)
        for group in self._optimizer.param_groups:
            group["lr"] = factor * self.learning_rate * group["factor"]
        self._optimizer.step()
        self._bound()
        self._state = self.estimator.update(self._state, gradient)
        self.step += 1

    def _refit(self) -> None:
        """Fit the estimator anew where its time has come."""
        every = self.estimator.refit_epochs * self.steps_per_epoch
        if every and self.step and self.step % every == 0:
            key = self.key / "fit" / self.step
            self._state = fitted(self.estimator, self.problem, self.parameters, key)

    def _adam(self) -> torch.optim.Adam:
        """Adam of the trained parameters in one pass, which divides the gradient by N on its way."""
        optimizer = torch.optim.Adam(
            self._groups(), lr=self.learning_rate, maximize=True, fused=True
        )
        count = torch.tensor(float(self.problem.examples), device=self.problem.device)
        optimizer.grad_scale = count  # type: ignore[attr-defined] # as a scaler of mixed precision sets it
        for leaf in self._leaves.values():
            leaf.grad = torch.zeros_like(leaf)
        return optimizer

    def _groups(self) -> list[dict[str, Any]]:
        """The trained parameters, those of the noise apart, with the factor of their learning rate."""
        if self.recipe.noise_rate == 1:
            return [{"params": list(self._leaves.values()), "factor": 1.0}]
        roles = self.problem.groups
        noise = [n for n in self._leaves if n in roles and roles[n].role in NOISE_ROLES]
        rest = [n for n in self._leaves if n not in noise]
        factors = [(rest, 1.0), (noise, self.recipe.noise_rate)]
        return [
            {"params": [self._leaves[n] for n in names], "factor": factor}
            for names, factor in factors
            if names
        ]

    def _bound(self) -> None:
        if self.recipe.bounded:
            clamp(self.problem, self.parameters, self._leaves, self.recipe.log_alpha)

    def averages(self) -> Averages:
        """Means over the steps since this was last asked for; the KL's over those in which it had a weight."""
        self._watch.look()
        return self._watch.averages()

    def _minibatch(self) -> Batch:
        epoch, place = divmod(self.step, self.steps_per_epoch)
        if self._order[0] != epoch:
            generator = np.random.Generator(np.random.PCG64((self.key / "epoch" / epoch).seed()))
            self._order = (epoch, generator.permutation(self.problem.examples))
        size = min(self.batch_size, self.problem.examples)
        return gather(self.problem, self._order[1][place * size : (place + 1) * size])

    def save(
        self,
        path: Path,
        more: Mapping[str, np.ndarray[Any, Any]] | None = None,
        address: Address | None = None,
    ) -> None:
        """Write parameters, optimizer state, the estimator's state and the step, atomically, without pickle.

        The file has a seal. An estimator's state that cannot be written is left out.

        Args:
            path: The file.
            more: Further arrays to be kept with them.
            address: Of this very training, part of the seal; None where nobody will ask for it.
        """
        found = {f"parameter/{n}": v.detach().cpu().numpy() for n, v in self.parameters.items()}
        for name, leaf in self._leaves.items():
            for slot, value in self._optimizer.state[leaf].items():
                found[f"adam/{slot}/{name}"] = value.detach().cpu().numpy()
        kept = estimator_state.pack(self._state) if self.resumable else {}
        step = np.array(self.step)
        arrays.write(path, {"step": step, **found, **kept, **(more or {})}, address)

    def restore(self, path: Path) -> None:
        """Go on from what `save` wrote.

        Raises:
            Damaged: The file is not what was written.
        """
        self.load(arrays.read(path).values)

    def load(self, saved: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Go on from the arrays that `save` wrote."""
        self._optimizer.state.clear()
        self._watch.averages()
        self.step = int(saved["step"])
        if f"{estimator_state.PREFIX}form" in saved:
            self._state = estimator_state.unpack(saved, self.problem.device)
        for name, value in self.parameters.items():
            value.copy_(torch.from_numpy(saved[f"parameter/{name}"]))
        for name, leaf in self._leaves.items():
            prefix = "adam/"
            slots = [k for k in saved if k.startswith(prefix) and k.endswith(f"/{name}")]
            for key in slots:
                slot = key.removeprefix(prefix).removesuffix(f"/{name}")
                value = torch.from_numpy(saved[key].copy())
                value = value.to(leaf.device, None if slot == "step" else leaf.dtype)
                self._optimizer.state[leaf][slot] = value


class Observer(Protocol):
    """Looks at a training after each epoch, and may end it; what it knows is saved with the training."""

    @property
    def done(self) -> bool:
        """Whether training is to end."""
        ...

    def before(self, trainer: Trainer) -> None:
        """Look at the training before its first step; not called for one that goes on."""
        ...

    def epoch(self, trainer: Trainer, seconds: float) -> None:
        """Look at the training after an epoch that took so many seconds."""
        ...

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """All it knows."""
        ...

    def load(self, saved: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Know again what `arrays` gave."""
        ...


def train(
    trainer: Trainer,
    epochs: int,
    path: Path,
    observer: Observer | None = None,
    say: Callable[[str], None] | None = None,
    address: Address | None = None,
    ledger: Ledger | None = None,
    guard: Callable[[], None] = lambda: None,
) -> dict[str, Tensor]:
    """Train to a checkpoint, saving after every epoch; goes on from what a killed training left at ``path``.

    An estimator whose state cannot be saved (`vdbench.training.estimator_state`) is the exception: a training with
    it that was killed begins again, and says so.

    Args:
        trainer: At its start.
        epochs: How many epochs in all.
        path: File that belongs to this very training (name it by `address`).
        observer: Told of each epoch; may end the training earlier.
        say: Told when a training begins again.
        address: Of this very training; part of the file's seal, and checked where it goes on from a file.
        ledger: Sets aside a file that is damaged or another training's, which then begins again; None: that is an
            error.
        guard: Called before each time the training is saved; raises an error where it must not be.

    Returns:
        All parameters after the last epoch.

    Raises:
        CellError: Training diverged; or the file is damaged, and there is no ledger.
    """
    last = epochs * trainer.steps_per_epoch
    saved = _saved(trainer, path, address, ledger)
    if saved and _usable(trainer, saved, last):
        trainer.load(saved)
        if observer:
            observer.load(saved)
    elif saved and say:
        say(
            f"the state of {trainer.estimator.declaration.name} cannot be saved: "
            "its training, which was interrupted, begins again"
        )
    if observer and not trainer.step:
        observer.before(trainer)
    while trainer.step < last and not (observer and observer.done):
        began = _clock(trainer.problem.device)
        trainer.advance(trainer.steps_per_epoch)
        if observer:
            observer.epoch(trainer, _clock(trainer.problem.device) - began)
        trainer.averages()
        guard()
        trainer.save(path, observer.arrays() if observer else None, address)
    return dict(trainer.parameters)


def _saved(
    trainer: Trainer, path: Path, address: Address | None, ledger: Ledger | None
) -> Mapping[str, np.ndarray[Any, Any]]:
    """What a file holds of a training; nothing where there is none that fits."""
    if not shares.there(path):
        return {}
    if ledger is None or address is None:
        found = arrays.read(path, address).values
    else:
        shapes = {f"parameter/{name}": tuple(v.shape) for name, v in trainer.parameters.items()}
        found = arrays.intact(path, address, ledger, shapes) or {}
    # what a training left that was at its end has no steps: its rows are gone, and it is run again
    return found if "step" in found else {}


def _usable(trainer: Trainer, saved: Mapping[str, np.ndarray[Any, Any]], last: int) -> bool:
    """Whether a training can go on from a file: it is at its end, or holds the estimator's state."""
    whole = int(saved["step"]) == last or f"{estimator_state.PREFIX}form" in saved
    # files of earlier versions hold no state, and need none where there is none
    return whole or trainer.stateless


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def saved_step(path: Path) -> int:
    """The step at which `Trainer.save` wrote a file."""
    return int(arrays.read(path).values["step"])


def load_parameters(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The parameters in a file that `Trainer.save` wrote.

    Raises:
        Damaged: The file is not what was written.
    """
    return parameters_in(arrays.read(path).values)


def parameters_in(saved: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """The parameters among the arrays that `Trainer.save` wrote."""
    prefix = "parameter/"
    return {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
