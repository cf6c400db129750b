r"""The noise of separate weight samples, averaged over the weights given the pre-activations (Rao–Blackwell).

An example that passes a dense network with a weight sample of its own has pre-activations b = Wx, and given those of
all layers its weights are Gaussian again, independent between layers and between outputs: with W_ji = μ_ji + s_ji ε_ji,
v_j = Σ_i s_ji² x_i² and τ_j = (b_j − Σ_i μ_ji x_i)/v_j,

    E[ε_ji | b] = s_ji x_i τ_j,   Cov[ε_ji, ε_jk | b] = 1(i = k) − s_ji x_i s_jk x_k / v_j.

The gradient in a coordinate of W_ji is δ_j x_i (m_ji + r_ji ε_ji), m and r being the slopes of μ and s, and δ_j the
slope of the log-likelihood in b_j, which is random given b because the weights above are. Its mean given b is the
gradient of local reparameterization. By the law of total variance

    Var(g) = Var(E[g | b]) + E[Var(g | b)]   =   noise of local   +   the conditional term,

    Var(g_ji | b) = x_i² {P_j (m_ji + r_ji E[ε_ji | b])² + E[δ_j² | b] r_ji² Var[ε_ji | b]},   P_j = Var(δ_j | b).

P is carried down: at the top δ is known given b, P = 0. With C_k = E[δ_k² | b] of a layer and Q = Cov(δ | b), the layer
below has, D being the slopes of the activation between them and V_k = Cov(W_k | b),

    Q' = D (E[W | b]ᵀ Q E[W | b] + Σ_k C_k V_k) D.

Its diagonal is exact for the two upper layers, where Q above is 0. Below, Q is replaced by q₊q₊ᵀ − q₋q₋ᵀ, whose mean
over random signs it is, so that no matrix of outputs × outputs is formed for each example. The term stays unbiased,
because all that follows is linear in Q. A draw costs some ten products of a layer with the minibatch, where separate
samples of the weights cost one for each example.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vdbench.errors import CellError
from vdbench.estimation.draws import gradients
from vdbench.estimation.pathwise import Pathwise
from vdbench.estimation.products import slopes_of_coordinates, why_formed
from vdbench.measures.context import Context, column
from vdbench.noise import Key, Noise, stream
from vdbench.problems.layers import Layer
from vdbench.problems.problem import Batch, Problem
from vdbench.store import Table

VERSION = "1"
"""Changes whenever a row may change; part of every block's address."""

AGREE = {torch.float32: 1e-3, torch.float64: 1e-8}
"""Relative difference between a gradient and its conditional mean beyond which they are not the same."""


class Passed(NamedTuple):
    """A layer in one forward pass of M examples.

    Attributes:
        layer: Which.
        mean: μ, (outputs, inputs).
        scale: s, (outputs, inputs).
        x: Inputs, (M, inputs).
        below: Slopes of the inputs in the pre-activations of the layer below, (M, inputs); None in the lowest.
        variance: v, (M, outputs).
        tau: τ, (M, outputs); 0 where v is.
    """

    layer: Layer
    mean: Tensor
    scale: Tensor
    x: Tensor
    below: Tensor | None
    variance: Tensor
    tau: Tensor

    def back(self, u: Tensor) -> Tensor:
        """E[W | b]ᵀu of each example, (M, inputs)."""
        return u @ self.mean + self.x * ((u * self.tau) @ self.scale.square())

    def over_variance(self, u: Tensor) -> Tensor:
        """u/v, and 0 where v is: all inputs with noise are 0 there, and so is what it multiplies."""
        return torch.where(self.variance > 0, u / self.variance, 0.0)


class Slope(NamedTuple):
    """What is known of δ, the slopes in a layer's pre-activations, given all pre-activations; (M, outputs) each.

    Attributes:
        mean: E[δ | b].
        variance: P, exact or unbiased; then single numbers may be negative.
        plus: q₊.
        minus: q₋.
    """

    mean: Tensor
    variance: Tensor
    plus: Tensor
    minus: Tensor

    @property
    def square(self) -> Tensor:
        """C = E[δ² | b], as exact as `variance`."""
        return self.mean.square() + self.variance


