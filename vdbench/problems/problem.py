"""A problem: a module with noisy layers, its posterior, a likelihood, a prior and a data set."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from vdbench.arithmetic import ROUNDED, STORAGE
from vdbench.datasets import Dataset, Split
from vdbench.errors import CellError
from vdbench.noise import Key, stream
from vdbench.problems import kl, line
from vdbench.problems.layers import Layer, NoisyModule, Sampler, WholeWeight
from vdbench.problems.likelihoods import Likelihood
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.places import PLAIN, Fold, Use
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


SHOWN = 8
"""Layers that are named where a problem is shown."""


class Group(NamedTuple):
    """Where a parameter belongs in a report: its layer and its role there."""

    layer: str
    role: str


@dataclass(frozen=True)
class Behaviour:
    """What a network was seen to do when its problem was made; found by `vdbench.problems.probe`.

    Attributes:
        folds: Where the example's axis is, at each call of each layer whose pre-activations can be sampled.
        whole: The layers of which only the weight itself can be sampled, with the reason.
        without: Layers without noise, with the reason.
        frozen: Parameters of the module that stay as they are.
        writes_inputs: Whether a forward pass writes its input, so that it is handed a copy.
        vectorises: Whether draws can be taken together; else they are taken one by one.
        why_looped: What was seen where they cannot.
        vectorises_values: Whether log-likelihoods without a gradient can be taken together.
        alone: Whether an example can pass alone, M = 1.
        precision: The only floating-point type that the network computes in; None where it follows its parameters'.
        of_likelihood: The same of the likelihood.
        attention: Whether it has attention, whose fused forms are switched off.
        coarse: Whether a part of the network computes in another floating-point type than its parameters.
        derives: Whether a pass takes gradients of its own, so that they are enabled in every pass.
        recurrent: Whether it has recurrent layers, whose fused forms are switched off.
        said: What was decided when the problem was made, a sentence each.
    """

    folds: Mapping[str, tuple[Fold, ...]] = field(default_factory=dict)
    whole: Mapping[str, str] = field(default_factory=dict)
    without: Mapping[str, str] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    writes_inputs: bool = False
    vectorises: bool = True
    why_looped: str = ""
    vectorises_values: bool = True
    alone: bool = True
    precision: torch.dtype | None = None
    of_likelihood: torch.dtype | None = None
    attention: bool = False
    coarse: bool = False
    derives: bool = False
    recurrent: bool = False
    said: tuple[str, ...] = ()


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
        kl_weight: What the KL is multiplied by.
        groups: Layer and role of each parameter.
        uses: How one example uses each noisy layer, by the layer's name.
        behaviour: What the network was seen to do.
        precision: How its products are computed, one of `vdbench.arithmetic.STORAGE`; '' as torch is set.

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
    kl_weight: float = 1.0
    groups: Mapping[str, Group] = field(default_factory=dict)
    uses: Mapping[str, Use] = field(default_factory=dict)
    behaviour: Behaviour = field(default_factory=Behaviour)
    precision: str = ""

    def __repr__(self) -> str:
        sizes = [f"{a.name} {'×'.join(map(str, a.weight_shape))}" for a in self.layers]
        layers = ", ".join(sizes if len(sizes) <= SHOWN else [*sizes[: SHOWN - 1], "…", sizes[-1]])
        likelihood = getattr(self.likelihood, "__name__", type(self.likelihood).__name__)
        test = len(self.data.test.targets)
        count = f"{self.examples:,}" + (f" + {test:,} test" if test else "")
        return (
            f"Problem({self.name!r}, data {self.data.name!r} of {count} examples, {likelihood},\n"
            f"        {len(self.layers)} noisy layers: {layers},\n"
            f"        posterior {self.parameterization.name}, prior {type(self.prior).__name__})"
        )

    @property
    def examples(self) -> int:
        """N, the number of training examples."""
        return int(self.data.train.inputs.shape[0])

    @property
    def shared(self) -> tuple[str, ...]:
        """Noisy layers whose weights meet several places of one example, as those of a convolution do."""
        return tuple(layer.name for layer in self.layers if self.uses[layer.name].places > 1)

    @property
    def reused(self) -> bool:
        """Whether a noisy layer is called more than once in a forward pass."""
        return any(use.calls > 1 for use in self.uses.values())

    @cached_property
    def whole(self) -> tuple[WholeWeight, ...]:
        """The noisy layers of which only the weight itself can be sampled, one for the whole minibatch."""
        return tuple(layer for layer in self.layers if isinstance(layer, WholeWeight))

    @property
    def device(self) -> torch.device:
        """Where data and parameters are."""
        return self.data.train.inputs.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of parameters and inputs."""
        return next(iter(self.start.values())).dtype

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Problem:
        """The same problem with data and parameters moved, and floating-point ones cast; integers stay integers."""

        def cast(value: Tensor) -> Tensor:
            return value.to(device, dtype) if value.is_floating_point() else value.to(device)

        def split(part: Split) -> Split:
            return Split(cast(part.inputs), cast(part.targets))

        data = replace(self.data, train=split(self.data.train), test=split(self.data.test))
        start = {name: value.to(device, dtype) for name, value in self.start.items()}
        module = converted(copy.deepcopy(self.module), device, self.behaviour.precision or dtype)
        likelihood = moved(self.likelihood, device, self.behaviour.of_likelihood or dtype)
        return replace(self, data=data, start=start, module=module, likelihood=likelihood)

    def in_precision(self, device: torch.device | str, precision: str) -> Problem:
        """The same problem on a device and in a precision, one of `vdbench.arithmetic.STORAGE`."""
        return replace(self.to(device, STORAGE[precision]), precision=precision)

    @property
    def unrounded(self) -> Problem:
        """The same problem with products in the type of its parameters."""
        kept = self.precision if self.precision not in ROUNDED else "float32"
        return replace(self, precision=kept)

    def initial(self, key: Key) -> dict[str, Tensor]:
        """Parameters at initialisation.

        Weights are He-normal, N(0, 2/fan_in), and biases zero, drawn from the stream below ``key`` in float64
        on the CPU and then cast, so that every device starts at the same point, and by torch's generator, so that runs
        do however their noise is made; with ``keep_weights`` they are those of the module given.
        """
        parameters = {name: value.clone() for name, value in self.start.items()}
        if self.keep_weights:
            return parameters
        noise = stream(Key(key.path) / "initial", "cpu", torch.float64)
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
        """KL(q ‖ prior) summed over all noisy layers, in nats; or what `vdbench.problems.kl` has in its place.

        It is multiplied by `kl_weight`. An embedding's padding row is no part of it.
        """
        total = torch.zeros((), device=self.device, dtype=self.dtype)
        for layer in self.layers:
            q = layer.counted(self.posterior(layer, parameters))
            total = total + kl.term(self.prior, q)
        return total if self.kl_weight == 1 else self.kl_weight * total

    def outputs(self, sampler: Sampler, inputs: Tensor, parameters: Parameters) -> Tensor:
        """Outputs of the network with its noisy layers computed by ``sampler``.

        Args:
            sampler: Gives a noisy layer's pre-activation without bias.
            inputs: (M, …).
            parameters: All parameters.

        Raises:
            CellError: A noisy layer is called more or less often than when the problem was made, or with other rows.
        """
        if self.behaviour.derives and not torch.is_grad_enabled():
            with torch.enable_grad():
                return self.outputs(sampler, inputs, parameters).detach()
        simple = self._line
        if simple is not None and inputs.dtype == self.dtype and not simple.hooked:
            try:
                return line.walk(simple, sampler, inputs, parameters)
            except line.Rows as found:
                raise self._other_rows(found.layer, found.x, inputs.shape[0], PLAIN) from None
        plain = {n: value for n, value in parameters.items() if n not in self._of_noisy_layers}
        for layer in self.whole:
            weight = sampler(layer, next(iter(parameters.values())).new_ones(1))
            if layer.name in self._fixed_rows:
                weight = weight + self._fixed_rows[layer.name].to(weight.dtype)
            # a network that writes its weight must not write the parameters
            own = any(weight is value for value in parameters.values())
            plain[layer.path] = weight.clone() if own else weight
        if self.behaviour.writes_inputs:
            inputs = inputs.clone()
        only = self.behaviour.precision
        if only is not None:
            inputs = inputs.to(only) if inputs.is_floating_point() else inputs
            plain = {name: value.to(only) for name, value in plain.items()}
        with self._sampling(sampler, parameters, inputs.shape[0]), self._unfused():
            # without parameters of its own the module is called as it is: functional_call takes its time
            result = (
                functional_call(self.module, tied(self._ties, plain), (inputs,), tie_weights=False)
                if plain
                else self.module(inputs)
            )
        assert isinstance(result, Tensor)
        return result if result.dtype == self.dtype else result.to(self.dtype)

    def log_likelihood(self, sampler: Sampler, batch: Batch, parameters: Parameters) -> Tensor:
        """Log p(target | input, weights) of each example, shape (M,), in nats."""
        outputs, targets = self.outputs(sampler, batch.inputs, parameters), batch.targets
        own = self.behaviour.of_likelihood
        if own is None or own == outputs.dtype:
            return self.likelihood(outputs, targets)
        targets = targets.to(own) if targets.is_floating_point() else targets
        return self.likelihood(outputs.to(own), targets).to(outputs.dtype)

    @cached_property
    def _line(self) -> line.Line | None:
        """The network as one line of modules, where it is one that needs nothing else."""
        seen = self.behaviour
        odd = seen.writes_inputs or seen.derives or seen.attention or seen.recurrent
        if odd or seen.precision or self.whole or set(self.start) - self._of_noisy_layers:
            return None
        return line.find(self.module, seen.folds)

    @cached_property
    def _places(self) -> list[NoisyModule]:
        """Where noisy layers stand in the module, found once and not in every forward pass."""
        return [m for m in self.module.modules() if isinstance(m, NoisyModule)]

    @cached_property
    def _fixed_rows(self) -> dict[str, Tensor]:
        """By layer, its weights with all rows 0 but the one without noise, where that one is not 0."""
        found = {}
        for layer in self.whole:
            if layer.fixed_row is not None:
                weight = torch.zeros_like(self.module.get_parameter(layer.path))
                weight[layer.fixed_row] = self.module.get_parameter(layer.path)[layer.fixed_row]
                found[layer.name] = weight.detach()
        return {name: weight for name, weight in found.items() if bool(weight.any())}

    @cached_property
    def _ties(self) -> dict[str, tuple[str, ...]]:
        return ties(self.module)

    @cached_property
    def _of_noisy_layers(self) -> frozenset[str]:
        """Names of the parameters that the module is not given as they are."""
        roles = self.parameterization.roles
        whole = {layer.name for layer in self.whole}
        return frozenset(
            f"{layer.name}.{name}"
            for layer in self.layers
            for name in (*roles, *(() if layer.name in whole else ("bias",)))
        )

    @contextmanager
    def _unfused(self) -> Iterator[None]:
        """Without the fused forms of attention and recurrence: they bypass noisy layers, or do not vectorise."""
        if not (self.behaviour.attention or self.behaviour.recurrent):
            yield
            return
        with ExitStack() as stack:
            if self.behaviour.attention:
                stack.callback(
                    torch.backends.mha.set_fastpath_enabled,
                    torch.backends.mha.get_fastpath_enabled(),
                )
                torch.backends.mha.set_fastpath_enabled(False)
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            if self.behaviour.recurrent:
                for backend in (torch.backends.mkldnn, torch.backends.cudnn):
                    stack.callback(setattr, backend, "enabled", backend.enabled)
                    setattr(backend, "enabled", False)  # noqa: B010 - no attribute of a module's type
            yield

    @contextmanager
    def _sampling(self, sampler: Sampler, parameters: Parameters, examples: int) -> Iterator[None]:
        calls: dict[str, int] = {}

        def call(place: NoisyModule, x: Tensor) -> Tensor:
            layer = place.layer
            number = calls.get(layer.name, 0)
            calls[layer.name] = number + 1
            fold = self._fold(layer.name, number)
            if layer.name in self.behaviour.folds and not fold.fits(x, examples):
                raise self._other_rows(layer, x, examples, fold)
            given = x.dtype
            x = x if given == self.dtype else x.to(self.dtype)
            b = sampler(layer, fold.to(x, examples))
            bias = parameters.get(f"{layer.name}.bias")
            if bias is None:
                bias = place._buffers.get("fixed_bias")
            b = fold.back(b if bias is None else layer.add_bias(b, bias), examples)
            return b if b.dtype == given else b.to(given)

        places = self._places
        before = [place.call for place in places]
        # not by setattr, which a module looks through for parameters and buffers each time
        for place in places:
            vars(place)["call"] = call
        try:
            yield
        finally:
            for place, previous in zip(places, before, strict=True):
                vars(place)["call"] = previous
        self._as_made(calls)

    def _other_rows(self, layer: Layer, x: Tensor, examples: int, fold: Fold) -> CellError:
        return CellError(
            f"problem '{self.name}' gives its noisy layer '{layer.name}' inputs {tuple(x.shape)} for {examples} "
            f"examples; expected {fold.times} rows an example for every minibatch, as when it was made: pad, or choose "
            "other layers with layers=."
        )

    def _as_made(self, calls: Mapping[str, int]) -> None:
        """Refuse a pass in which layers are called less often than when the problem was made.

        What an estimator may do with a layer was decided by how the network used it then.

        Raises:
            CellError: One was.
        """
        for name, folds in self.behaviour.folds.items():
            if calls.get(name, 0) != len(folds):
                raise CellError(
                    f"problem '{self.name}' calls its noisy layer '{name}' {calls.get(name, 0)} times in this pass, "
                    f"and {len(folds)} times when it was made; expected the same for every minibatch: choose other "
                    "layers with layers=, or leave out the branch that depends on the inputs."
                )

    def _fold(self, name: str, number: int) -> Fold:
        folds = self.behaviour.folds.get(name)
        if folds is None:
            return PLAIN
        if number >= len(folds):
            raise CellError(
                f"problem '{self.name}' calls its noisy layer '{name}' more than {len(folds)} times in one forward "
                "pass, as often as when the problem was made; expected the same number of calls for every minibatch."
            )
        return folds[number]


