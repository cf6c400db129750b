"""Radial noise: a direction of all weights of a layer, uniform on the sphere, and a radius of its own law."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from vdbench.noise import Noise
from vdbench.problems.families.around import Around
from vdbench.problems.structure import Structure, Uncorrelated

EULER = 0.57721566490153286


@dataclass(frozen=True)
class Sphere(Uncorrelated):
    """Z = √D · |r| · ε/‖ε‖ with ε ~ N(0, I_D), r ~ N(0, 1) and D the weights of the layer.

    z_i has variance 1 and z_i, z_j are uncorrelated, but far from independent: one radius scales all of them.
    """

    def fourth(self, count: int) -> tuple[float, float]:
        """D² E[r⁴] E[u_i² u_j²] = 3D/(D + 2) of a direction u, and three times that where i = j."""
        return 9 * count / (count + 2), 3 * count / (count + 2)

    def draw(
        self, noise: Noise, name: str, shape: tuple[int, ...], lead: tuple[int, ...]
    ) -> Tensor:
        """ε at the layer's address, and r below it."""
        direction = noise(name, (*lead, *shape))
        radius = noise.at("radius")(name, (*lead, *(1 for _ in shape))).abs()
        inner = tuple(range(len(lead), len(lead) + len(shape)))
        length = direction.square().sum(inner, keepdim=True).sqrt()
        return direction * (radius * math.sqrt(math.prod(shape)) / length)

    def entropy(self, scale: Tensor) -> Tensor:
        """Σ ln |σ| plus the entropy of z.

        The density of x = |r|·ε/‖ε‖ at distance ρ from 0 is that of the half-normal law, √(2/π) exp(−½ρ²), over the
        surface S ρ^(D−1), S = 2π^(D/2)/Γ(D/2). So its entropy is ln S + (D − 1) E ln|r| − ½ ln(2/π) + ½ with
        E ln|r| = −½(γ + ln 2); and z = √D x adds ½ D ln D.
        """
        d = scale.numel()
        surface = math.log(2) + 0.5 * d * math.log(math.pi) - math.lgamma(0.5 * d)
        log_radius = -0.5 * (EULER + math.log(2))
        of_x = surface + (d - 1) * log_radius - 0.5 * math.log(2 / math.pi) + 0.5
        return scale.abs().log().sum() + of_x + 0.5 * d * math.log(d)


@dataclass(frozen=True)
class Radial(Around):
    """W = μ + σ ∘ z, z a direction uniform on the sphere times a half-normal radius; in (μ, log σ²) of each weight.

    A normal z of many numbers D lies at a distance near √D from its mean; a radial one anywhere, most often near the
    mean. σ is the deviation of each weight here; the authors' σ, with z = |r|·ε/‖ε‖, is √D times it, and the
    gradients in μ and log σ² are the same. Their KL term leaves out constants, and its cross-entropy is sampled; the
    one here is the KL itself, in closed form. Farquhar, Osborne & Gal 2020, *Radial Bayesian Neural Networks*.

    Attributes:
        sigma: Initial standard deviation of every weight.
    """

    name: ClassVar[str] = "radial"

    @property
    def structure(self) -> Structure:
        """Radial noise: a rotation of the direction, such as a change of signs, leaves its law as it is."""
        return Sphere()