def refuse(context: Context) -> None:
    """See that the term is valid for the estimator whose pre-activations are drawn, and that its mean is as said.

    Args:
        context: Of that estimator.

    Raises:
        CellError: The network is no chain of dense layers with functions of single numbers between them, the weights
            are not independent and normal, a coordinate is shared by weights, or the estimator's gradient is not the
            mean of the gradient given its pre-activations.
    """
    problem, parameters = context.problem, context.parameters
    why = why_formed(context.estimator, problem, parameters)
    for layer in problem.layers:
        for name in slopes_of_coordinates(problem, layer, parameters) if not why else ():
            if parameters[name].shape != layer.weight_shape:
                why = f"'{name}' is a coordinate that weights share"
    if why:
        raise CellError(
            f"rao_blackwell is not valid on problem '{problem.name}' with '{context.label}': {why}."
        )
    key = context.key / "conditional mean"
    batch = context.batch(key)
    passed, top = forward(context, batch, key / "draw")
    mean = _conditional_mean(context, passed, top, batch)
    drawn = gradients(
        context.estimator, problem, parameters, Batch(*(t[None] for t in batch)),
        [key / "draw"], context.traced, context.state,
    ).gradients  # fmt: skip
    for name, found in drawn.items():
        want = mean[name]
        largest = float(want.abs().max())
        apart = float((found[0] - want).abs().max())
        if not apart <= AGREE[problem.dtype] * largest:  # NaN is no agreement
            raise CellError(
                f"rao_blackwell is not valid with '{context.label}': its gradient in '{name}' is not the mean of the "
                f"gradient at weight samples given its pre-activations (apart by {apart:.1g}, with entries up to "
                f"{largest:.1g}); expected local reparameterization{_or_digits(problem)}."
            )


def _or_digits(problem: Problem) -> str:
    """What else can part the two where numbers are short: noise that is read off pre-activations far above it."""
    if problem.dtype == torch.float64:
        return ""
    return f", and noise that {str(problem.dtype).removeprefix('torch.')} still resolves beside the mean"


def rows(context: Context, start: int, stop: int) -> Table:
    """The conditional term in units ``start`` to ``stop``, from one draw on each of a unit's two minibatches.

    Args:
        context: Of the estimator whose pre-activations are drawn, at the address of its own units.
        start: First unit.
        stop: One after the last unit.

    Returns:
        Columns ``layer|role|noise``, each of shape (stop − start,): what the noise of separate weight samples has
        beside that of the estimator, in squared units of the gradient.
    """
    found: dict[str, list[float]] = {}
    for unit in range(start, stop):
        sums: dict[str, float] = {}
        for side in "ab":
            place = context.key / "unit" / unit / side
            for name, value in term(context, context.batch(place / "minibatch"), place).items():
                sums[name] = sums.get(name, 0.0) + value / 2
        for group, names in context.members.items():
            value = sum(sums[name] for name in names) / context.sizes[group]
            found.setdefault(column(group, "noise"), []).append(value)
    return {name: np.array(values) for name, values in found.items()}


def term(context: Context, batch: Batch, place: Key) -> dict[str, float]:
    """The conditional term of one minibatch at one draw of its pre-activations, summed over each parameter.

    Args:
        context: Of the estimator whose pre-activations are drawn.
        batch: M examples.
        place: Address of the draw and of the signs.
    """
    passed, top = forward(context, batch, place / "draw" / 1)
    return summed(context, batch, passed, top, place / "signs")


