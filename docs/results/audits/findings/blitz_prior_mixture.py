"""blitz: what the 1e-6 does to the KL of draws. Prior ½N(0, 0.7²) + ½N(0, 0.3²), q = N(μ, 0.7²); exact by a sum."""

import math

import torch
from blitz.modules.weight_sampler import PriorWeightDistribution
from torch.distributions import Normal

eps = torch.linspace(-10, 10, 40001, dtype=torch.float64)
density = Normal(0.0, 1.0).log_prob(eps).exp() * (eps[1] - eps[0])
prior = PriorWeightDistribution(pi=0.5, sigma1=0.7, sigma2=0.3)


def exact(w):
    parts = [Normal(0.0, s).log_prob(w) + math.log(0.5) for s in (0.7, 0.3)]
    return torch.stack(parts).logsumexp(0)


def of_blitz(w):
    return torch.stack([prior.log_prior(w[i : i + 1]) for i in range(len(w))])


for mean in (0.5, 1.0, 1.5, 2.0):
    mu, sigma = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (mean, 0.7))
    found = []
    for log_p, e, weight in ((exact, eps, density), (of_blitz, eps[::40], density[::40] * 40)):
        kl = -sigma.log() - (weight * log_p(mu + sigma * e)).sum()
        found.append([float(g) for g in torch.autograd.grad(kl, (mu, sigma))])
    (m, s), (blitz_m, blitz_s) = found
    print(
        f"μ = {mean}: gradient in the mean {blitz_m:.4f}, exact {m:.4f}; in the scale {blitz_s:.4f}, exact {s:.4f}"
    )
