"""The Dawson function D(x) = e^(−x²) ∫₀ˣ e^(t²) dt and its integral, in torch, with derivatives.

Neither is in torch, and the exact KL of the log-uniform prior needs both. Three formulas meet:

- |x| < 0.5: the power series at 0, so that the *relative* error is small where both vanish;
- 0.5 ≤ |x| < 5: Rybicki's (*Computers in Physics* 3, 1989; Press et al., *Numerical Recipes*,
  §6.9), D(x) = π^(−½) Σ_{n odd} e^(−(x − nh)²)/n with error e^(−(π/2h)²), which integrates term by
  term: 2∫₀ˣ D = Σ_{n odd > 0} (2 erf(nh) + erf(x − nh) − erf(x + nh))/n;
- |x| ≥ 5: the asymptotic series, smallest term e^(−x²).

Largest relative error against 40-digit arithmetic, 1e-3 ≤ |x| ≤ 100: 2e-13 for the integral, 9e-12
for D, both just above |x| = 5. A million values take about 0.1 s on a core.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

__all__ = ["dawson", "dawson_integral"]

_SMALL, _LARGE = 0.5, 5.0
_H = 0.3  # e^(−(π/2h)²) = 1.2e-12
_ODD = range(1, 35, 2)  # up to nh = 9.9, where e^(−(5 − nh)²) is 4e-11 and is divided by n and D
_EULER_GAMMA = 0.5772156649015329
# 2∫₀ˣ D = ∫₀^∞ e^(−t²) (1 − cos 2xt)/t dt; as x → ∞, ∫ (e^(−t²) − e^(−t))/t = γ/2 and
# ∫ (e^(−t) − cos 2xt)/t = ln 2x: the constant beside ln x is γ/2 + ln 2.
_CONSTANT = 0.5 * _EULER_GAMMA + math.log(2)


def dawson_integral(x: Tensor) -> Tensor:
    """Twice the integral of the Dawson function, 2∫₀ˣ D(t) dt, elementwise.

    Even in x, x² near 0, ln|x| + γ/2 + ln 2 for large |x|. Differentiable to any order, under
    ``torch.func.grad`` and ``vmap`` too.

    Args:
        x: float64, any shape, finite.

    Returns:
        float64, the shape of ``x``.
    """
    return _apply(_DawsonIntegral, x)


def dawson(x: Tensor) -> Tensor:
    """The Dawson function D(x), elementwise; as `dawson_integral` in everything else."""
    return _apply(_Dawson, x)


class _DawsonIntegral(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        size = x.abs()
        middle = size.clamp(_SMALL, _LARGE)
        rybicki = torch.zeros_like(size)
        for n in _ODD:
            a = n * _H
            rybicki += (2 * math.erf(a) + torch.erf(middle - a) - torch.erf(middle + a)) / n
        square = size.clamp(max=_SMALL).square()
        large = size.clamp(min=_LARGE)
        tail = large.log() + _CONSTANT - _polynomial(large.reciprocal().square(), _INTEGRAL_TAIL)
        return _join(size, _polynomial(square, _INTEGRAL_SERIES), rybicki, tail)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        return gradient * 2 * dawson(x)


class _Dawson(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        size = x.abs()
        middle = size.clamp(_SMALL, _LARGE)
        rybicki = torch.zeros_like(size)
        for n in _ODD:
            # The terms of n and −n together.
            a = n * _H
            rybicki += (torch.exp(-(middle - a).square()) - torch.exp(-(middle + a).square())) / n
        small = size.clamp(max=_SMALL)
        inverse = size.clamp(min=_LARGE).reciprocal()
        return x.sign() * _join(
            size,
            small * _polynomial(small.square(), _SERIES),
            rybicki / math.sqrt(math.pi),
            0.5 * inverse * _polynomial(inverse.square(), _TAIL),
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        return gradient * (1 - 2 * x * dawson(x))


def _apply(function: type[torch.autograd.Function], x: Tensor) -> Tensor:
    return cast(Callable[[Tensor], Tensor], function.apply)(x)


def _join(size: Tensor, small: Tensor, middle: Tensor, large: Tensor) -> Tensor:
    return torch.where(size < _SMALL, small, torch.where(size < _LARGE, middle, large))


def _polynomial(x: Tensor, coefficients: list[float]) -> Tensor:
    """Horner's rule; ``coefficients[k]`` goes with x^k."""
    value = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value


def _odd_factorial(k: int) -> int:
    """(2k − 1)!!, the product of the odd numbers below 2k."""
    return math.prod(range(1, 2 * k, 2))


# D = Σ_k (−2)^k x^(2k+1)/(2k+1)!!, and 2∫D term by term.
_SERIES = [(-2.0) ** k / _odd_factorial(k + 1) for k in range(12)]
_INTEGRAL_SERIES = [0.0] + [c / (k + 1) for k, c in enumerate(_SERIES)]
# D = (1/2x) Σ_k (2k−1)!!/(2x²)^k, and 2∫D − ln x − constant term by term, sign reversed.
_TAIL = [_odd_factorial(k) / 2.0**k for k in range(25)]
_INTEGRAL_TAIL = [0.0] + [c / (2 * k) for k, c in enumerate(_TAIL) if k]
