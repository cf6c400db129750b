"""What the plugins share: one prior, and a thin module for libraries whose layers hold no parameters of their own."""

import torch
import torch.nn.functional as F

import vdbench

PRIOR = 0.25
"""Prior variance that layers are told; at 1 a variance taken for a standard deviation would go unseen."""

SCALE = PRIOR**0.5

MIXTURE = (0.5, 0.7, 0.3)
"""Scale mixture that layers with such a prior are told: π, σ₁, σ₂."""


def floor(added, least=1e-12):
    """Transforms of σ = softplus(ρ) + a constant: there, and back as far as there is a way."""
    return (
        lambda p: F.softplus(p) + added,
        lambda s: _inverse((s - added).clamp(min=least)),
    )


def _inverse(s):
    return s + torch.log(-torch.expm1(-s))


class Drawn(torch.nn.Module):
    """Parameters μ and ρ, and the forward pass of a library that takes them as arguments."""

    def __init__(self, shape, forward, kl=None):
        super().__init__()
        self.mu = torch.nn.Parameter(torch.zeros(shape))
        self.rho = torch.nn.Parameter(torch.zeros(shape))
        self._forward, self._kl = forward, kl

    def forward(self, x):
        return self._forward(x, self.mu, self.rho)

    def kl(self):
        return self._kl(self.mu, self.rho)


def layer(name, scale, mean="mu", unbiased=True, independent_examples=False, **more):
    """`vdbench.register_layer` with the defaults of these audits."""
    return vdbench.register_layer(
        name,
        mean=mean,
        scale=scale,
        unbiased=unbiased,
        independent_examples=independent_examples,
        prior_variance=PRIOR,
        **more,
    )
