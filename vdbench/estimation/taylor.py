"""Taylor polynomials that control variates are made of: of a gradient in its noise, of a cost in the weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from vdbench.errors import CellError
from vdbench.estimation.base import Estimator, Wrapper
from vdbench.noise import POSTERIOR, SYMMETRIC, Request
from vdbench.problems.layers import Layer
from vdbench.problems.problem import Batch, Parameters, Problem

Named = dict[str, Tensor]
Numbers = Mapping[Request, Tensor]
Draw = Callable[[Numbers], Named]
"""A gradient as a function of the noise it asks for."""

NO_RULE = ("forward AD", "forward-mode AD", "setup_context", "jvp")
"""Words of torch's about operations that have no derivative in a direction."""

TOGETHER = 64
"""Directions whose derivatives are taken in one vectorised call."""


def along(
    function: Callable[..., Named], primals: tuple[Any, ...], tangents: tuple[Any, ...], what: str
) -> tuple[Named, Named]:
    """The function's value and its derivative in a direction, by one forward-mode pass.

    Args:
        function: Of the primals.
        primals: Where.
        tangents: The direction, of the same form.
        what: What takes the derivative, for the message.

    Raises:
        CellError: The network has an operation whose derivative torch takes backward alone.
    """
    with warnings.catch_warnings():
        # the first call of all loads rules that torch still compiles in a way it has deprecated
        warnings.filterwarnings("ignore", "`torch.jit.*deprecated", DeprecationWarning)
        try:
            found = torch.func.jvp(function, primals, tangents)
        except RuntimeError as error:
            if not any(words in str(error) for words in NO_RULE):
                raise
            raise CellError(
                f"{what}, and torch takes the derivative of an operation of the network backward alone: "
                f"{str(error).splitlines()[0]}"
            ) from error
    return found[0], found[1]