def summed(
    context: Context, batch: Batch, passed: list[Passed], top: Tensor, key: Key
) -> dict[str, float]:
    """`term` at given pre-activations.

    Args:
        context: Of the estimator whose pre-activations they are.
        batch: M examples.
        passed: From `forward`.
        top: From `forward`.
        key: Address of the signs.
    """
    problem, found = context.problem, {}
    signs = stream(key, problem.device, problem.dtype)
    slope = Slope(top, *(torch.zeros_like(top) for _ in range(3)))
    with torch.no_grad():
        for at in reversed(passed):
            for name, value in _of_layer(context, at, slope).items():
                found[name] = problem.scale(batch) ** 2 * float(value)
            slope = _below(at, slope, signs)
    return found


def combine(conditional: Table, source: Table) -> Table:
    """Rows of separate weight samples.

    Args:
        conditional: From `rows`.
        source: Rows of `vdbench.measures.variance_units.rows` of the same units, of the estimator given whose
            pre-activations the term is.

    Returns:
        The columns of ``source``, its noise and its total with the term added.
    """
    return {
        name: values + conditional[f"{group}|noise"] if quantity in ("noise", "total") else values
        for name, values in source.items()
        for group, _, quantity in [name.rpartition("|")]
    }


def describe(source: str) -> str:
    """What the rows' figures say of how they were obtained."""
    return (
        f"noise of {source} plus the conditional variance given its pre-activations; "
        f"data part and mean from {source}"
    )


def forward(context: Context, batch: Batch, key: Key) -> tuple[list[Passed], Tensor]:
    """A draw's layers from the lowest, each cut from the one below, and δ of the top one without N/M.

    Raises:
        CellError: Something else than a function of single numbers is between two layers.
    """
    estimator, problem, parameters = context.estimator, context.problem, context.parameters
    assert isinstance(estimator, Pathwise)
    noise = stream(key, problem.device, problem.dtype)
    passed: list[Passed] = []
    leaves: list[Tensor] = []

    def sample(layer: Layer, x: Tensor) -> Tensor:
        below = _slopes_between(context, layer, x, leaves)
        with torch.no_grad():
            q = problem.posterior(layer, parameters)
            b = estimator.preactivation(layer, x, q, noise)
            v = layer.squared(x, q.variance)
            tau = torch.where(v > 0, (b - layer.linear(x, q.mean)) / v, 0.0)
        passed.append(Passed(layer, q.mean, q.scale, x.detach(), below, v, tau))
        leaves.append(b.requires_grad_())
        return leaves[-1]

    with torch.enable_grad():
        value = problem.log_likelihood(sample, batch, parameters).sum()
        slopes = torch.autograd.grad(value, leaves, allow_unused=True)
    if slopes[-1] is None or any(s is not None for s in slopes[:-1]):
        raise _no_chain(context, "the likelihood")
    return passed, slopes[-1]


def _slopes_between(
    context: Context, layer: Layer, x: Tensor, leaves: list[Tensor]
) -> Tensor | None:
    """Of a layer's inputs in the pre-activations below, where each is a function of its own alone."""
    if not leaves:
        return None
    signs = torch.arange(x.numel(), device=x.device).reshape(x.shape).remainder(7).to(x.dtype) - 2.5
    if not x.requires_grad or x.shape != leaves[-1].shape:
        raise _no_chain(context, layer.name)
    whole = torch.autograd.grad(x.sum(), leaves, retain_graph=True, allow_unused=True)
    mixed = torch.autograd.grad((signs * x).sum(), leaves, retain_graph=True, allow_unused=True)
    if whole[-1] is None or mixed[-1] is None or any(s is not None for s in whole[:-1]):
        raise _no_chain(context, layer.name)
    if not torch.allclose(mixed[-1], signs * whole[-1], rtol=AGREE[x.dtype], atol=1e-12):
        raise _no_chain(context, layer.name)
    return whole[-1]


def _no_chain(context: Context, place: str) -> CellError:
    return CellError(
        f"rao_blackwell is not valid on problem '{context.problem.name}': {place} takes something else than functions "
        "of single pre-activations of the layer before; expected a chain of dense layers and activations."
    )


