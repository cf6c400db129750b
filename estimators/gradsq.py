"""The gradient in the scale from squared gradients, in place of the Hessian's diagonal: biased."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import grad, vmap

from vdbench import (
    Batch,
    CellError,
    Estimator,
    Gradient,
    Noise,
    Parameters,
    Problem,
    need_posterior,
    register,
)
from vdbench.estimation import curvature, perturbation
from vdbench.estimation.perturbation import Place


@register(
    "gradsq",
    objective="elbo",
    unbiased=False,
    laws=("normal",),
    independent_examples=False,
    version="1",
)
@dataclass(frozen=True)
class GradSq(Estimator):
    r"""The gradient in the scale from squared gradients at the drawn weights, which stand for the Hessian's diagonal.

    Formula: $g_\mu = \nabla L(W)$, $g_\sigma = -\sigma h$, $h = (\nabla L(W))^2$ (``minibatch``) or $h =
    \frac NM\sum_m(\nabla\log p(y_m\mid x_m, W))^2$ (``examples``), $W = \mu + \sigma\varepsilon$.

    By Price's theorem $\partial E[L]/\partial\sigma = \sigma E[\partial^2L/\partial W^2]$. If the targets come from
    the model itself, minus the mean Hessian of the log-likelihood is the mean square of each example's gradient
    (Fisher information; with the targets of the data the "empirical Fisher" or Gauss–Newton form). For other
    targets it is not. With ``minibatch``, the gradient of the whole minibatch is squared: its mean is the full
    gradient squared plus the minibatch's variance, about N/M times that of ``examples`` where the full gradient is
    0. In both cases the curvature cannot be negative, and kinks do not matter.

    Claim: biased in σ for the ELBO of any layer kind; in μ and in the biases it is ``naive``, unbiased.
    Cost: that of naive sampling, 1 product forward and 2 backward; ``examples`` takes each example's gradient, M·K·L
    memory; K·L noise.
    Source: ``minibatch``: the option gradsq of IVON (Shen et al. 2024); ``examples``: Graves 2011, VOGN (Khan et
    al. 2018).

    Attributes:
        squares: Of what: ``minibatch`` or ``examples``.

    Example:
        >>> import vdbench
        >>> vdbench.get("gradsq", squares="examples")
        GradSq(squares='examples')
    """

    squares: Literal["minibatch", "examples"] = "minibatch"

    @property
    def passes_together(self) -> int:
        """A gradient for every example, where those are squared."""
        return 16 if self.squares == "examples" else 1

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """One weight sample, and the squares of the gradient there.

        Raises:
            CellError: The posterior is not normal and independent; or every example's gradient is asked for, and the
                network takes no example alone.
        """
        need_posterior(self, problem)
        z = perturbation.drawn(problem, parameters, noise)
        where = perturbation.detached(perturbation.place(problem, parameters, z))
        slope, value = curvature.cost_gradient(problem, parameters, batch)(where)
        if self.squares == "minibatch":
            squares = {name: slope[name].square() for name in z}
        else:
            squares = self._of_examples(problem, parameters, batch, where, list(z))
        diagonal = {name: -square for name, square in squares.items()}
        return curvature.chained(problem, parameters, slope, diagonal, value)

    def _of_examples(
        self, problem: Problem, parameters: Parameters, batch: Batch, where: Place, names: list[str]
    ) -> dict[str, Tensor]:
        """N/M times the sum of squares of each example's gradient in the weights."""
        if not problem.behaviour.alone:
            raise CellError(
                f"estimator 'gradsq' squares the gradient of each example, and problem '{problem.name}' has a network "
                "that takes no example alone; expected squares: minibatch."
            )
        scale = problem.scale(batch)
        rest = {n: v for n, v in where.items() if n not in names}

        def one(weights: Place, x: Tensor, target: Tensor) -> Tensor:
            alone = Batch(x[None], target[None])
            found = perturbation.costs(problem, parameters, alone, {**weights, **rest})
            return found.sum() / problem.examples  # without the N/M of one example

        weights = {name: where[name] for name in names}
        slope = grad(one)
        if problem.behaviour.vectorises:
            each = vmap(slope, in_dims=(None, 0, 0))(weights, *batch)
        else:
            parts = [slope(weights, x, t) for x, t in zip(*batch, strict=True)]
            each = {name: torch.stack([part[name] for part in parts]) for name in names}
        return {name: scale * value.square().sum(0) for name, value in each.items()}
