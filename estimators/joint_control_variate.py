"""A control variate for noise and minibatch together: a Taylor polynomial of the draw at an anchor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from estimators.naive import Naive
from vdbench import (
    Batch,
    Estimator,
    Gradient,
    InputError,
    Key,
    Noise,
    Parameters,
    Problem,
    register,
)
from vdbench.estimation import anchor, taylor
from vdbench.estimation.anchor import Anchored
from vdbench.estimation.autodiff import vectorising
from vdbench.noise import Injected, Kept, Request, Source, stream


@register("joint-control-variate", version="1")
@dataclass(frozen=True)
class JointControlVariate(Anchored):
    r"""Another estimator's draw minus its Taylor polynomial at an anchor, plus the polynomial's mean over all examples.

    Formula: $g_B(\phi, \varepsilon) - c_B(\varepsilon) + c_N$, $c_B(\varepsilon) = g_B(\tilde\phi, 0) +
    \frac{d}{dt}g_B(\tilde\phi, t\varepsilon)|_0$, $c_N = g_N(\tilde\phi, 0)$.

    $c_B$ is the polynomial of ``control-variate``, taken at the anchor $\tilde\phi$, and its constant part is kept. Its
    mean over the noise is $g_B(\tilde\phi, 0)$, the gradient of the minibatch at the anchor's mean weights, and over
    minibatches $g_N(\tilde\phi, 0)$, which one pass over the data gives exactly. So the mean is unchanged on average
    over minibatches, at every anchor, while $c_B$ follows the draw in its noise and in its minibatch: both parts of the
    variance fall. For a quadratic loss with naive sampling what is left in μ is $G_B((\mu - \tilde\mu) + (\sigma -
    \tilde\sigma)\varepsilon)$, with $G_B$ the minibatch's Hessian: nothing at the anchor.

    With ``curvature`` the second-order term $\frac12\frac{d^2}{dt^2}g_B(\tilde\phi, t\varepsilon)|_0$ is included. Its
    mean $\frac12\sum_j\partial_j^2g_N(\tilde\phi, 0)$ is computed with the anchor. For a quadratic loss nothing is
    left at the anchor of any parameter.

    Claim: as the wrapped estimator, on average over minibatches.
    Cost: the wrapped estimator's plus about 2 times that; with ``curvature`` 4 to 6 times. An anchor takes 1 pass over
    the data, with ``curvature`` a second derivative of the whole data's gradient for every number drawn.
    Source: Wang, Geffner & Domke 2024, whose polynomial is of the log density in the weights. Here it is of the
    gradient in the noise, as in ``control-variate``.

    Attributes:
        of: The wrapped estimator, a pathwise one with normal noise.
        curvature: ``none`` or ``exact``.
        limit: Number of random numbers of a draw above which ``exact`` is refused.
        epochs: Epochs of a training after which the anchor is made anew.
        distance: How far the anchor's means lie from the parameters it is made at, in standard deviations of the
            weights: for measuring what an anchor is worth that the parameters have left. 0 in a training.

    Example:
        >>> import vdbench
        >>> vdbench.get("joint-control-variate", of="local").declaration.objective
        'elbo'
    """

    of: Estimator = field(default_factory=Naive)
    curvature: Literal["none", "exact"] = "none"
    limit: int = 2000

    def __post_init__(self) -> None:
        """Refuse estimators that have no such polynomial."""
        super().__post_init__()
        inner = self.of.declaration
        why = taylor.refusal(self.of, "a pathwise one")
        if not why and self.curvature != "none" and "sign" in inner.laws:
            why = "draws random signs, on which the mean of the second order may depend; expected curvature 'none'"
        if why:
            raise InputError(f"{self.named}: estimator '{inner.name}' {why}.")
        if self.limit < 1:
            raise InputError(f"{self.named}: limit must be at least 1, not {self.limit}.")

    @property
    def passes_together(self) -> int:
        """Those of the inner estimator with derivatives."""
        return 4 * self.of.passes_together

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """Draw, and control noise and minibatch.

        Raises:
            CellError: There is no state, or the posterior's noise is not normal.
        """
        self.need_state(state)
        taylor.need_normal(self.named, problem)
        kept = Kept(noise.source)
        gradient = self.of(problem, parameters, batch, Noise(kept, noise.path), state["of"])
        draw = self._draw(problem, state, batch, noise.path)
        with vectorising():
            control = taylor.affine(draw, kept.answers)
            if self.curvature != "none":
                second = taylor.quadratic(draw, kept.answers, taylor.normal(kept.answers))
                control = {name: value + second[name] for name, value in control.items()}
        return anchor.controlled(gradient, control, state["whole"])

    def _draw(
        self, problem: Problem, state: Any, batch: Batch, path: tuple[str | int, ...]
    ) -> taylor.Draw:
        """The wrapped estimator's gradient at the anchor as a function of its noise."""

        def draw(numbers: taylor.Numbers) -> dict[str, Tensor]:
            given = Noise(Injected(numbers), path)
            return self.of(problem, state["anchor"], batch, given, state["of"]).gradients

        return draw

    def fit(self, problem: Problem, parameters: Parameters, key: Key) -> Any:
        """The anchor, the polynomial's mean over all examples there, and the inner estimator's state.

        Raises:
            CellError: The posterior's noise is not normal, or one draw takes more numbers than ``limit``.
        """
        taylor.need_normal(self.named, problem)
        state: dict[str, Any] = {
            "anchor": self.anchor(problem, parameters, key),
            "of": self.of.fit(problem, parameters, key),
        }
        derivatives = 0

        def mean(batch: Batch) -> dict[str, Tensor]:
            nonlocal derivatives
            still = Kept(_Still(stream(key / "still", problem.device, problem.dtype).source))
            found = self.of(problem, state["anchor"], batch, Noise(still), state["of"]).gradients
            if self.curvature == "none":
                return found
            taylor.need_few(self, self.of, still.answers, self.limit, "")
            derivatives = sum(v.numel() for v in taylor.normal(still.answers).values())
            with vectorising():
                second = taylor.quadratic_mean(self._draw(problem, state, batch, ()), still.answers)
            return {name: value + second[name] for name, value in found.items()}

        whole = anchor.of_all(problem, mean)
        return {**state, "whole": whole, "passes": 1 + derivatives}


@dataclass(frozen=True)
class _Still:
    """Zeros for normal numbers; all other noise from a source."""

    source: Source

    def __call__(self, request: Request) -> Tensor:
        """Ask the source, and take the normal numbers away."""
        value = self.source(request)
        return torch.zeros_like(value) if request.law == "normal" else value
