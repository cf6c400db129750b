"""Defects of estimators that perturb a weight sample or pre-activations, and of scales from the curvature.

Those whose formula has a bias of its own are entered with the claim that it has none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from zoo_making import add, declared, each

from estimators.activity_perturbation import ActivityPerturbation
from estimators.evolution_strategies import EvolutionStrategies
from estimators.forward_gradient import ForwardGradient
from estimators.gradsq import GradSq
from estimators.local import Local
from estimators.price_hessian import PriceHessian
from estimators.spsa import Spsa
from vdbench.estimation.base import Declaration, Estimator, Gradient
from vdbench.estimation.options import get
from vdbench.noise import Noise, Request
from vdbench.problems.problem import Batch, Parameters, Problem

AVERAGED = 16
"""Draws that are averaged, so that few means are many draws: all these have a large variance."""

Change = Callable[[Gradient], Gradient]
Renamed = Callable[[Request], Request]


@dataclass(frozen=True)
class Changed:
    """Something done to the noise or to the gradient of an estimator; comes before that estimator's class."""

    claim: tuple[tuple[str, Any], ...] = ()
    change: Change = lambda g: g
    asks: Renamed = lambda request: request

    @property
    def declaration(self) -> Declaration:
        """What the estimator declares, and what is claimed of it."""
        return replace(super().declaration, **dict(self.claim))  # type: ignore[misc]

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """The gradient on renamed noise, changed."""
        source = noise.source
        given = Noise(lambda request: source(self.asks(request)), noise.path)
        found = super().__call__(problem, parameters, batch, given, state)  # type: ignore[misc]
        return self.change(found)


def enter(
    name: str, about: str, base: type[Estimator], claim: dict[str, Any] | None = None, **fields: Any
) -> None:
    """List one, averaged."""
    own = declared(name, unbiased=base.declared.unbiased, laws=base.declared.laws)
    body = {"declared": own, "__module__": __name__}
    cls: Any = dataclass(frozen=True)(type("Perturbed", (Changed, base), body))
    made = cls(claim=tuple((claim or {}).items()), **fields)
    add(name, get("samples", of=made, samples=AVERAGED), about)


HONEST = {"unbiased": True}


def _scales(factor: float) -> Change:
    """The gradient in the scale's parameters times a factor, in (μ, log σ²)."""
    return lambda g: each(g, lambda n, v: factor * v if n.endswith("log_variance") else v)


def _uniform(request: Request) -> Request:
    return request._replace(law="uniform") if "direction" in request.path else request


enter("forward-gradient-with-uniform-directions", "directions are uniform on [0, 1)", ForwardGradient,
      {"laws": ("normal", "uniform")}, asks=_uniform)  # fmt: skip
enter("forward-gradient-twice-in-the-scale", "the scale's slope counts twice", ForwardGradient,
      change=_scales(2.0))  # fmt: skip
enter("spsa-with-a-unit-step", "the step is 1, and no bias is claimed", Spsa, HONEST, step=1.0)
enter("spsa-divides-by-one-step", "the difference of two costs is divided by c, not 2c", Spsa, HONEST,
      change=lambda g: each(g, lambda _, v: 2 * v))  # fmt: skip
enter("evolution-strategies-of-rank-one", "noise of rank 1, and no bias is claimed", EvolutionStrategies,
      HONEST, rank=1)  # fmt: skip
enter("mirrored-costs-are-not-halved", "the difference of mirrored costs is not halved", EvolutionStrategies,
      change=lambda g: each(g, lambda n, v: 2 * v if n.endswith("mean") else v))  # fmt: skip
enter("activity-perturbation-forgets-biases", "biases get no gradient", ActivityPerturbation, of=Local(),
      change=lambda g: each(g, lambda n, v: 0 * v if n.endswith("bias") else v))  # fmt: skip
enter("activity-perturbation-with-uniform-directions", "directions are uniform on [0, 1)", ActivityPerturbation,
      {"laws": ("normal", "uniform")}, of=Local(), asks=_uniform)  # fmt: skip
enter("price-hessian-claims-no-bias-at-kinks", "the Hessian of a ReLU network, claimed unbiased", PriceHessian,
      HONEST)  # fmt: skip
enter("price-hessian-is-halved", "½ of σ² for σ: half the gradient in the scale", PriceHessian, HONEST,
      change=_scales(0.5))  # fmt: skip
enter(
    "gradsq-claims-no-bias", "squares of the minibatch's gradient, claimed unbiased", GradSq, HONEST
)
enter("gradsq-is-added", "squared gradients with the sign of the Hessian of a loss", GradSq, HONEST,
      squares="examples", change=_scales(-1.0))  # fmt: skip
