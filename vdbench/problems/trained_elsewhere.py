"""Means and scales that a module of another library holds, by the names that its layers give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vdbench.errors import InputError, nearest
from vdbench.problems.problem import Problem
from vdbench.problems.several_inputs import prefix
from vdbench.problems.transforms import Transform, find


class Called(NamedTuple):
    """What a library calls the parameters of its layers, each after the layer's name and a dot.

    Attributes:
        mean: Of the weights.
        scale: The parameter that gives their standard deviation.
        transform: How it does: a name of `vdbench.problems.transforms.TRANSFORMS`, or a pair of functions.
        bias: The bias, or its mean; empty where there is none.
    """

    mean: str
    scale: str
    transform: Any
    bias: str = ""


KNOWN = (
    Called("mu_weight", "rho_weight", "softplus", "mu_bias"),  # bayesian-torch, lightning-uq-box
    Called("mu_kernel", "rho_kernel", "softplus", "mu_bias"),  # bayesian-torch, convolutions
    Called("weight_sampler.mu", "weight_sampler.rho", "softplus", "bias_sampler.mu"),  # blitz
    Called("weight_mu", "weight_log_sigma", "exp", "bias_mu"),  # torchbnn
    Called("weight_mu", "weight_sigma", "softplus", "bias_mu"),  # torch-uncertainty
    Called("weight_posterior.mu", "weight_posterior.rho", "softplus", "bias_posterior.mu"),
    Called("weight_mean", "weight_rho", "softplus", "bias_mean"),  # baytorch
)
"""Of the libraries whose layers were audited and keep their weights as torch does."""


def read(problem: Problem, given: nn.Module | Mapping[str, Any], names: Any) -> dict[str, Any]:
    """Parameters of a problem's, ``layer.mean``, ``layer.scale`` and all others, from a trained module.

    Args:
        problem: Whose layers are called as the module's.
        given: The module, or its state dict.
        names: ``{"mean": "mu_weight", "scale": ("rho_weight", "softplus"), "bias": "mu_bias"}``, or None for those of
            a known library.

    Raises:
        InputError: A noisy layer's mean or scale is not found, or what the network keeps fixed differs.
    """
    where = f"problem '{problem.name}': parameters"
    state = dict(given.state_dict() if isinstance(given, nn.Module) else given)
    called = KNOWN if names is None else (_called(where, names),)
    found: dict[str, Any] = {}
    for layer in problem.layers:
        title = _title(problem, layer.name)
        own = next((c for c in called if {title + c.mean, title + c.scale} <= state.keys()), None)
        if own is None:
            there = ", ".join(k.removeprefix(title) for k in state if k.startswith(title)) or "none"
            raise InputError(
                f"{where}: there is no mean and scale of layer '{layer.name}' by "
                f"{'names that are known' if names is None else f'the names {called[0].mean} and {called[0].scale}'}; "
                f"its own parameters are {there}; expected names={{'mean': …, 'scale': (…, 'softplus')}}, or other "
                "layers with layers=."
            )
        mean = _number(where, title + own.mean, state)
        transform = _transform(where, own)
        found[f"{layer.name}.mean"] = mean
        found[f"{layer.name}.scale"] = transform.forward(
            _number(where, title + own.scale, state), mean
        )
        bias = f"{layer.name}.bias"
        if bias in problem.start and title + own.bias in state:
            value = _number(where, title + own.bias, state)
            found[bias] = value.reshape(-1) if value.numel() == len(problem.start[bias]) else value
    for name in problem.start:
        owned = any(
            name in (f"{a.name}.{r}" for r in problem.parameterization.roles)
            for a in problem.layers
        )
        key = _title(problem, name)[:-1]
        if not owned and name not in found:
            if key not in state:
                raise InputError(
                    f"{where}: there is no '{key}' among those given.{nearest(key, state)}"
                )
            found[name] = _number(where, key, state)
    _refuse_other_constants(problem, where, state)
    return found


def _title(problem: Problem, name: str) -> str:
    """Start of the names of a layer's parameters in the user's own module."""
    return f"{name.removeprefix(prefix(problem.module))}."


def _called(where: str, names: Any) -> Called:
    fits = isinstance(names, Mapping) and {"mean", "scale"} <= set(names) <= {
        "mean",
        "scale",
        "bias",
    }
    scale = names["scale"] if fits else None
    if not fits or not isinstance(scale, tuple) or len(scale) != 2:
        raise InputError(
            f"{where}: names must be such as {{'mean': 'mu_weight', 'scale': ('rho_weight', 'softplus'), 'bias': "
            f"'mu_bias'}}, not {names!r}."
        )
    return Called(str(names["mean"]), str(scale[0]), scale[1], str(names.get("bias", "")))


def _transform(where: str, called: Called) -> Transform:
    return find(f"{where}, names, scale", called.transform)


def _number(where: str, key: str, state: Mapping[str, Any]) -> Tensor:
    value = state[key]
    if not isinstance(value, Tensor):
        raise InputError(f"{where}: '{key}' is a {type(value).__name__}; expected a tensor.")
    return value.detach().double()


def _refuse_other_constants(problem: Problem, where: str, state: Mapping[str, Any]) -> None:
    """Buffers and frozen parameters stay those of the network: others would make another network."""
    held = dict(problem.module.named_buffers())
    held |= {path: problem.module.get_parameter(path) for path in problem.behaviour.frozen}
    for path, value in held.items():
        other = state.get(_title(problem, path)[:-1])
        if isinstance(other, Tensor) and not torch.equal(other.to(value).cpu(), value.cpu()):
            raise InputError(
                f"{where}: '{path}' is fixed in the network and has other values in what is given; load it into the "
                "network first."
            )
