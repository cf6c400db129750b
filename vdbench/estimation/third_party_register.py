"""The door for third-party layers: any ``torch.nn.Module`` that draws its own noise, as an ordinary estimator.

A layer is registered with a factory and with the names of the parameters that are its posterior's mean and scale.
vdbench then sets those parameters from its own (mean, scale), through the inverse of the layer's own transform, and
autograd carries the gradient back, so that the layer is measured and checked in the coordinates of every other
estimator. It is declared not pure: its draws are looped under a forked and seeded global generator.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vdbench.errors import InputError
from vdbench.estimation import registry
from vdbench.estimation.third_party import Factory, ForeignLayer, Spec
from vdbench.estimation.third_party_priors import find_prior
from vdbench.problems.transforms import TRANSFORMS, Transform, find

__all__ = ["TRANSFORMS", "ForeignLayer", "Spec", "Transform", "register_layer"]


def register_layer(
    name: str,
    *,
    mean: str | tuple[str, ...],
    scale: tuple[Any, ...],
    unbiased: bool,
    independent_examples: bool,
    dense: Factory | None = None,
    convolution: Factory | None = None,
    transposed: bool = False,
    bias: str = "",
    bias_scale: tuple[Any, ...] | None = None,
    output: int | None = None,
    kl: int | str | Callable[[nn.Module, Any], Tensor] | None = None,
    prior_variance: float = 1.0,
    prior: Any = None,
    objective: str = "elbo",
    objective_on_convolution: str = "",
    version: str = "1",
    about: str = "",
) -> ForeignLayer:
    """Register a third-party layer as an estimator.

    Args:
        name: Name in suites and reports; lower case, words joined by ``-``.
        mean: Name of the module's parameter that is the mean of its weights, ``"mu_weight"`` or ``"sampler.mu"``;
            a tuple of names where it is called otherwise in convolutions.
        scale: ``(name, transform)``: the parameter (or a tuple of them) that gives their standard deviation, and how:
            a name of `TRANSFORMS`, or ``(name, forward, inverse)`` with two functions of one tensor: σ from the
            parameter, and the parameter from σ.
        unbiased: What is claimed: whether its mean is the gradient of ``objective``.
        independent_examples: What is claimed: whether noise of different examples is independent.
        dense: ``(inputs, outputs) -> module`` for dense layers.
        convolution: ``(in_channels, out_channels, kernel_size, ...) -> module``; ``stride``, ``padding``,
            ``dilation`` and ``groups`` are passed by name where they are not those of a plain convolution.
        transposed: Whether dense weights are stored (inputs, outputs).
        bias: The parameter that is the bias (its mean), of shape (outputs,), (1, outputs) or the like; left out where
            the factory switches the bias off.
        bias_scale: As ``scale``, of a bias that is random too; it is set to next to no noise.
        output: Which part of a returned tuple is the output; left out where a tensor is returned.
        kl: Where the module's KL from its own prior is found: the part of the returned tuple, the name of a method,
            or a function of the module and what its forward returned.
        prior_variance: Variance of the prior N(0, variance) that the factory was told to use, for the check of the
            KL. Take another than 1, at which a variance taken for a standard deviation goes unseen. A KL that is
            sampled, log q(w) − log p(w) at the drawn w, is compared by its mean.
        prior: A prior that is no N(0, variance): ``("scale-mixture", pi, sigma1, sigma2)``, the mixture
            π·N(0, σ₁²) + (1 − π)·N(0, σ₂²) of Blundell et al. 2015, or a function of a tensor of weights that gives the
            log-density of each.
        objective: Objective class.
        objective_on_convolution: Objective class on convolutions, if another.
        version: Changes with the layer's results.
        about: Docstring of the estimator, for ``vdbench show``.

    Returns:
        The estimator, as `vdbench.get` gives it from now on.

    Raises:
        InputError: A name, transform or factory is not valid.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import vdbench
        >>> class Noisy(nn.Module):
        ...     def __init__(self, inputs, outputs):
        ...         super().__init__()
        ...         self.mu = nn.Parameter(torch.zeros(outputs, inputs))
        ...         self.rho = nn.Parameter(torch.zeros(outputs, inputs))
        ...     def forward(self, x):
        ...         sigma = nn.functional.softplus(self.rho)
        ...         return x @ (self.mu + sigma * torch.randn_like(sigma)).T
        >>> vdbench.register_layer("noisy", dense=Noisy, mean="mu", scale=("rho", "softplus"), unbiased=True,
        ...          independent_examples=False).declaration.pure
        False
    """
    where = f"layer '{name}'"
    parameter, transform = _scale(f"{where}, scale", scale)
    if dense is None and convolution is None:
        raise InputError(f"{where}: expected a factory, dense= or convolution= or both.")
    if not (isinstance(prior_variance, int | float) and 0 < prior_variance < math.inf):
        raise InputError(
            f"{where}: prior_variance is {prior_variance!r}, expected a positive number."
        )
    spec = Spec(
        name=name,
        dense=dense,
        convolution=convolution,
        mean=_names(f"{where}, mean", mean),
        scale=_names(f"{where}, scale", parameter),
        transform=transform,
        transposed=transposed,
        bias=bias,
        bias_scale=_scale(f"{where}, bias_scale", bias_scale) if bias_scale else None,
        output=output,
        kl=_kl(where, kl),
        prior_variance=float(prior_variance),
        log_prior=find_prior(f"{where}, prior", prior),
    )
    claims = {
        "objective": objective,
        "unbiased": unbiased,
        "independent_examples": independent_examples,
        "objective_on_convolution": objective_on_convolution,
        "version": version,
    }
    return _registered(spec, about, claims)


def _registered(spec: Spec, about: str, claims: dict[str, Any]) -> ForeignLayer:
    """A class of its own, since what an estimator declares belongs to its class."""
    body = {
        "__doc__": about or f"Third-party layer '{spec.name}'.",
        "__module__": __name__,
        "spec": spec,
    }
    title = "".join(word.title() for word in spec.name.split("-"))
    made = types.new_class(title, (ForeignLayer,), {}, lambda space: space.update(body))
    cls: type[ForeignLayer] = dataclass(frozen=True)(made)
    return registry.register(spec.name, laws=(), pure=False, **claims)(cls)()


def _names(where: str, given: Any) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else given
    if not isinstance(names, tuple) or not names or not all(isinstance(n, str) for n in names):
        raise InputError(
            f"{where}: expected a parameter's name, such as 'mu_weight', or a tuple of them, not {given!r}."
        )
    return names


def _scale(where: str, given: Any) -> tuple[Any, Transform]:
    if not isinstance(given, tuple) or len(given) not in (2, 3):
        raise InputError(
            f"{where}: expected a parameter's name and a transform, such as ('rho_weight', 'softplus'), not {given!r}."
        )
    parameter, *transform = given
    return parameter, find(where, transform[0] if len(transform) == 1 else tuple(transform))


def _kl(where: str, given: Any) -> Callable[[nn.Module, Any], Tensor] | None:
    if given is None:
        return None
    if callable(given):
        own: Callable[[nn.Module, Any], Tensor] = given
        return own
    if isinstance(given, int) and not isinstance(given, bool):
        return lambda module, returned: torch.as_tensor(returned[given])
    if isinstance(given, str):
        return lambda module, returned: torch.as_tensor(getattr(module, given)())
    raise InputError(
        f"{where}, kl: expected the part of the returned tuple, a method's name or a function, not {given!r}."
    )
