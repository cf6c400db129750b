"""A third-party layer as an estimator: vdbench's parameters go in through the layer's own, gradients come back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vdbench.errors import CellError, InputError, nearest
from vdbench.estimation.autodiff import inside_vmap
from vdbench.estimation.base import Gradient, pathwise_gradient
from vdbench.estimation.pathwise import Pathwise
from vdbench.estimation.validity import need_posterior
from vdbench.noise import Noise
from vdbench.problems.layers import Convolution, Layer, Sampler
from vdbench.problems.posterior import Posterior
from vdbench.problems.problem import Batch, Parameters, Problem
from vdbench.problems.transforms import Transform

Factory = Callable[..., nn.Module]
Output = Callable[[Any], Any]
Names = dict[str, tuple[str, ...]]
"""By a parameter's name, all names that its memory has in a module, itself included."""


@dataclass(frozen=True)
class Spec:
    """What is known of a third-party layer.

    Attributes:
        name: What it is registered under.
        dense: ``(inputs, outputs) -> module``; None if there is no dense layer.
        convolution: ``(in_channels, out_channels, kernel_size, *, stride, padding, dilation, groups) -> module``.
        mean: Name of the parameter that is the weights' mean; several where dense layers and convolutions differ.
        scale: Name of the parameter that gives their standard deviation, or several.
        transform: How it does.
        transposed: Whether the layer's dense weights are (inputs, outputs).
        bias: Name of the parameter that is the bias's mean, of any shape that holds one number an output; empty where
            the layer has none.
        bias_scale: Name of the one that gives the bias a standard deviation, and how; it is then set to next to none.
        output: Index of the pre-activation in the tuple that the layer returns; None where it returns a tensor.
        kl: ``(module, returned) -> KL``, or None.
        prior_variance: Variance of the layer's own prior N(0, variance), for the KL.
        log_prior: Log-density of one weight under the layer's own prior, where that is no N(0, variance).
    """

    name: str
    dense: Factory | None
    convolution: Factory | None
    mean: tuple[str, ...]
    scale: tuple[str, ...]
    transform: Transform
    transposed: bool = False
    bias: str = ""
    bias_scale: tuple[str, Transform] | None = None
    output: int | None = None
    kl: Callable[[nn.Module, Any], Tensor] | None = None
    prior_variance: float = 1.0
    log_prior: Callable[[Tensor], Tensor] | None = None
    modules: dict[Any, nn.Module] = field(default_factory=dict, compare=False, repr=False)
    same: dict[nn.Module, Names] = field(default_factory=dict, compare=False, repr=False)
    narrowed: dict[Layer, bool] = field(default_factory=dict, compare=False, repr=False)

    @property
    def where(self) -> str:
        """For messages."""
        return f"layer '{self.name}'"

    def module(self, layer: Layer, like: Tensor) -> nn.Module:
        """The user's module for a layer, made once: a user's module is called again and again too.

        Raises:
            CellError: There is no factory for a layer of this kind.
            InputError: The factory fails, or its parameters are not those that were named.
        """
        key = (layer, like.dtype, str(like.device))
        if key not in self.modules:
            with torch.random.fork_rng(devices=[]):  # its initial weights are never used
                torch.default_generator.manual_seed(0)
                made = self._make(layer)
            names = _names_of_one(
                made
            )  # converted to another type, two parameters of one memory are two
            made = made.to(like.device, like.dtype).train()
            self._check_names(made, layer, names)
            self.modules[key], self.same[made] = made, names
        return self.modules[key]

    def factory(self, layer: Layer) -> Factory | None:
        """What makes layers of this kind."""
        return self.convolution if isinstance(layer, Convolution) else self.dense

    def _make(self, layer: Layer) -> nn.Module:
        factory = self.factory(layer)
        kind = "convolution" if isinstance(layer, Convolution) else "dense"
        if factory is None:
            raise CellError(
                f"{self.where} cannot stand for '{layer.name}': it was registered without {kind}=, a factory of "
                f"{kind} layers."
            )
        try:
            made = factory(*_sizes(layer), **_geometry(layer))
        except Exception as error:
            raise InputError(
                f"{self.where}: its {kind} factory failed with {type(error).__name__}: {error}"
            ) from error
        if not isinstance(made, nn.Module):
            raise InputError(
                f"{self.where}: its {kind} factory returned {type(made).__name__}, expected a torch.nn.Module."
            )
        return made

    def _check_names(self, module: nn.Module, layer: Layer, names: Names) -> None:
        shapes = {name: tuple(value.shape) for name, value in _all_parameters(module).items()}
        wanted = self._in_layout(torch.empty(layer.weight_shape, device="meta")).shape
        named = {_one(names, shapes): tuple(wanted) for names in (self.mean, self.scale)}
        outputs = (layer.weight_shape[0],)
        for name in (self.bias, self.bias_scale[0] if self.bias_scale else ""):
            if name:
                # also stored as a row, a column or a map of one place: (1, outputs), (outputs, 1), (1, outputs, 1, 1)
                flat = tuple(n for n in shapes.get(name, ()) if n != 1) or (1,)
                named[name] = shapes[name] if name in shapes and flat == outputs else outputs
        for name, shape in named.items():
            if name not in shapes:
                raise InputError(
                    f"{self.where}: {type(module).__name__} has no parameter '{name}'.{nearest(name, shapes)}"
                )
            if shapes[name] != shape:
                turned = shapes[name] == shape[::-1]
                hint = f"; say transposed={not self.transposed}" if turned else ""
                raise InputError(
                    f"{self.where}: parameter '{name}' of {type(module).__name__} has shape {shapes[name]}, expected "
                    f"{shape}{hint}."
                )
        known = {same for name in named for same in names[name]}
        for name in shapes:
            unnamed = "bias" in name.split(".")[-1] and name not in known
            if unnamed and self._used(module, layer) & set(names[name]):
                raise InputError(
                    f"{self.where}: {type(module).__name__} has a parameter '{name}' that nothing is said of: switch "
                    "the bias off in the factory (bias=False), or name it with bias= and bias_scale=."
                )

    def _used(self, module: nn.Module, layer: Layer) -> set[str]:
        """Names of the parameters that the layer's output depends on; all where that cannot be found out."""
        known = _all_parameters(module)
        one = next(iter(known.values()))
        try:
            with unchanged(module), torch.random.fork_rng(devices=[]), torch.enable_grad():
                x = torch.ones(2, *layer_inputs(layer), device=one.device, dtype=one.dtype)
                value = self._chosen(module(x)).square().sum()
            found = torch.autograd.grad(value, list(known.values()), allow_unused=True)
        except Exception:  # whatever it is, it is said where the layer is called
            return set(known)
        return {
            name for name, g in zip(known, found, strict=True) if g is not None and bool(g.any())
        }

    def ignored(self, layer: Layer, x: Tensor, q: Posterior, bias: Tensor) -> list[str]:
        """Names of the parameters that were named, and that the layer's output does not depend on."""
        module = self.module(layer, x)
        values = {n: v.detach().requires_grad_() for n, v in self._own(module, q, bias).items()}
        with unchanged(module), torch.enable_grad():
            returned = functional_call(module, self._under_all_names(module, values), (x,))
        value = self._chosen(returned).square().sum()
        if not value.requires_grad:
            return list(values)
        found = torch.autograd.grad(value, list(values.values()), allow_unused=True)
        return [n for n, g in zip(values, found, strict=True) if g is None or not bool(g.any())]

    def reaches(self, q: Posterior) -> bool:
        """Whether the layer's own parameter has a value for this scale."""
        scale = q.scale.abs().expand_as(q.mean)
        return _there_and_back(self.transform, scale, q.mean)

    def _in_layout(self, weight: Tensor) -> Tensor:
        return weight.mT if self.transposed and weight.dim() == 2 else weight

    def parameters(
        self, module: nn.Module, q: Posterior, bias: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The layer's own parameters at which its weights follow q, as differentiable functions of q's.

        A parameter that has several names is there under each.
        """
        return self._under_all_names(module, self._own(module, q, bias))

    def _under_all_names(self, module: nn.Module, values: dict[str, Tensor]) -> dict[str, Tensor]:
        same = self.same[module]
        return {other: value for name, value in values.items() for other in same.get(name, (name,))}

    def _own(self, module: nn.Module, q: Posterior, bias: Tensor | None) -> dict[str, Tensor]:
        known = _all_parameters(module)
        tiny = torch.finfo(q.mean.dtype).tiny
        # σ = √α·θ has the sign of θ; the law is the same, and no layer's own parameter has a sign
        scale = q.scale.abs().clamp(min=tiny).expand_as(q.mean)
        found = {
            _one(self.mean, known): self._in_layout(q.mean),
            _one(self.scale, known): self._in_layout(self.transform.inverse(scale, q.mean)),
        }
        ones = q.mean.new_ones(q.mean.shape[0])
        if self.bias:
            found[self.bias] = (0 * ones if bias is None else bias).reshape(known[self.bias].shape)
        if self.bias_scale:
            name, transform = self.bias_scale
            least = next((s for s in NO_SCALES if _there_and_back(transform, s * ones, ones)), 1.0)
            found[name] = transform.inverse(least * ones, ones).reshape(known[name].shape)
        return found

    def with_bias_scale(
        self, module: nn.Module, values: dict[str, Tensor], value: Tensor
    ) -> dict[str, Tensor]:
        """The parameters with another one for the bias's scale, (outputs,)."""
        assert self.bias_scale
        name = self.bias_scale[0]
        return {
            **values,
            **self._under_all_names(module, {name: value.reshape(values[name].shape)}),
        }

    def call(
        self, layer: Layer, x: Tensor, q: Posterior, bias: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """The layer's pre-activation with its bias, and all that it returned."""
        given = x.dtype
        if self.narrow(layer, x):
            x, q, bias = x.float(), in_float32(q), None if bias is None else bias.float()
        module = self.module(layer, x)
        values = {**self.parameters(module, q, bias), **own_buffers(module, x)}
        try:
            with unchanged(module):
                returned = functional_call(module, values, (x,))
        except RuntimeError as error:
            if isinstance(layer, Convolution) or x.dim() < 3:
                raise
            reason = (str(error).splitlines() or [""])[0]
            raise CellError(
                f"{self.where} takes inputs (M, inputs) and none with several places of an example: {reason}"
            ) from error
        return self._chosen(returned).to(given), returned

    def narrow(self, layer: Layer, like: Tensor) -> bool:
        """Whether the layer works in float32 alone, as one does that makes constants of that type.

        It is then given float32, and its output is made float64 again.
        """
        if like.dtype != torch.float64:
            return False
        if layer not in self.narrowed:
            wide, single = (like.new_zeros((), dtype=t) for t in (torch.float64, torch.float32))
            self.narrowed[layer] = not self._works(layer, wide) and self._works(layer, single)
        return self.narrowed[layer]

    def _works(self, layer: Layer, like: Tensor) -> bool:
        """Whether a forward pass of examples of ones raises no error."""
        module = self.module(layer, like)
        try:
            with unchanged(module), torch.random.fork_rng(devices=[]), torch.no_grad():
                module(like.new_ones(2, *layer_inputs(layer)))
        except RuntimeError:
            return False
        return True

    def _chosen(self, returned: Any) -> Tensor:
        part = returned
        if self.output is not None and isinstance(returned, tuple | list):
            part = returned[self.output] if self.output < len(returned) else None
        elif self.output is not None:
            part = None
        if isinstance(part, Tensor):
            return part
        kinds = (
            f"({', '.join(type(part).__name__ for part in returned)})"
            if isinstance(returned, tuple | list)
            else type(returned).__name__
        )
        expected = "a tensor" if self.output is None else f"a tuple with a tensor at {self.output}"
        raise InputError(
            f"{self.where}: its forward returns {kinds}, expected {expected}: say which part is the output with "
            "output=, such as output=0."
        )


NO_SCALES = (1e-30, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
"""Standard deviations that add next to nothing to a bias; the first is taken that its parameter has a value for."""

_stands_in: ContextVar[bool] = ContextVar("stands_in", default=False)


@contextmanager
def dense_layers_stand_in() -> Iterator[None]:
    """Within, a layer that is a convolution alone has vdbench's own weight samples in a network's dense layers."""
    token = _stands_in.set(True)
    try:
        yield
    finally:
        _stands_in.reset(token)


class ForeignLayer(Pathwise):
    """An estimator whose pre-activations a third-party layer makes, noise and all.

    Subclasses are made by `vdbench.register_layer`; each holds its `Spec`.
    """

    spec: ClassVar[Spec]

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """One draw; see `Pathwise`. The bias goes through the layer, where it has one.

        Raises:
            CellError: The layer is not valid for the problem's posterior, or has no factory for one of its layers.
        """
        need_posterior(self, problem)
        if problem.whole or problem.reused:
            raise CellError(
                f"estimator '{self.declaration.name}' makes the pre-activations of layers that are called once, and "
                f"problem '{problem.name}' has weights that can only be sampled whole, or layers that are called "
                "several times; expected another estimator, or other layers with layers=."
            )
        if all(self.spec.factory(layer) is None for layer in problem.layers):
            self.spec.module(problem.layers[0], batch.inputs)  # says that there is no factory

        def sampler(at: Parameters) -> Sampler:
            return lambda layer, x: self._without_bias(
                layer, x, problem.posterior(layer, at), at.get(f"{layer.name}.bias")
            )

        return pathwise_gradient(problem, parameters, batch, sampler, problem.scale(batch))

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        """The layer's output without bias; its noise comes from torch's global generator."""
        return self._without_bias(layer, x, q, None)

    def _without_bias(self, layer: Layer, x: Tensor, q: Posterior, bias: Tensor | None) -> Tensor:
        """Take off the bias that the problem adds after this: of value and gradient the layer's own is left."""
        if _stands_in.get() and self.spec.factory(layer) is None and type(layer) is Layer:
            return layer.linear(x, q.mean + q.scale * torch.randn_like(q.mean))
        b, _ = self.spec.call(layer, x, q, bias)
        if not self.spec.bias or bias is None:
            return b
        return layer.add_bias(b, -bias)


def in_float32(q: Posterior) -> Posterior:
    """The same law, its numbers rounded."""
    log_alpha = None if q.log_alpha is None else q.log_alpha.float()
    return q._replace(
        mean=q.mean.float(), scale=q.scale.float(), variance=q.variance.float(), log_alpha=log_alpha
    )


def own_buffers(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """For each of several calls that are vectorised buffers of its own, which the layer may fill with its noise."""
    if not inside_vmap():
        return {}
    nothing = 0 * x.detach().sum()
    return {
        name: value + nothing.to(value.dtype)
        for name, value in module.named_buffers()
        if value.is_floating_point()
    }


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Let what a forward pass leaves in attributes, such as a KL that grows, not reach the next one."""
    before = [(part, dict(vars(part))) for part in module.modules()]
    try:
        yield
    finally:
        for part, held in before:
            vars(part).clear()
            vars(part).update(held)


def _all_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """By every name that a parameter has."""
    return dict(module.named_parameters(remove_duplicate=False))


def _names_of_one(module: nn.Module) -> Names:
    """The names under which one memory is registered, as the same parameter or as another one."""
    found: dict[Any, list[str]] = {}
    for name, value in _all_parameters(module).items():
        found.setdefault((value.data_ptr() or name, value.shape), []).append(name)
    return {name: tuple(names) for names in found.values() for name in names}


def _there_and_back(transform: Transform, scale: Tensor, mean: Tensor) -> bool:
    """Whether a transform has a parameter for a standard deviation, to within a hundredth."""
    with torch.no_grad():
        back = transform.forward(transform.inverse(scale, mean), mean)
    return bool(torch.isclose(back, scale, rtol=0.01, atol=0.0).all())


def layer_inputs(layer: Layer) -> tuple[int, ...]:
    """A shape of one example that a layer takes: a convolution's images are twice its kernel's size."""
    _, inputs, *kernel = layer.weight_shape
    return (inputs * int(getattr(layer, "groups", 1)), *(2 * k for k in kernel))


def _one(names: tuple[str, ...], known: Collection[str]) -> str:
    """The first of these that a module has; the first of all where it has none, to be refused by that name."""
    return next((name for name in names if name in known), names[0])


def _sizes(layer: Layer) -> tuple[Any, ...]:
    outputs, inputs, *kernel = layer.weight_shape
    if not isinstance(layer, Convolution):
        return inputs, outputs
    return inputs * layer.groups, outputs, tuple(kernel)


def _geometry(layer: Layer) -> dict[str, Any]:
    """What differs from a plain convolution; a factory that cannot take it is not asked for it otherwise."""
    if not isinstance(layer, Convolution):
        return {}
    given = {
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.groups,
    }
    plain: dict[str, Any] = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    return {name: value for name, value in given.items() if value != plain[name]}