def ties(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """Further names of each parameter that several modules share.

    `torch.func.functional_call` finds them itself, and does not put back a module that is found at two paths.
    """
    names: dict[int, dict[tuple[int, str], str]] = {}
    for name, value in module.named_parameters(remove_duplicate=False):
        owner, _, leaf = name.rpartition(".")
        names.setdefault(id(value), {}).setdefault((id(module.get_submodule(owner)), leaf), name)
    lists = [list(places.values()) for places in names.values()]
    return {first: tuple(others) for first, *others in lists if others}


def tied(names: Mapping[str, tuple[str, ...]], given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Values for all names of the parameters given."""
    others = {o: given[name] for name, more in names.items() if name in given for o in more}
    return {**given, **others}


def converted(module: nn.Module, device: torch.device | str, dtype: torch.dtype) -> nn.Module:
    """The module itself with its tensors moved and cast; complex ones stay complex, of the same precision."""
    wide = torch.complex128 if dtype == torch.float64 else torch.complex64

    def cast(value: Tensor) -> Tensor:
        if value.is_complex():
            return value.to(device, wide)
        return value.to(device, dtype) if value.is_floating_point() else value.to(device)

    made: nn.Module = module._apply(cast)  # type: ignore[no-untyped-call] # Module.to drops imaginary parts
    return made


def moved(part: Any, device: torch.device | str, dtype: torch.dtype) -> Any:
    """A likelihood with the tensors that it holds moved and cast, such as class weights; itself where it holds none."""

    def cast(value: Tensor) -> Tensor:
        return value.to(device, dtype) if value.is_floating_point() else value.to(device)

    if isinstance(part, nn.Module):
        return converted(copy.deepcopy(part), device, dtype)
    if isinstance(part, type) or not hasattr(part, "__dict__"):
        return part
    held = {n: v for n, v in vars(type(part)).items() if isinstance(v, Tensor)}
    held |= {n: v for n, v in vars(part).items() if isinstance(v, Tensor | nn.Module)}
    if not held:
        return part
    made = copy.copy(part)
    for name, value in held.items():
        object.__setattr__(
            made, name, cast(value) if isinstance(value, Tensor) else moved(value, device, dtype)
        )
    return made
