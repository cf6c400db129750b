"""Score-function estimators: cost times the gradient of the log density of what was drawn, less a baseline.

`LikelihoodRatio` is the base of those that draw something (weights, pre-activations) from a density and hold it fixed:
a subclass says what is drawn, what it costs and how likely it was. Baselines and their state are the same for all.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from vdbench.errors import CellError, InputError
from vdbench.estimation.autodiff import differentiate
from vdbench.estimation.base import Declaration, Estimator, Gradient
from vdbench.estimation.draws import gather, gradients, minibatch, trace
from vdbench.estimation.validity import need_posterior
from vdbench.noise import Key, Noise
from vdbench.problems.problem import Batch, Parameters, Problem

Baseline = Literal["none", "moving-average", "leave-one-out", "optimal"]

FITTED: tuple[Baseline, ...] = ("moving-average", "optimal")
"""The baselines that have a state."""

AGAIN = "\x1f"
"""Marks the second copy of a parameter, in which the log density alone is differentiated."""


@dataclass(frozen=True)
class LikelihoodRatio(Estimator):
    r"""Σ_c (L_c − b_c) ∇log q_c, averaged over samples, plus the ordinary gradient in what is not sampled.

    $L_c$ are the terms of the minibatch's cost, C of them: the whole cost, or one for every example with a density of
    its own. Unbiased by $\nabla E_q[L] = E_q[L\,\nabla\log q]$ and $E_q[\nabla\log q] = 0$ for every $b$ that does
    not depend on this term's own draw:

    - ``leave-one-out``: the mean of the same term's cost under the *other* samples.
    - ``moving-average``: $1/C$ of a moving average of *earlier* costs: of pilot draws by `fit`, then, in
      training, of the steps before (`update`). Never of this draw.
    - ``optimal``: one number a parameter, $E[L h^2]/E[h^2]$ with $h$ its entry of $\nabla\log q$: among constants the
      one of least variance, the same for every minibatch size. `fit` estimates it from pilot draws; in training it is
      moved with the average of earlier costs.

    With the last two, what is measured is conditional on the state.

    Attributes:
        samples: S, samples that are averaged.
        baseline: ``none``, ``moving-average``, ``leave-one-out`` (needs two samples) or ``optimal``.
        decay: What a step leaves of the moving average.
        pilot: Pilot draws of `fit`, each on a minibatch of its own of `pilot_examples` examples.
    """

    samples: int = 1
    baseline: Baseline = "none"
    decay: float = 0.9
    pilot: int = 1024
    pilot_examples: ClassVar[int] = 64

    def __post_init__(self) -> None:
        """Refuse too few samples or pilot draws, and a decay that is none."""
        name = self.declared.name if hasattr(self, "declared") else type(self).__name__
        least = 2 if self.baseline == "leave-one-out" else 1
        if self.samples < least:
            raise InputError(
                f"{name}: baseline '{self.baseline}' needs samples ≥ {least}, not {self.samples}."
            )
        if not 0 <= self.decay < 1:
            raise InputError(f"{name}: decay must be at least 0 and below 1, not {self.decay}.")
        if self.pilot < 1:
            raise InputError(f"{name}: pilot must be at least 1 draw, not {self.pilot}.")

    @abstractmethod
    def sample(
        self, problem: Problem, at: Parameters, batch: Batch, noise: Noise
    ) -> tuple[Tensor, Any]:
        """Draw once.

        Returns:
            The N/M-scaled cost of each term, (C,), differentiable in what is not sampled and in nothing else; and
            what was drawn, fixed, for `log_density`.
        """

    @abstractmethod
    def log_density(self, problem: Problem, at: Parameters, drawn: Any) -> Tensor:
        """Log density of what was drawn, up to a constant, for each term, (C,)."""

    def weighted_density(
        self, problem: Problem, at: Parameters, drawn: Sequence[Any], weights: Tensor
    ) -> Tensor:
        """A scalar whose gradient is that of Σ_s Σ_c weight · log density; its value means nothing.

        Args:
            problem: Where.
            at: At which parameters.
            drawn: What was drawn in each of the S samples.
            weights: Constants, (S, C).
        """
        density = torch.stack([self.log_density(problem, at, d) for d in drawn])
        return (weights * density).sum()

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """Surrogate whose gradient is the estimate; what was drawn is a constant in it.

        Raises:
            CellError: The baseline needs a state and was given none, or the posterior is not one it is derived for.
        """
        need_posterior(self, problem)
        self._need(state)
        free = problem.free(parameters)
        offset = state["offset"] if self.baseline == "optimal" else {}
        terms = 1

        def surrogate(both: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            nonlocal terms
            at = {**parameters, **{name: both[name] for name in free}}
            places = [noise.at("sample", s) for s in range(self.samples)]
            costs, drawn = zip(*(self.sample(problem, at, batch, p) for p in places), strict=True)
            values = torch.stack(costs)  # (S, C)
            terms = values.shape[1]
            cost = values.detach()
            gain = (cost - self._baseline(cost, state)) / self.samples
            # the second term carries ∂L/∂bias: the samples in it do not depend on the weights' parameters
            target = self.weighted_density(problem, at, drawn, gain) + values.sum(1).mean()
            if offset:
                other = {**parameters, **{name: both[name + AGAIN] for name in free}}
                alike = torch.full_like(gain, 1 / self.samples)
                target = target + self.weighted_density(problem, other, drawn, alike)
            return target, cost.sum(1).mean()

        copies = {name + AGAIN: free[name] for name in free} if offset else {}
        value, found = differentiate(surrogate, {**free, **copies})
        # (L − b)h = (L − c)h − (b − c)h with c the average cost: few digits are lost
        return Gradient(
            value,
            {
                n: found[n] - offset[n] / terms * found[n + AGAIN] if offset else found[n]
                for n in free
            },
        )

    def _baseline(self, cost: Tensor, state: Any) -> Tensor:
        """What is subtracted from every parameter's costs, (S, C), by a number that is free of the draw itself."""
        if self.baseline == "none":
            return torch.zeros_like(cost)
        if self.baseline == "leave-one-out":
            return (cost.sum(0) - cost) / (self.samples - 1)
        share: Tensor = state["cost"] / cost.shape[1]
        return share.expand_as(cost)

    def _need(self, state: Any) -> None:
        if self.baseline in FITTED and not state:
            raise CellError(
                f"estimator '{self.declared.name}': baseline '{self.baseline}' has a state and was given none; "
                "expected state=estimator.fit(problem, parameters, key)."
            )

    def fit(self, problem: Problem, parameters: Parameters, key: Key) -> Any:
        """Average cost, and of ``optimal`` each parameter's distance from it, of pilot draws below ``key``.

        Returns:
            ``{"cost": scalar}``, and ``"offset"`` by parameter; nothing for a baseline without a state.
        """
        if self.baseline not in FITTED:
            return ()
        need_posterior(self, problem)
        cost, weighted, squares = self._pilot(problem, parameters, key)
        state: dict[str, Any] = {"cost": cost.to(problem.dtype)}
        if self.baseline == "optimal":
            state["offset"] = {
                name: torch.where(h2 > 0, weighted[name] / h2 - cost, 0.0).to(problem.dtype)
                for name, h2 in squares.items()
            }
        return state

    def _pilot(
        self, problem: Problem, parameters: Parameters, key: Key
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Mean of L, and the sums of Lh² and h², in float64: h² overflows float32 where σ is tiny."""
        size = min(self.pilot_examples, problem.examples)
        keys = [key / "pilot" / k for k in range(self.pilot)]
        one = _Slope(self)
        rows = np.stack([minibatch(problem, size, k / "minibatch") for k in keys])
        traced = trace(one, problem, parameters, gather(problem, rows[0]))
        total = torch.zeros((), device=problem.device, dtype=torch.float64)
        weighted: dict[str, Tensor] = {}
        squares: dict[str, Tensor] = {}
        for start in range(0, self.pilot, max(1, traced.together)):
            part = slice(start, start + max(1, traced.together))
            batches = gather(problem, rows[part])
            found = gradients(one, problem, parameters, batches, keys[part], traced)
            cost = found.value.double()
            total = total + cost.sum()
            for name, slope in found.gradients.items():
                h2 = slope.double().square()
                squares[name] = squares.get(name, 0.0) + h2.sum(0)
                weighted[name] = weighted.get(name, 0.0) + torch.tensordot(cost, h2, 1)
        return total / self.pilot, weighted, squares

    def update(self, state: Any, gradient: Gradient) -> Any:
        """The average of earlier costs after a step whose cost was ``gradient.value``."""
        if self.baseline not in FITTED:
            return state
        moved = self.decay * state["cost"] + (1 - self.decay) * gradient.value.detach()
        return {**state, "cost": moved}


@dataclass(frozen=True)
class _Slope(Estimator):
    """One sample's cost, and h = ∇log q of it: what pilot draws are made of."""

    of: LikelihoodRatio

    @property
    def declaration(self) -> Declaration:
        return self.of.declaration

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        def objective(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            at = {**parameters, **free}
            costs, drawn = self.of.sample(problem, at, batch, noise)
            return self.of.log_density(problem, at, drawn).sum(), costs.detach().sum()

        return Gradient(*differentiate(objective, problem.free(parameters)))
