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
from vdbench.problems.layers import Layer, NoisyModule, Sampler
from vdbench.problems.likelihoods import Likelihood
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.posterior import Posterior
from vdbench.problems.priors import Prior

Parameters = Mapping[str, Tensor]
"""All parameters by name: ``fc1.mean``, ``fc1.log_variance``, ``fc1.bias``, …; each a tensor of its own shape.

The name is that of the layer in the module, a dot, and the coordinate of q or ``bias``. μ and log σ² have the shape of
the layer's weights.

Example:
    >>> import vdbench
    >>> from vdbench import problems
    >>> problem = problems.build("mine", "classification", {"widths": []})
    >>> {name: tuple(p.shape) for name, p in problem.initial(vdbench.Key()).items()}
    {'fc1.mean': (10, 64), 'fc1.log_variance': (10, 64), 'fc1.bias': (10,)}
"""


class Batch(NamedTuple):
    """A minibatch of M examples.

    Attributes:
        inputs: (M, …), as the network takes them.
        targets: (M,) class indices, or (M, …) numbers, as the likelihood takes them.

    Example:
        >>> import torch
        >>> import vdbench
        >>> batch = vdbench.Batch(torch.zeros(16, 64), torch.zeros(16, dtype=torch.int64))
        >>> inputs, targets = batch
        >>> inputs.shape
        torch.Size([16, 64])
    """

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

    Example:
        >>> import vdbench
        >>> from vdbench import problems
        >>> problem = problems.build("mine", "classification", {"dataset": "digits", "widths": [32]})
        >>> parameters = problem.initial(vdbench.Key(("seed", 0)))
        >>> batch = vdbench.Batch(*(tensor[:16] for tensor in problem.data.train))
        >>> problem.examples, problem.scale(batch), [layer.name for layer in problem.layers]
        (1437, 89.8125, ['fc1', 'fc2'])
        >>> q = problem.posterior(problem.layers[0], parameters)
        >>> q.mean.shape
        torch.Size([32, 64])
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
        of_noisy_layers = {
            f"{layer.name}.{name}"
            for layer in self.layers
            for name in (*self.parameterization.roles, "bias")
        }
        plain = {name: value for name, value in parameters.items() if name not in of_noisy_layers}
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