def _below(at: Passed, slope: Slope, signs: Noise) -> Slope:
    """The slopes in the pre-activations of the layer below."""
    if at.below is None:
        return slope
    second, square = at.scale.square(), slope.square
    free, bound = square @ second, at.over_variance(square)
    plus, minus = at.back(slope.plus), at.back(slope.minus)
    variance = plus.square() - minus.square() + free - at.x.square() * (bound @ second.square())
    # random vectors with the covariances Σ_k C_k diag(s_k²), and Σ_k C_k/v_k (s_k²x)(s_k²x)ᵀ, which is subtracted
    own = signs(f"{at.layer.name} free", free.shape, law="sign")
    fixed = signs(f"{at.layer.name} bound", bound.shape, law="sign")
    up = own * _root(free) + at.x * ((fixed * _root(-bound)) @ second)
    down = own * _root(-free) + at.x * ((fixed * _root(bound)) @ second)
    d = at.below
    return Slope(
        d * at.back(slope.mean), d.square() * variance, d * (plus + up), d * (minus + down)
    )


def _root(value: Tensor) -> Tensor:
    """Of the positive ones; an unbiased C may be negative, and then adds to the other vector."""
    return value.clamp(min=0).sqrt()


def _fields(context: Context, at: Passed) -> dict[str, tuple[Tensor, Tensor]]:
    """Slopes m and r of each coordinate of a layer's weights, of their shape."""
    found = {}
    for name, fields in slopes_of_coordinates(
        context.problem, at.layer, context.parameters
    ).items():
        of = {
            f: torch.ones_like(at.mean) if slope is None else slope for f, slope in fields.items()
        }
        none = torch.zeros_like(at.mean)
        found[name] = (of.get("mean", none), of.get("scale", none))
    return found


def _of_layer(context: Context, at: Passed, slope: Slope) -> dict[str, Tensor]:
    """Σ Var(g | b) over examples and weights, by parameter."""
    p, c, tau = slope.variance, slope.square, at.tau
    x2 = at.x.square()
    found: dict[str, Tensor] = {}
    for name, (m, r) in _coordinates(context, at).items():
        sums = (p * (x2 @ m.square().T)).sum()
        if bool(r.any()):
            rs = r * at.scale
            once, twice = p * tau, p * tau.square() - at.over_variance(c)
            sums = sums + 2 * (once * ((x2 * at.x) @ (m * rs).T)).sum()
            sums = sums + (twice * (x2.square() @ rs.square().T)).sum()
            sums = sums + (c * (x2 @ r.square().T)).sum()
        found[name] = sums
    bias = f"{at.layer.name}.bias"
    if bias in context.problem.free(context.parameters):
        found[bias] = p.sum()
    return found


def _coordinates(context: Context, at: Passed) -> Mapping[str, tuple[Tensor, Tensor]]:
    """`_fields` of a layer, computed once for a place."""
    kept: dict[str, Mapping[str, tuple[Tensor, Tensor]]] = context.shared.setdefault(
        "slopes of coordinates", {}
    )
    if at.layer.name not in kept:
        with torch.enable_grad():
            kept[at.layer.name] = _fields(context, at)
    return kept[at.layer.name]


def _conditional_mean(
    context: Context, passed: list[Passed], top: Tensor, batch: Batch
) -> dict[str, Tensor]:
    """E[g | b] by parameter."""
    scale, slope, found = context.problem.scale(batch), top, {}
    with torch.no_grad():
        for at in reversed(passed):
            for name, (m, r) in _coordinates(context, at).items():
                first, second = slope.T @ at.x, (slope * at.tau).T @ at.x.square()
                found[name] = scale * (m * first + r * at.scale * second)
            found[f"{at.layer.name}.bias"] = scale * slope.sum(0)
            if at.below is not None:
                slope = at.below * at.back(slope)
    return found
