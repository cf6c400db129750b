"""supernnova: the mixture prior is one of whole tensors, not of single weights."""

import math

import torch
from supernnova.training.bayesian_rnn import Prior, compute_KL
from torch.distributions import Normal

torch.manual_seed(0)
prior = Prior(pi=0.75, log_sigma1=-1.0, log_sigma2=-7.0)
mu, sigma = 0.1 * torch.randn(4, 3), torch.full((4, 3), 0.05)
w = mu + sigma * torch.randn(4, 3)
log_q = Normal(mu, sigma).log_prob(w).sum()
parts = torch.stack([Normal(0.0, prior.sigma1).log_prob(w) + math.log(0.75),
                     Normal(0.0, prior.sigma2).log_prob(w) + math.log(0.25)])  # fmt: skip
whole = torch.stack([Normal(0.0, prior.sigma1).log_prob(w).sum() + math.log(0.75),
                     Normal(0.0, prior.sigma2).log_prob(w).sum() + math.log(0.25)])  # fmt: skip
print(f"supernnova {float(compute_KL(w, mu, sigma, prior)):.4f}")
print(f"a mixture for each weight {float(log_q - parts.logsumexp(0).sum()):.4f}")
print(f"a mixture for the whole tensor {float(log_q - whole.logsumexp(0)):.4f}")
