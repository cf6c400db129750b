"""RELAX: the score function with a control variate whose surrogate is trained, for learned binary masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import grad

from vdbench import InputError, Key, Noise, Parameters, Problem, need_posterior, register
from vdbench.estimation.binary_masks import (
    Masked,
    MaskEstimator,
    Masks,
    kept,
    logistic,
    need_temperature,
    pilot_noise,
    pilots,
    score,
    slope_apart,
)

Surrogate = Mapping[str, Tensor]
"""Its trained numbers: log λ, η, and the weights of a small network."""


@register(
    "relax",
    objective="elbo",
    unbiased=True,
    laws=("uniform",),
    independent_examples=True,
    version="1",
    posteriors="learned-binary",
)
@dataclass(frozen=True)
class Relax(MaskEstimator):
    r"""Score function minus the score function of a trained surrogate, whose mean is added back by reparameterization.

    Formula: $\nabla_\varphi \leftarrow \sum_m\big[f_m(B_m) - c_m(\tilde z_m)\big](B_m - q) + \nabla_\varphi c_m(z_m) -
    \nabla_\varphi c_m(\tilde z_m)$.

    As in ``rebar``, $z = \varphi + \ln\frac u{1-u}$ is the logistic variable underlying the mask, and $\tilde z \sim
    p(z\mid B)$ is made from the same uniform number: $\tilde z = z$, with another slope in $\varphi$. The terms with
    $c$ have mean 0 for any differentiable $c$. Here
    $c_m(z) = \eta f_m(\sigma(z/\lambda)) + r(\sigma(z/\lambda))$: REBAR's relaxed cost, plus a network $r$ of one
    hidden layer of tanh units and a linear part, on all relaxed masks of an example. Its unit is the
    median change of an example's cost from one mask to another. It is the same for all examples, so that REBAR may be
    the better one where their costs differ by orders of magnitude.

    λ, η and $r$ are trained to minimise the sum of squares of the gradient in the logits, whose mean does not depend on
    them, so that the variance is minimised. Training is by Adam with a learning rate that falls to 0, on pilot draws at
    the parameters where the estimator is fitted. Results are conditional on the trained surrogate. It starts from REBAR
    with the option ``temperature``, η = 1 and $r = 0$. In the training of a model, the surrogate stays as it is, and
    becomes less apt as the weights move. In θ and in the biases, the estimate is the ordinary gradient under the binary
    masks.

    Claim: unbiased for the ELBO of learned masks, dense and convolution, whatever the surrogate is.
    Cost: 2 products forward, 2 backward; M·K numbers of noise per layer. Fitting costs about 4 gradients a step.
    Source: Grathwohl, Choi, Wu, Roeder & Duvenaud 2018 (*Backpropagation through the void*).

    Attributes:
        hidden: Hidden units of $r$; 0 leaves its linear part.
        steps: Steps of Adam, each on pilot draws on a minibatch of 64 examples.
        rate: Learning rate of Adam at the first step.
        temperature: λ at the start.

    Example:
        >>> import vdbench
        >>> vdbench.get("relax", hidden=4)
        Relax(hidden=4, steps=200, rate=0.01, temperature=0.5)
    """

    hidden: int = 16
    steps: int = 200
    rate: float = 0.01
    temperature: float = 0.5

    def __post_init__(self) -> None:
        """Refuse an invalid temperature, learning rate or number."""
        need_temperature("relax", self.temperature)
        if self.hidden < 0 or self.steps < 1:
            raise InputError(
                f"relax: hidden must be at least 0 units and steps at least 1, not {self.hidden} and {self.steps}."
            )
        if not 0 < self.rate < 1:
            raise InputError(f"relax: rate must be above 0 and below 1, not {self.rate}.")

    def surrogate(self, network: Masked, noise: Noise) -> tuple[Tensor, Tensor]:
        """Without a state there is no surrogate of the cost.

        Raises:
            CellError: Always.
        """
        return self.given(network, noise, ())

    def given(self, network: Masked, noise: Noise, state: Any) -> tuple[Tensor, Tensor]:
        """Binary costs, and the slopes of the score and of the surrogate.

        Raises:
            CellError: There is no state.
        """
        self.need_state(state, "the surrogate")
        uniforms = network.uniforms(noise)
        masks = network.each(kept, uniforms)
        costs = network.costs(masks)
        value = costs.sum()
        control, slopes = self._control(network, masks, uniforms, state["surrogate"])
        ones = torch.ones_like(control.detach())
        above = network.slope(costs - control, network.each(score, masks))
        return above + network.slope(ones, slopes) + value, value

    def fit(self, problem: Problem, parameters: Parameters, key: Key) -> Any:
        """The trained surrogate, ``{"surrogate": numbers by name}``."""
        need_posterior(self, problem)
        trained = {
            name: value.requires_grad_() for name, value in self._start(problem, key).items()
        }
        unit = self._unit(problem, parameters, key / "unit")
        adam = torch.optim.Adam(trained.values(), lr=self.rate)
        for step, (batch, place) in enumerate(pilots(problem, key, self.steps)):
            adam.param_groups[0]["lr"] = self.rate * (1 - step / self.steps)
            network = Masked(problem, parameters, parameters, batch)
            uniforms = network.uniforms(pilot_noise(problem, place))
            masks = network.each(kept, uniforms)
            with torch.no_grad():
                costs = network.costs(masks)
            with torch.enable_grad():
                squares = self._squares(network, masks, uniforms, costs, trained | {"unit": unit})
                slopes = torch.autograd.grad(squares, list(trained.values()))
            for number, slope in zip(trained.values(), slopes, strict=True):
                number.grad = slope
            adam.step()
        found = {name: value.detach() for name, value in trained.items()}
        return {"surrogate": found | {"unit": unit}}

    def _unit(self, problem: Problem, parameters: Parameters, key: Key) -> Tensor:
        """The median over examples of the change of the log-likelihood from one mask to another, in nats."""
        batch, place = next(pilots(problem, key, 1))
        network = Masked(problem, parameters, parameters, batch)
        with torch.no_grad():
            one, other = (
                network.costs(
                    network.each(kept, network.uniforms(pilot_noise(problem, place / half)))
                )
                for half in range(2)
            )
        return (one - other).abs().median() / problem.scale(batch)

    def _start(self, problem: Problem, key: Key) -> dict[str, Tensor]:
        """REBAR, with a network whose outgoing weights are 0."""
        network = Masked(problem, problem.start, problem.start, next(pilots(problem, key, 1))[0])
        uniforms = network.uniforms(pilot_noise(problem, key / "shape"))
        size = sum(u[0].numel() for u in uniforms.values())
        inner = pilot_noise(problem, key / "start")("hidden", (self.hidden, size))
        like = next(iter(problem.start.values()))
        return {
            "log_temperature": like.new_tensor(self.temperature).log(),
            "eta": like.new_tensor(1.0),
            "linear": like.new_zeros(size),
            "in": inner / size**0.5,
            "bias": like.new_zeros(self.hidden),
            "out": like.new_zeros(self.hidden),
        }

    def _control(
        self, network: Masked, masks: Masks, uniforms: Masks, of: Surrogate
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """C_m(z̃_m), shape (M,), and ∂c/∂z·(∂z/∂φ − ∂z̃/∂φ) of the masks' shape, by layer."""

        def total(numbers: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            soft = {n: torch.sigmoid(z / of["log_temperature"].exp()) for n, z in numbers.items()}
            flat = torch.cat([c.flatten(1) for c in soft.values()], 1) - 0.5
            bent = torch.tanh(flat @ of["in"].T + of["bias"]) @ of["out"] + flat @ of["linear"]
            unit = network.problem.scale(network.batch) * of["unit"]
            each = of["eta"] * network.costs(soft, network.fixed) + unit * bent
            return each.sum(), each

        numbers = network.each(lambda logit, u: logit + logistic(u), uniforms)
        slopes, control = grad(total, has_aux=True)(numbers)
        apart = network.each(slope_apart, masks, numbers)
        return control, {n: slope * apart[n] for n, slope in slopes.items()}

    def _squares(
        self, network: Masked, masks: Masks, uniforms: Masks, costs: Tensor, of: Surrogate
    ) -> Tensor:
        """The sum of squares of the gradient in the logits, differentiable in the surrogate."""
        control, slopes = self._control(network, masks, uniforms, of)
        scores = network.each(score, masks)
        squares = []
        for name, logit in network.logits.items():
            each = (costs - control).reshape(-1, *(1 for _ in scores[name].shape[1:]))
            gradient = (each * scores[name] + slopes[name]).sum(0).sum_to_size(logit.shape)
            squares.append(gradient.square().sum())
        return torch.stack(squares).sum()
