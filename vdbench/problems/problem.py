"""A problem: a module with noisy layers, its posterior, a likelihood, a prior and a data set."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vdbench.datasets import Dataset, Split
from vdbench.errors import InputError
from vdbench.noise import Key, stream
from vdbench.problems import kl
from vdbench.problems.gaussian import MeanLogVariance, Parameterization, Posterior
from vdbench.problems.layers import Layer, NoisyModule, Sampler, layer_of
from vdbench.problems.likelihoods import Categorical, Likelihood
from vdbench.problems.priors import GaussianPrior, Prior

NOISY = (nn.Linear, nn.Conv2d)
"""Kinds of layers that are made noisy."""

Parameters = Mapping[str, Tensor]
"""All parameters by name: ``fc1.mean``, ``fc1.log_variance``, ``fc1.bias``, …"""


class Batch(NamedTuple):
    """A minibatch: inputs (M, …) and targets (M, …)."""

    inputs: Tensor
    targets: Tensor


class Group(NamedTuple):
    """Where a parameter belongs in a report: its layer and its role there."""

    layer: str
    role: str


class Use(NamedTuple):
    """How one example uses a noisy layer.

    Attributes:
        inputs: Numbers that the layer is given.
        outputs: Pre-activations.
        places: How many of its pre-activations meet one weight: 1 of a dense layer, the locations of a convolution.
    """

    inputs: int
    outputs: int
    places: int


@dataclass(frozen=True)
class Problem:
    """A model with noisy layers on a data set; made by `noisy`, not by hand.

    Attributes:
        name: Label in reports.
        module: The network with a `NoisyModule` at each noisy layer.
        layers: The noisy layers, first to last.
        parameterization: Coordinates of the posterior.
        likelihood: log p(target | output), one value an example.
        prior: The KL term.
        data: Training and test split.
        start: Parameters as they were in the module that was made noisy.
        keep_weights: Start from those weights under every seed, instead of drawing them.
        groups: Layer and role of each parameter.
        uses: How one example uses each noisy layer, by the layer's name.
    """

    name: str
    module: nn.Module
    layers: tuple[Layer, ...]
    parameterization: Parameterization
    likelihood: Likelihood
    prior: Prior
    data: Dataset
    start: Parameters
    keep_weights: bool = False
    groups: Mapping[str, Group] = field(default_factory=dict)
    uses: Mapping[str, Use] = field(default_factory=dict)

    @property
    def examples(self) -> int:
        """N, the number of training examples."""
        return int(self.data.train.inputs.shape[0])

    @property
    def shared(self) -> tuple[str, ...]:
        """Noisy layers whose weights serve several places of one example, as those of a convolution do."""
        return tuple(layer.name for layer in self.layers if self.uses[layer.name].places > 1)

    @property
    def device(self) -> torch.device:
        """Where data and parameters are."""
        return self.data.train.inputs.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of parameters and inputs."""
        return next(iter(self.start.values())).dtype

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Problem:
        """The same problem with data and parameters moved and cast."""

        def split(part: Split) -> Split:
            targets = part.targets.to(device)
            return Split(
                part.inputs.to(device, dtype),
                targets.to(dtype) if targets.is_floating_point() else targets,
            )

        data = replace(self.data, train=split(self.data.train), test=split(self.data.test))
        start = {name: value.to(device, dtype) for name, value in self.start.items()}
        module = copy.deepcopy(self.module).to(device, dtype)
        return replace(self, data=data, start=start, module=module)

    def initial(self, key: Key) -> dict[str, Tensor]:
        """Parameters at initialisation.

        Weights are He-normal, N(0, 2/fan_in), and biases zero, drawn from the stream below ``key`` in float64
        on the CPU and then cast, so that every device starts at the same point; with ``keep_weights`` they are
        those of the module given.
        """
        parameters = {name: value.clone() for name, value in self.start.items()}
        if self.keep_weights:
            return parameters
        noise = stream(key / "initial", "cpu", torch.float64)
        for place, layer in enumerate(self.layers):
            weight = noise(layer.name, layer.weight_shape) * math.sqrt(2 / layer.fan_in)
            for name, value in self.parameterization.initial(weight, place).items():
                parameters[f"{layer.name}.{name}"] = value.to(self.device, self.dtype)
            if f"{layer.name}.bias" in parameters:
                parameters[f"{layer.name}.bias"].zero_()
        return parameters

    def free(self, parameters: Parameters) -> dict[str, Tensor]:
        """The parameters in which gradients are taken: all but the coordinates held fixed."""
        fixed = {
            f"{layer.name}.{name}" for layer in self.layers for name in self.parameterization.fixed
        }
        return {name: value for name, value in parameters.items() if name not in fixed}

    def posterior(self, layer: Layer, parameters: Parameters) -> Posterior:
        """q(w) of one layer at these parameters."""
        names = self.parameterization.roles
        return self.parameterization.gaussian({n: parameters[f"{layer.name}.{n}"] for n in names})

    def scale(self, batch: Batch) -> float:
        """N/M, which makes a minibatch's summed log-likelihood unbiased for the data set's."""
        return self.examples / int(batch.inputs.shape[0])

    def kl(self, parameters: Parameters) -> Tensor:
        """KL(q ‖ prior) summed over all noisy layers, in nats; or what `vdbench.problems.kl` has in its place."""
        total = torch.zeros((), device=self.device, dtype=self.dtype)
        for layer in self.layers:
            total = total + kl.term(self.prior, self.posterior(layer, parameters))
        return total

    def outputs(self, sampler: Sampler, inputs: Tensor, parameters: Parameters) -> Tensor:
        """Outputs of the network with its noisy layers computed by ``sampler``.

        Args:
            sampler: Gives a noisy layer's pre-activation without bias.
            inputs: (M, …).
            parameters: All parameters.

        Raises:
            InputError: A noisy layer is used more than once in one forward pass.
        """
        noisy = {
            f"{layer.name}.{name}"
            for layer in self.layers
            for name in (*self.parameterization.roles, "bias")
        }
        plain = {name: value for name, value in parameters.items() if name not in noisy}
        with self._sampling(sampler, parameters):
            # without parameters of its own the module is called as it is: functional_call takes its time
            result = (
                functional_call(self.module, plain, (inputs,)) if plain else self.module(inputs)
            )
        assert isinstance(result, Tensor)
        return result

    def log_likelihood(self, sampler: Sampler, batch: Batch, parameters: Parameters) -> Tensor:
        """Log p(target | input, weights) of each example, shape (M,), in nats."""
        return self.likelihood(self.outputs(sampler, batch.inputs, parameters), batch.targets)

    @contextmanager
    def _sampling(self, sampler: Sampler, parameters: Parameters) -> Iterator[None]:
        seen: set[str] = set()

        def call(layer: Layer, x: Tensor) -> Tensor:
            if layer.name in seen:
                raise InputError(
                    f"problem '{self.name}' uses its noisy layer '{layer.name}' twice in one forward pass; "
                    "shared noisy layers are not supported."
                )
            seen.add(layer.name)
            b = sampler(layer, x)
            bias = parameters.get(f"{layer.name}.bias")
            return b if bias is None else layer.add_bias(b, bias)

        places = [m for m in self.module.modules() if isinstance(m, NoisyModule)]
        before = [place.call for place in places]
        for place in places:
            place.call = call
        try:
            yield
        finally:
            for place, previous in zip(places, before, strict=True):
                place.call = previous


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
        >>> import vdbench.datasets
        >>> net = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        >>> [layer.name for layer in noisy(net, vdbench.datasets.load("digits")).layers]
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
