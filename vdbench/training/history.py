"""What is written down of a training, epoch by epoch, and when it stops early.

All is kept as one long table (`COLUMNS`), which is saved with the training, so that one that is killed loses none of
it. A value stands at its epoch; ``layer`` is ``all`` for the network's, and ``bin`` numbers the bins of a histogram.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vdbench.datasets import Split
from vdbench.noise import Key
from vdbench.problems import log_alpha
from vdbench.problems.problem import Parameters, Problem
from vdbench.store import Table
from vdbench.training import pruning
from vdbench.training.evaluation import Prediction, bound, mean_weights, predict, samples_of
from vdbench.training.trainer import Trainer

COLUMNS = {"epoch": float, "step": float, "layer": str, "metric": str, "bin": float, "value": float}
"""Columns of a training's table, with their types."""

PREFIX = "tracked/"
"""What begins the names of its arrays in a training's file."""

RUNNING = ("running.log_likelihood", "running.kl", "running.elbo")
"""Means over the training steps of an epoch, while the parameters move: cheap, and not an evaluation."""


def hold_out(problem: Problem, share: float, key: Key) -> tuple[Problem, Split]:
    """Take a share of the training set away for validation.

    Args:
        problem: Whose training set.
        share: Of its examples, rounded; at least one is taken, and one left.
        key: Address of the choice: equal keys and sizes give equal splits, whatever is trained.

    Returns:
        The problem with what is left, and what was taken.
    """
    count = problem.examples
    taken = min(max(1, round(share * count)), count - 1)
    generator = np.random.Generator(np.random.PCG64((key / "validation").seed()))
    order = torch.from_numpy(generator.permutation(count)).to(problem.device)
    inputs, targets = problem.data.train
    # in their own order, so that what is left is the training set with gaps
    away, left = order[:taken].sort().values, order[taken:].sort().values
    data = replace(problem.data, train=Split(inputs[left], targets[left]))
    return replace(problem, data=data), Split(inputs[away], targets[away])


@dataclass(frozen=True)
class Tracking:
    """What is looked at, and how often.

    Attributes:
        marks: Epochs after which test set and ELBO are evaluated; 0 is initialisation.
        samples: S, weight samples of an evaluation.
        examples: Training examples that the ELBO is estimated from; None for all.
        prune: log α from which on weights are pruned at the end; None not to.
        patience: Epochs without a better validation NLL after which training stops; None never to.
    """

    marks: tuple[int, ...]
    samples: int
    examples: int | None = None
    prune: float | None = None
    patience: int | None = None


