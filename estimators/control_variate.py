"""Control variates: subtract a Taylor polynomial of a draw and add its mean."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from estimators.measure_valued import refuse_more
from estimators.naive import Naive
from estimators.score import Score, log_density, normals, posteriors
from vdbench import (
    Batch,
    CellError,
    Estimator,
    Gradient,
    InputError,
    Key,
    Noise,
    Parameters,
    Problem,
    Wrapper,
    differentiate,
    register,
)
from vdbench.estimation import taylor
from vdbench.estimation.autodiff import vectorising
from vdbench.estimation.base import Declaration
from vdbench.estimation.draws import gather, minibatch
from vdbench.noise import Injected, Kept, Request, stream

PILOT_EXAMPLES = 64
"""Examples of a pilot minibatch."""


@register("control-variate", version="2")
@dataclass(frozen=True)
class ControlVariate(Wrapper):
    r"""Another estimator's draw minus a control variate: a Taylor polynomial of the draw, whose mean is known.

    Formula: $g - \beta\,(c - E[c])$, for every parameter.

    ``hvp`` wraps a pathwise estimator. $c$ is the Taylor polynomial of the gradient in its normal noise,
    $c(\varepsilon) = g(0) + \frac{d}{dt}g(t\varepsilon)|_0$, with mean $g(0)$. For naive sampling this is
    $\nabla L(\mu) + H\sigma\varepsilon$ for μ, one Hessian-vector product, and $\varepsilon\,\nabla L(\mu)$ for σ.
    With ``curvature`` the second-order term $\frac12\frac{d^2}{dt^2}g(t\varepsilon)|_0$ is included, with mean
    $\frac12\sum_j\partial_j^2 g(0)$ (for σ of naive sampling $\sigma_i H_{ii}$). For a quadratic loss, the first order
    removes all noise in μ, and the second order all noise.

    ``delta`` wraps the score function. $c = \tilde L(W)\,\nabla\log q(W)$, where $\tilde L$ is the Taylor polynomial
    of the cost about the mean weights, of first order, or of second order with ``curvature``. Its mean is
    $\nabla E_q[\tilde L]$: in μ $\nabla L(\mu)$, in σ $\sigma_i H_{ii}$. If the score function has a baseline, the
    constant of $\tilde L$ is left to the baseline.

    The mean of the second order is either ``exact``, with one Hessian product (``hvp``: one third derivative) per
    weight (number drawn), or ``sampled``: the same quadratic form at independent random signs, which has the same
    mean. In both cases the mean of the estimate does not change. ``fitted`` estimates β by regression of g on c over
    pairs of pilot draws on one minibatch; the results are then conditional on these draws.

    Claim: as the wrapped estimator.
    Cost: the wrapped estimator's plus about 2 times that (``hvp``), or plus 2 products and a Hessian product per
    sample (``delta``). The second order costs 4 to 6 times the wrapped estimator, plus the products for its mean.
    Source: Miller, Foti, D'Amour & Adams 2017 (``hvp``); Paisley, Blei & Jordan 2012 and Mohamed et al. 2020, section
    7.4 (``delta``). New here: the polynomial in the noise, which applies to every pathwise estimator.

    Attributes:
        of: The wrapped estimator: a pathwise one with normal noise (``hvp``), or ``score`` (``delta``).
        kind: ``hvp`` or ``delta``.
        curvature: ``none``, ``exact`` or ``sampled``; the default is none for ``hvp`` and exact for ``delta``.
        coefficient: β: ``one``, or ``fitted`` to pilot draws, separately for every parameter.
        limit: Number of weights (numbers drawn) above which ``exact`` is refused.
        pilot: Pairs of pilot draws, each on a separate minibatch of 64 examples.

    Example:
        >>> import vdbench
        >>> vdbench.get("control-variate", of="score", kind="delta").declaration.objective
        'elbo'
    """

    of: Estimator = field(default_factory=Naive)
    kind: Literal["hvp", "delta"] = "hvp"
    curvature: Literal["none", "exact", "sampled"] | None = None
    coefficient: Literal["one", "fitted"] = "one"
    limit: int = 2000
    pilot: int = 64

    def __post_init__(self) -> None:
        """Refuse estimators that have no such polynomial."""
        super().__post_init__()
        why = self._unfit()
        if why:
            raise InputError(f"{self.named}: estimator '{self.of.declaration.name}' {why}.")
        for option in ("limit", "pilot"):
            if getattr(self, option) < 1:
                raise InputError(
                    f"{self.named}: {option} must be at least 1, not {getattr(self, option)}."
                )

    def _unfit(self) -> str:
        """Why the estimator cannot have this control variate; empty if it can."""
        if self.kind == "delta":
            if isinstance(self.of, Score):
                return ""
            return "has no cost times a score of weights to take a Taylor polynomial of; expected 'score' of kind delta"
        return taylor.refusal(self.of, "a pathwise one of kind hvp, or 'score' of kind delta")

    @property
    def order(self) -> str:
        """How the second order is treated, with the default filled in."""
        return self.curvature or {"hvp": "none", "delta": "exact"}[self.kind]

    @property
    def declaration(self) -> Declaration:
        """That of the inner estimator, with random signs if the mean of the second order uses them."""
        inner = super().declaration
        if self.order != "sampled" or "sign" in inner.laws:
            return inner
        return replace(inner, laws=(*inner.laws, "sign"))

    @property
    def passes_together(self) -> int:
        """Those of the inner estimator with derivatives, and the directions of the exact second-order mean."""
        return self.of.passes_together * (4 * taylor.TOGETHER if self.order == "exact" else 4)

    @property
    def passes_each_weight(self) -> bool:
        """Where the mean of the second order is exact."""
        return self.order == "exact" or self.of.passes_each_weight

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """Draw, and subtract the control variate.

        Raises:
            CellError: The posterior's noise is not normal, the problem is larger than ``limit``, or ``fitted`` was
                given no state.
        """
        if self.coefficient == "one":
            gradient, control = self._parts(problem, parameters, batch, noise, state)
            return _less(gradient, control, 1.0)
        if not state:
            raise CellError(
                f"estimator '{self.named}': coefficient 'fitted' has a state and was given none; expected "
                "state=estimator.fit(problem, parameters, key)."
            )
        gradient, control = self._parts(problem, parameters, batch, noise, state["of"])
        return _less(gradient, control, state["coefficient"])

    def _parts(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any
    ) -> tuple[Gradient, dict[str, Tensor]]:
        """The inner estimator's draw, and c − E[c]."""
        taylor.need_normal(self.named, problem)
        kept = Kept(noise.source)
        gradient = self.of(problem, parameters, batch, Noise(kept, noise.path), state)
        if self.kind == "delta":
            given = Noise(Injected(kept.answers), noise.path)
            return gradient, self._of_cost(problem, parameters, batch, noise, given)

        def draw(numbers: taylor.Numbers) -> dict[str, Tensor]:
            injected = Noise(Injected(numbers), noise.path)
            return self.of(problem, parameters, batch, injected, state).gradients

        with vectorising():
            return gradient, self._of_gradient(problem, draw, kept.answers, noise)

    def _of_gradient(
        self, problem: Problem, draw: taylor.Draw, numbers: taylor.Numbers, noise: Noise
    ) -> dict[str, Tensor]:
        control = taylor.linear(draw, numbers)
        if self.order == "none":
            return control
        normal = taylor.normal(numbers)
        if self.order == "exact":
            taylor.need_few(self, self.of, numbers, self.limit, ", or curvature: sampled")
            mean = taylor.quadratic_mean(draw, numbers)
        else:
            signs = {r: noise.source(_probe(noise, r)) for r in normal}
            mean = taylor.quadratic(draw, numbers, signs)
        second = taylor.quadratic(draw, numbers, normal)
        return {name: first + second[name] - mean[name] for name, first in control.items()}

    def _of_cost(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, given: Noise
    ) -> dict[str, Tensor]:
        """The score function of the polynomial on the inner estimator's draws, minus its mean."""
        assert isinstance(self.of, Score)
        q = posteriors(problem, parameters)
        scale = {name: law.scale.detach() for name, law in q.items()}
        cost = taylor.expansion(problem, parameters, batch)
        drawn = [normals(q, given.at("sample", s)) for s in range(self.of.samples)]
        constant = cost.value if self.of.baseline == "none" else 0.0
        values = []
        for eps in drawn:
            step = {name: scale[name] * z for name, z in eps.items()}
            value = constant + taylor.inner(cost.slope, step)
            if self.order != "none":
                value = value + taylor.inner(cost.curve(step), step) / 2
            values.append(value.detach())
        spread = self._spread(problem, cost, scale, noise)

        def surrogate(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            now = posteriors(problem, {**parameters, **free})
            scored = [v * log_density(now, eps) for v, eps in zip(values, drawn, strict=True)]
            mean = taylor.inner(cost.slope, {name: law.mean for name, law in now.items()})
            if spread:
                mean = mean + taylor.inner(spread, {n: law.scale for n, law in now.items()})
            return torch.stack(scored).mean() - mean, cost.value

        return differentiate(surrogate, problem.free(parameters))[1]

    def _spread(
        self, problem: Problem, cost: taylor.Expansion, scale: dict[str, Tensor], noise: Noise
    ) -> dict[str, Tensor]:
        """The derivative of the mean in σ, σ_i H_ii, exact or an unbiased estimate; 0 for the first order."""
        if self.order == "none":
            return {}
        if self.order == "exact":
            if sum(value.numel() for value in scale.values()) > self.limit:
                instead = ", or curvature: sampled"
                refuse_more(self.named, problem, self.limit, "a Hessian product", instead)
            return taylor.diagonal(cost.curve, scale)
        signs = {n: noise.at("probe")(n, value.shape, law="sign") for n, value in scale.items()}
        curved = cost.curve({name: value * signs[name] for name, value in scale.items()})
        return {name: signs[name] * value for name, value in curved.items()}

    def fit(self, problem: Problem, parameters: Parameters, key: Key) -> Any:
        """State of the inner estimator; if β is fitted, also β by parameter, Σ ΔgΔc / ΣΔc² over pairs of draws."""
        inner = self.of.fit(problem, parameters, key)
        if self.coefficient == "one":
            return inner
        size = min(PILOT_EXAMPLES, problem.examples)
        products: dict[str, Tensor] = {}
        squares: dict[str, Tensor] = {}
        for k in range(self.pilot):
            place = key / "pilot" / k
            batch = gather(problem, minibatch(problem, size, place / "minibatch"))
            noises = [stream(place / half, problem.device, problem.dtype) for half in range(2)]
            (g, c), (h, d) = (self._parts(problem, parameters, batch, n, inner) for n in noises)
            for name in c:
                step = (c[name] - d[name]).double()
                change = (g.gradients[name] - h.gradients[name]).double()
                products[name] = products.get(name, 0.0) + step * change
                squares[name] = squares.get(name, 0.0) + step.square()
        beta = {
            name: torch.where(s > 0, products[name] / s, 1.0).to(problem.dtype)
            for name, s in squares.items()
        }
        return {"of": inner, "coefficient": beta}

    def update(self, state: Any, gradient: Gradient) -> Any:
        """Update the state of the inner estimator; β stays as it is."""
        if self.coefficient == "one":
            return self.of.update(state, gradient)
        return {**state, "of": self.of.update(state["of"], gradient)}


def _probe(noise: Noise, request: Request) -> Request:
    """The address of the random signs that accompany the normal numbers of a request."""
    return Request((*noise.path, "probe", *request.path), request.shape, "sign")


def _less(
    gradient: Gradient, control: dict[str, Tensor], coefficient: float | dict[str, Tensor]
) -> Gradient:
    def part(name: str) -> Tensor:
        beta = coefficient if isinstance(coefficient, float) else coefficient[name]
        return gradient.gradients[name] - beta * control[name]

    return Gradient(gradient.value, {name: part(name) for name in gradient.gradients})
