"""Training to a checkpoint with any estimator, and the one evaluation that all are judged by."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vdbench.autodiff import differentiate
from vdbench.draws import call, gather, minibatch
from vdbench.errors import CellError
from vdbench.estimator import Estimator
from vdbench.layers import Layer, Sampler
from vdbench.likelihoods import Categorical
from vdbench.noise import Key, Noise, stream
from vdbench.problem import Batch, Parameters, Problem
from vdbench.store import atomic

VERSION = "1"
"""Changes whenever trained parameters may change."""


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
    """

    problem: Problem
    estimator: Estimator
    parameters: Parameters
    batch_size: int
    learning_rate: float
    key: Key
    step: int = 0
    _leaves: dict[str, Tensor] = field(init=False)
    _state: Any = field(init=False)
    _order: tuple[int, np.ndarray[Any, Any]] = field(init=False, default=(-1, np.empty(0)))

    def __post_init__(self) -> None:
        """Copy the parameters and set the optimizer up."""
        self.parameters = {name: value.clone() for name, value in self.parameters.items()}
        self._leaves = self.problem.free(self.parameters)
        self._optimizer = torch.optim.Adam(list(self._leaves.values()), lr=self.learning_rate)
        self._state = self.estimator.fit(self.problem, self.parameters, self.key / "fit")

    @property
    def steps_per_epoch(self) -> int:
        """N // M."""
        return max(1, self.problem.examples // self.batch_size)

    @property
    def stateless(self) -> bool:
        """Whether the estimator keeps nothing from step to step."""
        return isinstance(self._state, tuple) and not self._state

    def advance(self, steps: int) -> None:
        """Take so many steps.

        Raises:
            CellError: A parameter is no longer finite.
        """
        for _ in range(steps):
            self._advance()
        broken = [n for n, value in self._leaves.items() if not bool(value.isfinite().all())]
        if broken:
            raise CellError(
                f"training with {self.estimator.declaration.name} diverged before step {self.step}: "
                f"parameter '{broken[0]}' is not finite; lower the learning rate ({self.learning_rate})."
            )

    def _advance(self) -> None:
        key = self.key / "step" / self.step
        batch = self._minibatch()
        noise = stream(key, self.problem.device, self.problem.dtype)
        gradient = call(
            self.estimator, self.problem, self.parameters, batch, noise, key, self._state
        )
        _, divergence = differentiate(self._divergence, self._leaves)
        for name, leaf in self._leaves.items():
            leaf.grad = (divergence[name] - gradient.gradients[name]) / self.problem.examples
        self._optimizer.step()
        self._state = self.estimator.update(self._state, gradient)
        self.step += 1

    def _divergence(self, free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        value = self.problem.kl({**self.parameters, **free})
        return value, value

    def _minibatch(self) -> Batch:
        epoch, place = divmod(self.step, self.steps_per_epoch)
        if self._order[0] != epoch:
            generator = np.random.Generator(np.random.PCG64((self.key / "epoch" / epoch).seed()))
            self._order = (epoch, generator.permutation(self.problem.examples))
        size = min(self.batch_size, self.problem.examples)
        return gather(self.problem, self._order[1][place * size : (place + 1) * size])

    def save(self, path: Path) -> None:
        """Write parameters, optimizer state and step, atomically, without pickle."""
        arrays = {f"parameter/{n}": v.detach().cpu().numpy() for n, v in self.parameters.items()}
        for name, leaf in self._leaves.items():
            for slot, value in self._optimizer.state[leaf].items():
                arrays[f"adam/{slot}/{name}"] = value.detach().cpu().numpy()
        with atomic(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, allow_pickle=False, step=np.array(self.step), **arrays)

    def restore(self, path: Path) -> None:
        """Go on from what `save` wrote."""
        self._optimizer.state.clear()
        with np.load(path, allow_pickle=False) as saved:
            self.step = int(saved["step"])
            for name, value in self.parameters.items():
                value.copy_(torch.from_numpy(saved[f"parameter/{name}"]))
            for name, leaf in self._leaves.items():
                prefix = "adam/"
                slots = [k for k in saved.files if k.startswith(prefix) and k.endswith(f"/{name}")]
                for key in slots:
                    slot = key.removeprefix(prefix).removesuffix(f"/{name}")
                    value = torch.from_numpy(saved[key].copy())
                    if slot != "step":
                        value = value.to(leaf.device, leaf.dtype)
                    self._optimizer.state[leaf][slot] = value


def train(trainer: Trainer, epochs: int, path: Path) -> dict[str, Tensor]:
    """Train to a checkpoint, saving after every epoch; goes on from what a killed training left at ``path``.

    An estimator with a state of its own (a moving average, say) is the exception: its state is not saved, so a
    training with it that was killed begins again.

    Args:
        trainer: At its start.
        epochs: How many epochs in all.
        path: File that belongs to this very training (name it by `address`).

    Returns:
        All parameters after the last epoch.
    """
    last = epochs * trainer.steps_per_epoch
    if path.exists() and (trainer.stateless or saved_step(path) == last):
        trainer.restore(path)
    while trainer.step < last:
        trainer.advance(trainer.steps_per_epoch)
        trainer.save(path)
    return dict(trainer.parameters)


@dataclass(frozen=True)
class Evaluation:
    """What parameters are worth, estimated with the same weight samples for every estimator.

    Attributes:
        elbo: Evidence lower bound of the training set, nats.
        nll: −log posterior predictive of the test set, nats an example.
        error: Share of the test set misclassified by the posterior predictive, percent; NaN for a regression.
    """

    elbo: float
    nll: float
    error: float


def evaluate(
    problem: Problem, parameters: Parameters, key: Key, samples: int, examples: int | None = None
) -> Evaluation:
    """Evaluate with weight samples shared by all who use the same key, in antithetic pairs ±ε unless ε is binary.

    Args:
        problem: Model and data.
        parameters: Where.
        key: Address of the weight samples.
        samples: S, even.
        examples: Training examples that the ELBO is estimated from, drawn below ``key``; default all.
    """
    train = Batch(*problem.data.train)
    if examples is not None and examples < problem.examples:
        train = gather(problem, minibatch(problem, examples, key / "evaluation" / "examples"))
    test = Batch(*problem.data.test)
    with torch.no_grad():
        outputs = [_outputs(problem, parameters, key, s, (train, test)) for s in range(samples)]
        fit = torch.stack([problem.likelihood(a, train.targets) for a, _ in outputs])
        elbo = problem.examples * fit.mean() - problem.kl(parameters)
        each = torch.stack([problem.likelihood(b, test.targets) for _, b in outputs])
        predictive = torch.logsumexp(each, 0) - np.log(samples)
        error = float("nan")
        if isinstance(problem.likelihood, Categorical):
            mean = torch.stack([b.softmax(-1) for _, b in outputs]).mean(0)
            error = 100 * float((mean.argmax(-1) != test.targets).double().mean())
    return Evaluation(float(elbo), float(-predictive.mean()), error)


def _outputs(
    problem: Problem, parameters: Parameters, key: Key, sample: int, batches: tuple[Batch, ...]
) -> tuple[Tensor, ...]:
    pair, sign = sample // 2, 1 - 2 * (sample % 2)
    own = key / "evaluation" / pair
    if problem.parameterization.law == "binary":  # not symmetric: there is no −ε of the same law
        own, sign = key / "evaluation" / "sample" / sample, 1
    noise: Noise = stream(own, problem.device, problem.dtype)
    weights = {}
    for layer in problem.layers:
        q = problem.posterior(layer, parameters)
        weights[layer.name] = q.weights(sign * q.draw(noise, layer.name))

    def sampler(layer: Layer, x: Tensor) -> Tensor:
        return layer.linear(x, weights[layer.name])

    use: Sampler = sampler
    return tuple(problem.outputs(use, batch.inputs, parameters) for batch in batches)


def saved_step(path: Path) -> int:
    """The step at which `Trainer.save` wrote a file."""
    with np.load(path, allow_pickle=False) as saved:
        return int(saved["step"])


def load_parameters(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The parameters in a file that `Trainer.save` wrote."""
    with np.load(path, allow_pickle=False) as saved:
        prefix = "parameter/"
        return {k.removeprefix(prefix): saved[k] for k in saved.files if k.startswith(prefix)}
