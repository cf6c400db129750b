"""A problem from any module: its linear and convolutional layers made noisy, and what cannot be made noisy refused."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from vdbench.datasets import Dataset
from vdbench.errors import InputError
from vdbench.problems import kl
from vdbench.problems.gaussian import MeanLogVariance
from vdbench.problems.layers import Layer, NoisyModule, layer_of
from vdbench.problems.likelihoods import Categorical, Likelihood
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.priors import GaussianPrior, Prior
from vdbench.problems.problem import Batch, Group, Problem, Use

NOISY = (nn.Linear, nn.Conv2d)
"""Kinds of layers that are made noisy."""


def noisy(
    module: nn.Module,
    data: Dataset,
    *,
    name: str = "module",
    likelihood: Likelihood | None = None,
    prior: Prior | None = None,
    parameterization: Parameterization | None = None,
    keep_weights: bool = True,
) -> Problem:
    """Make every ``nn.Linear`` and ``nn.Conv2d`` of a module a noisy layer, and a problem of the module.

    The module itself is left as it is. Biases stay deterministic; parameters outside these layers too.

    Args:
        module: Any network whose examples do not interact; (M, …) in, outputs (M, …) out.
        data: Training and test split.
        name: Label in reports.
        likelihood: log p(target | output); default `Categorical`.
        prior: KL term; default a standard normal prior.
        parameterization: Coordinates of q; default (μ, log σ²).
        keep_weights: Start from the module's weights (the default), or draw He-normal ones under each seed.

    Raises:
        InputError: The module has no layer to make noisy, a convolution of another kind, a layer that couples
            examples or draws its own noise, or two layers that share a weight; or the KL of q from the prior is
            infinite.

    Example:
        >>> from torch import nn
        >>> import vdbench
        >>> from vdbench import datasets
        >>> net = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        >>> [layer.name for layer in vdbench.noisy(net, datasets.load("digits")).layers]
        ['0', '2']
    """
    _refuse_unsuitable(module, name)
    body = copy.deepcopy(module)
    coordinates = parameterization or MeanLogVariance()
    prior = prior or GaussianPrior(1.0)
    kl.refuse(prior, coordinates, name)
    start: dict[str, Tensor] = {}
    groups: dict[str, Group] = {}
    layers: list[Layer] = []
    if isinstance(body, NOISY):
        body = nn.Sequential(body)
    found = [(p, m) for p, m in body.named_modules() if isinstance(m, NOISY)]
    if coordinates.layers not in (None, len(found)):
        raise InputError(
            f"problem '{name}': the posterior gives a value for each of {coordinates.layers} noisy layers, "
            f"the module has {len(found)}."
        )
    for place, (path, part) in enumerate(found):
        layer = layer_of(path, part)
        layers.append(layer)
        for key, value in coordinates.initial(part.weight.detach(), place).items():
            start[f"{path}.{key}"] = value
            groups[f"{path}.{key}"] = Group(path, coordinates.roles[key])
        if part.bias is not None:
            start[f"{path}.bias"] = part.bias.detach().clone()
            groups[f"{path}.bias"] = Group(path, "bias")
        parent, _, child = path.rpartition(".")
        setattr(body.get_submodule(parent), child, NoisyModule(layer))
    for path, value in body.named_parameters():
        start[path] = value.detach().clone()
        owner, _, leaf = path.rpartition(".")
        groups[path] = Group(owner, leaf)
    problem = Problem(
        name=name,
        module=body,
        layers=tuple(layers),
        parameterization=coordinates,
        likelihood=likelihood or Categorical(),
        prior=prior,
        data=data,
        start=start,
        keep_weights=keep_weights,
        groups=groups,
    )
    return replace(problem, uses=_tried(problem))


def _tried(problem: Problem) -> dict[str, Use]:
    """Try the mean weights on two examples, so that a misfit is told before anything is measured.

    Returns:
        How one example uses each layer that it uses at all.
    """
    uses = {
        layer.name: Use(layer.fan_in, layer.weight_shape[0], 1) for layer in problem.layers
    }  # where it is left out

    def mean(layer: Layer, x: Tensor) -> Tensor:
        b = layer.linear(x, problem.posterior(layer, problem.start).mean)
        inputs, outputs = (math.prod(t.shape[1:]) for t in (x, b))
        uses[layer.name] = Use(inputs, outputs, outputs // layer.weight_shape[0])
        return b

    cast = [t[:2].to(problem.dtype) if t.is_floating_point() else t[:2] for t in problem.data.train]
    batch = Batch(*cast)
    try:
        with torch.no_grad():
            found = problem.log_likelihood(mean, batch, problem.start)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"problem '{problem.name}': the module and its likelihood do not fit inputs of shape "
            f"(M, {', '.join(map(str, batch.inputs.shape[1:]))}): {reason}"
        ) from error
    if found.shape != batch.inputs.shape[:1]:
        raise InputError(
            f"problem '{problem.name}': the log-likelihood of {len(batch.inputs)} examples has shape "
            f"{tuple(found.shape)}; expected one value an example."
        )
    return uses


def _refuse_unsuitable(module: nn.Module, name: str) -> None:
    kinds = list(module.modules())
    _refuse_convolutions(module, name)
    if not any(isinstance(m, NOISY) for m in kinds):
        raise InputError(
            f"problem '{name}': the module has no nn.Linear or nn.Conv2d layer to make noisy."
        )
    _refuse_shared(module, name)
    for part in kinds:
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            raise InputError(
                f"problem '{name}': {type(part).__name__} couples the examples of a minibatch, so its "
                "log-likelihood is not a sum over examples; use LayerNorm or no normalisation."
            )
        if isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0 and part.training:
            raise InputError(
                f"problem '{name}': {type(part).__name__} draws noise of its own from the global generator; "
                "remove it or call module.eval() first."
            )


def _refuse_convolutions(module: nn.Module, name: str) -> None:
    """Refuse the convolutions that are not made noisy: left without noise, they would be a silent surprise."""
    for path, part in module.named_modules():
        if not isinstance(part, nn.modules.conv._ConvNd):
            continue
        where, kind = f"layer '{path}'" if path else "the module", type(part).__name__
        if not isinstance(part, nn.Conv2d):
            raise InputError(
                f"problem '{name}': {where} is a {kind}, which cannot be made noisy; "
                "expected nn.Linear and nn.Conv2d alone."
            )
        if part.padding_mode != "zeros":
            raise InputError(
                f"problem '{name}': {where} is a {kind} with padding_mode '{part.padding_mode}', which cannot be "
                "made noisy; expected 'zeros'."
            )


def _refuse_shared(module: nn.Module, name: str) -> None:
    """One weight in two places would become two independent ones, or stay without noise in one of them."""
    places: dict[int, str] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        if isinstance(part, NOISY):
            first = places.setdefault(id(part.weight), path)
            if first != path:
                raise InputError(
                    f"problem '{name}': the layers '{first}' and '{path}' share one weight; "
                    "shared noisy layers are not supported."
                )