@dataclass
class Tracker:
    """Watches one training: a `vdbench.training.trainer.Observer`.

    With a validation split the NLL of its examples under the mean weights is taken after every epoch, and the
    parameters of the best epoch are kept.

    Attributes:
        plan: What is looked at.
        key: Address of the evaluation's weight samples.
        validation: Examples held out; None for none.
    """

    plan: Tracking
    key: Key
    validation: Split | None = None
    rows: list[tuple[float, float, str, str, float, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    best_nll: float = math.inf
    epochs: int = 0
    seconds: float = 0.0

    @property
    def done(self) -> bool:
        """Whether the validation NLL has not improved for ``patience`` epochs."""
        patience = self.plan.patience
        return patience is not None and self.epochs - self.best_epoch >= patience

    def before(self, trainer: Trainer) -> None:
        """Evaluate the parameters that training starts from, if epoch 0 is marked."""
        if 0 in self.plan.marks:
            self._evaluate(trainer)

    def epoch(self, trainer: Trainer, seconds: float) -> None:
        """Write down an epoch."""
        self.epochs = trainer.step // trainer.steps_per_epoch
        self.seconds += seconds
        fit, kl = trainer.averages()
        for metric, value in zip(RUNNING, (fit, kl, fit - kl), strict=True):
            self._write(trainer, metric, value)
        before = (trainer.step - 1) / trainer.steps_per_epoch
        self._write(trainer, "kl_weight", trainer.recipe.weight(before))
        rate = trainer.recipe.rate(before) * trainer.learning_rate
        self._write(trainer, "learning_rate", rate)
        self._write(trainer, "seconds", self.seconds)
        if self.validation is not None:
            self._validate(trainer, self.validation)
        if self.epochs in self.plan.marks:
            self._evaluate(trainer)

    def _validate(self, trainer: Trainer, split: Split) -> None:
        problem, parameters = trainer.problem, trainer.parameters
        nll = predict(problem, parameters, [mean_weights(problem, parameters)], split).nll
        self._write(trainer, "validation.nll", nll)
        if nll < self.best_nll:
            self.best_nll, self.best_epoch = nll, self.epochs
            self.best = {name: value.clone() for name, value in parameters.items()}

    def _evaluate(self, trainer: Trainer) -> None:
        problem, parameters = trainer.problem, trainer.parameters
        for metric, value in self._worth(problem, parameters).items():
            self._write(trainer, metric, value)
        with torch.no_grad():
            for layer in problem.layers:
                q = problem.posterior(layer, parameters)
                logs = log_alpha.log_alpha(problem, layer, parameters)
                each = q.mean.numel() // logs.numel()  # weights that share an α
                found = each * log_alpha.counts(logs, log_alpha.LOG_ALPHA_EDGES)
                self._histogram(trainer, layer.name, "log_alpha", found)
                sigma = 0.5 * q.variance.expand_as(q.mean).log()
                found = log_alpha.counts(sigma, log_alpha.LOG_SIGMA_EDGES)
                self._histogram(trainer, layer.name, "log_sigma", found)
                self._write(trainer, "alpha.log_median", float(logs.median()), layer.name)

    def _worth(self, problem: Problem, parameters: Parameters) -> dict[str, float]:
        """ELBO with its terms, and the test set, if there is one, predicted with mean weights and with samples."""
        plan, test = self.plan, problem.data.test
        terms = bound(problem, parameters, self.key, plan.samples, plan.examples)
        found = {
            "training.elbo": terms.elbo,
            "training.expected_log_likelihood": terms.log_likelihood,
            "training.kl": terms.kl,
            "evaluation.pairs": float(terms.pairs),
        }
        if not problem.data.has_test:
            return found
        mean = predict(problem, parameters, [mean_weights(problem, parameters)], test)
        draws = samples_of(problem, parameters, self.key, plan.samples, terms.pairs)
        sampled = predict(problem, parameters, draws, test)
        return {
            **found,
            **{f"test.{name}": getattr(sampled, name) for name in Prediction._fields},
            **{f"test.{name}.mean_weights": getattr(mean, name) for name in Prediction._fields},
        }

    def finish(self, trainer: Trainer) -> dict[str, Tensor]:
        """Judge what the training gave: the parameters of the best validated epoch, or the last ones.

        Returns:
            These parameters. Their figures are written under ``final.…``, with their epoch.
        """
        device = trainer.problem.device
        values = {n: v.to(device) for n, v in (self.best or trainer.parameters).items()}
        epoch = self.best_epoch if self.best else self.epochs
        at = (float(epoch), float(epoch * trainer.steps_per_epoch))
        found = {("all", metric): x for metric, x in self._worth(trainer.problem, values).items()}
        found["all", "training.seconds"] = self.seconds
        found["all", "training.epochs"] = float(epoch)
        with torch.no_grad():
            for layer in trainer.problem.layers:
                logs = log_alpha.log_alpha(trainer.problem, layer, values)
                found[layer.name, "alpha.log_median"] = float(logs.median())
            pixels = log_alpha.image_map(trainer.problem, values)
        if pixels is not None:
            first = trainer.problem.layers[0].name
            self.rows += [
                (*at, first, "log_alpha_map", float(place), value)
                for place, value in enumerate(pixels.flatten().tolist())
            ]
        if self.plan.prune is not None:
            found |= self._sparsity(trainer.problem, values, self.plan.prune)
        for (layer_name, metric), value in found.items():
            self.rows.append((*at, layer_name, f"final.{metric}", math.nan, value))
        return values

    def _sparsity(
        self, problem: Problem, values: Parameters, threshold: float
    ) -> dict[tuple[str, str], float]:
        pruned = pruning.prune(problem, values, threshold)
        found = {(layer, "sparsity.share"): share for layer, share in pruned.shares.items()}
        found["all", "sparsity.compression"] = pruned.compression
        if problem.data.has_test:
            error = predict(problem, values, [pruned.weights], problem.data.test).error
            found["all", "sparsity.error"] = error
        return found

    def _write(self, trainer: Trainer, metric: str, value: float, layer: str = "all") -> None:
        step = float(trainer.step)
        epoch = step / trainer.steps_per_epoch
        self.rows.append((epoch, step, layer, metric, math.nan, float(value)))

    def _histogram(self, trainer: Trainer, layer: str, metric: str, found: Any) -> None:
        step = float(trainer.step)
        for place, count in enumerate(found):
            if count:
                row = (step / trainer.steps_per_epoch, step, layer, metric, float(place))
                self.rows.append((*row, float(count)))

    def table(self) -> Table:
        """All that is written down, by column."""
        columns = zip(*self.rows, strict=True) if self.rows else ([] for _ in COLUMNS)
        return {
            name: np.array(list(values), dtype=kind)
            for (name, kind), values in zip(COLUMNS.items(), columns, strict=True)
        }

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """All it knows, for a training's file."""
        numbers = [self.best_epoch, self.best_nll, self.epochs, self.seconds]
        best = {f"{PREFIX}best/{n}": v.detach().cpu().numpy() for n, v in self.best.items()}
        table = {f"{PREFIX}table/{name}": values for name, values in self.table().items()}
        return {f"{PREFIX}numbers": np.array(numbers, dtype=float), **best, **table}

    def load(self, saved: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Know again what `arrays` gave."""
        best_epoch, self.best_nll, epochs, self.seconds = saved[f"{PREFIX}numbers"].tolist()
        self.best_epoch, self.epochs = int(best_epoch), int(epochs)
        columns = [saved[f"{PREFIX}table/{name}"].tolist() for name in COLUMNS]
        self.rows = list(zip(*columns, strict=True))
        start = f"{PREFIX}best/"
        self.best = {
            name.removeprefix(start): torch.from_numpy(saved[name].copy())
            for name in saved
            if name.startswith(start)
        }
