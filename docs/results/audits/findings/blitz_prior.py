"""blitz: 1e-6 is added to the prior's density, so far from 0 it has no gradient. Prior N(0, 0.1²), the default."""

import torch
from blitz.modules.weight_sampler import PriorWeightDistribution

prior = PriorWeightDistribution(pi=1, sigma1=0.1, sigma2=0.4)
for value in (0.2, 0.4, 0.5, 0.6, 1.0):
    w = torch.tensor(value, requires_grad=True)
    found = torch.autograd.grad(prior.log_prior(w), w)[0]
    print(f"w = {value}: gradient of log p {float(found):9.3f}, exact −w/σ² {-value / 0.01:9.3f}")
