"""Layers as public libraries write them, in small: what `vdbench.register_layer` must take as it is.

Each is right, unless its name says otherwise. None is a copy: each has what makes its kind hard to register.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PRIOR = 0.5
"""Standard deviation of normal priors."""


class Sampler(nn.Module):
    """Keeps μ and ρ as parameters of its own, on the memory of the layer's, and noise in a buffer; as in blitz."""

    def __init__(self, mu: nn.Parameter, rho: nn.Parameter) -> None:
        super().__init__()
        self.mu, self.rho = nn.Parameter(mu), nn.Parameter(rho)
        self.register_buffer("eps_w", torch.zeros(mu.shape))

    def sample(self) -> Tensor:
        self.draw()
        self.sigma = torch.log1p(torch.exp(self.rho))
        self.w = self.mu + self.sigma * self.eps_w
        return self.w

    def draw(self) -> None:
        self.eps_w = torch.randn_like(self.mu)

    def log_posterior(self) -> Tensor:
        standard = ((self.w - self.mu) / self.sigma).square() / 2
        return (-math.log(math.sqrt(2 * math.pi)) - torch.log(self.sigma) - standard - 0.5).sum()


class InPlaceSampler(Sampler):
    """WRONG for two forward passes in one backward pass: its noise is written over."""

    def draw(self) -> None:
        self.eps_w.data.normal_()


class ScaleMixture:
    """Prior of Blundell et al. 2015."""

    def __init__(self, pi: float, sigma1: float, sigma2: float) -> None:
        self.pi = pi
        self.first = torch.distributions.Normal(0, sigma1)
        self.second = torch.distributions.Normal(0, sigma2)

    def log_prior(self, w: Tensor) -> Tensor:
        first, second = self.first.log_prob(w).exp(), self.second.log_prob(w).exp()
        return torch.log(self.pi * first + (1 - self.pi) * second).sum()


MIXTURE = (0.6, 1.0, 0.1)


class SampledMixture(nn.Module):
    """Noise in weights and bias, a scale-mixture prior, and log q(w) − log p(w) at the drawn w; as in blitz.

    Its value has −½ for every weight too many, a constant.
    """

    sampler = Sampler

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.bias = bias
        self.weight_mu = nn.Parameter(torch.zeros(outputs, inputs))
        self.weight_rho = nn.Parameter(torch.zeros(outputs, inputs))
        self.weight_sampler = self.sampler(self.weight_mu, self.weight_rho)
        self.bias_mu = nn.Parameter(torch.zeros(outputs))
        self.bias_rho = nn.Parameter(torch.zeros(outputs))
        self.bias_sampler = self.sampler(self.bias_mu, self.bias_rho)
        self.prior = ScaleMixture(*MIXTURE)

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight_sampler.sample()
        self.log_posterior, self.log_prior = (
            self.weight_sampler.log_posterior(),
            self.prior.log_prior(w),
        )
        if not self.bias:
            return F.linear(x, w)
        b = self.bias_sampler.sample()
        self.log_posterior = self.log_posterior + self.bias_sampler.log_posterior()
        self.log_prior = self.log_prior + self.prior.log_prior(b)
        return F.linear(x, w, b)

    def kl(self) -> Tensor:
        return self.log_posterior - self.log_prior


class SampledInPlace(SampledMixture):
    """WRONG as its sampler is."""

    sampler = InPlaceSampler


class Sampled(nn.Module):
    """A sampled KL from a normal prior, by torch's distributions; as in torch-uncertainty and supernnova."""

    prior = PRIOR

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.zeros(outputs, inputs))
        self.rho = nn.Parameter(torch.zeros(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        q = torch.distributions.Normal(self.mu, F.softplus(self.rho))
        w = q.rsample()
        p = torch.distributions.Normal(0.0, self.prior)
        self.complexity = self.cost(q.log_prob(w).sum(), p.log_prob(w).sum())
        return x @ w.T

    def cost(self, posterior: Tensor, prior: Tensor) -> Tensor:
        return posterior - prior


class SampledWrongPrior(Sampled):
    """The prior's variance used as its standard deviation."""

    prior = PRIOR**2


class SampledWrongSign(Sampled):
    def cost(self, posterior: Tensor, prior: Tensor) -> Tensor:
        return prior - posterior


class Local(nn.Module):
    """Local noise √(ε + Σx²σ²), log-variance, weights (inputs, outputs), bias (1, outputs), (output, KL) returned."""

    def __init__(self, inputs: int, outputs: int, eps: float = 1e-16) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.zeros(inputs, outputs))
        self.log_variance = nn.Parameter(torch.zeros(inputs, outputs))
        self.b = nn.Parameter(torch.zeros(1, outputs))
        self.eps = eps

    def forward(self, x: Tensor) -> Any:
        variance = self.log_variance.exp()
        mean = self.map(x)
        b = mean + torch.sqrt(self.eps + x.pow(2).mm(variance)) * torch.randn_like(mean)
        ratio = (variance + self.W.square()) / PRIOR**2
        return b, 0.5 * (ratio - 1 - self.log_variance + 2 * math.log(PRIOR)).sum()

    def map(self, x: Tensor) -> Tensor:
        return x.mm(self.W) + self.b


class LocalBiasTwice(Local):
    """Its mean is wrong, which noise next to nothing must not hide."""

    def map(self, x: Tensor) -> Tensor:
        return super().map(x) + self.b


class LocalConvolution(nn.Module):
    """Local noise of a convolution with a floor under the variance; log σ, a bias of its own; as in cplxmodule."""

    def __init__(self, inputs: int, outputs: int, kernel: Any, **geometry: Any) -> None:
        super().__init__()
        shape = (outputs, inputs // geometry.get("groups", 1), *kernel)
        self.weight = nn.Parameter(torch.zeros(shape))
        self.log_sigma = nn.Parameter(torch.zeros(shape))
        self.geometry = geometry

    def forward(self, x: Tensor) -> Tensor:
        mean = F.conv2d(x, self.weight, **self.geometry)
        variance = F.conv2d(x * x, torch.exp(2 * self.log_sigma), **self.geometry)
        return mean + torch.randn_like(mean) * torch.sqrt(torch.clamp(variance, 1e-8))


class Floor(nn.Module):
    """σ = softplus(ρ) + 10⁻⁵, KL with 10⁻⁶ added to variances, and kept adding up; as in supernnova, bnn-pytorch."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.zeros(outputs, inputs))
        self.rho = nn.Parameter(torch.zeros(outputs, inputs))
        self.kl_div = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        sigma = F.softplus(self.rho) + 1e-5
        a, b = sigma.square() + 1e-6, PRIOR**2 + 1e-6
        self.kl_div = self.kl_div + 0.5 * ((a + self.mu**2) / b - 1 - torch.log(a / b)).sum()
        return F.linear(x, self.mu + sigma * torch.randn_like(sigma))


class Once(nn.Module):
    """WRONG: its σ is computed in __init__, so that no training changes it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.zeros(outputs, inputs))
        self.rho = nn.Parameter(torch.zeros(outputs, inputs))
        self.sigma = F.softplus(self.rho.detach()).double()

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.mu + self.sigma * torch.randn_like(self.sigma))


class TwoNames(nn.Module):
    """One parameter under two names, as in fastbnns."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inner = nn.Linear(inputs, outputs, bias=False)
        self.parts = nn.ParameterDict({"mean": self.inner.weight})
        self.parts["log_sigma"] = nn.Parameter(torch.zeros(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.empty_like(self.inner.weight).normal_()
        return self.inner(x) + F.linear(x, self.parts["log_sigma"].exp() * noise)
