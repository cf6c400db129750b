"""The law of a noisy layer's weights, W = mean + scale ∘ z, and how its noise z is drawn.

z is standardised (mean 0, variance 1). Two things distinguish families of noise: its *law*, normal or binary (a
standardised Bernoulli variable: dropout), and its *sharing*: a z of its own for every weight, or one for every input
feature, shared by all outputs. Further families have a *structure* (`vdbench.problems.structure`): another law of z, or
weights that depend on several numbers of it. Noise that outputs share makes the weights of a row correlated and is the
same as noise on the layer's inputs: x(mean ∘ ξ) = (x ∘ ξ)mean with ξ = 1 + √α z.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor

from vdbench.noise import Noise
from vdbench.problems.structure import Correlated, Map, Structure

Sharing = Literal["weights", "inputs"]
"""Whose noise a number is: a weight's, or an input feature's (an input channel's of a convolution)."""

Law = Literal["normal", "binary", "none", "structured"]
"""The law of z; ``none`` is no noise at all, W = mean; ``structured`` is what `Posterior.structure` makes of it."""

NOISE_LAWS: dict[Law, tuple[str, ...]] = {
    "normal": ("normal",),
    "binary": ("uniform",),
    "none": (),
    "structured": ("normal",),
}
"""What each law asks of `vdbench.noise.Noise`; a binary number is made from a uniform one, others from normal ones."""


class Posterior(NamedTuple):
    """The law q of one layer's weights, by their moments: a Gaussian unless ``law`` says otherwise.

    Attributes:
        mean: Of the layer's weights' shape: (outputs, inputs), or (channels out, channels in / groups, height, width).
        scale: What multiplies the standardised noise, of the weights' shape. It may be negative: σ = √α·θ has the sign
            of θ, and the law is the same.
        variance: The square of ``scale``, of the weights' shape, computed without a root so that it is smooth at 0.
            With ``sharing`` ``inputs`` it is still the variance of each weight, and says nothing of their covariance.
        log_alpha: log σ²/μ² where it is a coordinate, of a shape that broadcasts to the weights; else None.
        sharing: ``weights`` where every weight has noise of its own, ``inputs`` where all outputs share one number for
            each input feature.
        law: Of the standardised noise: ``normal``, ``binary``, ``none`` or ``structured``.
        structure: What makes the weights' noise where the law is ``structured``, else None.

    Example:
        >>> import torch
        >>> import vdbench
        >>> from vdbench.noise import stream
        >>> sigma = torch.full((10, 64), 0.1)
        >>> q = vdbench.Posterior(torch.zeros(10, 64), sigma, sigma.square())
        >>> noise = stream(vdbench.Key(("draw", 0)))
        >>> q.weights(q.draw(noise, "fc1")).shape
        torch.Size([10, 64])
    """

    mean: Tensor
    scale: Tensor
    variance: Tensor
    log_alpha: Tensor | None = None
    sharing: Sharing = "weights"
    law: Law = "normal"
    structure: Structure | None = None

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of z: the weights', or (1, inputs, 1, …), which broadcasts to it.

        The inputs of a grouped convolution's weights are the channels of one group; the groups share their noise.
        """
        shape = self.mean.shape
        if self.structure is not None:
            return self.structure.noise_shape(tuple(shape))
        if self.sharing == "weights":
            return tuple(shape)
        return (1, shape[1], *(1 for _ in shape[2:]))

    def draw(self, noise: Noise, name: str, examples: int | None = None) -> Tensor:
        """Standardised noise z of the law of q.

        Args:
            noise: Where it comes from.
            name: The layer's name.
            examples: How many independent ones to draw at once; one, without that dimension, if None.

        Returns:
            `noise_shape`, or that with ``examples`` before it.
        """
        if self.structure is not None:
            lead = () if examples is None else (examples,)
            return self.structure.draw(noise, name, self.noise_shape, lead)
        shape = self.noise_shape if examples is None else (examples, *self.noise_shape)
        if self.law == "normal":
            return noise(name, shape)
        if self.law == "none":
            return self.mean.new_zeros(shape)
        kept = noise(name, shape, law="uniform") >= torch.sigmoid(self._log_alpha)  # p = α/(1 + α)
        root = torch.exp(0.5 * self._log_alpha)
        return torch.where(kept, root, -1 / root)

    def weights(self, z: Tensor) -> Tensor:
        """W at the noise z; with leading dimensions, if z has more than q."""
        if self.law == "binary":
            return self.mean * self.factors(z)
        if self.structure is None:
            return torch.addcmul(self.mean, self.scale, z)
        return self.mean + self.perturbation(z)

    def perturbation(self, z: Tensor) -> Tensor:
        """W − mean at the noise z of a law that is not binary; with leading dimensions, if z has more than q."""
        return (
            self.scale * z if self.structure is None else self.structure.perturbation(self.scale, z)
        )

    def spread(self, layer: Map, x: Tensor) -> Tensor:
        """Variance of each pre-activation: Σ x²σ², unless the weights of an output are correlated."""
        if isinstance(self.structure, Correlated):
            return self.structure.spread(layer, x)
        return layer.squared(x, self.variance)

    def factors(self, z: Tensor) -> Tensor:
        """ξ = 1 + √α z with W = mean ∘ ξ, for a q that has α; a dropped one is 0 to the last digit.

        Example:
            >>> from vdbench.noise import Key, stream
            >>> import vdbench.problems.gaussian
            >>> form = vdbench.problems.gaussian.from_spec({"kind": "binary-dropout", "rate": 0.5})
            >>> q = form.gaussian(form.initial(torch.ones(2, 6)))
            >>> q.factors(q.draw(stream(Key() / "example"), "layer"))
            tensor([[0., 0., 2., 2., 0., 0.]])
        """
        factors = 1 + torch.exp(0.5 * self._log_alpha) * z
        return torch.where(z < 0, 0.0, factors) if self.law == "binary" else factors

    def masked(self, x: Tensor, z: Tensor) -> Tensor:
        """Inputs x ∘ ξ, an own ξ for each of M examples: W of example m maps x_m as the mean maps the masked x_m.

        Without noise they stay as they are.

        Args:
            x: Inputs of the layer, (M, …, inputs), or (M, channels, …) of a convolution.
            z: From `draw` with ``examples`` M, for noise shared by the outputs.
        """
        if self.law == "none":
            return x
        return on_inputs(x, self.factors(z))

    def log_ratio(self) -> Tensor:
        """Log α = log σ²/μ² of every weight, in the weights' shape; ±∞ where μ or σ is 0."""
        if self.law == "none":
            return torch.full_like(self.mean, -math.inf)
        if self.log_alpha is not None:
            return self.log_alpha.expand_as(self.mean)
        return self.variance.log() - self.mean.square().log()

    def significant_digits(self) -> Tensor:
        """−log₁₀ √α of every weight: how many decimal digits of it the noise leaves; below 0 for α > 1."""
        return -self.log_ratio() / (2 * math.log(10))

    @property
    def _log_alpha(self) -> Tensor:
        assert self.log_alpha is not None, "this q has no α among its coordinates"
        return self.log_alpha


class OnDemand(Posterior):
    """A law whose scale and variance are functions without arguments, computed where they are first asked for.

    Most estimators use one of the two or neither, and an exponential of every weight is a good part of the gradient of
    a small network. Unpacked or replaced in part, it is a plain `Posterior`.
    """

    @property
    def scale(self) -> Tensor:
        """What multiplies the standardised noise."""
        return self._computed("scale", 1)

    @property
    def variance(self) -> Tensor:
        """The square of the scale."""
        return self._computed("variance", 2)

    def _computed(self, name: str, place: int) -> Tensor:
        found: dict[str, Tensor] = self.__dict__
        if name in found:
            return found[name]
        given = tuple.__getitem__(self, place)
        if isinstance(
            given, Tensor
        ):  # made by something that goes through the fields of a named tuple
            return given
        made = cast(Callable[[], Tensor], given)()
        if (
            torch.is_grad_enabled()
        ):  # one made without a graph would pass no gradient where it is used later
            found[name] = made
        return made

    def __iter__(self) -> Iterator[Any]:
        return iter(
            (self.mean, self.scale, self.variance, *tuple.__getitem__(self, slice(3, None)))
        )

    def __getitem__(self, place: Any) -> Any:
        return tuple(self)[place]

    def _replace(self, **fields: Any) -> Posterior:  # type: ignore[override]
        return Posterior(*self)._replace(**fields)


def on_inputs(x: Tensor, factors: Tensor) -> Tensor:
    """Inputs times one factor an example and input feature, or input channel.

    Args:
        x: Inputs of the layer, (M, …, inputs), or (M, channels, …) of a convolution.
        factors: (M, 1, inputs, 1, …), with as many 1 at the end as a convolution's kernel has dimensions; the groups of
            a grouped convolution share them.
    """
    inner = factors.dim() - 3  # dimensions of a convolution's kernel, behind the channels
    spread = factors.reshape(len(x), *(1 for _ in x.shape[1 : -1 - inner]), *factors.shape[2:])
    groups = x.shape[-1 - inner] // factors.shape[2]
    if groups > 1:
        spread = torch.cat([spread] * groups, dim=-1 - inner)
    return x * spread