def _along(
    function: Callable[..., Named], primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> Named:
    """The derivative alone."""
    what = "a control variate differentiates the gradient along its noise"
    return along(function, primals, tangents, what)[1]


def normal(numbers: Numbers) -> dict[Request, Tensor]:
    """The normal numbers among the noise."""
    return {request: value for request, value in numbers.items() if request.law == "normal"}


def refusal(of: Estimator, expected: str) -> str:
    """Why an estimator has no Taylor polynomial in its noise whose mean is known; empty if it has.

    Args:
        of: Which.
        expected: What is asked for in its place where it is not pathwise.
    """
    laws = of.declaration.laws
    odd = [law for law in laws if law not in (*SYMMETRIC, POSTERIOR)]
    if not of.declaration.pure:
        return "draws its own noise, along which nobody else can differentiate"
    if not of.pathwise:
        return (
            "is not pathwise, so that its gradient has no derivative along its noise; "
            f"expected {expected}"
        )
    if odd:
        return f"takes {odd[0]} noise, whose mean is not 0; expected normal noise"
    if not {"normal", POSTERIOR} & set(laws):
        return "draws no normal noise for a Taylor polynomial to be in"
    return ""


def need_normal(named: str, problem: Problem) -> None:
    """Refuse a posterior whose noise is not normal.

    Raises:
        CellError: It is not.
    """
    form = problem.parameterization
    if form.law != "normal":
        raise CellError(
            f"{named}: the posterior '{form.name}' of problem '{problem.name}' has "
            f"{'no' if form.law == 'none' else form.law} noise; expected normal noise."
        )


def need_few(wrapper: Wrapper, of: Estimator, numbers: Numbers, limit: int, instead: str) -> None:
    """Refuse the exact mean of the second order where it would take too many derivatives.

    Raises:
        CellError: One draw takes more normal numbers than the limit.
    """
    count = sum(value.numel() for value in normal(numbers).values())
    if count > limit:
        raise CellError(
            f"{wrapper.named}: the exact mean of the second order takes a third derivative for every number drawn, "
            f"and one draw of '{of.declaration.name}' takes {count:,}; expected at most {limit:,}, a higher value of "
            f"its option limit{instead}."
        )


def affine(draw: Draw, numbers: Numbers) -> Named:
    """A gradient without its normal numbers, and the part that is linear in them: its mean is the former."""
    what = "a control variate differentiates the gradient along its noise"
    still, slope = along(*_ray(draw, numbers, normal(numbers)), what)
    return {name: value + slope[name] for name, value in still.items()}


def linear(draw: Draw, numbers: Numbers) -> Named:
    """The part of a gradient that is linear in its normal numbers ε: d/dt g(tε) at t = 0, of mean 0."""
    return _along(*_ray(draw, numbers, normal(numbers)))


def quadratic(draw: Draw, numbers: Numbers, direction: Numbers) -> Named:
    """The part that is quadratic in them, in a direction u: ½ d²/dt² g(tu) at t = 0; all other noise as it is.

    In the direction ε its mean is ½ Σ_j ∂²g/∂ε_j², which is what it is for random signs u on average too.
    """
    at, primal, tangent = _ray(draw, numbers, direction)
    second = _along(lambda t: _along(at, (t,), tangent), primal, tangent)
    return {name: value / 2 for name, value in second.items()}


def quadratic_mean(draw: Draw, numbers: Numbers) -> Named:
    """Mean of `quadratic` in the direction ε, one number at a time."""
    own = normal(numbers)
    total: Named = {}
    for request, value in own.items():
        still = {r: torch.zeros_like(v) for r, v in own.items()}
        units = torch.eye(value.numel(), dtype=value.dtype, device=value.device)

        def along(unit: Tensor, request: Request = request, still: Numbers = still) -> Named:
            return quadratic(draw, numbers, {**still, request: unit.reshape(request.shape)})

        for some in torch.split(units, TOGETHER):
            for name, part in vmap(along)(some).items():
                total[name] = total.get(name, 0.0) + part.sum(0)
    return total


def _ray(
    draw: Draw, numbers: Numbers, direction: Numbers
) -> tuple[Callable[[Tensor], Named], tuple[Tensor], tuple[Tensor]]:
    """The gradient at the normal numbers t·u as a function of t, with its place 0 and its tangent 1."""
    some = next(iter(direction.values()))
    zero = torch.zeros((), dtype=some.dtype, device=some.device)

    def at(t: Tensor) -> Named:
        return draw({**numbers, **{request: t * u for request, u in direction.items()}})

    return at, (zero,), (torch.ones_like(zero),)


class Expansion(NamedTuple):
    """L(μ), ∇L(μ) by layer, and d ↦ H(μ)d, of the N/M-scaled log-likelihood in the weights of all noisy layers."""

    value: Tensor
    slope: Named
    curve: Callable[[Named], Named]


def expansion(problem: Problem, parameters: Parameters, batch: Batch) -> Expansion:
    """The cost's Taylor polynomial about the mean weights."""
    mean = {a.name: problem.posterior(a, parameters).mean.detach() for a in problem.layers}

    def cost(weights: Named) -> Tensor:
        def sampler(layer: Layer, x: Tensor) -> Tensor:
            return layer.linear(x, weights[layer.name])

        return problem.scale(batch) * problem.log_likelihood(sampler, batch, parameters).sum()

    slope_of = grad_and_value(cost)
    slope, value = slope_of(mean)

    def curve(direction: Named) -> Named:
        return _along(lambda w: slope_of(w)[0], (mean,), (direction,))

    return Expansion(value, slope, curve)


def inner(a: Named, b: Named) -> Tensor:
    """Σ aᵢbᵢ over all layers."""
    return torch.stack([(value * b[name]).sum() for name, value in a.items()]).sum()


def diagonal(curve: Callable[[Named], Named], scale: Named) -> Named:
    """σ_i H_ii of every weight, one Hessian-vector product each."""
    found = {}
    for name, sigma in scale.items():
        still = {other: torch.zeros_like(value) for other, value in scale.items()}
        units = torch.eye(sigma.numel(), dtype=sigma.dtype, device=sigma.device)

        def entry(unit: Tensor, name: str = name, still: Named = still) -> Tensor:
            shaped = unit.reshape(still[name].shape)
            return (curve({**still, name: shaped})[name] * shaped).sum()

        parts = [vmap(entry)(some) for some in torch.split(units, TOGETHER)]
        found[name] = torch.cat(parts).reshape(sigma.shape) * sigma
    return found
